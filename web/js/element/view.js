/** The view of `<dense-match>`: draws the pictures and results, and maps pointer and keys to cells of picture A. */

import * as draw from "../draw.js";
import { cellAt, centre } from "../engine.js";
import { build } from "./shell.js";
import { nearest, paint, step, stepAmong } from "./stage.js";
import * as words from "./words.js";

const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

/** The largest distance in cells from the pointer at which it selects a mutual match. */
const REACH = 3;

/** Converts a position [u, v] of a picture to pixels of its natural size. */
export const inPixels = ({ naturalWidth, naturalHeight }, [u, v]) => ({ x: u * naturalWidth, y: v * naturalHeight });

export class View {
  #host;
  #owner;
  #ui;
  #observer = null;
  #frame = 0;
  #speech = 0;
  #state = "idle";
  #place = null;
  #shown = null;
  #colours = null;
  #cursor = null;
  #found = null;
  #pinned = false;

  /**
   * @param {HTMLElement & {view: string, threshold: number, borderMatches: boolean}} host
   * @param {ShadowRoot} root
   * @param {{ask(cell: number, chooser: "visitor" | "nobody"): void, retry(): void, fail(error: Error): void}} owner
   *   `ask` requests the match of a cell, which the owner passes to `answer`
   */
  constructor(host, root, owner) {
    this.#host = host;
    this.#owner = owner;
    this.#ui = build(root);
    const { stage, retry, posterSlot } = this.#ui;
    stage.addEventListener("pointermove", (event) => this.#hover(event));
    stage.addEventListener("pointerdown", (event) => this.#hover(event));
    stage.addEventListener("click", (event) => this.#click(event));
    stage.addEventListener("keydown", (event) => this.#key(event));
    retry.addEventListener("click", () => {
      stage.focus({ preventScroll: true });
      owner.retry();
    });
    posterSlot.addEventListener("slotchange", () => this.refresh());
    this.refresh();
  }

  start() {
    this.#observer = new ResizeObserver(() => this.refresh());
    this.#observer.observe(this.#ui.frame);
  }

  stop() {
    this.#observer.disconnect();
    cancelAnimationFrame(this.#frame);
    clearTimeout(this.#speech);
    this.#frame = 0;
    this.clear();
  }

  /** The pictures shown, `{a, b}`, and after the network has run also `{pair, mutual}`; null if nothing is shown. */
  get shown() {
    return this.#shown;
  }

  get pinned() {
    return this.#pinned;
  }

  /** Shows two pictures, and with a pair their comparison; `mutual` are all its mutual matches, most similar first. */
  show(a, b, pair = null, mutual = []) {
    this.clear();
    this.#shown = { a, b, pair, mutual };
    this.changed();
  }

  /** Replaces the comparison by one of the same pictures with other weights. The point stays, and is asked for anew. */
  renew(pair, mutual, colours) {
    this.#shown = { ...this.#shown, pair, mutual };
    this.#colours = colours;
    if (this.#cursor !== null) this.#owner.ask(this.#cursor, "nobody");
    this.changed();
  }

  clear() {
    this.#shown = this.#colours = this.#place = null;
    this.#unpick();
  }

  /**
   * Shows the match of a cell.
   * @param {"visitor" | "page" | "nobody"} chooser who chose the cell; "nobody" for a suggestion of this view
   * @returns {boolean} whether it is shown; false if the point was cleared in the meantime
   */
  answer(found, chooser) {
    if (chooser === "page") this.#cursor = found.cell;
    if (this.#cursor === null) return false;
    this.#found = found;
    this.refresh();
    // Screen readers announce a match only after the point has stopped moving.
    clearTimeout(this.#speech);
    const sentence = words.spoken(this.#pixels(found), found.cell, this.#shown.pair.gridA, this.#pinned);
    if (chooser !== "nobody") this.#speech = setTimeout(() => this.#say(sentence), 250);
    return true;
  }

  /** Updates after a change of the attributes `view`, `threshold` or `border-matches`. */
  changed() {
    if (this.#shown?.pair) {
      const { view } = this.#host;
      // In the match view the point is kept only if it is pinned and has a line.
      if (view === "matches" && !(this.#pinned && this.lines().some((line) => line.cellA === this.#cursor))) this.#unpick();
      if (view === "heatmap" && this.#cursor === null) this.#owner.ask((this.#cursor = this.#suggestion()), "nobody");
    }
    this.refresh();
  }

  /** Sets the state. @param {"idle" | "loading" | "ready" | "error"} state @param {string} message that of an error */
  state(state, message = "") {
    this.#state = state;
    this.#ui.message.textContent = message;
    this.refresh();
  }

  /** Sets the poster. @param {string | null} address URL of a picture to show before the first comparison */
  poster(address) {
    const { posterImage } = this.#ui;
    posterImage.hidden = !address;
    if (address) posterImage.src = address;
    else posterImage.removeAttribute("src");
    this.refresh();
  }

  /** Shows the progress. @param {number | null} fraction loaded fraction of all files; null while the network runs */
  progress(fraction, cached = false) {
    const { progress, progressText } = this.#ui;
    progressText.textContent = words.busy(fraction, cached);
    progress.classList.toggle("endless", fraction === null);
    progress.style.setProperty("--dense-match-progress", String(fraction ?? 1));
  }

  device(device) {
    const { badge, badgeTexts } = this.#ui;
    badge.hidden = false;
    badge.dataset.kind = device.kind;
    badge.title = device.reason ?? "";
    words.badge(device, this.#shown?.pair?.ms).forEach((text, i) => (badgeTexts[i].textContent = text));
  }

  /** Updates the texts immediately and the drawing in the next frame. */
  refresh() {
    const { frame, stage, poster, posterSlot, posterImage, progress, error, ghost } = this.#ui;
    const pair = this.#shown?.pair;
    const hasPoster = !posterImage.hidden || posterSlot.assignedNodes().length > 0;
    frame.classList.toggle("ready", Boolean(pair));
    frame.classList.toggle("waiting", !pair);
    stage.setAttribute("aria-busy", String(this.#state === "loading"));
    poster.hidden = Boolean(pair) || !hasPoster;
    ghost.hidden = Boolean(this.#shown);
    progress.hidden = this.#state !== "loading";
    error.hidden = this.#state !== "error";
    this.#caption();
    if (!this.#frame) this.#frame = requestAnimationFrame(() => this.#draw());
    if (pair && this.#host.view === "pca" && !this.#colours) {
      this.colours().then(() => this.refresh(), (failure) => this.#shown?.pair === pair && this.#owner.fail(failure));
    }
  }

  /** The PCA colours, which are computed at the first call. */
  async colours() {
    const { pair } = this.#shown;
    const colours = this.#colours ?? (await pair.pca());
    if (this.#shown?.pair === pair) this.#colours = colours;
    return colours;
  }

  /** The current view on a new canvas, `width` pixels wide. */
  picture(width) {
    const canvas = document.createElement("canvas");
    const place = draw.layout(width, ...this.#sizes());
    paint(draw.prepare(canvas, place.width, place.height, 1), place, { ...this.#scene(), radius: 0 });
    return canvas;
  }

  /** The mutual matches over the threshold, those at the border only if they are asked for. */
  lines() {
    const { threshold, borderMatches } = this.#host;
    return this.#shown.mutual.filter((line) => line.score >= threshold && (borderMatches || !line.atBorder));
  }

  #draw() {
    this.#frame = 0;
    const { canvas, stage, ghost, frame } = this.#ui;
    const width = frame.clientWidth;
    stage.classList.toggle("sized", Boolean(this.#shown));
    if (!this.#shown || width === 0) {
      canvas.width = canvas.height = 0;
      canvas.style.width = canvas.style.height = "0";
      return;
    }
    const style = getComputedStyle(stage);
    const gap = Number.parseFloat(getComputedStyle(ghost).columnGap) || 0;
    const maxHeight = style.maxHeight.endsWith("px") ? Number.parseFloat(style.maxHeight) : Infinity;
    this.#place = draw.layout(width, ...this.#sizes(), { gap, maxHeight });
    canvas.style.width = `${this.#place.width}px`;
    canvas.style.height = `${this.#place.height}px`;
    const context = draw.prepare(canvas, this.#place.width, this.#place.height);
    paint(context, this.#place, { ...this.#scene(), radius: Number.parseFloat(style.borderTopLeftRadius) || 0 });
  }

  #scene() {
    const style = getComputedStyle(this.#host);
    return {
      ...this.#shown,
      view: this.#host.view,
      threshold: this.#host.threshold,
      lines: this.lines(),
      colours: this.#colours,
      found: this.#found,
      pinned: this.#pinned,
      heat: Number.parseFloat(style.getPropertyValue("--dense-match-heat-opacity")) || undefined,
      marker: style.getPropertyValue("--dense-match-marker").trim() || undefined,
    };
  }

  #sizes() {
    return [this.#shown.a, this.#shown.b].map(({ naturalWidth, naturalHeight }) => ({ width: naturalWidth, height: naturalHeight }));
  }

  #pixels({ cell, point, score }) {
    const { a, b, pair } = this.#shown;
    return { point: inPixels(a, centre(pair.gridA, cell)), position: inPixels(b, point), score };
  }

  /** Updates the line under the pictures. */
  #caption() {
    const { readout, legend, low, high } = this.#ui;
    const { view, threshold } = this.#host;
    const found = this.#found;
    const heat = view === "heatmap" && found && this.#state !== "error";
    legend.hidden = !heat;
    if (heat) [low.textContent, high.textContent] = draw.finiteRange(found.row).map(words.decimal);
    if (!this.#shown?.pair || this.#state === "error") readout.textContent = "";
    else if (found) readout.textContent = words.readout(this.#pixels(found));
    else if (view === "matches") readout.textContent = words.counted(this.lines().length, threshold);
    else readout.textContent = words.hint(view, this.#place?.stacked, matchMedia("(pointer: coarse)").matches);
  }

  #say(sentence) {
    this.#ui.spoken.textContent = sentence;
  }

  // --- the point in picture A ---

  #unpick() {
    this.#cursor = this.#found = null;
    this.#pinned = false;
    clearTimeout(this.#speech);
  }

  #pick(cell) {
    if (cell === this.#cursor) return;
    this.#cursor = cell;
    this.#owner.ask(cell, "visitor");
  }

  /** The cell shown before the visitor chooses one: that of a good mutual match near the middle of A, or the middle. */
  #suggestion() {
    const { pair, mutual } = this.#shown;
    const middle = cellAt(pair.gridA, 0.5, 0.5);
    const best = mutual.slice(0, Math.ceil(mutual.length / 2)).map((line) => line.cellA);
    return nearest(best, pair.gridA, middle) ?? middle;
  }

  /** The cell under the pointer, or in the match view the nearest cell with a match; null if there is none. */
  #cellUnder({ clientX, clientY }) {
    const { pair } = this.#shown ?? {};
    if (!pair || !this.#place) return null;
    const box = this.#ui.canvas.getBoundingClientRect();
    const position = draw.positionAt(this.#place.a, clientX - box.x, clientY - box.y);
    if (!position) return null;
    const cell = cellAt(pair.gridA, ...position);
    if (this.#host.view !== "matches") return cell;
    return nearest(this.lines().map((line) => line.cellA), pair.gridA, cell, REACH);
  }

  #hover(event) {
    if (this.#pinned || !this.#shown?.pair) return;
    const cell = this.#cellUnder(event);
    if (cell !== null) this.#pick(cell);
    else if (this.#host.view === "matches" && this.#found) {
      this.#unpick();
      this.refresh();
    }
  }

  #click(event) {
    const cell = this.#cellUnder(event);
    if (cell !== null) this.#pin(cell);
  }

  /** Pins a cell, or unpins it if it is pinned already. */
  #pin(cell) {
    this.#pinned = !(this.#pinned && cell === this.#cursor);
    this.#cursor = cell;
    if (this.#pinned) this.#owner.ask(cell, "visitor");
    else this.#say("Not pinned any more.");
    this.refresh();
  }

  #key(event) {
    const pair = this.#shown?.pair;
    if (!pair || event.ctrlKey || event.altKey || event.metaKey) return;
    const arrow = ARROWS[event.key];
    if (arrow) {
      const [dx, dy] = arrow.map((d) => (event.shiftKey ? 4 * d : d));
      const cells = this.#host.view === "matches" ? this.lines().map((line) => line.cellA) : null;
      const first = cells ? nearest(cells, pair.gridA, this.#suggestion()) : this.#suggestion();
      const next = cells ? stepAmong(cells, pair.gridA, this.#cursor, dx, dy) : step(pair.gridA, this.#cursor, dx, dy);
      const cell = this.#cursor === null ? first : next;
      if (cell !== null) this.#pick(cell);
    } else if ((event.key === "Enter" || event.key === " ") && this.#cursor !== null) {
      this.#pin(this.#cursor);
    } else if (event.key === "Escape" && this.#cursor !== null) {
      this.#unpick();
      this.#say("Cleared.");
      this.refresh();
    } else {
      return;
    }
    event.preventDefault();
  }
}
