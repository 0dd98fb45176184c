/** onnxruntime-web's build for WebAssembly alone, the smallest that it has, with its files where the bundler puts them. */
import * as onnxruntime from "onnxruntime-web/wasm";
import glue from "onnxruntime-web/ort-wasm-simd-threaded.mjs?url";
import module from "onnxruntime-web/ort-wasm-simd-threaded.wasm?url";

const absolute = (url: string): string => new URL(url, import.meta.url).href;

onnxruntime.env.wasm.wasmPaths = { mjs: absolute(glue), wasm: absolute(module) };

export { onnxruntime };
