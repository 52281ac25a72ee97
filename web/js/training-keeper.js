/** Stores the run of this worker, where that is possible, and remembers why where it is not. */

import * as store from "./training-store.js";

/** Milliseconds to wait for the storage. */
const LOCK_MS = 1500;

/**
 * Takes the lock of the storage, which is held as long as this worker lives; the worker before this one gives it back
 * in a moment. Without locks no tab is refused.
 */
function alone() {
  if (!navigator.locks) return true;
  return new Promise((resolve) => {
    const held = () => {
      resolve(true);
      return new Promise(() => {});
    };
    navigator.locks.request(store.LOCK, { signal: AbortSignal.timeout(LOCK_MS) }, held).catch(() => resolve(false));
  });
}

export const keeper = {
  /** Why the run is not stored, as the end of a sentence; empty if it is. */
  refused: "",

  /** Takes the storage for this tab; a run that is not continued from there is removed. */
  async open(continued) {
    if (!(await alone())) this.refused = "another tab of this browser is training, and one run is stored at a time";
    else if (!continued) await this.attempt(() => store.clear());
  },

  /** Does something with the storage. After a failure nothing more is stored. */
  async attempt(work) {
    if (this.refused) return;
    try {
      await work();
    } catch (error) {
      const full = error?.name === "QuotaExceededError";
      this.refused = full ? "this browser's storage is full" : "this browser allows the page no storage";
    }
  },
};
