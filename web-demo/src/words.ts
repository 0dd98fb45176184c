/** Figures and troubles in words. */
import { QuaverError } from "quaver";

export function bytes(count: number): string {
  return count < 1e6 ? `${Math.round(count / 1e3)} kB` : `${(count / 1e6).toFixed(1)} MB`;
}

export function milliseconds(time: number): string {
  return `${time < 10 ? time.toFixed(2) : time.toFixed(1)} ms`;
}

export function percent(share: number): string {
  return `${(100 * share).toFixed(share < 0.1 ? 1 : 0)} %`;
}

/** What happened, and what can be done about it, for people who don't know this program. */
export function trouble(error: unknown): string {
  const said = error instanceof Error ? error.message : String(error);
  if (error instanceof QuaverError) {
    switch (error.code) {
      case "model":
        return `This model file is damaged or was cut short, so it isn't used. Download it again. (${said})`;
      case "fetch":
        return `The download failed. Check the connection, then try again. (${said})`;
      case "memory":
        return `This model needs more memory than a page may have. (${said})`;
      case "input":
        return `This can't be used as a picture: choose a JPEG, PNG or WebP image. (${said})`;
      case "unsupported":
        return `This browser lacks something that the page needs; a current one has it. (${said})`;
      default:
        return `Something went wrong: ${said}`;
    }
  }
  if (error instanceof DOMException) {
    switch (error.name) {
      case "NotAllowedError":
        return "The camera may not be used. Allow it in the browser's settings of this page, or choose a photo instead.";
      case "NotFoundError":
      case "OverconstrainedError":
        return "No camera was found. Choose a photo instead.";
      case "NotReadableError":
        return "The camera is in use by another program. Close that, or choose a photo instead.";
    }
  }
  return `Something went wrong: ${said}`;
}
