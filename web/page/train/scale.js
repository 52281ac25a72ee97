/**
 * What a plot of a run shows, as numbers and texts: its series, their averages, its axes. The same rules as in the
 * figure that the program draws (train/src/report/scale.rs), so that both show a run alike.
 *
 * A row is a line of `metrics.jsonl`: an object of numbers, or null where a figure is not finite.
 *
 * @typedef {{step: number, [figure: string]: number | null}} Row
 * @typedef {{name: string, label: string, panel: string}} Figure a figure that the method measures in each step
 * @typedef {{name: string, label: string, tone: string, reference: boolean, values: number[]}} Series `values`: one for
 *   each row, NaN where there is none; `reference`: a level to compare with, such as chance; `tone`: the class of its
 *   colour
 * @typedef {[x: number, y: number]} Point
 */

const TONES = ["blue", "green", "vermilion", "purple"];
/** A curve is drawn with about this many points; a plot has not many more columns. */
const BUCKETS = 300;

const numbers = (rows, name) => rows.map((row) => (Number.isFinite(row[name]) ? row[name] : NaN));

/**
 * The losses of the rows, and their reference level if the method has one. The last series is drawn on top: the total.
 * @param {readonly Row[]} rows
 * @param {readonly Figure[]} figures
 * @returns {Series[]}
 */
export function losses(rows, figures) {
  const shown = figures.filter(({ panel }) => panel === "loss" || panel === "loss-reference");
  let count = 0;
  const series = shown.map(({ name, label, panel }) => {
    const reference = panel === "loss-reference";
    const tone = reference ? "faint" : TONES[count++ % TONES.length];
    return { name, label, tone, reference, values: numbers(rows, name) };
  });
  return series.reverse().sort((a, b) => Number(b.reference) - Number(a.reference));
}

/**
 * The correspondence accuracy of the rows, with the levels of random matches and of matching the same place. Empty for
 * a method that matches no cells.
 * @param {readonly Row[]} rows
 * @returns {Series[]}
 */
export function accuracies(rows) {
  const series = [
    { name: "correspondence_chance", label: "random matches", tone: "faint", reference: true },
    { name: "correspondence_same_place", label: "same place", tone: "vermilion", reference: true },
    { name: "correspondence_accuracy", label: "matches", tone: "blue", reference: false },
  ];
  const full = series.map((one) => ({ ...one, values: numbers(rows, one.name) }));
  return rows.length && full[2].values.every(Number.isNaN) ? [] : full;
}

/**
 * The mean over a window of a fortieth of all values, centred at each; gaps stay gaps. Fewer than 80 are not averaged.
 * @param {readonly number[]} values
 */
export function movingAverage(values) {
  const half = Math.floor(values.length / 80);
  if (half === 0) return [...values];
  const [sums, counts] = [[0], [0]];
  values.forEach((value, index) => {
    const finite = Number.isFinite(value);
    sums.push(sums[index] + (finite ? value : 0));
    counts.push(counts[index] + Number(finite));
  });
  return values.map((value, index) => {
    if (!Number.isFinite(value)) return NaN;
    const [from, to] = [Math.max(0, index - half), Math.min(values.length, index + half + 1)];
    return (sums[to] - sums[from]) / (counts[to] - counts[from]);
  });
}

/**
 * The points of a curve. A long one is reduced to the smallest and the largest value of each bucket of rows.
 * @param {readonly number[]} steps
 * @param {readonly number[]} values
 * @returns {Point[]}
 */
export function envelope(steps, values) {
  const points = steps.map((step, index) => [step, values[index]]);
  if (points.length <= 2 * BUCKETS) return points;
  const size = Math.ceil(points.length / BUCKETS);
  const thinned = [];
  for (let from = 0; from < points.length; from += size) {
    const bucket = points.slice(from, from + size);
    const finite = bucket.filter(([, y]) => Number.isFinite(y));
    if (!finite.length) {
      thinned.push([bucket[0][0], NaN]);
      continue;
    }
    const least = finite.reduce((best, point) => (point[1] < best[1] ? point : best));
    const greatest = finite.reduce((best, point) => (point[1] > best[1] ? point : best));
    if (least === greatest) thinned.push(least);
    else thinned.push(...(least[0] < greatest[0] ? [least, greatest] : [greatest, least]));
  }
  return thinned;
}

