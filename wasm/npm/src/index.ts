/** Quaver for JavaScript: opens `.qvr` files and runs them. See the package's README. */
export { QuaverError, type ErrorCode } from "./error.js";
export type { ModuleOptions } from "./module.js";
export { InferenceSession, type Port, type Tensors } from "./session.js";
export { Tensor, type DType, type NameOf, type TensorTypes, type TypeAliases } from "./tensor.js";
