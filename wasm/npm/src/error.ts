/**
 * What an error is about: the `model` file, an `input`, `memory`, the `state` of the session, or `fetch`ing a file.
 */
export type ErrorCode = "model" | "input" | "memory" | "state" | "fetch";

const CODES: readonly string[] = ["model", "input", "memory", "state", "fetch"] satisfies ErrorCode[];

/** Every error that this package throws on purpose. The message names the input or file, and what would be right. */
export class QuaverError extends Error {
  override readonly name = "QuaverError";
  readonly code: ErrorCode;

  constructor(code: ErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

/** Calls `work`; errors of the module, which bear their code as their name, become ours. */
export function rethrown<T>(work: () => T): T {
  try {
    return work();
  } catch (error) {
    if (error instanceof Error && CODES.includes(error.name)) {
      throw new QuaverError(error.name as ErrorCode, error.message);
    }
    throw error;
  }
}
