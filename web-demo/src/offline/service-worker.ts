// Keeps what has been loaded, so that the page works without a network. Files with a hash in their name never change and come from
// the cache; all others come from the network while there is one.
declare const self: ServiceWorkerGlobalScope;
declare const __BUILD__: string;

export {};

// Servers may say that an answer varies by who asks; ours are all for this page.
const ANYHOW = { ignoreVary: true };
const CACHE = `quaver-demo ${__BUILD__}`;

self.addEventListener("install", () => void self.skipWaiting());

self.addEventListener("activate", (event) => {
  const clean = async (): Promise<void> => {
    const old = (await caches.keys()).filter((name) => name.startsWith("quaver-demo ") && name !== CACHE);
    await Promise.all(old.map((name) => caches.delete(name)));
    await self.clients.claim();
  };
  event.waitUntil(clean());
});

self.addEventListener("fetch", (event) => {
  const { request } = event;
  const { origin, pathname } = new URL(request.url);
  if (request.method === "GET" && origin === self.location.origin) {
    event.respondWith(pathname.includes("/assets/") ? cached(request) : fresh(request));
  }
});

// The page may have been loaded before this worker was there, and tells what it has.
self.addEventListener("message", (event) => {
  const urls = event.data as string[];
  const add = async (): Promise<void> => {
    const cache = await caches.open(CACHE);
    await Promise.allSettled(urls.map(async (url) => (await cache.match(url, ANYHOW)) ?? cache.add(url)));
  };
  event.waitUntil(add());
});

async function cached(request: Request): Promise<Response> {
  const cache = await caches.open(CACHE);
  return (await cache.match(request, ANYHOW)) ?? keep(cache, request, await fetch(request));
}

async function fresh(request: Request): Promise<Response> {
  const cache = await caches.open(CACHE);
  try {
    return keep(cache, request, await fetch(request));
  } catch (error) {
    const kept = await cache.match(request, { ...ANYHOW, ignoreSearch: request.mode === "navigate" });
    if (kept === undefined) {
      throw error;
    }
    return kept;
  }
}

function keep(cache: Cache, request: Request, response: Response): Response {
  if (response.status === 200) {
    // A copy that breaks off is not kept.
    void cache.put(request, response.clone()).catch(() => undefined);
  }
  return response;
}
