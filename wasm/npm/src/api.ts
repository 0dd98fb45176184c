// Projects without a browser's types need those that this package's are made of.
/// <reference lib="dom" preserve="true" />

/** Quaver for JavaScript: opens `.qvr` files and runs them. See the package's README. */
export type { ModelSource } from "./download.js";
export {
  AbortError,
  type ErrorCode,
  type ErrorDetails,
  FetchError,
  InputError,
  InternalError,
  MemoryError,
  ModelError,
  QuaverError,
  StateError,
  UnsupportedError,
} from "./error.js";
export type { ImageOptions, ImageSource, Pixels } from "./image.js";
export { type Env, env, type ModuleOptions, type Progress, type RunOptions, type SessionOptions } from "./options.js";
export { type Backend, type Feeds, type Fetches, InferenceSession, type Results, type ValueMetadata } from "./session.js";
export { Tensor, type TensorData, type TensorType, type TensorTypes } from "./tensor.js";
