/** The same contestants in Node, in one thread. */
import * as onnxruntime from "onnxruntime-web";

import type { Contestant, Runner } from "./contestant.js";
import { openOnnxRuntime } from "./onnxruntime.js";
import { openQuaver } from "./quaver.js";

export { round } from "./round.js";

export function open(contestant: Contestant): Promise<Runner> {
  return contestant.engine === "quaver" ? openQuaver(contestant) : openOnnxRuntime(onnxruntime, contestant);
}
