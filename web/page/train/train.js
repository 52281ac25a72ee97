/** The mode "Train": a form that says what to learn from and by what, then the training itself. */
import { Training } from "../../dense-match/training.js";
import { download, element } from "../dom.js";
import { deviceName } from "../words.js";
import { droppedFiles, isForTraining, picturesOf } from "./files.js";
import { FEWEST, TrainForm, tooFew } from "./form.js";
import { RunView, button } from "./run-view.js";
import { duration, keptWords, objectiveName, pictureWords, progressWords, trainingHeadline } from "./words.js";

/** States in which a training can be started. */
const IDLE = ["idle", "ended", "failed"];

export class TrainView {
  #training = new Training();
  #columns;
  #say;
  #form;
  #run;
  #live = element("p", { class: "hidden", "aria-live": "polite" });
  /** The visitor's photographs, and how many other files came with them. */
  #photographs = { pictures: [], others: 0 };
  #preparation = null;
  #progress = null;
  #buttons;
  #frame = 0;

  /**
   * @param {import("./columns.js").LiveColumns} columns
   * @param {(message: string) => void} say shows a notice
   */
  constructor(columns, say) {
    [this.#columns, this.#say] = [columns, say];
    this.#form = new TrainForm({
      start: () => this.#start(),
      resume: () => this.#resume(),
      discard: () => Training.discard().catch((error) => this.#say(error.message)),
      take: (files) => this.#take(files),
    });
    this.#buttons = {
      pause: button("Pause", () => this.#pauseOrGoOn()),
      stop: button("Stop and measure", () => this.#do(this.#training.stop())),
      more: button("Go on", () => this.#do(this.#training.goOn()), { class: "primary" }),
      save: button("Save weights", () => this.#save()),
      anew: button("Start anew", () => this.#startAnew()),
    };
    this.#run = new RunView(...Object.values(this.#buttons));
    this.element = element("div", { class: "mode" }, this.#form.element, this.#run.element, this.#live);
    this.#listen();
    this.#update();
    this.#tellStored();
  }

  /** Called when the mode is chosen. */
  enter() {
    this.#showColumns();
  }

  /** Called when another mode is chosen. The training goes on. */
  leave() {
    this.#columns.hide();
  }

  /**
   * Takes what was dropped, if it is meant for a training.
   * @param {DataTransfer} transfer
   * @returns {boolean} whether it was
   */
  drop(transfer) {
    if (!isForTraining(transfer)) return false;
    if (!IDLE.includes(this.#training.state)) {
      this.#say("A training goes on. Stop it, or start anew, before you give it other photographs.");
      return true;
    }
    droppedFiles(transfer).then((files) => this.#take(files));
    return true;
  }

  #listen() {
    for (const type of ["started", "row", "step", "measured", "kept", "error", "devicechange"]) {
      this.#training.addEventListener(type, () => this.#update());
    }
    this.#training.addEventListener("preparation", ({ detail }) => {
      this.#preparation = detail;
      this.#update();
    });
    this.#training.addEventListener("step", ({ detail }) => (this.#progress = detail));
    this.#training.addEventListener("statechange", ({ detail }) => {
      this.#tellState(detail);
      this.#update();
    });
    this.#training.weights.addEventListener("change", () => this.#showColumns());
  }

  /** Shows the state once for each picture of the screen. */
  #update() {
    this.#frame ||= requestAnimationFrame(() => {
      this.#frame = 0;
      this.#show();
    });
  }

  #show() {
    const { state, run, step, rows, before, after, error, kept, device } = this.#training;
    const idle = state === "idle";
    this.#form.element.hidden = !idle;
    this.#run.element.hidden = idle;
    if (idle) return;
    const total = run?.totalSteps ?? 0;
    const live = state === "running" ? this.#progress : null;
    this.#run.update({
      headline: trainingHeadline(state, { step, total, preparation: this.#preparation }),
      fraction: this.#fraction(state, step, total),
      facts: [
        ["learns by", run ? objectiveName(run.objective) : ""],
        ["images a second", live ? live.imagesPerSecond.toFixed(0) : ""],
        ["left", live ? duration(live.secondsLeft) : ""],
        ["runs on", device ? deviceName(device) : ""],
      ],
      error: error?.message ?? "",
      notes: run ? [...pictureWords(run), keptWords(kept)] : [],
      refused: run?.refused ?? [],
      rows,
      figures: run?.figures ?? [],
      totalSteps: total,
      before,
      after: state === "ended" ? after : null,
    });
    const { pause, stop, more, save, anew } = this.#buttons;
    const steps = state === "running" || state === "paused";
    pause.hidden = !steps;
    pause.textContent = state === "paused" ? "Go on" : "Pause";
    stop.hidden = !steps || step === 0;
    more.hidden = state !== "ended";
    save.hidden = !this.#training.weights.current || step === 0;
    anew.hidden = state === "loading";
  }

  #fraction(state, step, total) {
    switch (state) {
      case "running": case "paused": return total > 0 ? Math.min(step / total, 1) : null;
      case "ended": case "failed": return 1;
      case "loading": case "preparing": {
        const { done, total: parts } = this.#preparation ?? {};
        return parts > 0 ? Math.min(done / parts, 1) : null;
      }
      default: return null;
    }
  }

  #tellState({ state, previous }) {
    const { step, run, after, error } = this.#training;
    const at = run ? progressWords(step, run.totalSteps) : "";
    const words = {
      running: previous === "paused" ? "The training goes on." : "The training has begun.",
      paused: `Paused at ${at}.`,
      measuring: "Measuring what was learned.",
      ended: after
        ? `The training has ended: ${Math.round(after.accuracy * 100)} percent of the cells are matched.`
        : "The training has ended.",
      failed: error?.message ?? "",
    }[state];
    // A failure is an alert already.
    if (words && state !== "failed") this.#live.textContent = words;
    if (state !== "loading" && state !== "preparing") this.#preparation = null;
  }

  /** Shows the weights before and now in the columns, once there are both. */
  #showColumns() {
    const { untrained, weights, state } = this.#training;
    const seen = this.element.isConnected && !this.element.hidden;
    if (seen && untrained && weights.current && state !== "idle") this.#columns.show(untrained, weights);
  }

  /** Waits for something that the training does; what goes wrong is shown by its state. */
  #do(doing) {
    doing.catch((error) => {
      if (error?.type !== "aborted" && this.#training.state !== "failed") this.#say(error.message);
    });
  }

  #start() {
    const own = this.#form.source === "pictures";
    const { pictures } = this.#photographs;
    if (own && pictures.length < FEWEST) return this.#form.refuse(tooFew(pictures.length));
    this.#form.refuse("");
    this.#progress = this.#preparation = null;
    this.#do(this.#training.start(own ? pictures : "scenes", { objective: this.#form.objective }));
    this.#afterForm();
  }

  #resume() {
    this.#do(this.#training.resume());
    this.#afterForm();
  }

  /** The form disappears with the button that had the focus. */
  #afterForm() {
    this.#show();
    this.#run.focus();
  }

  #pauseOrGoOn() {
    this.#do(this.#training.state === "paused" ? this.#training.goOn() : this.#training.pause());
  }

  async #save() {
    const { state, weights } = this.#training;
    try {
      // A training that measures answers nothing, and one that has failed is gone; its newest weights are there.
      const asks = ["running", "paused", "ended"].includes(state);
      download(asks ? await this.#training.save() : weights.current, "weights.safetensors");
    } catch (error) {
      this.#say(`The weights could not be saved: ${error.message}`);
    }
  }

  #startAnew() {
    this.#training.close();
    this.#columns.hide();
    this.#live.textContent = "";
    this.#show();
    this.#tellStored();
    this.#form.focus();
  }

  /** Offers to go on with a run of an earlier visit. */
  async #tellStored() {
    this.#form.offer(await Training.stored().catch(() => null));
  }

  #take(files) {
    this.#photographs = picturesOf(files);
    if (this.#training.state !== "idle") this.#startAnew();
    this.#form.photographs(this.#photographs);
  }
}
