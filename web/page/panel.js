/**
 * One column of the page: a canvas with both pictures, the match in words, and the accuracy over the whole picture. All
 * columns show the same point.
 */
import { layout, pointAt, positionAt, prepare } from "../dense-match/draw.js";
import { element } from "./dom.js";
import { paint } from "./paint.js";
import { PHOTO_SHAPE } from "./state.js";
import { accuracyLine, matchLine, weightsLine } from "./words.js";

/** The grid in which arrow keys move the point before the pictures are compared. */
const DEFAULT_GRID = [14, 14];

/** The assumed sizes of the pictures before they are loaded, so that the layout does not change then. */
function placeholder(kind) {
  const [width, height] = kind === "photos" ? PHOTO_SHAPE : [1, 1];
  return { a: { width, height }, b: { width, height } };
}

/** The values that the drawing depends on. The canvas is drawn again only when one of them changes. */
const drawn = (state, index) => [
  state.pictures, state.engineError, state.sides[index], state.view, state.point, state.truthShown, state.threshold,
  state.borderMatches, state.looking, state.weights[1] !== null,
];

/** The weights of the second column when it is opened. */
const opponent = (choice) => (choice === "untrained" ? "trained" : "untrained");

export class Panel {
  #store;
  #index;
  #canvas = element("canvas", {
    class: "pictures", tabindex: 0, role: "application", "aria-roledescription": "pair of pictures",
    "aria-describedby": "keys",
  });
  #name = element("p", { class: "weights-name" });
  #compare = element("button", { type: "button", class: "link" });
  #reading = element("div", { class: "reading" });
  #figures = element("div", { class: "figures" });
  #problem = element("div", { class: "problem", hidden: true });
  #rects = null;
  #last = null;
  #frame = 0;

  constructor(store, index) {
    this.#store = store;
    this.#index = index;
    this.#canvas.setAttribute("aria-label", "First picture, to point at, and second picture, with the match");
    this.element = element("section", { class: "panel" },
      element("div", { class: "weights-line" }, this.#name, this.#compare),
      element("div", { class: "frame" }, this.#canvas, this.#problem), this.#reading, this.#figures);
    this.#listen();
    new ResizeObserver(() => this.#schedule()).observe(this.element);
    store.subscribe((state) => this.#update(state));
  }

  #update(state) {
    this.element.hidden = this.#index > 0 && state.weights[this.#index] === null;
    const now = drawn(state, this.#index);
    if (this.#last && now.every((value, i) => Object.is(value, this.#last[i]))) return;
    this.#last = now;
    this.#schedule();

    const side = state.sides[this.#index];
    const busy = !state.live && (side.phase === "weights" || side.phase === "features");
    this.element.classList.toggle("busy", busy);
    const told = state.live ? { ...side, phase: "ready" } : side;
    this.#name.replaceChildren(...weightsLine(told, state.weights[this.#index], state.files[this.#index]));
    this.#showCompare(state.weights);
    this.#reading.replaceChildren(...matchLine(state, side));
    this.#figures.replaceChildren(...accuracyLine(state, side));
    this.#showProblem(state.engineError ?? side.error);
  }

  #schedule() {
    this.#frame ||= requestAnimationFrame(() => {
      this.#frame = 0;
      this.#draw(this.#store.state);
    });
  }

  #draw(state) {
    const width = this.#canvas.parentElement.clientWidth;
    if (width === 0) return;
    const pictures = state.pictures ?? placeholder(state.kind);
    const comparing = state.weights[1] !== null;
    // Both pictures fit into the window, even if they are upright or stacked on a phone.
    const most = width < 560 ? Math.max(480, innerHeight * 0.87) : Math.max(320, innerHeight * 0.64);
    const maxHeight = comparing ? Infinity : most;
    const rects = layout(width, pictures.a, pictures.b, {
      gap: comparing ? 6 : 10, minWidth: comparing && width < 480 ? Infinity : 180, maxHeight,
    });
    this.#rects = rects;
    this.#canvas.style.height = `${rects.height}px`;
    const context = prepare(this.#canvas, width, rects.height);
    if (state.pictures) paint(context, rects, { ...state, side: state.sides[this.#index] });
    else this.#drawPlaceholder(context, rects);
  }

  /** Updates the button that opens the second column (shown in the first column) or closes it (in the second). */
  #showCompare([first, second]) {
    this.#compare.hidden = this.#index === 0 && second !== null;
    this.#compare.textContent = this.#index === 1 ? "Close" : `Compare with ${opponent(first)} weights`;
  }

  #drawPlaceholder(context, { a, b }) {
    // A translucent grey that works in both themes.
    context.fillStyle = "rgb(128 128 128 / 0.11)";
    for (const { x, y, width, height } of [a, b]) {
      context.beginPath();
      context.roundRect(x, y, width, height, 4);
      context.fill();
    }
  }

  #showProblem(error) {
    this.#problem.hidden = !error;
    if (!error) return;
    const retry = element("button", { type: "button" }, "Try again");
    retry.addEventListener("click", () => this.#store.set({ attempt: this.#store.state.attempt + 1 }));
    this.#problem.replaceChildren(element("p", { role: "alert" }, error.message), retry);
  }

  #listen() {
    const canvas = this.#canvas;
    const at = (event) => {
      const box = canvas.getBoundingClientRect();
      return this.#rects && positionAt(this.#rects.a, event.clientX - box.left, event.clientY - box.top);
    };
    const follow = (event) => {
      const point = at(event);
      if (point) this.#store.set({ point, spoken: false });
      return point;
    };
    canvas.addEventListener("pointermove", (event) => {
      const dragging = event.buttons > 0;
      if (dragging || (event.pointerType === "mouse" && !this.#store.state.pinned)) follow(event);
      const looking = Boolean(at(event));
      canvas.classList.toggle("pointable", looking);
      this.#store.set({ looking });
    });
    canvas.addEventListener("pointerleave", () => this.#store.set({ looking: false }));
    canvas.addEventListener("focus", () => this.#store.set({ looking: canvas.matches(":focus-visible") }));
    canvas.addEventListener("blur", () => this.#store.set({ looking: false, spoken: false }));
    canvas.addEventListener("pointerdown", (event) => {
      const { pinned } = this.#store.state;
      if (event.button !== 0 || !follow(event)) return;
      this.#store.set({ pinned: event.pointerType === "mouse" ? !pinned : true });
    });
    // A finger on the first picture moves the point; elsewhere it scrolls the page.
    canvas.addEventListener("touchstart", (event) => {
      if (event.touches.length === 1 && at(event.touches[0])) event.preventDefault();
    }, { passive: false });
    canvas.addEventListener("keydown", (event) => this.#key(event));
    this.#compare.addEventListener("click", () => {
      const [first] = this.#store.state.weights;
      this.#store.set({ weights: [first, this.#index === 1 ? null : opponent(first)] });
    });
  }

  #key(event) {
    const { point, pinned, sides } = this.#store.state;
    const [rows, columns] = sides[this.#index].pair?.gridA ?? DEFAULT_GRID;
    const step = event.shiftKey ? 4 : 1;
    const walk = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (walk) {
      const [u, v] = point ?? [0.5, 0.5];
      const moved = (t, cells, by) => {
        const cell = Math.floor(t * cells) + by * step;
        return (Math.min(Math.max(cell, 0), cells - 1) + 0.5) / cells;
      };
      this.#store.set({ point: [moved(u, columns, walk[0]), moved(v, rows, walk[1])], looking: true, spoken: true });
    } else if (event.key === "Enter") {
      this.#store.set({ pinned: Boolean(point) && !pinned, spoken: true });
    } else if (event.key === "Escape") {
      this.#store.set({ pinned: false, point: null });
    } else {
      return;
    }
    event.preventDefault();
  }

  /** The picture under a point of the window: "a", "b" or null. */
  pictureAt(x, y) {
    const box = this.#canvas.getBoundingClientRect();
    const inside = (rect) => rect && positionAt(rect, x - box.left, y - box.top);
    return inside(this.#rects?.a) ? "a" : inside(this.#rects?.b) ? "b" : null;
  }
}
