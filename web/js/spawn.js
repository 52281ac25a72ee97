/** Starts a worker of this package, from the page's own origin or from another one. */

/** Whether an address is of the page's own origin. @param {string} address */
export const isHere = (address) => new URL(address).origin === location.origin;

/** @param {string} url */
export function spawnAt(url) {
  if (isHere(url)) return new Worker(url, { type: "module" });
  // A worker cannot be started from another origin, but a worker from a blob can import from there. The import is
  // dynamic, because the page's security policy checks a static one against worker-src, which allows only blob:.
  // Messages that arrive before the import has finished are kept and dispatched again.
  const code = `const early=[],keep=e=>early.push(e.data);addEventListener("message",keep);
import(${JSON.stringify(url)}).then(()=>{removeEventListener("message",keep);
for(const data of early)dispatchEvent(new MessageEvent("message",{data}))}).catch(e=>setTimeout(()=>{throw e}))`;
  const blob = URL.createObjectURL(new Blob([code], { type: "text/javascript" }));
  return new Worker(blob, { type: "module" });
}
