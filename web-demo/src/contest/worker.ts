/** A contestant in a thread of its own, so that neither the page nor another contestant is in its way. */
import type { Contestant, Runner } from "./contestant.js";
import { openQuaver } from "./quaver.js";
import { round } from "./round.js";

/** What it is asked. */
export type Question = { readonly open: Contestant } | { readonly round: number } | { readonly close: true };

let runner: Runner | undefined;

async function answer(question: Question): Promise<unknown> {
  if ("open" in question) {
    runner = question.open.engine === "quaver" ? await openQuaver(question.open) : await openPeer(question.open);
    return runner.what;
  }
  if (runner === undefined) {
    throw new Error("nothing is open");
  }
  return "round" in question ? round(runner, question.round) : runner.release();
}

/** Loaded only where it is wanted, as it is large. */
async function openPeer(contestant: Contestant): Promise<Runner> {
  const [{ onnxruntime }, { openOnnxRuntime }] = await Promise.all([import("./library.js"), import("./onnxruntime.js")]);
  return openOnnxRuntime(onnxruntime, contestant);
}

self.addEventListener("message", ({ data }: MessageEvent<Question>) => {
  answer(data).then(
    (result) => self.postMessage({ result }),
    (error: unknown) => self.postMessage({ error: error instanceof Error ? error.message : String(error) }),
  );
});
