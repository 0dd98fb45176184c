/** What the site was built with, as `cargo xtask demo` writes it into `data/catalogue.json`. */

export interface Catalogue {
  /** Where the digests were recorded. */
  readonly recorded: { readonly cpu: string; readonly isa: string; readonly version: string; readonly date: string };
  /** Files that a page loads before any model, with their bytes, and those of their compressed form. */
  readonly runtimes: { readonly quaver: readonly Runtime[]; readonly onnxruntime: readonly Runtime[] };
  readonly photo: Classifier;
  readonly digit: Classifier;
  readonly benchmark: readonly Compared[];
  readonly sources: readonly { readonly what: string; readonly package: string }[];
}

export interface Runtime {
  readonly name: string;
  readonly bytes: number;
  readonly gzip: number;
}

/** A file within `data/`. */
export interface DataFile {
  readonly file: string;
  readonly bytes: number;
}

/** A network that names things. */
export interface Classifier {
  readonly title: string;
  readonly model: DataFile;
  /** The names of its classes, by number. */
  readonly labels: readonly string[];
  readonly samples: readonly Sample[];
}

/** A picture, with what the native build made of it. */
export interface Sample {
  readonly file: string;
  /** What is to be seen, in words. */
  readonly title: string;
  /** SHA-256 of the output's bytes, as hexadecimal digits. */
  readonly digest: string;
}

/** A network of the benchmark, in the forms that could be made of it. */
export interface Compared {
  readonly name: string;
  readonly quaver: DataFile;
  readonly float: DataFile | null;
  readonly int8: DataFile | null;
}

/** The address of a file within `data/`. */
export function data(file: string): string {
  return new URL(`data/${file}`, document.baseURI).href;
}

/** Downloads it. */
export async function catalogue(): Promise<Catalogue> {
  const response = await fetch(data("catalogue.json"));
  if (!response.ok || !response.headers.get("content-type")?.includes("json")) {
    throw new Error("the site has no models: build it with `cargo xtask demo`");
  }
  return response.json() as Promise<Catalogue>;
}
