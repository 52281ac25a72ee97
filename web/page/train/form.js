/** The form of the mode "Train": what a network learns from and by what, and a run of an earlier visit. */
import { element } from "../dom.js";
import { button } from "./run-view.js";
import { OBJECTIVES, ago, count, plural, progressWords } from "./words.js";

/** The numbers of photographs that can be trained on. */
export const FEWEST = 16;
const MOST = 2000;

/**
 * What happens when the visitor decides: to start, to go on with the stored run or to delete it, to give files.
 * @typedef {{start: () => void, resume: () => void, discard: () => Promise<void>, take: (files: File[]) => void}}
 *   Decisions
 */

export class TrainForm {
  #decisions;
  #chosen = element("p", { class: "hint", role: "status" });
  #problem = element("p", { class: "notice is-error", role: "alert", hidden: true });
  #stored = element("div", { class: "notice", hidden: true });
  #own = radio("training-source", "pictures", "your own photographs");
  #start;

  /** @param {Decisions} decisions */
  constructor(decisions) {
    this.#decisions = decisions;
    this.#start = button("Start training", () => decisions.start(), { class: "primary" });
    this.element = element("div", { class: "form" }, this.#stored, this.#sources(), this.#objectives(),
      element("div", { class: "start" }, this.#start,
        element("p", { class: "hint" }, "A small network learns on this computer; nothing is uploaded. Below you see " +
          "your pair of pictures matched before and now.")),
      this.#problem);
  }

  #sources() {
    return element("fieldset", {}, element("legend", {}, "It learns from"),
      element("div", { class: "choices" },
        radio("training-source", "scenes", "rendered scenes", { checked: true }), this.#own),
      element("div", { class: "buttons" },
        button("Choose photographs…", () => this.#pick({ accept: "image/*" })),
        button("Choose a folder…", () => this.#pick({ webkitdirectory: true }))),
      element("p", { class: "hint" },
        `${FEWEST} to ${count(MOST)} of them; or drop them, or a folder, anywhere. They stay in this browser.`),
      this.#chosen);
  }

  #objectives() {
    return element("fieldset", {}, element("legend", {}, "It learns by"),
      element("div", { class: "choices" }, ...OBJECTIVES.map(({ value, name, words }, index) =>
        radio("training-objective", value, name, { words, checked: index === 0 }))));
  }

  /** Opens the browser's dialogue for files. */
  #pick(attributes) {
    const input = element("input", { type: "file", multiple: true, ...attributes });
    input.addEventListener("change", () => this.#decisions.take([...input.files]));
    input.click();
  }

  #checked(name) {
    return this.element.querySelector(`input[name=${name}]:checked`).value;
  }

  /** "scenes" or "pictures". */
  get source() {
    return this.#checked("training-source");
  }

  /** @returns {import("../../js/training.js").Objective} */
  get objective() {
    return this.#checked("training-objective");
  }

  focus() {
    this.#start.focus();
  }

  /** Says why the training cannot be started; empty: nothing. */
  refuse(reason) {
    this.#problem.hidden = !reason;
    this.#problem.textContent = reason;
  }

  /** Shows the photographs that were given, and chooses them. */
  photographs({ pictures, others }) {
    this.#own.querySelector("input").checked = true;
    const over = pictures.length > MOST ? `, of which the first ${count(MOST)} are used` : "";
    const besides = others ? ` ${plural(others, "other file")} ${others === 1 ? "is" : "are"} passed over.` : "";
    this.#chosen.textContent = `${plural(pictures.length, "photograph")} chosen${over}.${besides}`;
    this.refuse(pictures.length < FEWEST ? tooFew(pictures.length) : "");
  }

  /**
   * Offers to go on with a run in the browser's storage.
   * @param {import("../../js/training.js").StoredRun | null} run
   */
  offer(run) {
    this.#stored.hidden = !run;
    if (!run) return;
    const { step, totalSteps, images, source, time } = run;
    const from = plural(images, source === "scenes" ? "scene" : "photograph");
    const discard = async () => {
      await this.#decisions.discard();
      this.#stored.hidden = true;
      this.focus();
    };
    this.#stored.replaceChildren(
      element("p", {},
        `A training is kept in this browser, from ${ago(time)}: ${progressWords(step, totalSteps)} on ${from}.`),
      element("div", { class: "buttons" },
        button("Go on with it", () => this.#decisions.resume(), { class: "primary" }), button("Delete it", discard)));
  }
}

/** Why so few photographs cannot be trained on. */
export const tooFew = (number) =>
  `A training needs at least ${FEWEST} photographs; ` +
  (number === 0 ? "none is chosen." : `${number} ${number === 1 ? "is" : "are"} chosen.`);

/** A radio button with its label, and below that with a description. */
function radio(name, value, label, { words = "", checked = false } = {}) {
  const described = words ? element("span", { class: "hint" }, words) : null;
  return element("label", {}, element("input", { type: "radio", name, value, checked }),
    element("span", {}, element("span", {}, label), described));
}
