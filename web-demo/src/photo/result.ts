import { bars } from "../bars.js";
import type { Answer } from "../classifier.js";
import { digest, short } from "../digest.js";
import { el } from "../dom.js";
import { milliseconds, percent } from "../words.js";

const TOP = 5;
/** Frames that times are the median of. */
const FRAMES = 15;

/** What the network says of a picture. */
export class Result {
  readonly element: HTMLElement;
  readonly #headline = el("p", { class: "headline", "aria-live": "polite" }, "…");
  readonly #top = el("div", { class: "top5" });
  readonly #figures = el("dl", { class: "figures" });
  readonly #bits = el("p", { class: "verdict", hidden: true });
  readonly #model: string;
  #times: number[] = [];

  /** `model` is the size of the model in words. */
  constructor(model: string) {
    this.#model = model;
    this.element = el("div", { class: "result card" }, this.#headline, this.#top, this.#figures, this.#bits);
  }

  /** Shows an answer; `recorded` is the digest of the native build's, where there is one. */
  async show({ guesses, bytes, prepared, inferred }: Answer, recorded: string | undefined, video: boolean): Promise<void> {
    const order = [...guesses].sort((a, b) => b.probability - a.probability).slice(0, TOP);
    this.#headline.textContent = order[0]?.label ?? "";
    const list = order.map(({ label, probability }) => ({ label, value: probability, text: percent(probability) }));
    this.#top.replaceChildren(bars(list, 1));
    this.#times = video ? [...this.#times, inferred].slice(-FRAMES) : [inferred];
    const time = [...this.#times].sort((a, b) => a - b)[this.#times.length >> 1] as number;
    const figure = (name: string, text: string): HTMLElement[] => [el("dt", {}, name), el("dd", {}, text)];
    this.#figures.replaceChildren(
      ...figure(video ? "a frame" : "inference", milliseconds(time)),
      ...figure("pixels to input", milliseconds(prepared)),
      ...(video ? figure("a second", `${Math.floor(1000 / (time + prepared))} frames`) : figure("model", this.#model)),
    );
    if (!video) {
      this.#verdict(await digest(bytes), recorded);
    } else {
      this.#bits.hidden = true;
    }
  }

  #verdict(here: string, recorded: string | undefined): void {
    this.#bits.hidden = false;
    const same = here === recorded;
    this.#bits.className = recorded === undefined ? "verdict" : same ? "verdict good" : "verdict bad";
    const words = recorded === undefined ? "The output's SHA-256: " : same ? "Same bits as the native build: " : "Not the native build's bits: ";
    this.#bits.replaceChildren(words, el("code", { title: here }, short(here)));
  }
}
