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

const ARRAYS = { f32: Float32Array, u8: Uint8Array, i8: Int8Array, i32: Int32Array, i64: BigInt64Array } as const;

/** Elements, row-major, and their extents. */
export class Tensor<T extends DType = DType> {
  readonly type: T;
  readonly data: TensorTypes[T];
  readonly dims: readonly number[];

  /** @throws {QuaverError} `input`, where `data` is of another type, or not as long as the product of `dims`. */
  constructor(type: T, data: TensorTypes[T], dims: readonly number[]) {
    if (!Object.hasOwn(ARRAYS, type)) {
      throw new QuaverError("input", `a tensor's type is one of ${Object.keys(ARRAYS).join(", ")}, not '${type}'`);
    }
    const array = ARRAYS[type];
    if (!(data instanceof array)) {
      throw new QuaverError("input", `a tensor of type ${type} takes its data as a ${array.name}`);
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
  static fromBytes<T extends DType>(type: T, bytes: Uint8Array<ArrayBuffer>, dims: readonly number[]): Tensor<T> {
    const size = Object.hasOwn(ARRAYS, type) ? ARRAYS[type].BYTES_PER_ELEMENT : 1;
    if (bytes.byteLength % size !== 0) {
      throw new QuaverError("input", `${bytes.byteLength} bytes are no whole number of ${type} elements`);
    }
    const aligned = bytes.byteOffset % size === 0 ? bytes : bytes.slice();
    const data = new (ARRAYS[type] ?? Uint8Array)(aligned.buffer, aligned.byteOffset, aligned.byteLength / size);
    return new Tensor(type, data as TensorTypes[T], dims);
  }

  /** The elements' bytes, little-endian; not a copy. */
  get bytes(): Uint8Array {
    return new Uint8Array(this.data.buffer, this.data.byteOffset, this.data.byteLength);
  }
}
