// The one function of Node that the package uses, and only where there is a Node; so that its types need no package.
declare module "node:fs/promises" {
  export function readFile(path: string | URL): Promise<Uint8Array<ArrayBuffer>>;
}
