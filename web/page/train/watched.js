/**
 * A run of the program that is watched: `densecl pretrain --serve` gives its status, its rows and its newest weights,
 * which are asked for about once a second. A run cannot be changed from here.
 */
import { LiveWeights } from "../../dense-match/live-weights.js";

/** Time between two questions, in milliseconds. */
const EVERY = 1000;
/** So many questions without an answer, one after the other, and the run counts as lost. */
const MOST_SILENCE = 3;
/**
 * A question that is not answered after this time, in milliseconds, counts as one without an answer. The program
 * answers one for weights only when the present step has ended.
 */
const PATIENCE = 8000;
const PATIENCE_FOR_WEIGHTS = 60_000;
/** The largest file of weights that is read, in bytes; the same as in web/js/weights.js. */
const MAX_BYTES = 1 << 30;

/** The phases of a run after which nothing more comes. */
const OVER = ["ended", "stopped", "failed"];

/**
 * @typedef {"connecting" | "preparing" | "training" | "measuring" | "ended" | "stopped" | "failed" | "lost" | "closed"}
 *   Phase
 *   `lost`: the run no longer answers, without having said how it ended
 */

/**
 * The address of a run, as far as this page may ask it. The page's policy permits its own address and this computer.
 * @param {string} text what the visitor gave
 * @param {string} origin the page's own
 * @returns {URL} with the run's folder as path
 * @throws {Error} with a message for the visitor
 */
