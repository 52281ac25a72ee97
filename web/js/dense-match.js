/**
 * `<dense-match>` finds the places in two pictures that show the same thing, on the visitor's machine. README.md has
 * the reference.
 *
 * This file has the attributes and properties of the element, the loading of its inputs (a newer load aborts an older
 * one), the requests for matches, and the events for the page. Drawing, pointer and keyboard are in element/view.js.
 */

import { ATTRIBUTES, INPUTS, propertyName } from "./element/attributes.js";
import { Following, first, isLive } from "./element/live.js";
import { turn } from "./element/turn.js";
import { View, inPixels } from "./element/view.js";
import { cellAt, centre, engine } from "./engine.js";

/** The weights that come with the package. */
const WEIGHTS = new URL("./weights/densecl_r18_photos/manifest.json", import.meta.url).href;

// Without a DOM, as in server-side rendering, the module can still be imported.
const Base = globalThis.HTMLElement ?? class {};

let elements = 0;

export class DenseMatch extends Base {
  static observedAttributes = Object.keys(ATTRIBUTES);

  #key = `dense-match-${++elements}`;
  #view;
  #internals;
  /** Inputs given as objects (File, Blob, ImageBitmap, …) instead of URLs, by the attribute's name. */
  #given = new Map();
  #alive = false;
  #scheduled = false;
  /** @type {"idle" | "loading" | "ready" | "error"} */
  #phase = "idle";
  /** Whether the comparison shown is out of date: a load is scheduled or running, or has failed. */
  #stale = true;
  /** Aborts the running load. */
  #controller = null;
  /** Whether a method waits for a result, so that loading does not wait until the element is near the screen. */
  #demanded = false;
  /** The promise that methods wait for, as `{promise, resolve, reject}`; null when no method waits. */
  #waiting = null;
  /** Loaded pictures that are not closed yet, as `{source, size, picture}`; the next load can use them again. */
  #pictures = new Set();
  #engine = null;
  /** Removes the listeners from the engine. */
  #listening = null;
  /** Null where the weights do not change. @type {Following | null} */
  #following = null;
  /** `#next`: the cell whose match is requested next. `#last`: the promise of the last request in the queue. */
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
    // A property that was set before the element was defined hides the accessor of the class, so it is set anew.
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
    // An element that is moved within the page is disconnected and connected again in the same task. The microtask runs
    // after both, so that a move does not stop the element.
    queueMicrotask(() => {
      if (this.isConnected || !this.#alive) return;
      this.#alive = false;
      this.#controller?.abort();
      this.#drop();
      this.#view.stop();
      this.#join(null);
      this.#follow(null);
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

  /** Whether the comparison for the current attributes is shown. */
  get loaded() {
    return !this.#stale;
  }

  /** The device that computes; null before it is known. */
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

  /**
   * The matches of the match view. If it is called with a CSS selector, it does what `Element.matches` does, because
   * scripts that delegate events call `Element.matches` on every element.
   */
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
        if (object || (value ?? false) === false) this.removeAttribute(attribute);
        else this.setAttribute(attribute, value);
        if (object) this.#given.set(attribute, value);
        else this.#given.delete(attribute);
        if (isInput) this.#schedule();
      },
    });
  }

  /** Schedules a load. Several changes in one task make one load. */
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
      await this.#last; // until the first point is shown
      if (signal.aborted || this.#scheduled || this.#phase === "error") return;
      this.#stale = this.#demanded = false;
      this.#state("ready");
      this.#view.device(this.#engine.device);
      this.#settle("resolve", this.#view.shown);
      this.dispatchEvent(new CustomEvent("load"));
    } catch (error) {
      if (signal.aborted || this.#scheduled) return;
      controller.abort(); // stops the loading of the other inputs
      this.#fail(error);
    }
  }

  async #fetch(sourceA, sourceB, signal) {
    const { size, feature, stride } = this;
    const given = this.#input("weights");
    const live = isLive(given) ? given : null;
    this.#follow(live);
    const shared = engine({ wasmUrl: this.wasmUrl || undefined, workerUrl: this.workerUrl || undefined });
    this.#join(shared);
    this.#view.progress(0);
    const pictures = Promise.all([sourceA, sourceB].map((source) => this.#picture(shared, source, size, signal)));
    // The pictures are shown before the network is loaded.
    pictures.then(([a, b]) => signal.aborted || this.#view.shown?.pair || this.#view.show(a, b), () => {});
    if (live) await first(live, signal);
    const [weights, [a, b]] = await Promise.all([shared.weights(live ? live.current : given || WEIGHTS, { signal }), pictures]);
    signal.throwIfAborted();
    this.#view.progress(null);
    const compare = { weights, feature, stride, signal, key: this.#key };
    await this.#compare(shared, a, b, compare, (pair, mutual) => {
      this.#drop([a, b]);
      this.#view.show(a, b, pair, mutual);
    });
  }

  /** Compares two pictures and passes the comparison to `show`. */
  async #compare(shared, a, b, options, show) {
    const pair = await shared.pair(a, b, options);
    try {
      const mutual = await pair.matches(-1);
      options.signal.throwIfAborted();
      await show(pair, mutual);
    } catch (error) {
      pair.dispose();
      throw error;
    }
  }

  /** Follows weights that change instead of those before; null for none. */
  #follow(live) {
    if (live === (this.#following?.live ?? null)) return;
    this.#following?.stop();
    this.#following = live && new Following(live, () => this.#renew(live));
  }

  /** Compares the pictures shown by the newest weights. */
  async #renew(live) {
    const { pair, a, b } = this.#view.shown ?? {};
    // A load that is under way takes the newest weights itself.
    if (!pair || this.#stale || !live.current) return;
    const { signal } = this.#controller;
    try {
      const { feature, stride } = this;
      const weights = await this.#engine.weights(live.current, { signal });
      await this.#compare(this.#engine, a, b, { weights, feature, stride, signal, key: this.#key }, async (renewed, mutual) => {
        const colours = this.view === "pca" ? await renewed.pca() : null;
        signal.throwIfAborted();
        this.#view.renew(renewed, mutual, colours);
        pair.dispose();
      });
      this.dispatchEvent(new CustomEvent("load"));
    } catch (error) {
      if (!signal.aborted && error.type !== "aborted") this.#fail(error);
    }
  }

  /** Loads a picture. One that is loaded already is used again, because the engine caches its features. */
  async #picture(shared, source, size, signal) {
    const known = [...this.#pictures].find((known) => known.source === source && known.size === size);
    if (known) return known.picture;
    const picture = await shared.picture(source, { size, signal });
    if (signal.aborted) close(picture);
    else this.#pictures.add({ source, size, picture });
    return picture;
  }

  /** Frees the comparison shown and all pictures except those in `keep`. */
  #drop(keep = []) {
    this.#view.shown?.pair?.dispose();
    this.#view.clear();
    for (const entry of this.#pictures) {
      if (keep.includes(entry.picture)) continue;
      this.#pictures.delete(entry);
      close(entry.picture);
    }
  }

  /** Listens to the events of an engine instead of the previous one; null for none. */
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

  // --- matches ---

  /** Resolves to the comparison for the current attributes, as soon as it is shown. */
  #whenLoaded() {
    if (!this.#stale) return Promise.resolve(this.#view.shown);
    if (!this.#alive) return Promise.reject(new DOMException("The element is in no page.", "InvalidStateError"));
    this.#demanded = true;
    this.#waiting ??= Promise.withResolvers();
    this.#waiting.promise.catch(() => {}); // the waiting methods handle the rejection
    if (this.#phase !== "loading") this.#schedule();
    return this.#waiting.promise;
  }

  /** Resolves or rejects the promise that methods wait for. @param {"resolve" | "reject"} how */
  #settle(how, value) {
    this.#waiting?.[how](value);
    this.#waiting = null;
  }

  /** Runs requests one after the other, because a newer `pair.match` makes an older one reject. */
  #inOrder(question) {
    const answer = this.#last.then(question);
    this.#last = answer.catch(() => {});
    return answer;
  }

  /** Requests the match of a cell. While a request waits in the queue, a newer cell replaces its cell. */
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
      // A request whose pair was replaced in the meantime is aborted, which is no failure.
      if (error.name !== "AbortError" && error.type !== "aborted") this.#fail(error);
    }
  }

  #tell(found) {
    const { a, b, pair } = this.#view.shown;
    this.dispatchEvent(new CustomEvent("match", { detail: { ...detail(a, b, pair, found), pinned: this.#view.pinned } }));
  }
}

for (const attribute of DenseMatch.observedAttributes) DenseMatch.reflect(attribute);

/** A match as events and methods give it, with positions in pixels of the natural sizes. */
function detail(a, b, pair, { cell, point, score }) {
  return { point: inPixels(a, centre(pair.gridA, cell)), position: inPixels(b, point), score };
}

/** Frees a picture's pixels at once; in some browsers garbage collection frees them late. */
function close({ bitmap, preview }) {
  bitmap.close();
  preview.close();
}

if (globalThis.customElements && !customElements.get("dense-match")) customElements.define("dense-match", DenseMatch);
