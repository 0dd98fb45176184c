/** The line of facts below the title. */
import type { Backend } from "quaver";

import type { Catalogue } from "./catalogue.js";
import { el } from "./dom.js";
import { bytes } from "./words.js";

const KINDS: Readonly<Record<string, string>> = {
  usdot: "u8 × i8 dot products",
  sdot: "i8 × i8 dot products",
  sat: "relaxed SIMD",
  simd128: "SIMD of 128 bits",
  scalar: "without SIMD",
};

/** Shows what a page downloads, and what runs as soon as a session tells. */
export function facts(list: HTMLElement, { runtimes }: Catalogue, backend?: Backend): void {
  const runtime = runtimes.quaver.find(({ name }) => name === backend?.build) ?? runtimes.quaver[0];
  const size = runtime === undefined ? [] : [fact("runtime", `${bytes(runtime.gzip)} compressed`)];
  const peer = runtimes.onnxruntime[0];
  const smaller = runtime === undefined || peer === undefined ? [] : [fact("than onnxruntime-web", `${Math.round(peer.gzip / runtime.gzip)}× smaller`)];
  const runs =
    backend === undefined
      ? []
      : [fact("build", `${backend.build}, ${KINDS[backend.instructions] ?? backend.instructions}`), fact("threads", String(backend.threads))];
  list.replaceChildren(
    ...runs,
    ...size,
    ...smaller,
  );
}

function fact(name: string, value: string): HTMLElement {
  return el("li", {}, el("span", {}, name), el("strong", {}, value));
}
