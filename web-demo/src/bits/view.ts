/** The tab that shows that this browser computes the very bits which the native build computed. */
import type { Backend } from "quaver";

import { type Catalogue, data, type Classifier as Described, type Sample } from "../catalogue.js";
import { short } from "../digest.js";
import { el } from "../dom.js";
import { trouble } from "../words.js";
import { check, WAYS } from "./check.js";

export class BitsView {
  readonly #networks: readonly Described[];
  readonly #verdict = el("p", { class: "banner", role: "status" });
  readonly #again = el("button", { type: "button", class: "button", onclick: () => void this.#run() }, "Run again");
  readonly #tables = el("div", { class: "tables" });
  readonly #told: (backend: Backend) => void;
  #started = false;
  #same = 0;
  #all = 0;

  constructor(panel: HTMLElement, { recorded, photo, digit }: Catalogue, told: (backend: Backend) => void) {
    this.#networks = [photo, digit];
    this.#told = told;
    panel.append(
      el("div", { class: "card" },
        el("h2", {}, "One file, the same bytes everywhere"),
        el("p", { class: "lead" },
          "When this site was built, the native library ran these pictures on ",
          el("strong", {}, `${recorded.cpu} (${recorded.isa})`),
          " and recorded the SHA-256 of each output. Your browser now computes the same outputs, with each build of the module and each kind of instruction that its engine has.",
        ),
        this.#verdict,
        el("div", { class: "controls" }, this.#again),
      ),
      this.#tables,
    );
  }

  open(): void {
    if (!this.#started) {
      void this.#run();
    }
  }

  async #run(): Promise<void> {
    this.#started = true;
    this.#again.disabled = true;
    [this.#same, this.#all] = [0, 0];
    this.#tables.replaceChildren();
    try {
      for (const network of this.#networks) {
        await this.#network(network);
      }
      this.#tell(true);
    } catch (error) {
      this.#verdict.className = "banner bad";
      this.#verdict.textContent = trouble(error);
    } finally {
      this.#again.disabled = false;
    }
  }

  async #network(described: Described): Promise<void> {
    const head = el("tr", {}, el("th", { scope: "col" }, "picture"), el("th", { scope: "col" }, "native"), el("th", { scope: "col" }, "this browser"));
    const rows = new Map<Sample, HTMLTableRowElement>(
      described.samples.map((sample) => {
        const picture = el("th", { scope: "row" }, el("div", {}, el("img", { src: data(sample.file), alt: "", width: 36, height: 36 }), el("span", {}, sample.title)));
        return [sample, el("tr", {}, picture, el("td", {}, el("code", { title: sample.digest }, short(sample.digest))))];
      }),
    );
    const table = el("table", { class: "bits" }, el("thead", {}, head), el("tbody", {}, ...rows.values()));
    this.#tables.append(el("div", { class: "card" }, el("h3", {}, described.title), el("div", { class: "scroll", tabindex: 0 }, table)));
    for (const way of WAYS) {
      const chosen = way.build === undefined;
      const backend = await check(described, way, ({ sample, here }) => {
        const same = here === sample.digest;
        [this.#same, this.#all] = [this.#same + Number(same), this.#all + 1];
        const mark = el("span", { class: same ? "mark good" : "mark bad", role: "img", "aria-label": same ? "the same" : "different", title: here });
        rows.get(sample)?.append(el("td", {}, ...(chosen ? [el("code", { title: here }, short(here)), " "] : []), mark));
        this.#tell(false);
      });
      if (backend === undefined) {
        continue;
      }
      const { build, instructions } = backend;
      if (chosen) {
        this.#told(backend);
        head.lastElementChild?.append(el("small", {}, `${build} · ${instructions}`));
      } else {
        head.append(el("th", { scope: "col", class: "way" }, build, el("small", {}, instructions)));
      }
    }
  }

  #tell(done: boolean): void {
    const good = this.#same === this.#all;
    this.#verdict.className = `banner ${good ? "good" : "bad"}`;
    const count = `${this.#same} of ${this.#all} outputs`;
    this.#verdict.textContent = good ? `${count} have the native build's bits${done ? "" : " …"}` : `${count} have the native build's bits: this is a bug, please report it`;
  }
}
