// Tests which cells arrow keys and the pointer select.
import assert from "node:assert/strict";

import { nearest, step, stepAmong } from "../../../web/js/element/stage.js";
import { unit as test } from "../lib/test.js";

const GRID = [3, 4]; // rows, columns
const cell = (row, column) => row * 4 + column;

test("a step stays within the grid", () => {
  assert.equal(step(GRID, cell(1, 1), 1, 0), cell(1, 2));
  assert.equal(step(GRID, cell(1, 1), 0, -1), cell(0, 1));
  assert.equal(step(GRID, cell(0, 0), -4, 0), cell(0, 0));
  assert.equal(step(GRID, cell(2, 3), 4, 0), cell(2, 3), "never into the next row");
  assert.equal(step(GRID, cell(0, 2), 0, 4), cell(2, 2));
});

test("among matches a step goes to the nearest in its direction, along the row first", () => {
  const matches = [cell(0, 0), cell(0, 3), cell(2, 1), cell(1, 1)];
  assert.equal(stepAmong(matches, GRID, cell(0, 0), 1, 0), cell(0, 3), "distance across the direction counts double");
  assert.equal(stepAmong(matches, GRID, cell(0, 0), 0, 1), cell(1, 1));
  assert.equal(stepAmong(matches, GRID, cell(1, 1), 0, 4), cell(2, 1));
  assert.equal(stepAmong(matches, GRID, cell(0, 3), 1, 0), cell(0, 3), "nothing further right");
  assert.equal(stepAmong([], GRID, cell(1, 1), 1, 0), cell(1, 1));
});

test("every match can be reached from every other by arrow keys", () => {
  const matches = [cell(0, 0), cell(0, 3), cell(2, 1), cell(1, 2), cell(2, 3)];
  for (const start of matches) {
    const reached = new Set([start]);
    for (const at of reached) {
      for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) reached.add(stepAmong(matches, GRID, at, dx, dy));
    }
    assert.equal(reached.size, matches.length, `from ${start}`);
  }
});

test("the nearest of some cells, within reach", () => {
  const cells = [cell(0, 0), cell(2, 3)];
  assert.equal(nearest(cells, GRID, cell(1, 0)), cell(0, 0));
  assert.equal(nearest(cells, GRID, cell(2, 2)), cell(2, 3));
  assert.equal(nearest(cells, GRID, cell(0, 2), 1), null);
  assert.equal(nearest(cells, GRID, cell(0, 1), 1), cell(0, 0));
  assert.equal(nearest([], GRID, 0), null);
});
