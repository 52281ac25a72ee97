// Tests the functions of web/js/draw.js that need no canvas. Run: node --test tests/browser/unit/
import assert from "node:assert/strict";

import {
  CORRECT, WRONG, cellRect, finiteRange, layout, lineColour, neighbours, pointAt, positionAt, viridis,
} from "../../../web/js/draw.js";
import { unit as test } from "../lib/test.js";

const landscape = { width: 224, height: 160 };
const portrait = { width: 160, height: 224 };
const close = (actual, expected) => assert.ok(Math.abs(actual - expected) < 1e-9, `${actual} ≠ ${expected}`);

test("viridis meets its published ends and middle, and clamps", () => {
  assert.deepEqual(viridis(0), [0x44, 0x01, 0x54]);
  assert.deepEqual(viridis(0.5), [0x21, 0x90, 0x8c]);
  assert.deepEqual(viridis(1), [0xfd, 0xe7, 0x25]);
  assert.deepEqual(viridis(7), viridis(1));
  assert.deepEqual(viridis(-7), viridis(0));
  assert.deepEqual(viridis(NaN), viridis(0));
  // Halfway between two entries of the colour table.
  assert.deepEqual(viridis(0.05), [70, 19, 101]);
});

test("the range leaves out what is not finite", () => {
  assert.deepEqual(finiteRange([NaN, 0.25, -0.5, Infinity]), [-0.5, 0.25]);
  assert.deepEqual(finiteRange([NaN]), [0, 0]);
  assert.deepEqual(finiteRange([]), [0, 0]);
});

test("side by side both pictures have one height and fill the width", () => {
  const place = layout(900, landscape, portrait, { gap: 8 });
  assert.equal(place.stacked, false);
  close(place.a.height, place.b.height);
  close(place.a.width + 8 + place.b.width, 900);
  close(place.a.width / place.a.height, 224 / 160);
  close(place.b.x, place.a.width + 8);
  close(place.height, place.a.height);
});

test("on a phone landscapes are stacked, and portraits stay beside each other", () => {
  const stacked = layout(340, landscape, landscape);
  assert.equal(stacked.stacked, true);
  close(stacked.a.width, 340);
  close(stacked.b.y, stacked.a.height + 8);
  assert.equal(layout(340, portrait, portrait, { maxHeight: 400 }).stacked, false);
});

test("a greatest height is kept, and the pictures are centred in the width", () => {
  const place = layout(1000, landscape, landscape, { maxHeight: 200 });
  close(place.height, 200);
  close(place.a.x, 1000 - (place.b.x + place.b.width));
  const stacked = layout(300, landscape, landscape, { maxHeight: 300, minWidth: 1000 });
  assert.ok(stacked.height <= 300 + 1e-9);
});

test("a narrow width never gives a negative size", () => {
  for (const width of [0.5, 1, 8, 9]) {
    const { a, b } = layout(width, landscape, landscape);
    for (const rect of [a, b]) assert.ok(rect.width > 0 && rect.height > 0, `${width}: ${JSON.stringify(rect)}`);
  }
});

test("points of the canvas and positions in a picture are each other's inverse", () => {
  const rect = { x: 20, y: 10, width: 200, height: 100 };
  assert.deepEqual(positionAt(rect, 20, 10), [0, 0]);
  assert.deepEqual(positionAt(rect, 220, 110), [1, 1]);
  assert.deepEqual(pointAt(rect, positionAt(rect, 70, 35)), [70, 35]);
  assert.equal(positionAt(rect, 19, 50), null);
  assert.equal(positionAt(rect, 50, 111), null);
});

test("cells are row-major and tile their picture", () => {
  const rect = { x: 5, y: 5, width: 40, height: 20 };
  assert.deepEqual(cellRect(rect, [2, 4], 0), { x: 5, y: 5, width: 10, height: 10 });
  assert.deepEqual(cellRect(rect, [2, 4], 6), { x: 25, y: 15, width: 10, height: 10 });
});

test("interpolation is exact at cell centres and constant beyond the outermost", () => {
  // With a factor of 3, pixel 1 is the centre of cell 0 and pixel 4 that of cell 1.
  assert.deepEqual(neighbours(1, 3, 2), [0, 1, 0]);
  assert.deepEqual(neighbours(4, 3, 2), [1, 1, 0]);
  assert.deepEqual(neighbours(0, 3, 2), [0, 1, 0]);
  assert.deepEqual(neighbours(5, 3, 2), [1, 1, 0]);
  const [first, second, weight] = neighbours(2, 3, 2);
  assert.deepEqual([first, second], [0, 1]);
  close(weight, 1 / 3);
  assert.deepEqual(neighbours(3, 8, 1), [0, 0, 0]);
});

test("a line's colour tells the truth where it is known, else the score", () => {
  assert.equal(lineColour(true, 0), CORRECT);
  assert.equal(lineColour(false, 1), WRONG);
  assert.equal(lineColour(null, 1), "rgb(253 231 37)");
  assert.notEqual(lineColour(undefined, 0), lineColour(undefined, 1));
});
