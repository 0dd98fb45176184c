/** The exceptions that this package throws on purpose. Each is of a class of its own, and has a `code` for programs. */

/** What an exception is about; see the classes. */
export type ErrorCode = "model" | "input" | "memory" | "state" | "fetch" | "abort" | "unsupported" | "internal";

/** What is known of an error beside its message. Which of these there are depends on the class. */
export interface ErrorDetails {
  /** The input or output that it is about. */
  readonly input?: string;
  /** What would have been right. */
  readonly expected?: string;
  /** What was given instead. */
  readonly got?: string;
  /** Bytes that are needed. */
  readonly needed?: number;
  /** Bytes that there can be. */
  readonly limit?: number;
  /** The address that was asked. */
  readonly url?: string;
  /** The status that the server answered with. */
  readonly status?: number;
}

/** The class of all exceptions of this package. The message says what is wrong and what would be right. */
export class QuaverError extends Error {
  override readonly name: string = "QuaverError";
  readonly code: ErrorCode;
  readonly details: ErrorDetails;

  constructor(code: ErrorCode, message: string, details: ErrorDetails = {}, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
    this.details = details;
  }
}

/** The bytes are no valid `.qvr` file. */
export class ModelError extends QuaverError {
  override readonly name = "ModelError";
  constructor(message: string, details?: ErrorDetails, options?: ErrorOptions) {
    super("model", message, details, options);
  }
}

/** An argument is wrong: an input is missing, or of another type or shape than the model takes. */
export class InputError extends QuaverError {
  override readonly name = "InputError";
  constructor(message: string, details?: ErrorDetails, options?: ErrorOptions) {
    super("input", message, details, options);
  }
  /** The input that is wrong. */
  get input(): string | undefined {
    return this.details.input;
  }
  /** What it should be. */
  get expected(): string | undefined {
    return this.details.expected;
  }
  /** What it is. */
  get got(): string | undefined {
    return this.details.got;
  }
}

/** The model or the batch needs more memory than WebAssembly's 32-bit addresses or the host allow. */
export class MemoryError extends QuaverError {
  override readonly name = "MemoryError";
  constructor(message: string, details?: ErrorDetails, options?: ErrorOptions) {
    super("memory", message, details, options);
  }
}

/** The session is released. */
export class StateError extends QuaverError {
  override readonly name = "StateError";
  constructor(message: string, details?: ErrorDetails, options?: ErrorOptions) {
    super("state", message, details, options);
  }
}

/** A file can't be read or downloaded. */
export class FetchError extends QuaverError {
  override readonly name = "FetchError";
  constructor(message: string, details?: ErrorDetails, options?: ErrorOptions) {
    super("fetch", message, details, options);
  }
}

/** The caller's signal has ended the work. Its `name` is that of the platform's own exception, its `cause` the signal's reason. */
export class AbortError extends QuaverError {
  override readonly name = "AbortError";
  constructor(message: string, details?: ErrorDetails, options?: ErrorOptions) {
    super("abort", message, details, options);
  }
}

/** The host lacks something that the package needs. */
export class UnsupportedError extends QuaverError {
  override readonly name = "UnsupportedError";
  constructor(message: string, details?: ErrorDetails, options?: ErrorOptions) {
    super("unsupported", message, details, options);
  }
}

/** A bug of ours, or a worker that was ended from outside. The session is unusable afterwards; others are not affected. */
export class InternalError extends QuaverError {
  override readonly name = "InternalError";
  constructor(message: string, details?: ErrorDetails, options?: ErrorOptions) {
    super("internal", message, details, options);
  }
}

const CLASSES = {
  model: ModelError,
  input: InputError,
  memory: MemoryError,
  state: StateError,
  fetch: FetchError,
  abort: AbortError,
  unsupported: UnsupportedError,
  internal: InternalError,
} as const satisfies Record<ErrorCode, new (message: string, details?: ErrorDetails) => QuaverError>;

/** An exception that can be sent to another thread. */
export interface PlainError {
  readonly code: string;
  readonly message: string;
  readonly details: ErrorDetails;
}

/** As it can be sent to another thread. */
export function toPlain(error: unknown): PlainError {
  if (error instanceof QuaverError) {
    return { code: error.code, message: error.message, details: error.details };
  }
  return { code: "internal", message: reason(error), details: {} };
}

/** As it was before it was sent. */
export function fromPlain({ code, message, details }: PlainError): QuaverError {
  const known = Object.hasOwn(CLASSES, code) ? CLASSES[code as ErrorCode] : InternalError;
  return new known(message, details);
}

/** The message of whatever was thrown. */
export function reason(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** Throws where the caller has given up. */
export function throwIfAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted) {
    throw aborted(signal);
  }
}

/** The exception for a caller who has given up. */
export function aborted(signal: AbortSignal): AbortError {
  return new AbortError(`the work was aborted: ${reason(signal.reason)}`, {}, { cause: signal.reason });
}
