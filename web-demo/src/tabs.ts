/** Tabs, as the keyboard knows them: arrows, Home and End. The address remembers which is open. */
export class Tabs {
  readonly #tabs: HTMLElement[];
  readonly #panels: Map<string, HTMLElement>;
  readonly #opened: (name: string) => void;

  /** `opened` is called with the panel's id whenever one is shown. */
  constructor(list: HTMLElement, opened: (name: string) => void) {
    this.#tabs = [...list.querySelectorAll<HTMLElement>("[role=tab]")];
    this.#panels = new Map(this.#tabs.map((tab) => [name(tab), document.getElementById(name(tab)) as HTMLElement]));
    this.#opened = opened;
    for (const tab of this.#tabs) {
      tab.addEventListener("click", () => this.show(name(tab)));
    }
    list.addEventListener("keydown", (event) => this.#key(event));
    addEventListener("hashchange", () => this.show(location.hash.slice(1)));
  }

  /** Shows a panel, or the first where none has this name. */
  show(wanted: string): void {
    const shown = this.#panels.has(wanted) ? wanted : name(this.#tabs[0] as HTMLElement);
    for (const tab of this.#tabs) {
      const selected = name(tab) === shown;
      tab.setAttribute("aria-selected", String(selected));
      tab.tabIndex = selected ? 0 : -1;
      (this.#panels.get(name(tab)) as HTMLElement).hidden = !selected;
    }
    if (location.hash.slice(1) !== shown) {
      history.replaceState(null, "", `#${shown}`);
    }
    this.#opened(shown);
  }

  #key(event: KeyboardEvent): void {
    const at = this.#tabs.findIndex((tab) => tab.tabIndex === 0);
    const last = this.#tabs.length - 1;
    const to = { ArrowRight: at === last ? 0 : at + 1, ArrowLeft: at === 0 ? last : at - 1, Home: 0, End: last }[event.key];
    if (to !== undefined) {
      event.preventDefault();
      const tab = this.#tabs[to] as HTMLElement;
      this.show(name(tab));
      tab.focus();
    }
  }
}

function name(tab: HTMLElement): string {
  return tab.getAttribute("aria-controls") as string;
}
