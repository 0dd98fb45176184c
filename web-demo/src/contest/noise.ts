/** Numbers like those of a picture that has been normalized, the same ones at each call. */
export function noise(count: number): Float32Array<ArrayBuffer> {
  let state = 1;
  return Float32Array.from({ length: count }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return (state / 2 ** 32) * 4 - 2;
  });
}

/** The shape with a batch of one sample. */
export function oneSample(shape: readonly (number | string)[]): number[] {
  return shape.map((extent) => (typeof extent === "number" && extent > 0 ? extent : 1));
}

/** How many elements a shape has. */
export function size(shape: readonly number[]): number {
  return shape.reduce((product, extent) => product * extent, 1);
}
