/**
 * The engine: the main thread's client of the worker in which the network runs.
 *
 * A page has one engine per (worker, wasm folder, device), so all elements share its worker and its weights. When the
 * worker fails (a GPU is lost, memory runs out), the engine starts another one and repeats the requests; if the GPU
 * failed, the new worker uses the CPU.
 */

import { EngineError, aborted, engineError } from "./errors.js";
import { decode } from "./pictures.js";
import { isHere, spawnAt } from "./spawn.js";

export { EngineError };

/**
 * @typedef {{kind: "gpu" | "software" | "cpu", name: string, reason: string, selfTestMs: number}} DeviceInfo
 * @typedef {{id: number, width: number, height: number, naturalWidth: number, naturalHeight: number,
 *   bitmap: ImageBitmap, preview: ImageBitmap, rgb: Uint8Array}} Picture `preview` is for drawing: its longer side has
 *   1024 pixels, or fewer if the picture is smaller
 * @typedef {{kind: "scene", seed: number, index: number, size: number, baseline?: number} |
 *   {kind: "warp", seed: number, width: number, height: number}} Truth
 * @typedef {[rows: number, columns: number]} Grid
 */

const engines = new Map();
let count = 0;
const next = () => ++count;

/** The cell of a grid that contains a point (u, v) in [0, 1]. @param {Grid} grid @param {number} u @param {number} v */
export function cellAt([rows, columns], u, v) {
  const index = (value, length) => Math.min(length - 1, Math.max(0, Math.floor(value * length)));
  return index(v, rows) * columns + index(u, columns);
}

/** The centre of a cell, in [0, 1]. @param {Grid} grid @param {number} cell @returns {[u: number, v: number]} */
export function centre([rows, columns], cell) {
  return [((cell % columns) + 0.5) / columns, (Math.floor(cell / columns) + 0.5) / rows];
}

const REMEDY = "If this page is yours: check worker-url, and worker-src of its security policy.";
/** @param {string} what */
const noWorker = (what) => new EngineError("worker", `The page's worker ${what}`);

/** A promise that rejects when the signal aborts. @param {AbortSignal} [signal] @returns {Promise<never>} */
function whenAborted(signal) {
  if (signal?.aborted) return Promise.reject(aborted());
  return new Promise((_, reject) => signal?.addEventListener("abort", () => reject(aborted()), { once: true }));
}

/**
 * @param {{workerUrl?: string | URL, wasmUrl?: string | URL, device?: "auto" | "gpu" | "cpu"}} [options]
 *   `wasmUrl` is the folder of the densecl_*.wasm files; both default to the folder of this file
 * @returns {Engine}
 */
export function engine({ workerUrl, wasmUrl, device = "auto" } = {}) {
  const url = workerUrl && new URL(workerUrl, document.baseURI).href;
  const folder = new URL(`${wasmUrl ?? new URL("./", import.meta.url)}`.replace(/\/?$/, "/"), document.baseURI).href;
  const key = JSON.stringify([url, folder, device]);
  if (!engines.has(key)) engines.set(key, new Engine(url, folder, device));
  return engines.get(key);
}

/** Whether a source of weights is the content of a file. @param {any} source */
const isContent = (source) => source instanceof ArrayBuffer || source instanceof Blob;

/** @param {string | undefined} url */
function spawn(url) {
  // Bundlers recognise this form and include worker.js.
  if (!url && isHere(import.meta.url)) return new Worker(new URL("./worker.js", import.meta.url), { type: "module" });
  return spawnAt(url ?? new URL("./worker.js", import.meta.url).href);
}

export class Engine extends EventTarget {
  /** @type {DeviceInfo | null} */
  device = null;
  #url;
  #folder;
  #choice;
  #why = null;
  /** @type {{worker: Worker, ready: Promise<DeviceInfo>, waiting: Map<number, {resolve: Function, reject: Function}>, lost: boolean} | null} */
  #link = null;
  /** Promises of loaded weights: by URL, and by the object for contents, which are then freed together with it. */
  #weights = { named: new Map(), given: new WeakMap() };
  #keyed = new Map();

  /** Use {@link engine}. */
  constructor(url, folder, choice) {
    super();
    this.#url = url;
    this.#folder = folder;
    this.#choice = choice;
  }

