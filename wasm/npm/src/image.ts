import { InputError, UnsupportedError } from "./error.js";
import { tools } from "./module.js";

/** What {@link Tensor.fromImage} takes: whatever a canvas can draw, pixels as they are, or an image file. */
export type ImageSource =
  | ImageBitmap
  | ImageData
  | HTMLCanvasElement
  | OffscreenCanvas
  | HTMLImageElement
  | HTMLVideoElement
  | VideoFrame
  | Blob
  | Pixels;

/** Pixels as an `ImageData` has them, for hosts without one: rows of red, green, blue and alpha, a byte each. */
export interface Pixels {
  readonly data: Uint8ClampedArray | Uint8Array;
  readonly width: number;
  readonly height: number;
}

/** How a picture becomes an input: value = (pixel * scale - mean) / std, for each channel as the network sees it. */
export interface ImageOptions {
  /** Columns of the input; the picture's where left out. */
  readonly width?: number;
  /** Rows of the input; the picture's where left out. */
  readonly height?: number;
  /** Subtracted, in units of the scaled pixel: for all channels, or for each. 0 where left out. */
  readonly mean?: number | readonly number[];
  /** What the difference is divided by. 1 where left out. */
  readonly std?: number | readonly number[];
  /** What a pixel of 0 to 255 is multiplied by. 1/255 where left out. */
  readonly scale?: number;
  /**
   * How the picture is brought to the input's extents. `crop`: the shorter side to 256/224 of the input's, then the middle, as
   * `quaver convert` does it; `cover`: the shorter side to the input's, then the middle; `contain`: all of it, within
   * {@link background}; `stretch`: squeezed. Left out, it is `crop`, or nothing where neither width nor height is given.
   */
  readonly fit?: "crop" | "cover" | "contain" | "stretch";
  /** Between which pixels a resized one lies; `bilinear` where left out. */
  readonly filter?: "nearest" | "bilinear" | "bicubic";
  /** Red, green and blue, 0 to 255, of what `contain` leaves open; black where left out. */
  readonly background?: readonly [number, number, number];
  /** The channels; `RGB` where left out. */
  readonly channels?: "RGB" | "BGR" | "GRAY";
  /** Where they lie; `NCHW` where left out. */
  readonly layout?: "NCHW" | "NHWC";
  /** The elements' type; with `uint8`, pixels stay what they are. `float32` where left out. */
  readonly type?: "float32" | "uint8";
}

/** A tensor's parts. */
export interface ImageTensor {
  readonly type: "float32" | "uint8";
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly dims: readonly number[];
}

/** Makes a picture an input. */
export async function fromImage(image: ImageSource, options: ImageOptions = {}): Promise<ImageTensor> {
  const [engine, picture] = await Promise.all([tools(), pixels(image)]);
  const type = options.type ?? "float32";
  const said = ["mean", "std", "scale"].find((name) => options[name as keyof ImageOptions] !== undefined);
  if (type === "uint8" && said !== undefined) {
    throw new InputError(`the pixels of a uint8 tensor stay what they are, so it takes no ${said}`);
  }
  const width = options.width ?? picture.width;
  const height = options.height ?? picture.height;
  const channels = options.channels ?? "RGB";
  const layout = options.layout ?? "NCHW";
  const bytes = engine.image(picture, {
    width,
    height,
    mean: three("mean", options.mean ?? 0),
    std: three("std", options.std ?? 1),
    scale: options.scale ?? 1 / 255,
    fit: options.fit ?? (options.width === undefined && options.height === undefined ? "stretch" : "crop"),
    filter: options.filter ?? "bilinear",
    background: options.background ?? [0, 0, 0],
    channels,
    layout,
    type,
  });
  const count = channels === "GRAY" ? 1 : 3;
  return { type, bytes, dims: layout === "NCHW" ? [1, count, height, width] : [1, height, width, count] };
}

function three(name: string, given: number | readonly number[]): readonly number[] {
  const [a, b = a, c = a, ...rest] = typeof given === "number" ? [given] : given;
  if (![a, b, c].every((number) => typeof number === "number") || rest.length > 0) {
    throw new InputError(`an image's ${name} is one number, or three`);
  }
  return [a, b, c] as number[];
}

/** The pixels of whatever was given. */
async function pixels(image: ImageSource): Promise<Pixels> {
  if (typeof Blob !== "undefined" && image instanceof Blob) {
    return decoded(image);
  }
  if (isPixels(image)) {
    return image;
  }
  if (typeof HTMLImageElement !== "undefined" && image instanceof HTMLImageElement && !image.complete) {
    // Resolves once it is loaded, too.
    await image.decode().catch((cause: unknown) => {
      throw new InputError(`the image '${image.src}' can't be loaded`, {}, { cause });
    });
  }
  const { width, height } = extents(image);
  if (!(width > 0 && height > 0)) {
    throw new InputError("the image has no pixels; wait until it is loaded");
  }
  return drawn(image as CanvasImageSource, width, height);
}

function isPixels(image: object): image is Pixels {
  // Canvases and bitmaps have extents, but no data.
  const { data, width, height } = image as Partial<Pixels>;
  return (data instanceof Uint8ClampedArray || data instanceof Uint8Array) && typeof width === "number" && typeof height === "number";
}

function extents(image: object): { width: number; height: number } {
  const number = (...names: string[]): number => {
    const found = names.map((name) => (image as Record<string, unknown>)[name]).find((value) => typeof value === "number");
    return typeof found === "number" ? found : 0;
  };
  return {
    width: number("naturalWidth", "videoWidth", "displayWidth", "width"),
    height: number("naturalHeight", "videoHeight", "displayHeight", "height"),
  };
}

async function decoded(file: Blob): Promise<Pixels> {
  if (typeof createImageBitmap === "undefined") {
    throw new UnsupportedError("this host decodes no image files; give their pixels as { data, width, height }");
  }
  // The file's own numbers, as decoders outside of browsers give them.
  const bitmap = await createImageBitmap(file, { colorSpaceConversion: "none", premultiplyAlpha: "none" }).catch((cause: unknown) => {
    throw new InputError("the file is no image that can be decoded", {}, { cause });
  });
  try {
    return drawn(bitmap, bitmap.width, bitmap.height);
  } finally {
    bitmap.close();
  }
}

function drawn(image: CanvasImageSource, width: number, height: number): Pixels {
  const context = canvas(width, height).getContext("2d", { willReadFrequently: true }) as
    | CanvasRenderingContext2D
    | OffscreenCanvasRenderingContext2D
    | null;
  if (context === null) {
    throw new UnsupportedError("this host gives no canvas to read an image's pixels from");
  }
  context.drawImage(image, 0, 0, width, height);
  try {
    return context.getImageData(0, 0, width, height);
  } catch (cause) {
    throw new InputError("the image comes from another origin, which doesn't share its pixels", {}, { cause });
  }
}

function canvas(width: number, height: number): HTMLCanvasElement | OffscreenCanvas {
  if (typeof OffscreenCanvas !== "undefined") {
    return new OffscreenCanvas(width, height);
  }
  if (typeof document === "undefined") {
    throw new UnsupportedError("this host has no canvas; give an image's pixels as { data, width, height }");
  }
  return Object.assign(document.createElement("canvas"), { width, height });
}