export function addressOf(text, origin) {
  const given = text.trim();
  let url;
  try {
    url = new URL(/^[a-z]+:\/\//i.test(given) ? given : `http://${given}`);
  } catch {
    url = null;
  }
  // Some browsers take a space for a part of a host's name.
  if (!given || /\s/.test(given) || !url || !/^https?:$/.test(url.protocol)) {
    throw new Error("That is no address. Give the one that the run printed, such as http://127.0.0.1:6006.");
  }
  const isLocal = url.protocol === "http:" && ["127.0.0.1", "localhost"].includes(url.hostname);
  if (url.origin !== origin && !isLocal) {
    throw new Error("This page may ask only its own address and this computer (127.0.0.1, localhost). To watch a run " +
      `on ${url.hostname}, start it there with --serve-page and open its own page.`);
  }
  return new URL("/run/", url.origin);
}

/** Why there is no run at an address, for the visitor; with this page's origin where the run has to name it. */
function noAnswer(url, origin) {
  const elsewhere = url.origin === origin ? ""
    : ` This page comes from ${origin}, so the run must have been started with --serve-origin ${origin}.`;
  return `Nothing answers at ${url.host}. Check that the run still goes on, and that the address is the one it ` +
    `printed.${elsewhere}`;
}

const isStatus = (status) =>
  status !== null && typeof status === "object" && typeof status.phase === "string" && Number.isFinite(status.step) &&
  Array.isArray(status.figures) && Array.isArray(status.measured);

/** Rows of a text in lines; lines that are no rows are left out. */
function rowsOf(text) {
  const rows = [];
  for (const line of text.split("\n")) {
    if (!line) continue;
    try {
      const row = JSON.parse(line);
      if (Number.isFinite(row?.step)) rows.push(row);
    } catch {
      // A line of another version of the program.
    }
  }
  return rows;
}

/** A run that is watched. Sends `change` when something of it has changed. */
export class WatchedRun extends EventTarget {
  /** @type {Phase} */ phase = "connecting";
  /** Why it cannot be watched, or the error of a run that failed; for the visitor. */
  error = "";
  /** `status.json` as it was last read; null before. */
  status = null;
  /** All rows so far, oldest first. */
  rows = [];
  /** The newest weights. */
  weights = new LiveWeights();
  /** The weights before the run, or the first ones that were seen; null until they are there. @type {Blob | null} */
  untrained = null;
  #url;
  #fetch;
  #wait;
  #isHidden;
  #closed = new AbortController();
  /** Bytes of `metrics.jsonl` that were read. */
  #read = 0;
  /** The phase and step of the status when weights were last asked for. */
  #asked = "";

  /**
   * @param {URL} url see {@link addressOf}
   * @param {object} [parts] replaced in tests
   * @param {typeof fetch} [parts.fetch]
   * @param {(ms: number) => Promise<void>} [parts.wait]
   * @param {() => boolean} [parts.isHidden] whether the page is hidden
   * @param {string} [parts.origin] that of the page
   */
  constructor(url, parts = {}) {
    super();
    this.#url = url;
    this.#fetch = parts.fetch ?? ((...request) => fetch(...request));
    this.#wait = parts.wait ?? ((ms) => new Promise((resolve) => setTimeout(resolve, ms)));
    this.#isHidden = parts.isHidden ?? (() => document.hidden);
    this.origin = parts.origin ?? globalThis.location?.origin;
  }

  get address() {
    return this.#url.origin;
  }

  /** Watches until the run ends or is lost, or `close` is called. */
  async watch() {
    let silent = 0;
    while (!this.#closed.signal.aborted) {
      const begun = performance.now();
      try {
        await this.#ask();
        silent = 0;
      } catch (error) {
        if (this.#closed.signal.aborted) return;
        const { phase, message } = this.status ?? {};
        // The server stops soon after a run has ended; what it still said counts.
        if (OVER.includes(phase)) return this.#end(phase, message ?? "");
        if (error instanceof NotARun || !this.status) return this.#end("lost", error.message);
        if (++silent >= MOST_SILENCE) return this.#lost();
      }
      if (OVER.includes(this.phase)) return;
      await this.#wait(Math.max(0, EVERY - (performance.now() - begun)));
    }
  }

  /** Stops watching. The run goes on. */
  close() {
    this.#closed.abort();
    this.phase = "closed";
  }

  /** Asks once for everything that is new. */
  async #ask() {
    const status = await this.#json();
    this.status = status;
    // The rows are read before the phase is shown, so that a run that has ended is shown with all of them.
    const text = await (await this.#get(`metrics.jsonl?from=${this.#read}`)).text();
    this.#read += new TextEncoder().encode(text).length;
    this.#add(rowsOf(text));
    if (status.untrained && !this.untrained) this.untrained = await this.#file("untrained.safetensors", "Untrained");
    const { phase, step } = status;
    const state = `${phase} ${step}`;
    if (status.weights_step !== null && state !== this.#asked && !this.#isHidden()) {
      const blob = await this.#file("weights.safetensors", "Now");
      this.#asked = state;
      this.untrained ??= new File([blob], `When you began to watch`);
      this.weights.replace(blob);
    }
    this.#end(phase, status.message ?? "");
  }

  #add(rows) {
    for (const row of rows) {
      // A run that was resumed takes some steps again.
      while (this.rows.at(-1)?.step >= row.step) this.rows.pop();
      this.rows.push(row);
    }
  }

  #end(phase, error) {
    if (this.#closed.signal.aborted) return;
    [this.phase, this.error] = [phase, error];
    this.dispatchEvent(new Event("change"));
  }

  /** The run no longer answers. If it had taken all its steps, it has ended. */
  #lost() {
    const { phase, step, total_steps: total } = this.status;
    if (total > 0 && step >= total) return this.#end("ended", "");
    const at = total > 0 ? ` after step ${step.toLocaleString("en")} of ${total.toLocaleString("en")}` : "";
    const before = phase === "preparing" ? " while it prepared" : at;
    this.#end("lost", `The run no longer answers${before}: it was killed, or the connection to it is gone. If it was ` +
      "killed, densecl pretrain --resume goes on from its last checkpoint.");
  }

  async #get(file) {
    const patience = AbortSignal.timeout(file.endsWith(".safetensors") ? PATIENCE_FOR_WEIGHTS : PATIENCE);
    const signal = AbortSignal.any([this.#closed.signal, patience]);
    let response;
    try {
      response = await this.#fetch(new URL(file, this.#url), { signal, cache: "no-store" });
    } catch {
      throw new Error(noAnswer(this.#url, this.origin));
    }
    if (response.ok) return response;
    throw new Error(`${this.#url.host} answers ${response.status} for ${file}.`);
  }

  async #json() {
    let response;
    try {
      response = await this.#get("status.json");
    } catch (error) {
      // Another server answers "not found"; a run whose name is refused answers "forbidden".
      if (/ answers \d/.test(error.message) && !this.status) throw new NotARun(this.#url.host);
      throw error;
    }
    const status = await response.json().catch(() => null);
    if (!isStatus(status)) throw new NotARun(this.#url.host);
    return status;
  }

  /** A whole file of weights; a connection that ends early is an error. */
  async #file(name, called) {
    const response = await this.#get(name);
    const bytes = Number(response.headers.get("content-length"));
    if (bytes > MAX_BYTES) throw new Error("The weights are too large to be shown.");
    return new File([await response.blob()], called);
  }
}

class NotARun extends Error {
  constructor(host) {
    super(`${host} answers, but no run of densecl is served there. Give the address that the run printed.`);
  }
}
