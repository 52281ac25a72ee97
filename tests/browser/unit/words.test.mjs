// Tests the texts of <dense-match>. Run: node --test tests/browser/unit/
import assert from "node:assert/strict";

import * as words from "../../../web/js/element/words.js";
import { unit as test } from "../lib/test.js";

const found = { point: { x: 241.07, y: 203.1 }, position: { x: 208.9, y: 199.6 }, score: 0.9349 };

test("durations have the figures that matter", () => {
  assert.equal(words.duration(2.14), "2.1 ms");
  assert.equal(words.duration(9.7), "10 ms");
  assert.equal(words.duration(999.4), "999 ms");
  assert.equal(words.duration(999.6), "1.0 s");
  assert.equal(words.duration(45000), "45.0 s");
});

test("the badge names the kind, the time and the adapter, and nothing twice", () => {
  const ms = { features: 40, similarity: 2 };
  assert.deepEqual(words.badge({ kind: "gpu", name: "Radeon" }, ms), ["GPU", "42 ms", "Radeon"]);
  assert.deepEqual(words.badge({ kind: "software", name: "SwiftShader" }), ["Software GPU", "", "SwiftShader"]);
  assert.deepEqual(words.badge({ kind: "cpu", name: "CPU" }, ms), ["CPU", "42 ms", ""]);
});

test("a match is said in pixels of the pictures as given", () => {
  assert.equal(words.readout(found), "241, 203 → 209, 200 · similarity 0.93");
  assert.equal(
    words.spoken(found, 92, [12, 14], false),
    "Row 7, column 9 of picture A matches 209 across and 200 down in picture B, similarity 0.93.",
  );
  assert.match(words.spoken(found, 0, [12, 14], true), /^Pinned: row 1, column 1 /);
});

test("matches are counted in proper words, also when there are none or one", () => {
  assert.equal(words.counted(0, 0.9), "No mutual match of similarity 0.90 or more");
  assert.equal(words.counted(1, 0.9), "1 mutual match of similarity 0.90 or more");
  assert.equal(words.counted(36, -0.5), "36 mutual matches of similarity −0.50 or more");
});

test("the hint names the gesture and the place", () => {
  assert.equal(words.hint("heatmap", false, false), "Point at the left picture");
  assert.equal(words.hint("heatmap", true, true), "Tap the upper picture");
  assert.match(words.hint("pca", false, false), /same colour/i);
});

test("loading never says 100 % before it is done, and says when it comes from cache", () => {
  assert.equal(words.busy(0.999, false), "Loading the network… 99 %");
  assert.equal(words.busy(0.5, true), "Reading the network from cache… 50 %");
  assert.equal(words.busy(null, false), "Comparing the pictures…");
});
