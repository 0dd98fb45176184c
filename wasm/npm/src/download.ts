/** A model's bytes, from wherever they come, in the parts in which they come. */
import { MAX_BLOCK, tooLarge } from "./engine.js";
import { aborted, FetchError, InputError, reason, throwIfAborted } from "./error.js";
import { host } from "./host.js";
import type { SessionOptions } from "./options.js";

/** What a model can be given as: where it is, an answer that brings it, or its bytes. */
export type ModelSource = string | URL | Request | Response | Blob | ArrayBufferLike | ArrayBufferView;

/** The bytes of a model, in order. */
export interface Parts {
  readonly parts: Uint8Array[];
  /** Whether they are nobody else's. */
  readonly owned: boolean;
}

/** Fetches a model, or takes its bytes as they are. */
export async function download(source: ModelSource, { onProgress, signal }: SessionOptions): Promise<Parts> {
  throwIfAborted(signal);
  if (isBuffer(source) || ArrayBuffer.isView(source)) {
    const bytes = ArrayBuffer.isView(source)
      ? new Uint8Array(source.buffer, source.byteOffset, source.byteLength)
      : new Uint8Array(source);
    if (bytes.byteLength > MAX_BLOCK) {
      throw tooLarge(bytes.byteLength);
    }
    return { parts: [bytes], owned: false };
  }
  const { response, url } = await answer(source, signal);
  return { parts: await read(response, url, onProgress, signal), owned: true };
}

function isBuffer(source: unknown): source is ArrayBufferLike {
  return source instanceof ArrayBuffer || (typeof SharedArrayBuffer !== "undefined" && source instanceof SharedArrayBuffer);
}

async function answer(source: ModelSource, signal: AbortSignal | undefined): Promise<{ response: Response; url: string }> {
  if (source instanceof Response) {
    return { response: source, url: source.url };
  }
  if (source instanceof Blob) {
    return { response: new Response(source, { headers: { "content-length": String(source.size) } }), url: "" };
  }
  if (!(typeof source === "string" || source instanceof URL || source instanceof Request)) {
    const expected = "an address, a Request or Response, a Blob, or an ArrayBuffer or Uint8Array";
    throw new InputError(`a model is given as ${expected}, not as ${source === null ? "null" : typeof source}`, { expected });
  }
  const url = source instanceof Request ? source.url : String(source);
  try {
    return { response: await host().open(source, signal), url };
  } catch (cause) {
    throw failed(url, cause, signal);
  }
}

function failed(url: string, cause: unknown, signal: AbortSignal | undefined): Error {
  return signal?.aborted ? aborted(signal) : new FetchError(`the model can't be read from '${url}': ${reason(cause)}`, { url }, { cause });
}

async function read(
  response: Response,
  url: string,
  onProgress: SessionOptions["onProgress"],
  signal: AbortSignal | undefined,
): Promise<Uint8Array[]> {
  const refuse = async (error: Error): Promise<never> => {
    await response.body?.cancel(error).catch(() => {});
    throw error;
  };
  if (!response.ok) {
    const said = `${response.status} ${response.statusText}`.trim();
    return refuse(new FetchError(`the model can't be read from '${url}': the server answers ${said}`, { url, status: response.status }));
  }
  if (response.bodyUsed) {
    throw new InputError("the answer that was given as a model has been read already");
  }
  if (response.headers.get("content-type")?.startsWith("text/html")) {
    // Many servers answer so to any address that they don't know.
    return refuse(new FetchError(`the server answers with a page instead of a model at '${url}'`, { url, status: response.status }));
  }
  const total = announced(response);
  if (total !== undefined && total > MAX_BLOCK) {
    return refuse(tooLarge(total));
  }
  const parts: Uint8Array[] = [];
  let loaded = 0;
  onProgress?.({ loaded, total });
  const reader = response.body?.getReader();
  const stop = (): void => void reader?.cancel(signal?.reason).catch(() => {});
  signal?.addEventListener("abort", stop, { once: true });
  try {
    for (;;) {
      const { done, value } = (await reader?.read()) ?? { done: true, value: undefined };
      throwIfAborted(signal);
      if (done || value === undefined) {
        break;
      }
      parts.push(value);
      loaded += value.byteLength;
      if (loaded > MAX_BLOCK) {
        stop();
        throw tooLarge(loaded);
      }
      onProgress?.({ loaded, total });
    }
  } catch (cause) {
    stop();
    throw cause instanceof TypeError || signal?.aborted ? failed(url, cause, signal) : cause;
  } finally {
    signal?.removeEventListener("abort", stop);
  }
  if (total !== undefined && loaded < total) {
    throw new FetchError(`the model at '${url}' ends after ${loaded} of ${total} bytes`, { url });
  }
  return parts;
}

/** The number of bytes that will come; that of compressed ones says nothing. */
function announced(response: Response): number | undefined {
  const length = response.headers.get("content-length");
  const encoding = response.headers.get("content-encoding") ?? "identity";
  const total = length === null || encoding !== "identity" ? Number.NaN : Number(length);
  return Number.isSafeInteger(total) && total >= 0 ? total : undefined;
}
