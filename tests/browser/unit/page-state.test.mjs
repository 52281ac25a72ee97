// Tests the demo page's store and its state in the address.
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";

import { fromHash, initialState, NOSE, PHOTO_SHAPE, PHOTOS, shownMatches, toHash } from "../../../web/page/state.js";
import { createStore, effect } from "../../../web/page/store.js";
import { unit as test } from "../lib/test.js";

const turn = () => new Promise((resolve) => setTimeout(resolve));

test("an address restores what it was made of", () => {
  const chosen = {
    mode: "match", run: null, kind: "warp", seed: 31, warpSeed: 4, view: "matches", feature: "stage3", stride: 8, threshold: 0.35,
    borderMatches: true, weights: ["untrained", "trained"], point: [0.125, 0.75],
  };
  const { choices, lost } = fromHash(toHash({ ...initialState, ...chosen }));
  assert.deepEqual(choices, chosen);
  assert.deepEqual(lost, []);
});

test("features whose name holds a plus survive what programs make of it", () => {
  const feature = "stage3+stage4";
  const address = toHash({ ...initialState, feature, weights: ["untrained", "trained"] });
  for (const plus of ["+", "%2B", "%2b", " ", "%20"]) {
    const { choices } = fromHash(address.replaceAll("+", plus));
    assert.equal(choices.feature, feature, plus);
    assert.deepEqual(choices.weights, ["untrained", "trained"], plus);
  }
});

test("an address without a point asks for none", () => {
  assert.doesNotMatch(toHash(initialState), /at=/);
  assert.equal(fromHash(toHash(initialState)).choices.point, null);
});

test("matches at the border are shown only if the visitor wants them", () => {
  const matches = [{ cellA: 0, atBorder: true }, { cellA: 20, atBorder: false }];
  assert.deepEqual(shownMatches(initialState, matches), [matches[1]]);
  assert.deepEqual(shownMatches({ ...initialState, borderMatches: true }, matches), matches);
  assert.doesNotMatch(toHash(initialState), /border/);
  assert.equal(fromHash("#border=").choices.borderMatches, false);
});

test("what an address cannot carry is told", () => {
  const own = toHash({ ...initialState, kind: "own", weights: ["trained", "file"] });
  const { choices, lost } = fromHash(own);
  assert.deepEqual(lost, ["pictures", "weights"]);
  assert.equal(choices.kind, "photos");
  assert.deepEqual(choices.weights, ["trained", null]);
});

test("nonsense in an address is as if it were not there", () => {
  const start = fromHash("").choices;
  const nonsense = [
    "#", "#&&=&", "#pair=x.9e9", "#pair=__proto__.1", "#stride=7", "#feature=%00", "#view=",
    "#threshold=NaN", "#weights=+++", "#at=,", "#at=1", "#at=0.1,0.2,0.3", "#%E0%A4%A",
  ];
  for (const hash of nonsense) assert.deepEqual(fromHash(hash).choices, start, hash);
  const scene = fromHash("#pair=scene").choices;
  for (const hash of ["#pair=scene.-1", "#pair=scene.1e99"]) assert.deepEqual(fromHash(hash).choices, scene, hash);
});

test("without a pair the page begins with the photographs, and to train or watch with a scene", () => {
  assert.equal(initialState.kind, "photos");
  assert.equal(fromHash("").choices.kind, "photos");
  assert.equal(fromHash("#view=matches").choices.kind, "photos");
  for (const hash of ["#mode=train", "#mode=watch&run=here"]) {
    const { kind, seed } = fromHash(hash).choices;
    assert.deepEqual([kind, seed], ["scene", 6], hash);
  }
  assert.equal(fromHash("#mode=train&pair=photos").choices.kind, "photos");
});

test("addresses with a pair restore it", () => {
  for (const [pair, expected] of [
    ["photos", { kind: "photos", seed: 6 }], ["scene.6", { kind: "scene", seed: 6 }],
    ["scene.28", { kind: "scene", seed: 28 }], ["warp.31.4", { kind: "warp", seed: 31, warpSeed: 4 }],
  ]) {
    const { choices } = fromHash(`#pair=${pair}&view=heatmap`);
    for (const [key, value] of Object.entries(expected)) assert.equal(choices[key], value, `${pair}: ${key}`);
    assert.match(toHash({ ...initialState, ...choices }), new RegExp(`^#pair=${pair.replaceAll(".", "[.]")}&`));
  }
});

test("the photographs are there, in the shape that the page assumes, with a source and a licence", async () => {
  const folder = new URL("../../../web/page/pictures/", import.meta.url);
  const about = await readFile(new URL("README.md", folder), "utf8");
  for (const path of PHOTOS) {
    const name = path.replace("page/pictures/", "");
    const [width, height] = jpegSize(await readFile(new URL(name, folder)));
    assert.equal(width / height, PHOTO_SHAPE[0] / PHOTO_SHAPE[1], path);
    assert.ok(about.includes(`\`${name}\``), name);
  }
  assert.ok(NOSE.every((t) => t > 0 && t < 1));
});

/** Width and height of a JPEG, from its frame header. */
function jpegSize(bytes) {
  for (let at = 2; at < bytes.length; at += 2 + bytes.readUInt16BE(at + 2)) {
    const isFrame = bytes[at + 1] >= 0xc0 && bytes[at + 1] <= 0xc2;
    if (isFrame) return [bytes.readUInt16BE(at + 7), bytes.readUInt16BE(at + 5)];
  }
  throw new Error("no JPEG");
}

test("numbers out of range are brought into it", () => {
  assert.deepEqual(fromHash("#at=-3,7").choices.point, [0, 1]);
  assert.equal(fromHash("#threshold=12").choices.threshold, 1);
});

test("the same weights do not stand beside themselves", () => {
  assert.deepEqual(fromHash("#weights=untrained+untrained").choices.weights, ["untrained", null]);
});

test("listeners hear of several changes at once, and of none that changes nothing", async () => {
  const store = createStore({ a: 1, b: 1 });
  const heard = [];
  store.subscribe((state) => heard.push({ ...state }));
  store.set({ a: 2 });
  store.set({ b: 2 });
  store.set({ b: 2 });
  await turn();
  assert.deepEqual(heard, [{ a: 1, b: 1 }, { a: 2, b: 2 }]);
  store.set({ a: 2 });
  await turn();
  assert.equal(heard.length, 2);
});

test("an effect runs for what it depends on, and aborts its last run", async () => {
  const store = createStore({ a: 1, b: 1 });
  const runs = [];
  effect(store, ({ a }) => [a], ({ a }, signal) => runs.push({ a, signal }));
  store.set({ b: 2 });
  await turn();
  assert.equal(runs.length, 1, "the effect does not depend on b");
  store.set({ a: 2 });
  await turn();
  assert.deepEqual(runs.map(({ a }) => a), [1, 2]);
  assert.deepEqual(runs.map(({ signal }) => signal.aborted), [true, false]);
});
