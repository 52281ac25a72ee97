/** The mode "Watch a run": an address, then the run of the program that is served there. */
import { download, element } from "../dom.js";
import { RunView, button } from "./run-view.js";
import { WatchedRun, addressOf } from "./watched.js";
import { count, duration, watchedHeadline } from "./words.js";

/** Phases in which nothing more comes. */
const OVER = ["ended", "stopped", "failed", "lost"];

export class WatchView {
  #store;
  #columns;
  #input = element("input", {
    id: "run-address", type: "text", inputmode: "url", autocomplete: "off", spellcheck: "false", size: 28,
    placeholder: "http://127.0.0.1:6006",
  });
  #problem = element("p", { class: "notice is-error", role: "alert", hidden: true });
  #live = element("p", { class: "hidden", "aria-live": "polite" });
  #form;
  #run = null;
  #buttons;
  #view;
  #told = "";

  /** @param {import("./columns.js").LiveColumns} columns */
  constructor(store, columns) {
    [this.#store, this.#columns] = [store, columns];
    this.#form = element("form", { class: "form watch" },
      element("label", { for: "run-address" }, "Address of the run"),
      element("div", { class: "buttons" }, this.#input,
        element("button", { type: "submit", class: "primary" }, "Watch")),
      element("p", { class: "hint" }, "A run of the program is served while it trains if it was started with ",
        element("code", {}, "--serve 127.0.0.1:6006"),
        ", and prints its address. This page reads it and cannot change it."),
      this.#problem);
    this.#form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#watch();
    });
    this.#buttons = {
      again: button("Try again", () => this.#watch()),
      save: button("Save weights", () => download(this.#run.weights.current, "weights.safetensors")),
      other: button("Watch another run", () => this.#other()),
    };
    this.#view = new RunView(...Object.values(this.#buttons));
    this.#view.element.hidden = true;
    this.element = element("div", { class: "mode" }, this.#form, this.#view.element, this.#live);
  }

  /** Called when the mode is chosen. Watches at once if the page's address names a run. */
  enter() {
    const { run } = this.#store.state;
    if (this.#run) return this.#showColumns();
    this.#input.value = run && run !== "here" ? run : location.origin;
    if (run !== null) this.#watch();
  }

  /** Called when another mode is chosen. */
  leave() {
    this.#columns.hide();
  }

  #watch() {
    let url;
    try {
      url = addressOf(this.#input.value, location.origin);
    } catch (error) {
      return this.#refuse(error.message);
    }
    this.#refuse("");
    this.#run?.close();
    const run = new WatchedRun(url);
    this.#run = run;
    this.#told = "";
    run.addEventListener("change", () => this.#show());
    this.#show();
    run.watch();
  }

  #refuse(message) {
    this.#problem.hidden = !message;
    this.#problem.textContent = message;
    if (message) this.#input.focus();
  }

  #other() {
    this.#run.close();
    this.#run = null;
    this.#columns.hide();
    this.#store.set({ run: null });
    this.#form.hidden = false;
    this.#view.element.hidden = true;
    this.#input.focus();
  }

  #show() {
    const run = this.#run;
    const { phase, status, rows, error } = run;
    if (phase === "lost" && !status) {
      // It was never a run: the form stays, so that the address can be mended.
      [this.#form.hidden, this.#view.element.hidden] = [false, true];
      this.#store.set({ run: null });
      return this.#refuse(error);
    }
    const wasHidden = this.#view.element.hidden;
    [this.#form.hidden, this.#view.element.hidden] = [true, false];
    const { step = 0, total_steps: total = 0, measured = [] } = status ?? {};
    const newest = rows.at(-1);
    const pace = phase === "training" ? newest : null;
    this.#view.update({
      headline: watchedHeadline(run),
      fraction: OVER.includes(phase) ? 1 : phase === "training" && total ? step / total : null,
      facts: [
        ["learns by", status?.objective ?? ""],
        ["from", status?.data ?? ""],
        ["images a second", pace?.images_per_second ? pace.images_per_second.toFixed(1) : ""],
        ["left", pace ? secondsLeft(rows, total) : ""],
      ],
      error: phase === "failed" || phase === "lost" ? error : "",
      notes: [phase === "connecting" ? "" : `Watched at ${run.address}; logged: ${count(rows.length)} steps.`],
      refused: [],
      rows,
      figures: status?.figures ?? [],
      totalSteps: total,
      before: measured.find((one) => one.step === 0) ?? null,
      after: measured.find((one) => one.step > 0) ?? null,
    });
    this.#buttons.again.hidden = phase !== "lost";
    this.#buttons.save.hidden = !run.weights.current;
    if (wasHidden) this.#view.focus();
    if (status) this.#store.set({ run: run.address });
    const told = OVER.includes(phase) || phase === "preparing" ? watchedHeadline(run) : "";
    if (told && told !== this.#told) this.#live.textContent = this.#told = told;
    this.#showColumns();
  }

  #showColumns() {
    const { untrained, weights } = this.#run;
    if (untrained && weights.current && !this.element.hidden) this.#columns.show(untrained, weights, untrained.name);
  }
}

/** The time that the remaining steps take at the pace of the last rows. */
function secondsLeft(rows, total) {
  const [from, to] = [rows.at(-20) ?? rows[0], rows.at(-1)];
  if (!from || from === to || !(to.seconds > from.seconds)) return "";
  return duration(((to.seconds - from.seconds) / (to.step - from.step)) * (total - to.step));
}
