import type { Backend, Progress } from "quaver";

import { Classifier } from "./classifier.js";
import type { Classifier as Described } from "./catalogue.js";
import { el } from "./dom.js";
import { bytes, milliseconds, trouble } from "./words.js";

/** Brings a model, shows how far it is, and offers another try where it fails. */
export class Loader {
  readonly element: HTMLElement;
  readonly #described: Described;
  readonly #bar = el("progress", { max: 1, value: 0 });
  readonly #text = el("span", { class: "loader-text" });
  readonly #retry = el("button", { type: "button", class: "button small", hidden: true, onclick: () => void this.load() }, "Try again");
  #loaded: Classifier | undefined;
  #loading: Promise<Classifier | undefined> | undefined;
  readonly #told: (backend: Backend) => void;

  /** `told` is called with what runs the model, once it is there. */
  constructor(described: Described, told: (backend: Backend) => void) {
    this.#described = described;
    this.#told = told;
    this.#bar.setAttribute("aria-label", `Download of ${described.title}`);
    this.element = el("div", { class: "loader card", role: "status" }, this.#text, this.#bar, this.#retry);
  }

  /** The model, once it is there; nothing where it can't be had, which the reader is told. */
  load(own?: File): Promise<Classifier | undefined> {
    if (own !== undefined || this.#loading === undefined) {
      this.#loading = this.#load(own);
    }
    return this.#loading;
  }

  async #load(own: File | undefined): Promise<Classifier | undefined> {
    const title = own?.name ?? this.#described.title;
    const size = own?.size ?? this.#described.model.bytes;
    this.element.classList.remove("failed");
    this.#retry.hidden = true;
    this.#bar.hidden = false;
    const begin = performance.now();
    let arrived = begin;
    const progress = ({ loaded, total }: Progress): void => {
      arrived = performance.now();
      this.#bar.value = loaded / (total ?? size);
      this.#text.textContent = `${title}: ${bytes(loaded)} of ${bytes(total ?? size)}`;
    };
    progress({ loaded: 0, total: size });
    try {
      const classifier = await Classifier.open(this.#described, own, progress);
      void this.#loaded?.release();
      this.#loaded = classifier;
      const times = `downloaded in ${milliseconds(arrived - begin)}, checked and opened ${milliseconds(performance.now() - arrived)} later`;
      this.#text.textContent = `${title} is ready: ${bytes(size)}, ${times}`;
      this.#told(classifier.backend);
      return classifier;
    } catch (error) {
      this.element.classList.add("failed");
      this.#text.textContent = trouble(error);
      this.#retry.hidden = false;
      this.#loading = undefined;
      return this.#loaded;
    } finally {
      this.#bar.hidden = true;
    }
  }
}
