import { QuaverError } from "./error.js";

/** Element types, and the arrays that hold them. */
export interface TensorTypes {
  f32: Float32Array;
  u8: Uint8Array;
  i8: Int8Array;
  i32: Int32Array;
  i64: BigInt64Array;
}

/** An element type. */
export type DType = keyof TensorTypes;

/** The names that onnxruntime-web has for element types; a tensor takes either, and has ours. */
export interface TypeAliases {
  float32: "f32";
  uint8: "u8";
  int8: "i8";
  int32: "i32";
  int64: "i64";
}

const ARRAYS = { f32: Float32Array, u8: Uint8Array, i8: Int8Array, i32: Int32Array, i64: BigInt64Array } as const;
const ALIASES: TypeAliases = { float32: "f32", uint8: "u8", int8: "i8", int32: "i32", int64: "i64" };

/** The names that {@link Tensor} takes for the type `T`. */
export type NameOf<T extends DType> = T | { [A in keyof TypeAliases]: TypeAliases[A] extends T ? A : never }[keyof TypeAliases];

/** Elements, row-major, and their extents. */
export class Tensor<T extends DType = DType> {
  readonly type: T;
  readonly data: TensorTypes[T];
  readonly dims: readonly number[];

  /** @throws {QuaverError} `input`, where `data` is of another type, or not as long as the product of `dims`. */
  constructor(name: NameOf<T>, data: TensorTypes[T], dims: readonly number[]) {
    const type = canonical(name);
    const array = ARRAYS[type];
    if (!(data instanceof array)) {
      throw new QuaverError("input", `a tensor of type ${type} takes its data as a ${array.name}`);
    }
    if (!Array.isArray(dims)) {
      throw new QuaverError("input", "a tensor takes its dims as an array of numbers");
    }
    const wrong = dims.find((extent) => !Number.isInteger(extent) || extent < 0 || extent > 0xffffffff);
    if (wrong !== undefined) {
      throw new QuaverError("input", `a tensor's extents are whole numbers below 2^32, but dims [${dims.join(", ")}] has ${wrong}`);
    }
    const count = dims.reduce((product, extent) => product * extent, 1);
    if (count !== data.length) {
      throw new QuaverError("input", `a tensor of dims [${dims.join(", ")}] has ${count} elements, but ${data.length} were given`);
    }
    this.type = type;
    this.data = data;
    this.dims = [...dims];
  }

  /** A tensor over little-endian bytes, which are copied where they are not aligned. */
  static fromBytes<T extends DType>(name: NameOf<T>, bytes: Uint8Array<ArrayBuffer>, dims: readonly number[]): Tensor<T> {
    const type = canonical(name);
    const size = ARRAYS[type].BYTES_PER_ELEMENT;
    if (bytes.byteLength % size !== 0) {
      throw new QuaverError("input", `${bytes.byteLength} bytes are no whole number of ${type} elements`);
    }
    const aligned = bytes.byteOffset % size === 0 ? bytes : bytes.slice();
    const data = new ARRAYS[type](aligned.buffer, aligned.byteOffset, aligned.byteLength / size);
    return new Tensor(type, data as TensorTypes[T], dims);
  }

  /** The elements' bytes, little-endian; not a copy. */
  get bytes(): Uint8Array {
    return new Uint8Array(this.data.buffer, this.data.byteOffset, this.data.byteLength);
  }
}

function canonical<T extends DType>(name: NameOf<T>): T {
  const type = Object.hasOwn(ALIASES, name) ? ALIASES[name as keyof TypeAliases] : name;
  if (!Object.hasOwn(ARRAYS, type)) {
    throw new QuaverError("input", `a tensor's type is one of ${Object.keys(ARRAYS).join(", ")}, not '${name}'`);
  }
  return type as T;
}
