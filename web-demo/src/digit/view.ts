/** The digit tab: a drawing, and how sure the network is of each digit. */
import type { Backend, ImageSource } from "quaver";

import { data, type Classifier as Described, type Sample } from "../catalogue.js";
import { digest, short } from "../digest.js";
import { el } from "../dom.js";
import { Loader } from "../loader.js";
import { milliseconds, percent, trouble } from "../words.js";
import { Pad, SMALL } from "./pad.js";

export class DigitView {
  readonly #described: Described;
  readonly #loader: Loader;
  readonly #pad: Pad;
  readonly #seen = el("canvas", { class: "seen", width: SMALL, height: SMALL, role: "img", "aria-label": "What the network sees" });
  readonly #headline = el("p", { class: "headline digit", "aria-live": "polite" }, "?");
  readonly #columns: HTMLElement;
  readonly #figures = el("p", { class: "figures-line" });
  readonly #verdict = el("p", { class: "verdict", hidden: true });
  readonly #trouble = el("p", { class: "trouble", role: "alert", hidden: true });
  readonly #hint = el("p", { class: "pad-hint", "aria-hidden": "true" }, "Draw a digit");
  #wanted = 0;

  constructor(panel: HTMLElement, described: Described, told: (backend: Backend) => void) {
    this.#described = described;
    this.#loader = new Loader(described, told);
    const canvas = el("canvas", { class: "pad", role: "img", "aria-label": "A pad to draw a digit on; below are samples to choose from" });
    this.#pad = new Pad(canvas, () => void this.#drawn());
    const clear = el("button", { type: "button", class: "button", onclick: () => this.#clear() }, "Clear");
    const samples = el("div", { class: "samples digits", role: "group", "aria-label": "Sample digits" }, ...described.samples.map((sample) => this.#thumbnail(sample)));
    this.#columns = el("ol", { class: "columns", "aria-label": "How likely each class is" });
    panel.append(
      el("div", { class: "split" },
        el("div", { class: "card stage" }, el("div", { class: "pad-frame" }, canvas, this.#hint), el("div", { class: "controls" }, clear, el("span", { class: "hint" }, "or choose one of MNIST:")), samples, this.#trouble),
        el("div", { class: "side" },
          el("div", { class: "result card" }, el("div", { class: "digit-top" }, this.#headline, el("figure", { class: "seen-figure" }, this.#seen, el("figcaption", {}, `seen as ${SMALL} × ${SMALL}`))), this.#columns, this.#figures, this.#verdict),
          this.#loader.element,
        ),
      ),
    );
    this.#show(described.labels.map(() => 0));
  }

  async open(): Promise<void> {
    await this.#loader.load();
  }

  #thumbnail(sample: Sample): HTMLElement {
    const image = el("img", { src: data(sample.file), alt: sample.title, width: 40, height: 40 });
    return el("button", { type: "button", class: "thumbnail", onclick: () => void this.#sample(sample) }, image);
  }

  #clear(): void {
    this.#pad.clear();
    this.#hint.hidden = false;
    this.#wanted++;
    this.#headline.textContent = "?";
    this.#verdict.hidden = true;
    this.#figures.textContent = "";
    this.#seen.width = SMALL;
    this.#show(this.#described.labels.map(() => 0));
  }

  async #sample(sample: Sample): Promise<void> {
    try {
      const blob = await (await fetch(data(sample.file))).blob();
      const bitmap = await createImageBitmap(blob);
      this.#hint.hidden = true;
      this.#pad.show(bitmap);
      this.#seen.width = this.#seen.height = SMALL;
      this.#seen.getContext("2d")?.drawImage(bitmap, 0, 0, SMALL, SMALL);
      await this.#classify(blob, sample.digest);
    } catch (error) {
      this.#tell(error);
    }
  }

  async #drawn(): Promise<void> {
    this.#hint.hidden = true;
    const small = this.#pad.small(this.#seen);
    if (small !== undefined) {
      await this.#classify(small, undefined);
    }
  }

  async #classify(image: ImageSource, recorded: string | undefined): Promise<void> {
    const asked = ++this.#wanted;
    this.#trouble.hidden = true;
    try {
      const classifier = await this.#loader.load();
      if (classifier === undefined) {
        return;
      }
      const { guesses, bytes, inferred } = await classifier.classify(image);
      // A newer stroke's answer is on its way.
      if (asked !== this.#wanted) {
        return;
      }
      this.#show(guesses.map(({ probability }) => probability));
      const best = guesses.reduce((best, guess) => (guess.probability > best.probability ? guess : best));
      this.#headline.textContent = best.label;
      this.#figures.textContent = `${percent(best.probability)} sure, in ${milliseconds(inferred)}`;
      const here = await digest(bytes);
      this.#verdict.hidden = recorded === undefined;
      this.#verdict.className = here === recorded ? "verdict good" : "verdict bad";
      this.#verdict.replaceChildren(here === recorded ? "Same bits as the native build: " : "Not the native build's bits: ", el("code", { title: here }, short(here)));
    } catch (error) {
      this.#tell(error);
    }
  }

  #tell(error: unknown): void {
    this.#trouble.textContent = trouble(error);
    this.#trouble.hidden = false;
  }

  #show(probabilities: readonly number[]): void {
    const highest = Math.max(...probabilities);
    const column = (share: number, index: number): HTMLElement => {
      const fill = el("span", { class: "column-fill", "aria-hidden": "true" });
      fill.style.setProperty("--share", String(share));
      const label = this.#described.labels[index] as string;
      return el("li", { class: share > 0 && share === highest ? "best" : "", title: percent(share) }, fill, el("span", { class: "column-label" }, label), el("span", { class: "visually-hidden" }, percent(share)));
    };
    this.#columns.replaceChildren(...probabilities.map(column));
  }
}
