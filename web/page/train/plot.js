/**
 * The plots of a run: its losses, and its correspondence accuracy with the levels to compare it with. They are drawn
 * from rows as `metrics.jsonl` has them, of a training in this page or of one that is watched.
 *
 * Each plot is a figure: a title, a legend with the latest values as text, and an SVG that carries its content in words
 * for screen readers. The rows are also a table, which is made when it is opened. Colours come from the style sheet, so
 * that they follow the page's theme.
 */
import { element } from "../dom.js";
import {
  accuracies, envelope, inWords, latest, losses, movingAverage, percent, percentTick, range, sampled, single, stepTick,
  tick, ticks,
} from "./scale.js";

const SVG = "http://www.w3.org/2000/svg";

/** Height of a plot, and the space beside and below it for the labels of its axes, in CSS pixels. */
const HEIGHT = 170;
const LEFT = 46;
const BOTTOM = 24;
const TOP = 8;
const RIGHT = 10;

const svg = (tag, attributes, text = null) => {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, String(value));
  if (text !== null) node.textContent = text;
  return node;
};

/** A plot of one kind of figures. */
class Plot {
  #picture = svg("svg", { role: "img", class: "plot" });
  #legend = element("ul", { class: "legend" });
  #title;
  #axis;
  #shown = null;

  /**
   * @param {string} title
   * @param {{fromZero: boolean, tick: (v: number) => string, value: (v: number) => string}} axis
   */
  constructor(title, axis) {
    this.#title = title;
    this.#axis = axis;
    const caption = element("figcaption", {}, element("strong", {}, title), this.#legend);
    this.element = element("figure", {}, caption, this.#picture);
    new ResizeObserver(() => this.#draw()).observe(this.element);
  }

  /** @param {import("./scale.js").Series[]} series @param {number[]} steps @param {number} total the axis' last step */
  show(series, steps, total) {
    this.element.hidden = series.length === 0;
    this.#shown = { series, steps, total };
    this.#legend.replaceChildren(...[...series].reverse().map(({ label, tone, reference, values }) =>
      element("li", {}, element("i", { class: `key ${tone}${reference ? " dashed" : ""}`, "aria-hidden": "true" }),
        `${label} `, element("b", {}, this.#axis.value(latest(values))))));
    this.#picture.setAttribute("aria-label", inWords(this.#title, series, steps.at(-1) ?? 0, this.#axis.value));
    this.#draw();
  }

  #draw() {
    const width = this.element.clientWidth;
    if (!width || !this.#shown) return;
    const { series, steps, total } = this.#shown;
    const inner = { x: LEFT, y: TOP, width: width - LEFT - RIGHT, height: HEIGHT - TOP - BOTTOM };
    const [low, high] = range(series, this.#axis.fromZero);
    const across = (step) => inner.x + (inner.width * step) / Math.max(total, 1);
    const up = (value) => inner.y + inner.height * (1 - (Math.min(Math.max(value, low), high) - low) / (high - low));
    const parts = [];
    for (const value of ticks([low, high])) {
      const y = up(value).toFixed(1);
      parts.push(svg("line", { class: "grid", x1: inner.x, x2: inner.x + inner.width, y1: y, y2: y }));
      parts.push(svg("text", { class: "down", x: inner.x - 7, y }, this.#axis.tick(value)));
    }
    for (const step of ticks([0, Math.max(total, 1)], Math.min(6, inner.width / 70))) {
      if (!Number.isInteger(step)) continue;
      parts.push(svg("text", { class: "along", x: across(step).toFixed(1), y: HEIGHT - 5 }, stepTick(step)));
    }
    // All logged values lie below all averages, so that they hide none.
    for (const { tone, reference, values } of series) {
      const noisy = !reference && values.length >= 80;
      if (noisy) parts.push(svg("path", { class: `logged ${tone}`, d: path(envelope(steps, values), across, up) }));
    }
    for (const { tone, reference, values } of series) {
      const d = path(envelope(steps, movingAverage(values)), across, up);
      parts.push(svg("path", { class: `curve ${tone}${reference ? " dashed" : ""}`, d }));
    }
    const size = { width, height: HEIGHT, viewBox: `0 0 ${width} ${HEIGHT}` };
    for (const [name, value] of Object.entries(size)) this.#picture.setAttribute(name, String(value));
    this.#picture.replaceChildren(...parts);
  }
}

/** The path of a curve, broken at gaps. A single point is drawn as a dot: a line without length with round ends. */
function path(points, across, up) {
  let drawing = false;
  const parts = [];
  points.forEach(([x, y], index) => {
    if (!Number.isFinite(y)) {
      drawing = false;
      return;
    }
    const place = `${across(x).toFixed(1)} ${up(y).toFixed(1)}`;
    parts.push(`${drawing ? "L" : "M"}${place}`);
    if (!drawing && !Number.isFinite(points[index + 1]?.[1])) parts.push("h0");
    drawing = true;
  });
  return parts.join("");
}

/** Both plots of a run, and the table of its figures. */
export class RunPlots {
  #loss = new Plot("Loss", { fromZero: false, tick, value: single });
  #accuracy = new Plot("Cells matched within one cell of the truth", {
    fromZero: true, tick: percentTick, value: percent,
  });
  #table = element("details", { class: "rows" }, element("summary", {}, "The figures as a table"));
  #body = element("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Figures of the run" });
  #rows = [];
  #figures = [];
  #frame = 0;

  constructor() {
    this.#table.append(this.#body);
    this.#table.addEventListener("toggle", () => this.#fill());
    this.element = element("div", { class: "plots" }, this.#loss.element, this.#accuracy.element, this.#table);
  }

  /**
   * Shows the rows of a run.
   * @param {object} run
   * @param {readonly import("./scale.js").Row[]} run.rows
   * @param {readonly import("./scale.js").Figure[]} run.figures those of the method
   * @param {number} run.totalSteps
   */
  show({ rows, figures, totalSteps }) {
    [this.#rows, this.#figures] = [rows, figures];
    // Rows may come many times a second; they are drawn once for each picture of the screen.
    this.#frame ||= requestAnimationFrame(() => {
      this.#frame = 0;
      const steps = this.#rows.map(({ step }) => step);
      const total = Math.max(totalSteps, steps.at(-1) ?? 0);
      this.#loss.show(losses(this.#rows, this.#figures), steps, total);
      this.#accuracy.show(accuracies(this.#rows), steps, total);
      this.#table.hidden = steps.length === 0;
    });
  }

  /** Fills the table. It is not changed while it is open, because somebody may be reading it. */
  #fill() {
    if (!this.#table.open) return;
    const series = [...losses(this.#rows, this.#figures).reverse(), ...accuracies(this.#rows).reverse()];
    const isShare = (name) => name.startsWith("correspondence_");
    const head = ["step", ...series.map(({ label }) => label)];
    const texts = (row) => series.map(({ name }) => (isShare(name) ? percent : single)(row[name] ?? NaN));
    const line = (row) => element("tr", {}, element("th", { scope: "row" }, row.step.toLocaleString("en")),
      ...texts(row).map((text) => element("td", {}, text)));
    const until = (this.#rows.at(-1)?.step ?? 0).toLocaleString("en");
    this.#body.replaceChildren(element("table", {},
      element("caption", {}, `Some of the logged steps, up to step ${until}. Open it again for newer ones.`),
      element("thead", {}, element("tr", {}, ...head.map((text) => element("th", { scope: "col" }, text)))),
      element("tbody", {}, ...sampled(this.#rows).map(line))));
  }
}
