/** Texts of the modes "Train" and "Watch a run". */
import { percent } from "./scale.js";

/** A number as people write it: 1,200. */
export const count = (number) => number.toLocaleString("en");

/** "1 photograph", "12 photographs". */
export const plural = (number, noun) => `${count(number)} ${noun}${number === 1 ? "" : "s"}`;

/** Seconds in words: "8 s", "1 min 20 s", "2 h 5 min". */
export function duration(seconds) {
  if (!Number.isFinite(seconds)) return "";
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
}

/** How long ago a moment in milliseconds since 1970 was. */
export function ago(time, now = Date.now()) {
  const seconds = (now - time) / 1000;
  if (seconds < 90) return "a moment ago";
  if (seconds < 5400) return `${Math.round(seconds / 60)} minutes ago`;
  if (seconds < 129_600) return `${Math.round(seconds / 3600)} hours ago`;
  return `${Math.round(seconds / 86_400)} days ago`;
}

/** The objectives that a visitor can choose: what each asks of the network. */
export const OBJECTIVES = [
  {
    value: "quickstart",
    name: "DenseCL with known positives",
    words: "Each patch of a crop is to find the patch of another crop that shows the same point, among all patches " +
      "of its picture. Which one that is follows from the crops. The program's quick start.",
  },
  {
    value: "densecl",
    name: "DenseCL, as in the paper",
    words: "Each patch looks for the most similar patch of the other crop, and is to resemble that one more than " +
      "other pictures.",
  },
  {
    value: "mocov2",
    name: "MoCo v2",
    words: "Two crops of one picture are to resemble each other more than other pictures, as wholes. No patches are " +
      "compared.",
  },
];

/** The name of an objective. */
export const objectiveName = (value) => OBJECTIVES.find((one) => one.value === value)?.name ?? value;

/** How far a training is: "step 340 of 1,200". */
export const progressWords = (step, total) => `step ${count(step)} of ${count(total)}`;

/**
 * What goes on in a training of this page.
 * @param {import("../../js/training.js").TrainingState} state
 * @param {{step: number, total: number, preparation: {phase: string, done: number, total: number} | null}} progress
 */
export function trainingHeadline(state, { step, total, preparation }) {
  switch (state) {
    case "loading": return "Fetching the training module";
    case "preparing": return preparing(preparation);
    case "running": return `Training: ${progressWords(step, total)}`;
    case "paused": return `Paused at ${progressWords(step, total)}`;
    case "measuring": return "Measuring what was learned";
    case "ended": return `Trained for ${plural(step, "step")}`;
    case "failed": return "The training cannot go on";
    default: return "";
  }
}

function preparing(preparation) {
  const { phase, done, total } = preparation ?? {};
  const parts = total > 1 ? `: ${count(done)} of ${count(total)}` : "";
  switch (phase) {
    case "pictures": return `Reading your photographs${parts}`;
    case "scenes": return `Rendering scenes${parts}`;
    case "measuring": return "Measuring the untrained network";
    default: return "Preparing";
  }
}

/** What goes on in a run that is watched. @param {import("./watched.js").WatchedRun} run */
export function watchedHeadline({ phase, status, address }) {
  const { step = 0, total_steps: total = 0 } = status ?? {};
  switch (phase) {
    case "connecting": return `Asking ${address}`;
    case "preparing": return "The run prepares";
    case "training": return `Training: ${progressWords(step, total)}`;
    case "measuring": return "The run measures what it learned";
    case "ended": return `The run has ended after ${plural(step, "step")}`;
    case "stopped": return step ? `The run was stopped at ${progressWords(step, total)}` : "The run was stopped";
    case "failed": return "The run failed";
    case "lost": return status ? "The run no longer answers" : "No run can be watched there";
    default: return "";
  }
}

/**
 * What a visitor should know about the pictures of a run, in sentences.
 * @param {import("../../js/training.js").StartedDetail} run
 */
export function pictureWords({ source, images, heldOut, refused, leftOut }) {
  if (source === "scenes") return [`It learns from ${plural(images, "rendered scene")}.`];
  const used = `It learns from ${plural(images, "photograph")}` +
    (heldOut ? `; ${plural(heldOut, "other")} ${heldOut === 1 ? "is" : "are"} kept for the measurement.` : ".");
  const words = [used];
  const are = refused.length === 1 ? "is" : "are";
  if (refused.length) words.push(`${plural(refused.length, "file")} could not be read and ${are} left out.`);
  if (leftOut) words.push(`${count(leftOut)} beyond the first 2,000 are left out.`);
  return words;
}

/** Whether a reload loses the training. @param {import("../../js/training.js").KeptDetail | null} kept */
export function keptWords(kept) {
  if (!kept) return "";
  if (kept.where === "storage") {
    return `Kept in this browser at step ${count(kept.step)}: after a reload you can go on from there.`;
  }
  const why = kept.reason ? `, because ${kept.reason}` : "";
  return `Nothing is kept${why}: a reload loses the training, so save the weights before.`;
}

/**
 * The rows of the table at the end: name, accuracy, accuracy with the second picture mirrored.
 * @param {object | null} before @param {object | null} after measurements
 */
export function resultRows(before, after) {
  const row = (name, measured) => [name, percent(measured.accuracy), percent(measured.mirrored)];
  return [
    ...(before ? [row("before", before)] : []),
    ...(after ? [row(`after ${plural(after.step, "step")}`, after)] : []),
  ];
}

/** What the figures at the end are to be compared with. */
export const resultNote = ({ pairs, cells, chance, same_place: samePlace }) =>
  `Share of ${count(cells)} cells of ${plural(pairs, "pair")} that it was not trained on, matched within one cell of ` +
  `the truth. Random matches: ${percent(chance)}; the same place in both pictures: ${percent(samePlace)}.`;
