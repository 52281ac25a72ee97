/** What the element says, to the eye and to a screen reader. */

const KINDS = { gpu: "GPU", software: "Software GPU", cpu: "CPU" };

/** Similarities and thresholds: two decimals, so that 0.9 and 0.90 are one. */
export const decimal = (score) => score.toFixed(2).replace("-", "−");

/** `12 ms`, `1.4 s`. */
export const duration = (ms) => (ms < 9.5 ? `${ms.toFixed(1)} ms` : ms < 999.5 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`);

/** The badge: what computes, how long the last comparison took, and on which adapter. */
export function badge(device, ms) {
  const kind = KINDS[device.kind] ?? device.kind;
  return [kind, ms ? duration(ms.features + ms.similarity) : "", device.name === kind ? "" : (device.name ?? "")];
}

const pixels = ({ x, y }) => `${Math.round(x)}, ${Math.round(y)}`;

/** A match in one short line. */
export const readout = ({ point, position, score }) =>
  `${pixels(point)} → ${pixels(position)} · similarity ${decimal(score)}`;

/** A match as a sentence, for the live region. `cell` of `grid` = [rows, columns]. */
export function spoken({ position, score }, cell, [, columns], pinned) {
  const [row, column] = [Math.floor(cell / columns) + 1, (cell % columns) + 1];
  const where = `${Math.round(position.x)} across and ${Math.round(position.y)} down in picture B`;
  return `${pinned ? "Pinned: r" : "R"}ow ${row}, column ${column} of picture A matches ${where}, similarity ${decimal(score)}.`;
}

/** How many cells agree, for the match view. */
export function counted(count, threshold) {
  const least = `similarity ${decimal(threshold)} or more`;
  if (count === 0) return `No mutual match of ${least}`;
  return `${count} mutual ${count === 1 ? "match" : "matches"} of ${least}`;
}

/** What to do, before a point is chosen. */
export function hint(view, stacked, touch) {
  if (view === "pca") return "The same colour means similar features";
  return `${touch ? "Tap" : "Point at"} the ${stacked ? "upper" : "left"} picture`;
}

/** What is going on before the first view. `fraction` is null once all files are there. */
export function busy(fraction, cached) {
  if (fraction === null) return "Comparing the pictures…";
  return `${cached ? "Reading the network from cache" : "Loading the network"}… ${Math.floor(100 * fraction)} %`;
}
