/**
 * `<dense-match>`: where two pictures show the same thing, found on the visitor's machine. README.md has the reference.
 *
 * This file is the element's life: which inputs are wanted, loading them (the latest wins), asking for matches, telling
 * the page. What is seen and touched is in element/view.js.
 */

import { ATTRIBUTES, INPUTS, propertyName } from "./element/attributes.js";
import { turn } from "./element/turn.js";
import { View, inPixels } from "./element/view.js";
import { cellAt, centre, engine } from "./engine.js";

/** The weights that come with the package. */
const WEIGHTS = new URL("./weights/densecl_r18_photos/manifest.json", import.meta.url).href;

// Where there is no DOM (a server that renders) the module can still be imported.
const Base = globalThis.HTMLElement ?? class {};

let elements = 0;

export class DenseMatch extends Base {
  static observedAttributes = Object.keys(ATTRIBUTES);

  #key = `dense-match-${++elements}`;
  #view;
  #internals;
  /** Inputs given as objects (File, Blob, ImageBitmap, …) instead of addresses, by attribute. */
  #given = new Map();
  #alive = false;
  #scheduled = false;
  /** @type {"idle" | "loading" | "ready" | "error"} */
  #phase = "idle";
  /** Whether what is shown is not what is wanted: a load is due or under way, or has failed. */
  #stale = true;
  /** Ends the load under way. */
  #controller = null;
  /** A method asked for a result, so loading does not wait for the screen. */
  #demanded = false;
  /** What methods wait for: `{promise, resolve, reject}`; null when none does. */
  #waiting = null;
  /** Pictures loaded and not closed yet, for the next load to find: `{source, size, picture}`. */
  #pictures = new Set();
  #engine = null;
  /** Ends listening to the engine. */
  #listening = null;
  /** The cell to ask for next, and the end of the queue of questions. */
  #next = null;
  #last = Promise.resolve();

