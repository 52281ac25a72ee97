/**
 * Shows changing weights in the two columns of the page: those before a training beside those of now. The columns do
 * what they do with a visitor's own files; here the files are replaced as the training goes on.
 */

const BUSY = ["weights", "features"];

export class LiveColumns {
  #store;
  /** The visitor's own choice of weights, which `hide` restores. */
  #kept = null;
  /** The weights of the first column, as they were given and with their name. */
  #given = null;
  #before = null;
  /** @type {import("../../js/live-weights.js").LiveWeights | null} */
  #live = null;
  /** The newest weights that are not shown yet. */
  #waiting = null;
  #changed = () => this.#take(this.#live.current);

  constructor(store) {
    this.#store = store;
    store.subscribe(() => this.#next());
  }

  /**
   * Shows these weights until `hide`.
   * @param {Blob} before
   * @param {import("../../js/live-weights.js").LiveWeights} live
   * @param {string} called the name of the first column
   */
  show(before, live, called = "Before") {
    if (this.#live === live && this.#given === before) return;
    this.#live?.removeEventListener("change", this.#changed);
    [this.#given, this.#live] = [before, live];
    this.#before = new File([before], called);
    live.addEventListener("change", this.#changed);
    if (live.current) this.#take(live.current);
  }

  /** Shows the visitor's own choice again. */
  hide() {
    this.#live?.removeEventListener("change", this.#changed);
    [this.#given, this.#live, this.#waiting] = [null, null, null];
    if (!this.#kept) return;
    this.#store.set({ ...this.#kept, live: false });
    this.#kept = null;
  }

  #take(weights) {
    this.#waiting = weights;
    this.#next();
  }

  /** Shows the newest weights, unless the columns still compute older ones: those would never be finished otherwise. */
  #next() {
    const { sides, weights, files } = this.#store.state;
    const begun = this.#kept !== null;
    if (!this.#waiting || (begun && sides.some(({ phase }) => BUSY.includes(phase)))) return;
    this.#kept ??= { weights, files };
    const now = new File([this.#waiting], "Now");
    this.#waiting = null;
    this.#store.set({ weights: ["file", "file"], files: [this.#before, now], live: begun });
  }
}
