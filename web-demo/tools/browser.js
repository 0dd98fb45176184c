// Chromium for measurements: as if someone saw the page, whose code is optimized late in the background; and without what a
// browser does when it is first started, which takes the threads that optimize code.
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { chromium } from "playwright-core";

const FLAGS = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-dev-shm-usage",
  "--disable-extensions",
  "--disable-renderer-backgrounding",
  "--disable-backgrounding-occluded-windows",
];

/** A page in a browser with a profile of its own, which goes with it. */
export async function start(executablePath) {
  const profile = await mkdtemp(join(tmpdir(), "quaver-profile-"));
  const context = await chromium.launchPersistentContext(profile, { executablePath, args: FLAGS });
  const version = context.browser()?.version();
  const [first] = context.pages();
  const page = first ?? (await context.newPage());
  const end = async () => {
    await context.close();
    // The browser may still be writing there.
    await rm(profile, { recursive: true, force: true, maxRetries: 10 });
  };
  return { page, version, end };
}
