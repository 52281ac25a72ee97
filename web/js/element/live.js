/** For `<dense-match>`: weights that change, such as those of a training. */

/** Whether weights are an object that changes; live-weights.js has one. */
export const isLive = (weights) => typeof weights === "object" && weights !== null && "current" in weights;

/** Waits until there are weights. */
export async function first(live, signal) {
  while (!live.current) {
    await new Promise((resolve, reject) => {
      live.addEventListener("change", resolve, { once: true, signal });
      signal.addEventListener("abort", () => reject(signal.reason), { once: true });
    });
  }
}

/** Calls a function after each change of weights; changes during a call are one change after it. */
export class Following {
  #listening = new AbortController();
  #busy = false;
  #late = false;

  /** @param {() => Promise<void>} changed */
  constructor(live, changed) {
    this.live = live;
    const tell = async () => {
      this.#late = this.#busy;
      if (this.#busy) return;
      this.#busy = true;
      await changed();
      this.#busy = false;
      if (this.#late && !this.#listening.signal.aborted) tell();
    };
    live.addEventListener("change", tell, { signal: this.#listening.signal });
  }

  stop() {
    this.#listening.abort();
  }
}
