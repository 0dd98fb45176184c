/** The photo tab: a photo of the reader's, the camera, or one of the samples, and what the network says. */
import { type Backend, type ImageSource, InputError } from "quaver";

import { data, type Classifier as Described, type Sample } from "../catalogue.js";
import type { Classifier } from "../classifier.js";
import { el } from "../dom.js";
import { Loader } from "../loader.js";
import { bytes, trouble } from "../words.js";
import { Camera } from "./camera.js";
import { files } from "./files.js";
import { Result } from "./result.js";

/** Runs of a still picture that its time is the median of, so that it says as much as that of a video's frames. */
const REPEATS = 8;

export class PhotoView {
  readonly #loader: Loader;
  readonly #described: Described;
  readonly #image = el("img", { class: "picture", alt: "" });
  readonly #video = el("video", { class: "picture", playsinline: true, muted: true, hidden: true });
  readonly #camera = new Camera(this.#video);
  readonly #cameraButton = el("button", { type: "button", class: "button", "aria-pressed": "false", onclick: () => void this.#toggle() }, "Use the camera");
  readonly #trouble = el("p", { class: "trouble", role: "alert", hidden: true });
  readonly #result: Result;
  readonly #samples: HTMLElement;
  #busy: Promise<void> = Promise.resolve();

  constructor(panel: HTMLElement, described: Described, told: (backend: Backend) => void) {
    this.#described = described;
    this.#loader = new Loader(described, told);
    this.#result = new Result(bytes(described.model.bytes));
    const input = el("input", { type: "file", id: "file", class: "visually-hidden", accept: "image/*,.qvr" });
    const choose = el("label", { for: "file", class: "button primary" }, "Choose a photo");
    const hint = el("span", { class: "hint" }, "or drop one anywhere, or paste one");
    const zone = el("div", { class: "zone" }, this.#image, this.#video, el("div", { class: "drop-hint", "aria-hidden": "true" }, "Drop it"));
    this.#samples = el("div", { class: "samples", role: "group", "aria-label": "Sample photos" }, ...described.samples.map((sample) => this.#thumbnail(sample)));
    panel.append(
      el("div", { class: "split" },
        el("div", { class: "card stage" }, zone, el("div", { class: "controls" }, input, choose, this.#cameraButton, hint), this.#trouble, this.#samples),
        el("div", { class: "side" }, this.#result.element, this.#loader.element),
      ),
    );
    files(zone, input, (file) => void this.#file(file));
  }

  /** Loads the model, and shows the first sample. */
  async open(): Promise<void> {
    const [first] = this.#described.samples;
    if (first !== undefined) {
      await this.#sample(first);
    }
  }

  /** Gives the camera back. */
  close(): void {
    this.#stop();
  }

  #thumbnail(sample: Sample): HTMLElement {
    const image = el("img", { src: data(sample.file), alt: sample.title, loading: "lazy", width: 72, height: 72 });
    return el("button", { type: "button", class: "thumbnail", "aria-pressed": "false", "data-file": sample.file, onclick: () => void this.#sample(sample) }, image);
  }

  async #sample(sample: Sample): Promise<void> {
    await this.#guarded(async () => {
      const response = await fetch(data(sample.file));
      await this.#picture(await response.blob(), sample.title, sample);
    });
  }

  async #file(file: File): Promise<void> {
    if (file.name.endsWith(".qvr")) {
      await this.#loader.load(file);
      return;
    }
    await this.#guarded(() => this.#picture(file, "your photo", undefined));
  }

  /** Shows a picture, and classifies it as soon as the model is there. */
  async #picture(blob: Blob, title: string, sample: Sample | undefined): Promise<void> {
    this.#stop();
    await this.#put(URL.createObjectURL(blob), title);
    for (const button of this.#samples.children) {
      button.setAttribute("aria-pressed", String((button as HTMLElement).dataset["file"] === sample?.file));
    }
    await this.#classify(blob, sample?.digest, false);
  }

  /** Puts a picture into the frame, where the one before stays if it is none. */
  async #put(url: string, title: string): Promise<void> {
    const next = Object.assign(new Image(), { src: url });
    try {
      await next.decode();
    } catch (cause) {
      URL.revokeObjectURL(url);
      throw new InputError("the file is no image that can be decoded", {}, { cause });
    }
    URL.revokeObjectURL(this.#image.src);
    Object.assign(this.#image, { src: url, alt: title });
  }

  async #toggle(): Promise<void> {
    if (this.#camera.running) {
      this.#stop();
      return;
    }
    await this.#guarded(async () => {
      await this.#camera.start((video) => this.#guarded(() => this.#classify(video, undefined, true)));
      this.#video.hidden = false;
      this.#image.hidden = true;
      this.#cameraButton.textContent = "Stop the camera";
      this.#cameraButton.setAttribute("aria-pressed", "true");
    });
  }

  #stop(): void {
    this.#camera.stop();
    this.#video.hidden = true;
    this.#image.hidden = false;
    this.#cameraButton.textContent = "Use the camera";
    this.#cameraButton.setAttribute("aria-pressed", "false");
  }

  async #classify(image: ImageSource, recorded: string | undefined, video: boolean): Promise<void> {
    const classifier: Classifier | undefined = await this.#loader.load();
    if (classifier === undefined) {
      return;
    }
    // One after the other: the last one asked for is the last one shown.
    const work = this.#busy.then(async () => {
      await this.#result.show(await classifier.classify(image), recorded, video);
      if (!video) {
        await this.#result.show(await classifier.classify(image, REPEATS), recorded, video);
      }
    });
    this.#busy = work.catch(() => undefined);
    await work;
  }

  /** Does something, and tells the reader what goes wrong. */
  async #guarded(work: () => Promise<void>): Promise<void> {
    this.#trouble.hidden = true;
    try {
      await work();
    } catch (error) {
      this.#trouble.textContent = trouble(error);
      this.#trouble.hidden = false;
      if (this.#camera.running) {
        this.#stop();
      }
    }
  }
}
