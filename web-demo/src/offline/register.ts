/** Lets the page work offline from now on. Without it, or where a browser has no such worker, the page works as well. */
export async function register(): Promise<void> {
  if (!import.meta.env.PROD || !("serviceWorker" in navigator)) {
    return;
  }
  try {
    await navigator.serviceWorker.register(new URL("service-worker.js", document.baseURI));
    const { active } = await navigator.serviceWorker.ready;
    const loaded = performance.getEntriesByType("resource").map(({ name }) => name);
    active?.postMessage([document.baseURI, ...loaded].filter((url) => url.startsWith(location.origin)));
  } catch (error) {
    console.warn("the page will not work offline:", error);
  }
}
