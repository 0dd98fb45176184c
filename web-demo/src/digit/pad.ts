/** A pad to draw on, with mouse, finger or pen. */

/** Edge of the pad's picture, and of what the network sees. */
const EDGE = 280;
export const SMALL = 28;
/** Edge of the box that a digit of MNIST fills. */
const BOX = 20;
const STROKE = 20;

export class Pad {
  readonly canvas: HTMLCanvasElement;
  readonly #context: CanvasRenderingContext2D;
  #last: { x: number; y: number } | undefined;

  /** `drawn` is called after each stroke's part. */
  constructor(canvas: HTMLCanvasElement, drawn: () => void) {
    this.canvas = canvas;
    canvas.width = canvas.height = EDGE;
    this.#context = canvas.getContext("2d", { willReadFrequently: true }) as CanvasRenderingContext2D;
    this.clear();
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      this.#last = this.#at(event);
      this.#line(this.#last);
      drawn();
    });
    canvas.addEventListener("pointermove", (event) => {
      if (this.#last !== undefined) {
        // A browser may have gathered several moves.
        for (const move of event.getCoalescedEvents?.() ?? [event]) {
          this.#line(this.#at(move));
        }
        drawn();
      }
    });
    for (const end of ["pointerup", "pointercancel"] as const) {
      canvas.addEventListener(end, () => (this.#last = undefined));
    }
  }

  clear(): void {
    this.#context.fillStyle = "#000";
    this.#context.fillRect(0, 0, EDGE, EDGE);
  }

  /** Shows a picture instead of a drawing. */
  show(image: CanvasImageSource): void {
    this.clear();
    this.#context.imageSmoothingEnabled = false;
    this.#context.drawImage(image, 0, 0, EDGE, EDGE);
  }

  /** What the network sees: the drawing in a box of 20 x 20, its centre of mass in the middle, as MNIST's digits were made. */
  small(target: HTMLCanvasElement): ImageData | undefined {
    const { data } = this.#context.getImageData(0, 0, EDGE, EDGE);
    let [left, top, right, bottom, mass, x, y] = [EDGE, EDGE, -1, -1, 0, 0, 0];
    for (let row = 0; row < EDGE; row++) {
      for (let column = 0; column < EDGE; column++) {
        const ink = data[4 * (row * EDGE + column)] as number;
        if (ink > 0) {
          [left, right] = [Math.min(left, column), Math.max(right, column)];
          [top, bottom] = [Math.min(top, row), Math.max(bottom, row)];
          [mass, x, y] = [mass + ink, x + ink * column, y + ink * row];
        }
      }
    }
    if (mass === 0) {
      return undefined;
    }
    const scale = BOX / (Math.max(right - left, bottom - top) + 1);
    target.width = target.height = SMALL;
    const context = target.getContext("2d", { willReadFrequently: true }) as CanvasRenderingContext2D;
    context.imageSmoothingQuality = "high";
    context.fillRect(0, 0, SMALL, SMALL);
    context.drawImage(this.canvas, SMALL / 2 - (x / mass) * scale, SMALL / 2 - (y / mass) * scale, EDGE * scale, EDGE * scale);
    return context.getImageData(0, 0, SMALL, SMALL);
  }

  #at({ clientX, clientY }: MouseEvent): { x: number; y: number } {
    const box = this.canvas.getBoundingClientRect();
    return { x: ((clientX - box.left) / box.width) * EDGE, y: ((clientY - box.top) / box.height) * EDGE };
  }

  #line(to: { x: number; y: number }): void {
    const context = this.#context;
    const from = this.#last ?? to;
    context.strokeStyle = "#fff";
    context.lineWidth = STROKE;
    context.lineCap = "round";
    context.beginPath();
    context.moveTo(from.x, from.y);
    context.lineTo(to.x, to.y);
    context.stroke();
    this.#last = to;
  }
}
