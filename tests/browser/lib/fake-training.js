// Takes the place of the package's training.js: a training that does what a test tells it to do, so that the page's
// view of states that are rare or slow can be tested: a lost device, refused storage, long runs. It has the interface
// of web/js/training.d.ts. `globalThis.training` is the newest instance.
import { LiveWeights } from "./live-weights.js";

let stored = globalThis.storedRun ?? null;

export class Training extends EventTarget {
  static stored() {
    return Promise.resolve(stored);
  }

  static discard() {
    stored = null;
    return Promise.resolve();
  }

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
  /** The calls of the page: [method, arguments]. */
  calls = [];

  constructor() {
    super();
    globalThis.training = this;
  }

  /** Changes properties and sends an event about it, as the worker's messages would. */
  tell(type, patch = {}, detail = null) {
    Object.assign(this, patch);
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }

  /** Changes the state. */
  turn(state, patch = {}) {
    const previous = this.state;
    this.tell("statechange", { state, ...patch }, { state, previous });
  }

  #call(method, argument) {
    this.calls.push([method, argument]);
    return Promise.resolve();
  }

  start(source, settings) {
    this.calls.push(["start", { files: source === "scenes" ? source : [...source].map(({ name }) => name), settings }]);
    this.turn("loading");
    return Promise.resolve();
  }

  resume(options) {
    this.turn("loading");
    return this.#call("resume", options);
  }

  pause() {
    this.turn("paused");
    return this.#call("pause");
  }

  goOn(steps) {
    this.turn("running");
    return this.#call("goOn", steps);
  }

  stop() {
    this.turn("measuring");
    return this.#call("stop");
  }

  keep() {
    return this.#call("keep");
  }

  async save() {
    if (this.state === "failed") throw new Error("There is no training: start one first.");
    await this.#call("save");
    return this.weights.current;
  }

  close() {
    this.calls.push(["close"]);
    const nothing = { run: null, before: null, after: null, kept: null, error: null, untrained: null };
    this.turn("idle", { step: 0, rows: [], ...nothing });
    this.weights.replace(null);
  }
}
