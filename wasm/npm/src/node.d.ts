// What the package uses of Node, so that its types need no package.
declare module "node:fs/promises" {
  export interface FileHandle {
    stat(): Promise<{ size: number }>;
    read(buffer: Uint8Array<ArrayBuffer>, offset: number): Promise<{ bytesRead: number; buffer: Uint8Array<ArrayBuffer> }>;
    close(): Promise<void>;
  }
  export function open(path: string | URL): Promise<FileHandle>;
}

declare module "node:os" {
  export function availableParallelism(): number;
}

declare module "node:worker_threads" {
  export class Worker {
    constructor(script: URL, options: { name: string; execArgv: string[] });
    postMessage(message: unknown, transfer: Transferable[]): void;
    on(event: "message", listener: (data: unknown) => void): void;
    on(event: "error", listener: (error: Error) => void): void;
    on(event: "messageerror" | "exit", listener: () => void): void;
    ref(): void;
    unref(): void;
    terminate(): Promise<number>;
  }
  export const parentPort: {
    postMessage(message: unknown, transfer: Transferable[]): void;
    on(event: "message", listener: (data: unknown) => void): void;
  } | null;
}

declare const process: { readonly versions: { readonly node: string } };
