// Tests the texts of the modes "Train" and "Watch a run", and the choice of pictures.
import assert from "node:assert/strict";

import { isPicture, picturesOf } from "../../../web/page/train/files.js";
import {
  ago, duration, keptWords, pictureWords, resultNote, resultRows, trainingHeadline, watchedHeadline,
} from "../../../web/page/train/words.js";
import { unit as test } from "../lib/test.js";

test("durations are told as people do", () => {
  const told = [0, 8.4, 80, 3599, 7500, NaN, Infinity].map(duration);
  assert.deepEqual(told, ["0 s", "8 s", "1 min 20 s", "59 min 59 s", "2 h 5 min", "", ""]);
  const now = 1e12;
  const times = [5, 600, 7200, 3 * 86_400].map((seconds) => ago(now - seconds * 1000, now));
  assert.deepEqual(times, ["a moment ago", "10 minutes ago", "2 hours ago", "3 days ago"]);
});

test("each state of a training has its words", () => {
  const words = (state, preparation = null) => trainingHeadline(state, { step: 340, total: 1200, preparation });
  assert.equal(words("running"), "Training: step 340 of 1,200");
  assert.equal(words("paused"), "Paused at step 340 of 1,200");
  assert.equal(words("preparing", { phase: "pictures", done: 12, total: 40 }), "Reading your photographs: 12 of 40");
  for (const state of ["loading", "preparing", "measuring", "ended", "failed"]) assert.ok(words(state), state);
});

test("each phase of a watched run has its words", () => {
  const known = { step: 40, total_steps: 100 };
  const words = (phase, status = known) => watchedHeadline({ phase, status, address: "http://a" });
  assert.equal(words("stopped"), "The run was stopped at step 40 of 100");
  assert.equal(words("connecting", null), "Asking http://a");
  assert.notEqual(words("lost"), words("lost", null));
  for (const phase of ["preparing", "training", "measuring", "ended", "failed"]) assert.ok(words(phase), phase);
});

test("the pictures that are used and left out are counted", () => {
  const run = { source: "pictures", images: 18, heldOut: 1, refused: [{ name: "a", reason: "b" }], leftOut: 345 };
  assert.deepEqual(pictureWords(run), [
    "It learns from 18 photographs; 1 other is kept for the measurement.",
    "1 file could not be read and is left out.",
    "345 beyond the first 2,000 are left out.",
  ]);
  assert.deepEqual(pictureWords({ ...run, source: "scenes", images: 1024 }), ["It learns from 1,024 rendered scenes."]);
});

test("whether a reload loses a training has its words", () => {
  assert.match(keptWords({ step: 340, where: "storage", reason: "" }), /step 340: after a reload you can go on/);
  const lost = keptWords({ step: 340, where: "page", reason: "the storage is full" });
  assert.equal(lost, "Nothing is kept, because the storage is full: a reload loses the training, so save the weights before.");
  assert.equal(keptWords(null), "");
});

test("the result stands beside what it is to be compared with", () => {
  const levels = { chance: 0.012, same_place: 0.145, cells: 18937, pairs: 100 };
  const before = { step: 0, accuracy: 0.269, mirrored: 0.077, ...levels };
  const after = { step: 1200, accuracy: 0.41, mirrored: 0.279, ...levels };
  assert.deepEqual(resultRows(before, after), [["before", "26.9 %", "7.7 %"], ["after 1,200 steps", "41.0 %", "27.9 %"]]);
  assert.match(resultNote(after), /18,937 cells of 100 pairs[^]*1\.2 %[^]*14\.5 %/);
});

test("pictures are taken in the order of their paths, and other files are counted", () => {
  const file = (name, type = "", webkitRelativePath = "") => ({ name, type, webkitRelativePath });
  const { pictures, others } = picturesOf([
    file("b.jpg", "image/jpeg", "in/b.jpg"), file("a.HEIC", "", "in/a.HEIC"), file("notes.txt", "text/plain"),
    file(".DS_Store"), file("c.png", "image/png", "in/c.png"), file("weights.safetensors"),
  ]);
  assert.deepEqual(pictures.map(({ name }) => name), ["a.HEIC", "b.jpg", "c.png"]);
  assert.equal(others, 2);
  assert.equal(isPicture({ type: "video/mp4", name: "a.jpg" }), false);
});