  constructor() {
    super();
    this.#internals = this.attachInternals?.();
    this.#view = new View(this, this.attachShadow({ mode: "open", delegatesFocus: true }), {
      ask: (cell, chooser) => this.#ask(cell, chooser),
      retry: () => this.#schedule(),
      fail: (error) => this.#fail(error),
    });
  }

  connectedCallback() {
    // Properties set before the element was defined hide those of the class.
    for (const name of DenseMatch.observedAttributes.map(propertyName)) {
      if (!Object.hasOwn(this, name)) continue;
      const value = this[name];
      delete this[name];
      this[name] = value;
    }
    if (this.#alive) return;
    this.#alive = true;
    this.#view.start();
    this.#schedule();
  }

  disconnectedCallback() {
    // An element that is moved is disconnected and connected at once; that must stop nothing.
    queueMicrotask(() => {
      if (this.isConnected || !this.#alive) return;
      this.#alive = false;
      this.#controller?.abort();
      this.#drop();
      this.#view.stop();
      this.#join(null);
      this.#state("idle");
      this.#stale = true;
      this.#settle("reject", new DOMException("The element was removed from the page.", "AbortError"));
    });
  }

  attributeChangedCallback(name, before, after) {
    if (before === after) return;
    if (name === "poster") this.#view.poster(after);
    else if (name === "loading") this.#stale && this.#schedule();
    else if (!INPUTS.includes(name)) this.#view.changed();
    else {
      this.#given.delete(name);
      this.#schedule();
    }
  }

  /** Whether the comparison that the attributes ask for is shown. */
  get loaded() {
    return !this.#stale;
  }

  /** What computes; null before that is known. */
  get device() {
    return this.#engine?.device ?? null;
  }

  async match(x, y) {
    const { a, b, pair } = await this.#whenLoaded();
    const [u, v] = [x / a.naturalWidth, y / a.naturalHeight];
    if (!(u >= 0 && u <= 1 && v >= 0 && v <= 1)) {
      throw new RangeError(`(${x}, ${y}) is outside picture A, which is ${a.naturalWidth} × ${a.naturalHeight} pixels`);
    }
    const found = await this.#inOrder(() => pair.match(cellAt(pair.gridA, u, v)));
    if (this.#view.shown?.pair === pair && this.#view.answer(found, "page")) this.#tell(found);
    return detail(a, b, pair, found);
  }

  /** All mutual matches; with a selector what `matches` is for every element, or code that delegates events would break. */
  matches(selector) {
    return selector === undefined ? this.#allMatches() : super.matches(selector);
  }

  async #allMatches() {
    const { a, b } = await this.#whenLoaded();
    return this.#view.lines().map((line) => ({ point: inPixels(a, line.a), position: inPixels(b, line.b), score: line.score }));
  }

  async toBlob({ type = "image/png", quality, width = 1200 } = {}) {
    await this.#whenLoaded();
    if (this.view === "pca") await this.#view.colours();
    return new Promise((resolve, reject) => {
      const refused = () => reject(new DOMException("The browser could not make the picture.", "EncodingError"));
      this.#view.picture(width).toBlob((blob) => (blob ? resolve(blob) : refused()), type, quality);
    });
  }

  // --- loading ---

  #input(attribute) {
    return this.#given.get(attribute) ?? ATTRIBUTES[attribute](this.getAttribute(attribute));
  }

  /** Defines the property that reflects an attribute. */
  static reflect(attribute) {
    const isInput = INPUTS.includes(attribute);
    Object.defineProperty(this.prototype, propertyName(attribute), {
      configurable: true,
      enumerable: true,
      get() {
        return this.#input(attribute);
      },
      set(value) {
        const object = isInput && typeof value === "object" && value !== null && !(value instanceof URL);
        if (object || value === null || value === undefined) this.removeAttribute(attribute);
        else this.setAttribute(attribute, value);
        if (object) this.#given.set(attribute, value);
        else this.#given.delete(attribute);
        if (isInput) this.#schedule();
      },
    });
  }

  /** Several changes at once are one load. */
  #schedule() {
    this.#stale = true;
    if (this.#scheduled || !this.#alive) return;
    this.#scheduled = true;
    queueMicrotask(() => {
      this.#scheduled = false;
      if (this.#alive) this.#load();
    });
  }

  async #load() {
    this.#controller?.abort();
    const controller = (this.#controller = new AbortController());
    const { signal } = controller;
    const [a, b] = [this.#input("src-a"), this.#input("src-b")];
    if (!a || !b) {
      this.#drop();
      this.#state("idle");
      this.#settle("reject", new DOMException("The element has no two pictures: set src-a and src-b.", "InvalidStateError"));
      return;
    }
    try {
      this.#state(this.#view.shown?.pair ? "loading" : "idle");
      await turn(this, this.#demanded ? "eager" : this.loading, signal);
      this.#state("loading");
      await this.#fetch(a, b, signal);
      await this.#last; // the first point is shown
      if (signal.aborted || this.#scheduled || this.#phase === "error") return;
      this.#stale = this.#demanded = false;
      this.#state("ready");
      this.#view.device(this.#engine.device);
      this.#settle("resolve", this.#view.shown);
      this.dispatchEvent(new CustomEvent("load"));
    } catch (error) {
      if (signal.aborted || this.#scheduled) return;
      controller.abort(); // what else was loading
      this.#fail(error);
    }
  }

  async #fetch(sourceA, sourceB, signal) {
    const { size, feature, stride } = this;
    const shared = engine({ wasmUrl: this.wasmUrl || undefined, workerUrl: this.workerUrl || undefined });
    this.#join(shared);
    this.#view.progress(0);
    const pictures = Promise.all([sourceA, sourceB].map((source) => this.#picture(shared, source, size, signal)));
    // The pictures are shown while the network still loads.
    pictures.then(([a, b]) => signal.aborted || this.#view.shown?.pair || this.#view.show(a, b), () => {});
    const [weights, [a, b]] = await Promise.all([shared.weights(this.#input("weights") || WEIGHTS, { signal }), pictures]);
    signal.throwIfAborted();
    this.#view.progress(null);
    const pair = await shared.pair(a, b, { weights, feature, stride, signal, key: this.#key });
    try {
      const mutual = await pair.matches(-1);
      signal.throwIfAborted();
      this.#drop([a, b]);
      this.#view.show(a, b, pair, mutual);
    } catch (error) {
      pair.dispose();
      throw error;
    }
  }

  /** A picture; the one there is where it is the same, for the engine remembers its features. */
  async #picture(shared, source, size, signal) {
    const known = [...this.#pictures].find((known) => known.source === source && known.size === size);
    if (known) return known.picture;
    const picture = await shared.picture(source, { size, signal });
    if (signal.aborted) close(picture);
    else this.#pictures.add({ source, size, picture });
    return picture;
  }

  /** Frees what is shown, and all pictures but those to keep. */
  #drop(keep = []) {
    this.#view.shown?.pair?.dispose();
    this.#view.clear();
    for (const entry of this.#pictures) {
      if (keep.includes(entry.picture)) continue;
      this.#pictures.delete(entry);
      close(entry.picture);
    }
  }

  /** Listens to an engine, and to no other. */
  #join(shared) {
    if (shared === this.#engine) return;
    this.#listening?.abort();
    this.#engine = shared;
    if (!shared) return;
    if (shared.device) this.#view.device(shared.device);
    this.#listening = new AbortController();
    const { signal } = this.#listening;
    shared.addEventListener("progress", (event) => this.#progress(event.detail), { signal });
    shared.addEventListener("devicechange", (event) => {
      this.#view.device(event.detail);
      this.dispatchEvent(new CustomEvent("devicechange", { detail: event.detail }));
    }, { signal });
  }

  #progress(progress) {
    if (this.#phase !== "loading") return;
    this.#view.progress(progress.fraction < 1 ? progress.fraction : null, progress.cached);
    this.dispatchEvent(new CustomEvent("progress", { detail: progress }));
  }

  #state(phase, message) {
    this.#phase = phase;
    this.#view.state(phase, message);
    const states = this.#internals?.states;
    if (!states) return;
    states.clear();
    states.add(phase);
  }

  #fail(error) {
    const { type = "worker", message } = error;
    this.#stale = true;
    this.#state("error", message);
    this.#settle("reject", error);
    this.dispatchEvent(new CustomEvent("error", { detail: { type, message } }));
  }

  // --- asking ---

  /** What is shown, as soon as it is what the attributes ask for. */
  #whenLoaded() {
    if (!this.#stale) return Promise.resolve(this.#view.shown);
    if (!this.#alive) return Promise.reject(new DOMException("The element is in no page.", "InvalidStateError"));
    this.#demanded = true;
    this.#waiting ??= Promise.withResolvers();
    this.#waiting.promise.catch(() => {}); // each method that waits handles it
    if (this.#phase !== "loading") this.#schedule();
    return this.#waiting.promise;
  }

  /** Ends the wait of all methods. @param {"resolve" | "reject"} how */
  #settle(how, value) {
    this.#waiting?.[how](value);
    this.#waiting = null;
  }

  /** Asks one thing after the other: a question never makes an earlier one fail. */
  #inOrder(question) {
    const answer = this.#last.then(question);
    this.#last = answer.catch(() => {});
    return answer;
  }

  /** Asks for the match of a cell; of cells that wait only the latest is asked for. */
  async #ask(cell, chooser) {
    const waits = this.#next !== null;
    this.#next = { cell, chooser };
    if (waits) return;
    try {
      await this.#inOrder(async () => {
        const { cell, chooser } = this.#next;
        this.#next = null;
        const pair = this.#view.shown?.pair;
        const found = await pair?.match(cell);
        if (!found || pair !== this.#view.shown?.pair) return;
        if (this.#view.answer(found, chooser) && chooser === "visitor") this.#tell(found);
      });
    } catch (error) {
      // The pair may have been replaced meanwhile.
      if (error.name !== "AbortError" && error.type !== "aborted") this.#fail(error);
    }
  }

  #tell(found) {
    const { a, b, pair } = this.#view.shown;
    this.dispatchEvent(new CustomEvent("match", { detail: { ...detail(a, b, pair, found), pinned: this.#view.pinned } }));
  }
}

for (const attribute of DenseMatch.observedAttributes) DenseMatch.reflect(attribute);

/** A match for the page, in pixels of the natural sizes. */
function detail(a, b, pair, { cell, point, score }) {
  return { point: inPixels(a, centre(pair.gridA, cell)), position: inPixels(b, point), score };
}

/** Frees a picture's pixels at once; some browsers take their time to find that nothing needs them. */
function close({ bitmap, preview }) {
  bitmap.close();
  preview.close();
}

if (globalThis.customElements && !customElements.get("dense-match")) customElements.define("dense-match", DenseMatch);
