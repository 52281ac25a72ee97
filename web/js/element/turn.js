/** Decides when an element begins to load. */

/**
 * Resolves when an element may begin to load. `eager`: at once. `lazy`: when the element is on the screen. `auto`: when
 * the element is at most one screen height away from the screen, and the page has loaded and is idle.
 * @param {Element} element
 * @param {"auto" | "lazy" | "eager"} loading
 * @param {AbortSignal} signal if it aborts, the promise rejects with its reason
 */
export async function turn(element, loading, signal) {
  if (loading === "eager") return;
  await visible(element, loading === "auto" ? "100%" : "0px", signal);
  if (loading !== "auto") return;
  if (document.readyState !== "complete") {
    await until(signal, (done) => addEventListener("load", done, { once: true, signal }));
  }
  await until(signal, (done) => {
    if (globalThis.requestIdleCallback) requestIdleCallback(done, { timeout: 1000 });
    else setTimeout(done, 50);
  });
}

function visible(element, rootMargin, signal) {
  return until(signal, (done) => {
    const observer = new IntersectionObserver(
      (entries) => {
        if (!entries.some((entry) => entry.isIntersecting)) return;
        observer.disconnect();
        done();
      },
      { rootMargin },
    );
    observer.observe(element);
    signal.addEventListener("abort", () => observer.disconnect(), { once: true });
  });
}

/** A promise that `start` resolves by its callback and that rejects when the signal aborts. */
function until(signal, start) {
  return new Promise((resolve, reject) => {
    if (signal.aborted) return reject(signal.reason);
    signal.addEventListener("abort", () => reject(signal.reason), { once: true });
    start(() => resolve());
  });
}
