// Tests what the plots of a run show, as numbers and texts.
import assert from "node:assert/strict";

import {
  accuracies, envelope, first, inWords, latest, losses, movingAverage, percent, range, sampled, single, stepTick, ticks,
} from "../../../web/page/train/scale.js";
import { unit as test } from "../lib/test.js";

const FIGURES = [
  { name: "loss", label: "total", panel: "loss" },
  { name: "loss_dense", label: "dense", panel: "loss" },
  { name: "accuracy_dense", label: "dense", panel: "accuracy" },
  { name: "chance_loss", label: "chance", panel: "loss-reference" },
  { name: "lambda", label: "λ", panel: "hidden" },
];
const ROWS = [
  { step: 5, loss: 6, loss_dense: 7, chance_loss: 6.2, correspondence_accuracy: 0.1, correspondence_chance: 0.05 },
  { step: 10, loss: null, loss_dense: 5, chance_loss: 6.2, correspondence_accuracy: 0.3, correspondence_chance: 0.04 },
];

test("the losses of a method are drawn over their reference, the total on top", () => {
  const series = losses(ROWS, FIGURES);
  assert.deepEqual(series.map(({ label }) => label), ["chance", "dense", "total"]);
  assert.deepEqual(series.map(({ reference }) => reference), [true, false, false]);
  assert.deepEqual(series[2].values, [6, NaN]);
  assert.notEqual(series[1].tone, series[2].tone);
});

test("a method that matches no cells has no plot of accuracies", () => {
  assert.deepEqual(accuracies([{ step: 1, correspondence_accuracy: null }]), []);
  const series = accuracies(ROWS);
  assert.deepEqual(series.map(({ label }) => label), ["random matches", "same place", "matches"]);
  assert.deepEqual(series[1].values, [NaN, NaN], "rows of older programs have no such level");
});

test("the average follows, and keeps gaps", () => {
  const values = Array.from({ length: 400 }, (_, i) => 3 + (i % 2 ? 1 : -1));
  values[200] = NaN;
  const smooth = movingAverage(values);
  assert.ok(Number.isNaN(smooth[200]));
  const off = Math.max(...smooth.filter(Number.isFinite).map((v) => Math.abs(v - 3)));
  assert.ok(off < 0.25, `${off}`);
  assert.deepEqual(movingAverage([1, 5]), [1, 5]);
});

test("a long curve is thinned, and keeps its ends, its order and its spikes", () => {
  const steps = Array.from({ length: 10_000 }, (_, i) => i);
  const values = steps.map((i) => (i === 7777 ? 50 : Math.sin(i / 500)));
  const thin = envelope(steps, values);
  assert.ok(thin.length <= 600 && thin.length > 300, `${thin.length}`);
  assert.ok(thin.some(([x, y]) => x === 7777 && y === 50));
  assert.ok(thin.every(([x], i) => i === 0 || x > thin[i - 1][0]));
  const empty = envelope(steps, steps.map(() => NaN));
  assert.ok(empty.every(([, y]) => Number.isNaN(y)));
  assert.equal(envelope([1, 2], [3, 4]).length, 2);
});

test("axes are never empty and bear spikes", () => {
  const of = (values, reference = false) => ({ values, reference });
  for (const values of [[], [NaN], [0], [0.3, 0.3, 0.3], [-2, -2]]) {
    for (const fromZero of [true, false]) {
      const [low, high] = range([of(values)], fromZero);
      assert.ok(Number.isFinite(low) && high > low, `${values}: ${low} ${high}`);
    }
  }
  const noisy = Array.from({ length: 1000 }, (_, i) => 5 + Math.sin(i));
  noisy[500] = 1e6;
  assert.ok(range([of(noisy)], false)[1] < 1e6 / 10);
  assert.equal(range([of([0.2, 0.4])], true)[0], 0);
  assert.ok(range([of([4, 5]), of([6.2, 6.2], true)], false)[1] > 6.2, "a reference level is inside");
});

test("tick marks are round numbers inside the axis", () => {
  assert.deepEqual(ticks([0, 100]), [0, 20, 40, 60, 80, 100]);
  assert.deepEqual(ticks([0, 1200], 6), [0, 200, 400, 600, 800, 1000, 1200]);
  for (const [low, high] of [[0, 1], [-3.3, 17], [0.00021, 0.00029], [5, 123456]]) {
    const marks = ticks([low, high]);
    assert.ok(marks.length >= 2 && marks.length <= 8, `${marks}`);
    assert.ok(marks.every((mark) => mark >= low - 1e-9 && mark <= high + 1e-9), `${marks}`);
  }
});

test("numbers are short, and what is missing is a dash", () => {
  assert.deepEqual([6.238, 11.42, 0.0312, 0, NaN, 1234.5].map(single), ["6.24", "11.4", "0.0312", "0.00", "–", "1235"]);
  assert.deepEqual([0.2141, NaN, null].map(percent), ["21.4 %", "–", "–"]);
  assert.deepEqual([800, 1500, 20_000, 3e6].map(stepTick), ["800", "1500", "20k", "3M"]);
});

test("a plot is told in words", () => {
  const words = inWords("Loss", losses(ROWS, FIGURES), 1200, single);
  const told = "total 6.00 at first, 6.00 now; dense 7.00 at first, 5.00 now; chance 6.20.";
  assert.equal(words, `Loss up to step 1,200: ${told}`);
  assert.equal(inWords("Loss", [], 0, single), "Loss: no figures yet.");
  assert.deepEqual([first([NaN, 2, 3]), latest([NaN, 2, NaN])], [2, 2]);
  assert.ok(Number.isNaN(latest([])));
});

test("a table has the first and the last row", () => {
  const rows = Array.from({ length: 1000 }, (_, i) => i);
  const some = sampled(rows);
  assert.deepEqual([some.length, some[0], some.at(-1)], [12, 0, 999]);
  assert.deepEqual(sampled([1, 2]), [1, 2]);
});
