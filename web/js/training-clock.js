/** The time of a training, and the pauses between its slices. */

/** A gap between two slices longer than this is one in which the browser had frozen the page; it is not training. */
const FROZEN_MS = 2000;

/** Milliseconds that did not count as training, and since when the clock stands still; null while it runs. */
const idle = { total: 0, since: /** @type {number | null} */ (null) };

/** Seconds since a fixed moment, without pauses. */
export const clock = () => ((idle.since ?? performance.now()) - idle.total) / 1000;

/** Stops the clock, or lets it go on. @param {boolean} hold */
export function holdClock(hold) {
  if (hold) idle.since ??= performance.now();
  else if (idle.since !== null) {
    idle.total += performance.now() - idle.since;
    idle.since = null;
  }
}

const channel = new MessageChannel();
let wake = () => {};
channel.port1.onmessage = () => wake();

/** Yields to waiting messages. Timers would be slowed down while the page is hidden; this is not. */
export async function breathe() {
  const begun = performance.now();
  await new Promise((resolve) => {
    wake = () => resolve(undefined);
    channel.port2.postMessage(null);
  });
  const gap = performance.now() - begun;
  if (gap > FROZEN_MS && idle.since === null) idle.total += gap;
}
