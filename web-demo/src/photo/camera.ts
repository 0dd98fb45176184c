/** The camera's pictures, one after the other, each as soon as the one before has been dealt with. */
export class Camera {
  readonly #video: HTMLVideoElement;
  #stream: MediaStream | undefined;

  constructor(video: HTMLVideoElement) {
    this.#video = video;
  }

  get running(): boolean {
    return this.#stream !== undefined;
  }

  /** Asks for the camera, and calls `frame` until {@link stop}. */
  async start(frame: (video: HTMLVideoElement) => Promise<void>): Promise<void> {
    if (navigator.mediaDevices === undefined) {
      throw new DOMException("this page has no access to cameras", "NotFoundError");
    }
    this.#stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment", width: { ideal: 640 } }, audio: false });
    const stream = this.#stream;
    this.#video.srcObject = stream;
    await this.#video.play();
    const loop = async (): Promise<void> => {
      while (this.#stream === stream) {
        await shown(this.#video);
        if (this.#stream === stream && !document.hidden) {
          await frame(this.#video);
        }
      }
    };
    void loop();
  }

  stop(): void {
    this.#stream?.getTracks().forEach((track) => track.stop());
    this.#stream = undefined;
    this.#video.srcObject = null;
  }
}

/** Waits for the next picture, where the browser tells, or else for the next time that the page is painted. */
function shown(video: HTMLVideoElement): Promise<unknown> {
  return new Promise((resolve) => {
    if ("requestVideoFrameCallback" in video) {
      video.requestVideoFrameCallback(resolve);
      // A hidden page is painted no more.
      setTimeout(resolve, 1000);
    } else {
      requestAnimationFrame(resolve);
    }
  });
}
