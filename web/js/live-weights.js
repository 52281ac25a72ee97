/** Weights that change while a page shows them. live-weights.d.ts has the reference. */

export class LiveWeights extends EventTarget {
  /** @type {Blob | null} */
  #current = null;

  get current() {
    return this.#current;
  }

  /** @param {Blob | null} weights */
  replace(weights) {
    this.#current = weights;
    this.dispatchEvent(new Event("change"));
  }
}
