/**
 * Training in the page: the client of training-worker.js. training.d.ts has the reference.
 *
 * A worker that lost its GPU is replaced by one that computes on the CPU and goes on from the state that was last kept.
 */

import { EngineError } from "./engine.js";
import { LiveWeights } from "./live-weights.js";
import { isHere, spawnAt } from "./spawn.js";
import * as store from "./training-store.js";

const REMEDY = "If this page is yours: check worker-url, and worker-src of its security policy.";
const aborted = () => new EngineError("aborted", "No longer needed.");

/** @param {string | undefined} url */
function spawn(url) {
  // Bundlers recognise this form and include training-worker.js.
  if (!url && isHere(import.meta.url)) return new Worker(new URL("./training-worker.js", import.meta.url), { type: "module" });
  return spawnAt(url ?? new URL("./training-worker.js", import.meta.url).href);
}

export class Training extends EventTarget {
  state = "idle";
  error = null;
  device = null;
  run = null;
  step = 0;
  rows = [];
  before = null;
  after = null;
  kept = null;
  untrained = null;
  weights = new LiveWeights();
  #url;
  #folder;
  #choice;
  /** The worker, the arguments it was started with, its requests that wait, and the end of listening to the page. */
  #link = null;
  #count = 0;
  /** What a new worker needs to go on: `{state, seconds, step}`. */
  #saved = null;
  /** Settles the promise of `start` or `resume`. */
  #starting = null;
  /** Settles the promise of `stop`. */
  #stopping = null;

  constructor({ workerUrl, wasmUrl, device = "auto" } = {}) {
    super();
    this.#url = workerUrl && new URL(workerUrl, document.baseURI).href;
    this.#folder = new URL(`${wasmUrl ?? new URL("./", import.meta.url)}`.replace(/\/?$/, "/"), document.baseURI).href;
    this.#choice = device;
  }

  static async stored() {
    const found = await store.read();
    if (!found) return null;
    const { step, totalSteps, source, objective, time, run } = found;
    return { step, totalSteps, source, objective, time, images: run.images };
  }

  static async discard() {
    await store.clear().catch(() => {}); // without a storage nothing is stored
  }

  start(source, settings = {}) {
    const { objective = "quickstart", steps, seed = 0, set = [] } = settings;
    const origin = source === "scenes" ? { kind: "scenes" } : { kind: "files", files: [...source] };
    return this.#begin({ origin, request: { objective, seed, set, ...(steps && { steps }) } });
  }

  resume({ paused = false } = {}) {
    return this.#begin({ origin: { kind: "stored" }, paused });
  }

