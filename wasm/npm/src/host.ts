/** What differs between browsers and Node. The entry point says which of them this is, before anything else runs. */

/** A thread that messages can be sent to. */
export interface Thread {
  /** Sends a message; what is in `transfer` is moved, not copied. */
  post(message: unknown, transfer: Transferable[]): void;
  /** Calls `message` for every answer, and `failure` where the thread can't go on, or couldn't be started. */
  listen(message: (data: unknown) => void, failure: (message: string, started: boolean) => void): void;
  /** Keeps the process alive while there is something to wait for. */
  busy(waits: boolean): void;
  /** Ends the thread at once. */
  end(): void;
}

/** A host. */
export interface Host {
  /** Whether it may run modules with relaxed SIMD, if it validates them. */
  readonly relaxed: boolean;
  /** Whether memory can be shared with other threads. */
  readonly shares: boolean;
  /** How many processors there are. */
  readonly processors: number;
  /** Whether a string is an address; else it is the path of a file. */
  isAddress(source: string): boolean;
  /** The file at a path or address. */
  open(source: string | URL | Request, signal: AbortSignal | undefined): Promise<Response>;
  /** Starts the package's worker. */
  thread(): Thread;
}

let current: Host | undefined;

/** Says which host this is. */
export function setHost(host: Host): void {
  current = host;
}

/** The host. */
export function host(): Host {
  if (current === undefined) {
    throw new Error("the package was imported by one of its inner files; import 'quaver'");
  }
  return current;
}
