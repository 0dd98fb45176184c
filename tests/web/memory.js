// Whether memory is given back.
import { ok } from "node:assert/strict";

/**
 * Repeats something `count` times in five parts, and looks at the memory that is `used`, in MiB, after each: what is never given
 * back makes it grow with each part, whereas what an engine keeps for itself comes now and then.
 */
export async function steadies(repeat, used, count) {
  const after = [];
  for (let part = 0; part < 5; part++) {
    await repeat(count / 5);
    after.push(await used());
  }
  const least = Math.min(...after.slice(1).map((memory, part) => memory - after[part]));
  ok(least < 4, `${after.map((memory) => memory.toFixed(1)).join(", ")} MiB: it grows by ${least.toFixed(1)} each time`);
}