  #begin(args) {
    this.close();
    Object.assign(this, { error: null, run: null, step: 0, rows: [], before: null, after: null, kept: null, untrained: null });
    this.#starting = Promise.withResolvers();
    const { promise } = this.#starting;
    promise.catch(() => {}); // the error is an event, too
    this.#open(args, this.#choice, null);
    return promise;
  }

  /** Starts a worker. `why` is the reason for the choice of the CPU, if the page did not choose it. */
  #open(args, device, why) {
    this.#state("loading");
    let worker;
    try {
      worker = spawn(this.#url);
    } catch (error) {
      return this.#fail("worker", `The training's worker could not be started (${error.message}). ${REMEDY}`);
    }
    const link = { worker, args, waiting: new Map(), listening: new AbortController() };
    this.#link = link;
    const { signal } = link.listening;
    document.addEventListener("visibilitychange", () => this.#ask("visible", { visible: !document.hidden }).catch(() => {}), { signal });
    worker.onmessage = ({ data }) => this.#link === link && this.#message(data);
    worker.onerror = (event) => {
      event.preventDefault?.();
      if (this.#link === link) this.#fail("worker", `The training's worker ${event.message ? `failed (${event.message}).` : `could not be loaded. ${REMEDY}`}`);
    };
    this.#ask("start", { ...args, device, why, wasmUrl: this.#folder, visible: !document.hidden }).catch(() => {});
  }

  #ask(method, args = {}) {
    const { worker, waiting } = this.#link;
    return new Promise((resolve, reject) => {
      const id = ++this.#count;
      waiting.set(id, { resolve, reject });
      worker.postMessage({ id, method, args });
    });
  }

  /** A request of the page, which needs a training. */
  #request(method, args) {
    if (this.#link) return this.#ask(method, args);
    return Promise.reject(new EngineError("worker", "There is no training: start one first."));
  }

  #tell(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }

  #state(state) {
    const previous = this.state;
    if (state === previous) return;
    this.state = state;
    this.#tell("statechange", { state, previous });
  }

  #message({ id, value, error, event, detail }) {
    if (id !== undefined) {
      const call = this.#link.waiting.get(id);
      this.#link.waiting.delete(id);
      if (error) call?.reject(new EngineError(error.type, error.message));
      else call?.resolve(value);
    } else this.#events[event](detail);
  }

  /** What the worker tells. */
  #events = {
    preparation: (detail) => this.#tell("preparation", detail),
    device: (info) => {
      this.device = info;
      this.#tell("devicechange", info);
    },
    state: (state) => {
      this.#state(state);
      if (state !== "ended") return;
      this.#stopping?.resolve();
      this.#stopping = null;
    },
    restored: ({ rows, before, untrained }) => Object.assign(this, { rows, before, untrained }),
    untrained: (blob) => (this.untrained = blob),
    started: (run) => {
      this.run = run;
      this.step = run.step;
      this.after = null;
      this.#tell("started", run);
      this.#starting?.resolve();
      this.#starting = null;
    },
    row: (row) => {
      this.rows.push(row);
      this.#tell("row", row);
    },
    step: (detail) => {
      this.step = detail.step;
      this.#tell("step", detail);
    },
    measured: (measured) => {
      if (this.state === "measuring") this.after = measured;
      else this.before = measured;
      this.#tell("measured", measured);
    },
    weights: (blob) => this.weights.replace(blob),
    kept: ({ kept, state, seconds }) => {
      this.kept = kept;
      this.#saved = { state, seconds, step: kept.step };
      this.#tell("kept", kept);
    },
    dead: ({ type, message }) => this.#dead(type, message),
  };

  /** Handles the end of a worker: of a lost GPU by a new one on the CPU. */
  #dead(type, message) {
    const { args } = this.#link;
    const gpu = type === "device" && this.#choice !== "cpu" && this.device?.kind !== "cpu";
    if (!gpu) return this.#fail(type, message);
    const paused = this.state === "paused";
    this.#drop(new EngineError(type, message));
    const { before, untrained, run } = this;
    const saved = this.#saved;
    this.rows = saved ? this.rows.filter((row) => row.step <= saved.step) : [];
    const known = saved && { ...saved, rows: this.rows, before, untrained };
    const again = { ...args, paused, planned: run?.planned, settings: run?.settings, known };
    // The lines after the first are only useful in a debugger.
    this.#open(again, "cpu", `the GPU failed: ${message.split("\n")[0]}`);
  }

  /** Ends the worker; its requests fail with `error`. */
  #drop(error) {
    const link = this.#link;
    if (!link) return;
    this.#link = null;
    link.listening.abort();
    link.worker.terminate();
    for (const call of link.waiting.values()) call.reject(error);
  }

  #fail(type, message) {
    const error = new EngineError(type, message);
    this.#drop(error);
    this.error = { type, message };
    this.#state("failed");
    this.#tell("error", this.error);
    this.#give(error);
  }

  /** Rejects the promises of `start` and `stop` that wait. */
  #give(error) {
    this.#starting?.reject(error);
    this.#stopping?.reject(error);
    this.#starting = this.#stopping = null;
  }

  pause() {
    return this.#request("pause");
  }

  goOn(steps) {
    return this.#request("goOn", { steps });
  }

  async stop() {
    if (["loading", "preparing"].includes(this.state)) return this.close();
    if (this.state === "ended") return;
    const asked = this.#stopping || this.state === "measuring";
    this.#stopping ??= Promise.withResolvers();
    const { promise } = this.#stopping;
    promise.catch(() => {}); // a request that fails rejects first
    if (!asked) await this.#request("stop");
    return promise;
  }

  keep() {
    return this.#request("keep");
  }

  save() {
    return this.#request("save");
  }

  close() {
    const error = aborted();
    this.#drop(error);
    this.#saved = null;
    this.#give(error);
    this.#state("idle");
  }
}
