import { InferenceSession, Tensor } from "quaver";

import type { Contestant, Runner } from "./contestant.js";
import { noise, oneSample, size } from "./noise.js";

/** Opens a `.qvr` file. */
export async function openQuaver({ model, threads, build }: Contestant): Promise<Runner> {
  const session = await InferenceSession.create(model, { threads, build });
  const feeds = Object.fromEntries(
    session.inputMetadata.map(({ name, type, shape }) => {
      if (type !== "float32") {
        throw new Error(`input '${name}' is ${type}; networks with inputs of float32 are compared`);
      }
      const dims = oneSample(shape);
      return [name, new Tensor("float32", noise(size(dims)), dims)];
    }),
  );
  const { backend } = session;
  return {
    what: `${backend.build} ${backend.instructions}, ${backend.threads} thread${backend.threads === 1 ? "" : "s"}`,
    infer: async () => void (await session.run(feeds)),
    release: () => session.release(),
  };
}
