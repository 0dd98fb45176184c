import { InputError } from "./error.js";
import { fromImage, type ImageOptions, type ImageSource } from "./image.js";

/** Element types, and the arrays that hold them. */
export interface TensorTypes {
  float32: Float32Array;
  uint8: Uint8Array;
  int8: Int8Array;
  int32: Int32Array;
  int64: BigInt64Array;
}

/** An element type. */
export type TensorType = keyof TensorTypes;

/** What a tensor of type `T` can be made of. */
export type TensorData<T extends TensorType> =
  | TensorTypes[T]
  | readonly (T extends "int64" ? bigint | number : number)[]
  | (T extends "uint8" ? Uint8ClampedArray : never);

const ARRAYS = { float32: Float32Array, uint8: Uint8Array, int8: Int8Array, int32: Int32Array, int64: BigInt64Array } as const;
const TYPES = Object.keys(ARRAYS) as TensorType[];

/** Elements, row-major, and their extents. The elements are the caller's array, not a copy. */
export class Tensor<T extends TensorType = TensorType> {
  readonly type: T;
  readonly data: TensorTypes[T];
  readonly dims: readonly number[];
  /** Where the elements are: always here. */
  readonly location = "cpu";

  /** Elements of a type; `dims` are those of a row where they are left out. */
  constructor(type: T, data: TensorData<T>, dims?: readonly number[]);
  /** Elements whose type follows from their array. */
  constructor(data: TensorTypes[T], dims?: readonly number[]);
  /** @throws {InputError} Where `data` is of another type, or not as long as the product of `dims`. */
  constructor(first: T | TensorTypes[T], second?: TensorData<T> | readonly number[], third?: readonly number[]) {
    const named = typeof first === "string";
    const type = named ? known(first) : typeOf(first);
    const data = elements(type, named ? second : first);
    const dims = checked((named ? third : (second as readonly number[] | undefined)) ?? [data.length]);
    const count = dims.reduce((product, extent) => product * extent, 1);
    if (count !== data.length) {
      throw new InputError(`a tensor of dims [${dims.join(",")}] has ${count} elements, but ${data.length} were given`, {
        expected: `${count} elements`,
        got: `${data.length} elements`,
      });
    }
    this.type = type as T;
    this.data = data as TensorTypes[T];
    this.dims = dims;
  }

  /** A tensor over little-endian bytes, which are copied where they are not aligned. */
  static fromBytes<T extends TensorType>(type: T, bytes: Uint8Array<ArrayBuffer>, dims: readonly number[]): Tensor<T> {
    const size = ARRAYS[known(type)].BYTES_PER_ELEMENT;
    if (bytes.byteLength % size !== 0) {
      throw new InputError(`${bytes.byteLength} bytes are no whole number of ${type} elements`);
    }
    const aligned = bytes.byteOffset % size === 0 ? bytes : bytes.slice();
    const data = new ARRAYS[type](aligned.buffer, aligned.byteOffset, aligned.byteLength / size);
    return new Tensor(type, data as TensorTypes[T], dims);
  }

  /**
   * The input that a picture is, of dims `[1, 3, height, width]` unless the options say otherwise. Resizing and normalising
   * are done by the WebAssembly module, so that they give everywhere what `quaver convert` was calibrated with.
   *
   * @throws {InputError} Where the picture has no pixels yet, or an option is wrong; {@link UnsupportedError}, where the host
   * can't read the picture's pixels.
   */
  static async fromImage(image: ImageSource, options?: ImageOptions): Promise<Tensor<"float32"> | Tensor<"uint8">> {
    const { type, bytes, dims } = await fromImage(image, options);
    return type === "uint8" ? Tensor.fromBytes("uint8", bytes, dims) : Tensor.fromBytes("float32", bytes, dims);
  }

  /** How many elements there are. */
  get size(): number {
    return this.data.length;
  }

  /** The elements' bytes, little-endian; not a copy. */
  get bytes(): Uint8Array {
    return new Uint8Array(this.data.buffer, this.data.byteOffset, this.data.byteLength);
  }

  /** The elements, for code that also handles tensors which lie elsewhere. */
  async getData(): Promise<TensorTypes[T]> {
    return this.data;
  }

  /** The same elements at other extents of the same product; one of them may be -1, and follows from the others. */
  reshape(dims: readonly number[]): Tensor<T> {
    const open = dims.indexOf(-1);
    if (open < 0) {
      return new Tensor(this.type, this.data, dims);
    }
    const others = dims.reduce((product, extent, index) => (index === open ? product : product * extent), 1);
    return new Tensor(this.type, this.data, dims.with(open, others === 0 ? 0 : this.size / others));
  }

  /** Does nothing: the elements are the caller's, and the host collects them. For code that was written for other packages. */
  dispose(): void {}
}

function known(type: string): TensorType {
  if (!Object.hasOwn(ARRAYS, type)) {
    throw new InputError(`a tensor's type is one of ${TYPES.join(", ")}, not '${type}'`, { expected: TYPES.join(", "), got: type });
  }
  return type as TensorType;
}

function typeOf(data: unknown): TensorType {
  const type = TYPES.find((type) => data instanceof ARRAYS[type]);
  if (type === undefined) {
    throw new InputError(`a tensor takes a type of ${TYPES.join(", ")} and its data, or an array of one of these types`);
  }
  return type;
}

function elements(type: TensorType, data: unknown): TensorTypes[TensorType] {
  const array = ARRAYS[type];
  if (data instanceof array) {
    return data;
  }
  if (type === "uint8" && data instanceof Uint8ClampedArray) {
    return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  }
  if (Array.isArray(data)) {
    try {
      return type === "int64" ? BigInt64Array.from(data, BigInt) : (array as typeof Float32Array).from(data);
    } catch (cause) {
      throw new InputError(`a tensor of type ${type} can't be made of these elements: ${String(cause)}`, {}, { cause });
    }
  }
  throw new InputError(`a tensor of type ${type} takes its data as a ${array.name}, or as an array of numbers`, { expected: array.name });
}

function checked(dims: unknown): readonly number[] {
  if (!Array.isArray(dims)) {
    throw new InputError("a tensor takes its dims as an array of numbers");
  }
  const wrong = dims.find((extent) => !Number.isInteger(extent) || extent < 0 || extent > 0xffffffff);
  if (wrong !== undefined) {
    throw new InputError(`a tensor's extents are whole numbers below 2^32, but dims [${dims.join(",")}] has ${wrong}`);
  }
  return [...dims];
}