/**
 * The ends of an axis: all averages, and the logged values without the outermost 1 % on either side, so that a single
 * spike does not flatten the rest. Never empty.
 * @param {readonly Series[]} series
 * @param {boolean} fromZero
 * @returns {[low: number, high: number]}
 */
export function range(series, fromZero) {
  const ends = [];
  for (const { values, reference } of series) {
    for (const value of movingAverage(values)) if (Number.isFinite(value)) ends.push(value);
    if (reference) continue;
    const sorted = values.filter(Number.isFinite).sort((a, b) => a - b);
    const outermost = Math.floor(sorted.length / 100);
    if (sorted.length) ends.push(sorted[outermost], sorted[sorted.length - 1 - outermost]);
  }
  if (!ends.length) return [0, 1];
  let [low, high] = [Infinity, -Infinity];
  for (const end of ends) [low, high] = [Math.min(low, end), Math.max(high, end)];
  if (fromZero) low = Math.min(low, 0);
  // A nearly constant curve gets an axis on the scale of its value.
  let pad = 0.06 * (high - low);
  if (pad <= 1e-6 * Math.abs(high)) pad = 0.1 * Math.abs(high) || 1;
  return [fromZero && low >= 0 ? 0 : low - pad, high + pad];
}

/**
 * Round numbers between two ends, `count` or a few more or less.
 * @returns {number[]}
 */
export function ticks([low, high], count = 5) {
  const rough = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((size) => size >= rough * 0.999);
  const marks = [];
  // Multiples are counted, because a sum would collect rounding errors.
  for (let n = Math.ceil(low / step - 1e-9); n * step <= high + step * 1e-9; n++) marks.push(n * step || 0);
  return marks;
}

/** A number for a tick mark: at most five decimals, none that are zero. */
export const tick = (value) => String(Number(value.toFixed(5)));

/** A share as a tick mark. */
export const percentTick = (share) => `${tick(share * 100)} %`;

/** Steps as a tick mark: 800, 1500, 20k, 3M. */
export const stepTick = (step) =>
  step >= 1e6 ? `${tick(step / 1e6)}M` : step >= 1e4 ? `${tick(step / 1e3)}k` : tick(step);

/** A single value with three digits; "–" where there is none. */
export function single(value) {
  if (!Number.isFinite(value)) return "–";
  const decimals = value === 0 ? 2 : Math.min(4, Math.max(0, 2 - Math.floor(Math.log10(Math.abs(value)))));
  return value.toFixed(decimals);
}

/** A share in percent with one decimal; "–" where there is none. */
export const percent = (share) => (Number.isFinite(share) ? `${(share * 100).toFixed(1)} %` : "–");

/** The latest average of a series; NaN if it has no value. */
export const latest = (values) => movingAverage(values).findLast(Number.isFinite) ?? NaN;

/** The first value of a series; NaN if it has none. */
export const first = (values) => values.find(Number.isFinite) ?? NaN;

/**
 * A plot in words, for those who do not see it.
 * @param {string} title
 * @param {readonly Series[]} series
 * @param {number} step the last step that is shown
 * @param {(value: number) => string} format
 */
export function inWords(title, series, step, format) {
  if (!series.some(({ values }) => values.some(Number.isFinite))) return `${title}: no figures yet.`;
  const parts = [...series].reverse().map(({ label, reference, values }) => {
    const now = format(latest(values));
    return reference ? `${label} ${now}` : `${label} ${format(first(values))} at first, ${now} now`;
  });
  return `${title} up to step ${step.toLocaleString("en")}: ${parts.join("; ")}.`;
}

/**
 * At most `count` of the rows, evenly spaced, with the first and the last: those of the table beside a plot.
 * @template T
 * @param {readonly T[]} rows
 * @returns {T[]}
 */
export function sampled(rows, count = 12) {
  if (rows.length <= count) return [...rows];
  return Array.from({ length: count }, (_, index) => rows[Math.round((index * (rows.length - 1)) / (count - 1))]);
}
