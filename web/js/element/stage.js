/** Draws the state of a view, and finds neighbouring cells for pointer and keyboard. */

import * as draw from "../draw.js";
import { centre } from "../engine.js";

/**
 * @typedef {object} Scene The state to draw
 * @property {import("../engine.js").Picture} a
 * @property {import("../engine.js").Picture} b
 * @property {"heatmap" | "matches" | "pca"} view
 * @property {import("../engine.js").Pair | null} pair null before the pictures are compared
 * @property {object | null} found the match shown, as returned by `Pair.match`
 * @property {boolean} pinned
 * @property {object[]} lines the matches that the match view shows
 * @property {{a: Uint8ClampedArray, b: Uint8ClampedArray} | null} colours the PCA colours
 * @property {number} threshold
 * @property {number} radius radius of the pictures' corners in CSS pixels
 * @property {number} [heat] opacity of the heat map
 * @property {string} [marker] colour of the points
 */

/** Draws a scene; `a` and `b` are the places of the pictures from `draw.layout`. */
export function paint(context, { a, b }, scene) {
  const { pair, view, found, radius, marker } = scene;
  const heat = view === "heatmap" && found;
  const lines = view === "matches" && pair;
  const back = lines ? { grey: 0.6, dim: 0.28, radius } : { radius };
  draw.drawPicture(context, scene.a.preview, a, back);
  draw.drawPicture(context, scene.b.preview, b, heat ? { grey: 1, radius } : back);
  if (!pair) return;

  if (heat) draw.drawHeat(context, found.row, pair.gridB, b, { opacity: scene.heat, radius });
  if (view === "pca" && scene.colours) {
    draw.drawPca(context, scene.colours.a, pair.gridA, a, { radius });
    draw.drawPca(context, scene.colours.b, pair.gridB, b, { radius });
  }
  if (lines) {
    const highlight = found ? scene.lines.findIndex((line) => line.cellA === found.cell) : -1;
    draw.drawLines(context, a, b, scene.lines, { range: [Math.min(scene.threshold, 0.99), 1], highlight });
    if (highlight >= 0 || !found) return;
  }
  if (!found) return;
  const from = centre(pair.gridA, found.cell);
  draw.drawCrosshair(context, a, from);
  draw.drawCell(context, a, pair.gridA, found.cell);
  const kind = scene.pinned ? "dot" : "ring";
  // The marker fits inside its cell if the cell is large enough.
  const inside = Math.max(4, Math.min(7, (0.3 * a.width) / pair.gridA[1]));
  draw.drawMarker(context, a, from, { kind, colour: marker, radius: inside });
  draw.drawMarker(context, b, found.point, { kind, colour: marker });
}

/** The cell `dx` to the right of and `dy` below another, clamped to the grid. */
export function step([rows, columns], cell, dx, dy) {
  const column = Math.min(Math.max((cell % columns) + dx, 0), columns - 1);
  const row = Math.min(Math.max(Math.floor(cell / columns) + dy, 0), rows - 1);
  return row * columns + column;
}

/** The nearest of `cells` in the direction (dx, dy) from `cell`; `cell` itself if there is none. */
export function stepAmong(cells, [, columns], cell, dx, dy) {
  let [best, least] = [cell, Infinity];
  for (const other of cells) {
    const x = (other % columns) - (cell % columns);
    const y = Math.floor(other / columns) - Math.floor(cell / columns);
    const along = Math.sign(dx) * x + Math.sign(dy) * y;
    // The distance at right angles to the arrow counts double, so that arrow keys follow a row of matches.
    const cost = along + 2 * (Math.abs(x) + Math.abs(y) - Math.abs(along));
    if (along > 0 && cost < least) [best, least] = [other, cost];
  }
  return best;
}

/** The one of `cells` nearest to `cell`, at most `reach` cells away; null if there is none. */
export function nearest(cells, [, columns], cell, reach = Infinity) {
  let [best, least] = [null, reach];
  for (const other of cells) {
    const distance = Math.hypot((other % columns) - (cell % columns), Math.floor(other / columns) - Math.floor(cell / columns));
    if (distance <= least && (best === null || distance < least)) [best, least] = [other, distance];
  }
  return best;
}
