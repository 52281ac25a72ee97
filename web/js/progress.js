/** The progress of loading as one fraction over all files: the module and the weights. */

/** The assumed size of a file in bytes until its size is known. */
const GUESS = 2 << 20;

export class Progress {
  #files = new Set();
  #fraction = 0;
  #told = 0;
  #tell;

  /** @param {(detail: {loaded: number, total: number, fraction: number, cached: boolean}) => void} tell */
  constructor(tell) {
    this.#tell = tell;
  }

  /** Adds a file that will be loaded. @param {number} [bytes] its size, if known */
  file(bytes) {
    const file = { loaded: 0, total: bytes ?? GUESS, done: false, cached: false };
    this.#files.add(file);
    this.#changed();
    return {
      loaded: (count) => {
        file.loaded = count;
        file.total = Math.max(file.total, count);
        this.#changed();
      },
      /** @param {boolean} cached whether it came from the cache */
      done: (cached) => {
        file.loaded = file.total = bytes ?? file.loaded;
        file.done = true;
        file.cached = cached;
        this.#changed(true);
      },
      drop: () => {
        this.#files.delete(file);
        this.#changed(true);
      },
    };
  }

  #changed(now = false) {
    const files = [...this.#files];
    const sum = (key) => files.reduce((total, file) => total + file[key], 0);
    const finished = files.length > 0 && files.every((file) => file.done);
    // A new file increases the total, but the fraction that the visitor sees never decreases.
    const share = sum("total") ? sum("loaded") / sum("total") : 0;
    this.#fraction = finished ? 1 : Math.max(this.#fraction, Math.min(share, 0.99));
    const time = performance.now();
    if (files.length && (now || time - this.#told > 40)) {
      this.#told = time;
      const cached = files.some((f) => f.done) && files.every((f) => f.cached || !f.done);
      this.#tell({ loaded: sum("loaded"), total: sum("total"), fraction: this.#fraction, cached });
    }
    if (finished || files.length === 0) {
      this.#files.clear();
      this.#fraction = 0;
    }
  }
}
