/** The benchmark tab: the same networks in onnxruntime-web and in Quaver, in this browser, now. */
import { type Bar, bars } from "../bars.js";
import { type Catalogue, type Compared, data, type Runtime } from "../catalogue.js";
import { el } from "../dom.js";
import { bytes, milliseconds, trouble } from "../words.js";
import { type Lane, race, time } from "./race.js";

const ROUNDS = 5;
const SECONDS = 0.3;

export class BenchView {
  readonly #catalogue: Catalogue;
  readonly #start = el("button", { type: "button", class: "button primary", onclick: () => void this.#toggle() }, "Start");
  readonly #status = el("span", { class: "hint", role: "status" });
  readonly #progress = el("progress", { max: 1, value: 0, hidden: true, "aria-label": "Benchmark" });
  readonly #cards: Map<Compared, HTMLElement>;
  #running: AbortController | undefined;

  constructor(panel: HTMLElement, catalogue: Catalogue) {
    this.#catalogue = catalogue;
    this.#cards = new Map(catalogue.benchmark.map((network) => [network, el("div", { class: "outcome" }, el("p", { class: "hint" }, "not measured yet"))]));
    const card = ([network, outcome]: [Compared, HTMLElement]): HTMLElement => el("div", { class: "card network" }, el("h3", {}, network.name), outcome);
    panel.append(
      el("div", { class: "card" },
        el("h2", {}, "Quaver and onnxruntime-web, side by side"),
        el("p", { class: "lead" }, "Each network runs as float ONNX and as INT8 ONNX in onnxruntime-web, and as .qvr in Quaver: one image, one thread, each in a worker, in interleaved rounds. Shorter is better."),
        el("div", { class: "controls" }, this.#start, this.#progress, this.#status),
      ),
      el("div", { class: "grid" }, ...[...this.#cards].map(card), this.#sizes()),
    );
  }

  /** What a page downloads before the first model. */
  #sizes(): HTMLElement {
    const bar = (kind: string, label: string) => ({ name, gzip }: Runtime): Bar => {
      return { label: `${label} ${name}`, value: gzip, text: bytes(gzip), kind };
    };
    const { quaver, onnxruntime } = this.#catalogue.runtimes;
    return el("div", { class: "card wide" },
      el("h3", {}, "What a page downloads before its first model, compressed"),
      bars([...onnxruntime.map(bar("peer", "onnxruntime-web")), ...quaver.map(bar("ours", "Quaver"))]),
    );
  }

  async #toggle(): Promise<void> {
    if (this.#running !== undefined) {
      this.#running.abort();
      return;
    }
    const running = (this.#running = new AbortController());
    this.#start.textContent = "Stop";
    this.#progress.hidden = false;
    try {
      const networks = [...this.#cards];
      for (const [index, [network, outcome]] of networks.entries()) {
        this.#status.textContent = `${network.name}: loading …`;
        const lanes = lanesOf(network);
        const show = (share: number): void => {
          this.#progress.value = (index + share) / networks.length;
          this.#status.textContent = `${network.name} …`;
          outcome.replaceChildren(...chart(lanes));
        };
        await race(lanes, ROUNDS, SECONDS, running.signal, show);
        if (running.signal.aborted) {
          break;
        }
        show(1);
      }
      this.#status.textContent = running.signal.aborted ? "stopped" : "done";
    } catch (error) {
      this.#status.textContent = trouble(error);
    } finally {
      this.#running = undefined;
      this.#start.textContent = "Start";
      this.#progress.hidden = true;
    }
  }
}

function lanesOf({ quaver, float, int8 }: Compared): Lane[] {
  const lane = (label: string, kind: string, engine: "quaver" | "onnxruntime", file: string, build?: string): Lane => {
    const contestant = { engine, model: data(file), threads: 1, ...(build === undefined ? {} : { build }) };
    return { label, kind, contestant, rounds: [] };
  };
  return [
    ...(float ? [lane("onnxruntime-web float", "peer", "onnxruntime", float.file)] : []),
    ...(int8 ? [lane("onnxruntime-web INT8", "peer", "onnxruntime", int8.file)] : []),
    lane("Quaver, base build", "ours base", "quaver", quaver.file, "base"),
    lane("Quaver", "ours", "quaver", quaver.file),
  ];
}

/** The lanes' bars, and what they say. */
function chart(lanes: readonly Lane[]): HTMLElement[] {
  const measured = lanes.filter((lane) => time(lane) !== undefined);
  const list = measured.map((lane) => ({ label: lane.label, value: time(lane) as number, text: milliseconds(time(lane) as number), kind: lane.kind }));
  const peers = measured.filter(({ kind }) => kind === "peer").map((lane) => time(lane) as number);
  const ours = measured.find(({ label }) => label === "Quaver");
  const factor = ours !== undefined && peers.length > 0 ? Math.min(...peers) / (time(ours) as number) : undefined;
  const failures = lanes.filter(({ failure }) => failure !== undefined);
  return [
    el("p", { class: "factor" }, ...(factor === undefined ? ["…"] : [el("strong", {}, `${factor.toFixed(1)}×`), " as fast as the better of onnxruntime-web's"])),
    bars(list),
    el("p", { class: "hint" }, ours?.what ?? ""),
    ...failures.map(({ label, failure }) => el("p", { class: "trouble" }, `${label}: ${failure}`)),
  ];
}