  /** Resolves to the device that passed its self-test. Rejects if not even the CPU starts; a later call tries again. */
  get ready() {
    return this.#open().ready;
  }

  #open() {
    if (this.#link) return this.#link;
    let worker;
    try {
      worker = spawn(this.#url);
    } catch (error) {
      const failed = Promise.reject(noWorker(`could not be started (${error.message}). ${REMEDY}`));
      failed.catch(() => {});
      return { ready: failed, waiting: new Map() };
    }
    const link = { worker, waiting: new Map(), lost: false };
    this.#link = link;
    worker.onmessage = ({ data }) => this.#message(link, data);
    worker.onerror = (event) => {
      event.preventDefault?.();
      this.#dead(link, noWorker(event.message ? `failed (${event.message}).` : `could not be loaded. ${REMEDY}`));
    };
    link.ready = this.#send(link, "start", { device: this.#choice, why: this.#why, wasmUrl: this.#folder }).then((info) => {
      this.device = info;
      this.dispatchEvent(new CustomEvent("devicechange", { detail: info }));
      return info;
    });
    link.ready = link.ready.catch((error) => {
      if (error.restart) return this.ready;
      this.#dead(link, error);
      throw error;
    });
    link.ready.catch(() => {});
    return link;
  }

  #send(link, method, args, transfer = [], onId) {
    return new Promise((resolve, reject) => {
      const id = next();
      onId?.(id);
      link.waiting.set(id, { resolve, reject });
      link.worker.postMessage({ id, method, args }, transfer);
    });
  }

  #message(link, { id, value, error, event, detail, type, message, running }) {
    if (event === "progress") this.dispatchEvent(new CustomEvent("progress", { detail }));
    else if (event === "dead") this.#dead(link, new EngineError(type, message), running);
    else {
      const call = link.waiting.get(id);
      link.waiting.delete(id);
      if (error) call?.reject(new EngineError(error.type, error.message));
      else call?.resolve(value);
    }
  }

  /**
   * Handles the end of a worker. The request that crashed it fails; the others are repeated in a new worker.
   * @param {number | null} [running] id of the request that crashed the module, if one did
   */
  #dead(link, error, running) {
    if (link.lost) return;
    link.lost = true;
    link.worker.terminate();
    if (this.#link === link) this.#link = null;
    const gpu = this.#choice !== "cpu" && running !== undefined && this.device?.kind !== "cpu";
    if (gpu) {
      this.#choice = "cpu";
      // The lines after the first are only useful in a debugger.
      this.#why = `the GPU failed: ${error.message.split("\n")[0]}`;
    }
    for (const [id, call] of link.waiting) {
      const restart = gpu || (running !== undefined && id !== running);
      call.reject(restart ? Object.assign(new EngineError(error.type, error.message), { restart }) : error);
    }
    link.waiting.clear();
  }

  /**
   * Sends a request to the worker, and again to a new one if the worker fails. `args` can be a function that makes the
   * arguments for each attempt.
   */
  async #call(method, args, { signal, transfer = () => [], early = false } = {}) {
    for (let attempt = 0; ; attempt++) {
      if (signal?.aborted) throw aborted();
      const link = this.#open();
      let id;
      const stop = () => link.worker?.postMessage({ id: next(), method: "stop", args: { id } });
      try {
        if (!early) await Promise.race([link.ready, whenAborted(signal)]);
        if (link.lost) throw Object.assign(noWorker("stopped. Try again."), { restart: true });
        if (signal?.aborted) throw aborted();
        const given = typeof args === "function" ? await args() : args;
        signal?.addEventListener("abort", stop, { once: true });
        const answer = this.#send(link, method, given, transfer(given), (n) => (id = n));
        return await Promise.race([answer, whenAborted(signal)]);
      } catch (error) {
        if (!error.restart || attempt >= 2) throw engineError(error);
      } finally {
        signal?.removeEventListener("abort", stop);
      }
    }
  }

  /** Describes a source of weights for the worker, with a key that is equal for equal sources. */
  #source(source) {
    if (isContent(source)) return { key: `file:${next()}`, blob: source instanceof Blob ? source : new Blob([source]) };
    const seed = /^untrained(?::(\d+))?$/.exec(String(source));
    if (seed) return { key: `untrained:${seed[1] ?? 0}`, seed: Number(seed[1] ?? 0) >>> 0 };
    const url = new URL(source, document.baseURI).href;
    return { key: url, url };
  }

  /**
   * Loads weights. A source that was loaded before is not loaded again, except after a failure.
   * @param {string | URL | Blob | ArrayBuffer} source URL of a manifest.json or of a file that `densecl` wrote, the
   *   content of such a file, or "untrained" or "untrained:<seed>"
   */
  async weights(source, { signal } = {}) {
    const given = isContent(source);
    const named = given && this.#weights.given.has(source) ? null : this.#source(source);
    const [known, key] = given ? [this.#weights.given, source] : [this.#weights.named, named.key];
    if (!known.has(key)) {
      // `early`: the download begins before the module is ready.
      const loaded = this.#call("weights", named, { early: true }).then((facts) => ({ id: named.key, source: named, ...facts }));
      loaded.catch(() => known.delete(key));
      known.set(key, loaded);
    }
    return Promise.race([known.get(key), whenAborted(signal)]);
  }

  /**
   * Decodes a picture and resizes it for the network: upright, over white, the longer side about `size` pixels, both
   * sides multiples of 32.
   * @param {string | URL | Blob | ImageBitmap | ImageData | HTMLImageElement} source
   * @returns {Promise<Picture>}
   */
  async picture(source, { size = 224, signal } = {}) {
    let natural;
    const args = async () => {
      const { bitmap, width, height, ...rest } = await decode(source, size, signal);
      natural = rest;
      return { bitmap, width, height, size };
    };
    const made = await this.#call("picture", args, { signal, transfer: ({ bitmap }) => [bitmap] });
    return { id: next(), ...made, ...natural };
  }

  /**
   * Renders a scene from two viewpoints; `truth` is the true position in `b` of the points of `a`.
   * @param {{seed?: number, index?: number, size?: number, baseline?: number, signal?: AbortSignal}} [options]
   * @returns {Promise<{a: Picture, b: Picture, truth: Truth}>}
   */
  async scene({ seed = 0, index = 0, size = 224, baseline, signal } = {}) {
    const side = Math.min(2048, Math.max(32, Math.round(size / 32) * 32));
    const truth = { kind: "scene", seed: seed >>> 0, index: index >>> 0, size: side, baseline };
    const { a, b } = await this.#call("scene", truth, { signal });
    return { a: withId(a), b: withId(b), truth };
  }

  /**
   * Warps a picture by a random homography and changes its brightness and contrast. The result depends only on the
   * picture and the seed.
   * @param {Picture} picture
   * @returns {Promise<{b: Picture, truth: Truth}>}
   */
  async warp({ rgb, width, height }, { seed = 0, signal } = {}) {
    const truth = { kind: "warp", seed: seed >>> 0, width, height };
    const b = await this.#call("warp", { rgb, recipe: truth }, { signal });
    return { b: withId(b), truth };
  }

  /**
   * Runs the network on two pictures. A newer call with the same `key` makes an older one reject (type "aborted").
   * @param {Picture} a
   * @param {Picture} b
   * @returns {Promise<Pair>}
   */
  async pair(a, b, { weights, feature, stride = 16, truth = null, signal, key }) {
    const overtaken = new AbortController();
    if (key !== undefined) {
      this.#keyed.get(key)?.abort();
      this.#keyed.set(key, overtaken);
    }
    const stop = () => overtaken.abort();
    signal?.addEventListener("abort", stop, { once: true });
    if (signal?.aborted) stop();
    const seen = ({ id, rgb, width, height }) => ({ id, rgb, width, height });
    const request = { pair: next(), a: seen(a), b: seen(b), weights: weights.source, feature, stride, truth };
    try {
      const made = await this.#call("pair", request, { signal: overtaken.signal });
      return new Pair((method, args, options) => this.#call(method, args, options), request, made, this.device, weights);
    } finally {
      signal?.removeEventListener("abort", stop);
      if (this.#keyed.get(key) === overtaken) this.#keyed.delete(key);
    }
  }
}

/** @param {any} picture @returns {Picture} */
const withId = (picture) => ({ id: next(), naturalWidth: picture.width, naturalHeight: picture.height, preview: picture.bitmap, ...picture });

/** Two pictures whose cells are compared. Positions are [u, v] in [0, 1] of a picture, x to the right, y down. */
export class Pair {
  #call;
  #request;
  #match = null;
  #waiting = null;
  #disposed = false;

  /** Use {@link Engine.pair}. */
  constructor(call, request, made, device, weights) {
    this.#call = call;
    this.#request = request;
    this.weights = weights;
    this.feature = made.feature;
    this.stride = request.stride;
    this.device = device;
    /** @type {Grid} */ this.gridA = made.gridA;
    /** @type {Grid} */ this.gridB = made.gridB;
    /** @type {{features: number, similarity: number}} */ this.ms = made.ms;
  }

  /** Sends a request about this pair. If the worker has evicted the pair, it is computed again first. */
  async #ask(method, args = {}) {
    if (this.#disposed) throw aborted();
    const ask = () => this.#call(method, { pair: this.#request.pair, ...args });
    try {
      return await ask();
    } catch (error) {
      if (error.message !== "gone" || this.#disposed) throw error;
      await this.#call("pair", this.#request);
      return ask();
    }
  }

  /**
   * The match of a cell of A in B. Of several waiting calls only the newest runs; the others reject (type "aborted").
   * @param {number} cell
   * @returns {Promise<{cell: number, row: Float32Array, best: number, point: [number, number], score: number,
   *   truth: [number, number] | null, error: number | null}>} `row` is the similarity with every cell of B;
   *   `point` the position of its peak, interpolated between cells; `error` the distance of `point` from `truth` in
   *   pixels of the network's input
   */
  match(cell) {
    if (!this.#match) return this.#run(cell);
    this.#waiting?.reject(aborted());
    return new Promise((resolve, reject) => {
      this.#waiting = { cell, resolve, reject };
    });
  }

  #run(cell) {
    const asked = this.#ask("match", { cell });
    this.#match = asked;
    const done = () => {
      this.#match = null;
      const waiting = this.#waiting;
      this.#waiting = null;
      if (waiting) this.#run(waiting.cell).then(waiting.resolve, waiting.reject);
    };
    asked.then(done, done);
    return asked;
  }

  /**
   * The mutual matches with a similarity of at least `threshold`, most similar first; those at the border, too.
   * @param {number} threshold a cosine, -1 to 1
   * @returns {Promise<Array<{a: [number, number], b: [number, number], score: number, cellA: number, cellB: number,
   *   correct: boolean | null, atBorder: boolean}>>} `correct`: whether the cell of B lies within one cell of the
   *   truth; `atBorder`: whether a cell is at the border of its picture, where zero padding makes cells alike
   */
  async matches(threshold) {
    const flat = await this.#ask("matches", { threshold });
    return Array.from({ length: flat.length / 9 }, (_, index) => {
      const [cellA, cellB, ua, va, ub, vb, score, right, border] = flat.subarray(9 * index, 9 * index + 9);
      return { a: [ua, va], b: [ub, vb], score, cellA, cellB, correct: right < 0 ? null : right > 0, atBorder: border > 0 };
    });
  }

  /** Colours of the cells of both pictures by joint principal components: RGBA of gridA and of gridB. */
  async pca() {
    const { colors, split } = await this.#ask("pca");
    return { a: new Uint8ClampedArray(colors.buffer, 0, split), b: new Uint8ClampedArray(colors.buffer, split) };
  }

  /**
   * The errors of the matches of all cells whose true position is known and visible; null if there are none.
   * @returns {Promise<{pck05: number, pck10: number, meanError: number, cells: number} | null>} `pck05`: share of
   *   the cells with an error of at most 0.05 of B's longer side; `meanError` in pixels; `cells`: their number
   */
  async accuracy() {
    const [pck05, pck10, meanError, cells] = (await this.#ask("accuracy")) ?? [];
    return cells ? { pck05, pck10, meanError, cells } : null;
  }

  /** Frees the pair in the worker. */
  dispose() {
    if (this.#disposed) return;
    this.#disposed = true;
    this.#call("dispose", { pair: this.#request.pair }).catch(() => {});
  }
}
