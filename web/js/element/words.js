/** The texts of the element, for display and for screen readers. */

const KINDS = { gpu: "GPU", software: "Software GPU", cpu: "CPU" };

/** Formats a similarity or threshold with two decimals: 0.9 as `0.90`. */
export const decimal = (score) => score.toFixed(2).replace("-", "−");

/** Formats milliseconds as `12 ms` or `1.4 s`. */
export const duration = (ms) => (ms < 9.5 ? `${ms.toFixed(1)} ms` : ms < 999.5 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`);

/** The three texts of the badge: the kind of device, the time of the last comparison, and the adapter's name. */
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

/** The number of mutual matches, for the match view. */
export function counted(count, threshold) {
  const least = `similarity ${decimal(threshold)} or more`;
  if (count === 0) return `No mutual match of ${least}`;
  return `${count} mutual ${count === 1 ? "match" : "matches"} of ${least}`;
}

/** The instruction that is shown before a point is chosen. */
export function hint(view, stacked, touch) {
  if (view === "pca") return "The same colour means similar features";
  return `${touch ? "Tap" : "Point at"} the ${stacked ? "upper" : "left"} picture`;
}

/** The text of the progress bar. `fraction` is null when all files are loaded. */
export function busy(fraction, cached) {
  if (fraction === null) return "Comparing the pictures…";
  return `${cached ? "Reading the network from cache" : "Loading the network"}… ${Math.floor(100 * fraction)} %`;
}
