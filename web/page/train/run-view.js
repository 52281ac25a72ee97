/**
 * The view of a run, of a training in this page or of one that is watched: what goes on, how far it is, figures, plots,
 * and the result. It shows what it is given and decides nothing.
 *
 * @typedef {object} RunModel
 * @property {string} headline what goes on, in a few words
 * @property {number | null} fraction of what goes on, in [0, 1]; null where it is not known, 1 at the end
 * @property {[name: string, value: string][]} facts live figures
 * @property {string} error for the visitor; empty if there is none
 * @property {string[]} notes sentences
 * @property {{name: string, reason: string}[]} refused files that could not be used
 * @property {readonly object[]} rows lines of `metrics.jsonl`
 * @property {readonly object[]} figures those of the method
 * @property {number} totalSteps
 * @property {object | null} before the measurement before training
 * @property {object | null} after the measurement after it
 */
import { element } from "../dom.js";
import { RunPlots } from "./plot.js";
import { plural, resultNote, resultRows } from "./words.js";

/** Replaces the text of a node only if it differs: screen readers and selections lose their place otherwise. */
const tell = (node, text) => {
  if (node.textContent !== text) node.textContent = text;
};

export class RunView {
  #headline = element("h2", { tabindex: -1 });
  #progress = element("progress", { max: 1, "aria-label": "Progress" });
  #facts = element("dl", { class: "facts" });
  #error = element("p", { class: "notice is-error", role: "alert", hidden: true });
  #notes = element("div", { class: "notes" });
  #refused = element("details", { class: "refused", hidden: true });
  #result = element("div", { class: "result", hidden: true });
  #plots = new RunPlots();
  #shown = {};

  /** @param {...HTMLElement} buttons */
  constructor(...buttons) {
    this.element = element("div", { class: "run" }, this.#headline, this.#progress, this.#facts, this.#error,
      element("div", { class: "buttons" }, ...buttons), this.#result, this.#plots.element, this.#notes, this.#refused);
  }

  /** Moves the keyboard to the beginning of the view, where a form that was there before has gone. */
  focus() {
    this.#headline.focus({ preventScroll: true });
  }

  /** @param {RunModel} model */
  update(model) {
    tell(this.#headline, model.headline);
    this.#progress.hidden = model.fraction === 1;
    if (model.fraction === null) this.#progress.removeAttribute("value");
    else this.#progress.value = model.fraction;
    this.#showFacts(model.facts.filter(([, value]) => value));
    this.#error.hidden = !model.error;
    tell(this.#error, model.error);
    if (this.#isNew("notes", model.notes.join("\n"))) {
      this.#notes.replaceChildren(...model.notes.filter(Boolean).map((note) => element("p", { class: "hint" }, note)));
    }
    if (this.#isNew("refused", model.refused)) this.#showRefused(model.refused);
    if (this.#isNew("before", model.before) | this.#isNew("after", model.after)) this.#showResult(model);
    this.#plots.element.hidden = model.rows.length === 0;
    if (model.rows.length) this.#plots.show(model);
  }

  /** Whether a part of the model has changed since it was last shown. */
  #isNew(part, value) {
    const isNew = this.#shown[part] !== value;
    this.#shown[part] = value;
    return isNew;
  }

  #showFacts(facts) {
    if (this.#isNew("facts", facts.map(([name]) => name).join())) {
      this.#facts.replaceChildren(...facts.map(([name]) =>
        element("div", {}, element("dt", {}, name), element("dd", {}))));
    }
    facts.forEach(([, value], index) => tell(this.#facts.children[index].lastChild, value));
  }

  #showRefused(refused) {
    this.#refused.hidden = refused.length === 0;
    this.#refused.replaceChildren(element("summary", {}, `${plural(refused.length, "file")} left out`),
      element("ul", {}, ...refused.map(({ name, reason }) => element("li", {}, `${name}: ${reason}`))));
  }

  #showResult({ before, after }) {
    this.#result.hidden = !after;
    if (!after) return;
    const cell = (tag, text, scope) => element(tag, scope ? { scope } : {}, text);
    this.#result.replaceChildren(
      element("table", {},
        element("caption", {}, "What it learned"),
        element("thead", {}, element("tr", {}, element("td"),
          cell("th", "as it is", "col"), cell("th", "second picture mirrored", "col"))),
        element("tbody", {}, ...resultRows(before, after).map(([name, plain, mirrored]) =>
          element("tr", {}, cell("th", name, "row"), cell("td", plain), cell("td", mirrored))))),
      element("p", { class: "hint" }, resultNote(after)));
  }
}

/** A button. @param {string} label @param {() => void} onClick */
export function button(label, onClick, attributes = {}) {
  const made = element("button", { type: "button", ...attributes }, label);
  made.addEventListener("click", onClick);
  return made;
}
