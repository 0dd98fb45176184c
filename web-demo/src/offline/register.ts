/** Lets the page work offline from now on. Without it, or where a browser has no such worker, the page works as well. */
export async function register(): Promise<void> {
  if (!import.meta.env.PROD || !("serviceWorker" in navigator)) {
    return;
  }
  try {
    await navigator.serviceWorker.register(new URL("service-worker.js", document.baseURI));
    const { active } = await navigator.serviceWorker.ready;
    const tell = (urls: string[]): void => active?.postMessage(urls.filter((url) => url.startsWith(location.origin)));
    tell([new URL(".", document.baseURI).href]);
    // What began before the worker was there may end afterwards.
    const observer = new PerformanceObserver((list) => tell(list.getEntries().map(({ name }) => name)));
    observer.observe({ type: "resource", buffered: true });
  } catch (error) {
    console.warn("the page will not work offline:", error);
  }
}
