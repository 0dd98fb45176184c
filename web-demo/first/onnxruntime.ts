/** From an empty browser to a first result with onnxruntime-web. */
import { onnxruntime } from "../src/contest/library.js";
import { openOnnxRuntime } from "../src/contest/onnxruntime.js";
import { measure } from "./measure.js";

measure((model) => openOnnxRuntime(onnxruntime, { engine: "onnxruntime", model, threads: 1 }));
