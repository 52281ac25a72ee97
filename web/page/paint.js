/**
 * Draws the two pictures of a column on a canvas, for the screen and for export. The drawing depends only on the
 * arguments.
 *
 * @typedef {import("../js/draw.js").Rect} Rect
 * @typedef {object} Scene
 * @property {"heatmap" | "matches" | "pca"} view
 * @property {{a: object, b: object, truth: object | null}} pictures
 * @property {import("./state.js").Side} side
 * @property {[number, number] | null} point in the first picture
 * @property {boolean} looking whether the pointer or the keyboard's cursor is on the first picture
 * @property {boolean} pinned
 * @property {boolean} truthShown
 * @property {number} threshold
 * @property {boolean} borderMatches
 */
import {
  CORRECT, WRONG, drawCell, drawCrosshair, drawError, drawHeat, drawLines, drawMarker, drawPca, drawPicture,
} from "../dense-match/draw.js";
import { shownMatches } from "./state.js";

const RADIUS = 4;

/** Draws a scene. @param {{a: Rect, b: Rect}} rects the places of the pictures @param {Scene} scene */
export function paint(context, rects, scene) {
  PAINTERS[scene.view](context, rects, scene);
}

const PAINTERS = {
  heatmap(context, { a, b }, scene) {
    const { pictures, side } = scene;
    const match = scene.point ? side.match : null;
    drawPicture(context, pictures.a.preview, a, { radius: RADIUS });
    drawPicture(context, pictures.b.preview, b, { radius: RADIUS, grey: match ? 1 : 0 });
    if (match) drawHeat(context, match.row, side.pair.gridB, b, { radius: RADIUS });
    drawPointed(context, { a, b }, scene);
  },

  matches(context, { a, b }, scene) {
    const { pictures, side, threshold } = scene;
    const point = scene.looking || scene.pinned ? scene.point : null;
    for (const [picture, rect] of [[pictures.a, a], [pictures.b, b]]) {
      drawPicture(context, picture.preview, rect, { radius: RADIUS, dim: 0.4 });
    }
    if (side.matches) {
      const matches = shownMatches(scene, side.matches);
      const highlight = point ? nearestMatch(matches, point, side.pair.gridA) : -1;
      drawLines(context, a, b, matches, { range: [threshold, 1], colour: lineColours(scene), highlight });
    }
    if (point) drawMarker(context, a, point, { kind: "dot", radius: markerRadius(a) * 0.7 });
  },

  pca(context, { a, b }, scene) {
    const { pictures, side } = scene;
    for (const [picture, rect] of [[pictures.a, a], [pictures.b, b]]) {
      drawPicture(context, picture.preview, rect, { radius: RADIUS, grey: side.pca ? 1 : 0 });
    }
    if (side.pca) {
      drawPca(context, side.pca.a, side.pair.gridA, a, { radius: RADIUS });
      drawPca(context, side.pca.b, side.pair.gridB, b, { radius: RADIUS });
    }
    drawPointed(context, { a, b }, scene);
  },
};

/** The radius of markers, smaller on small pictures so that they do not cover too much. */
const markerRadius = ({ width }) => (width < 240 ? 5.5 : 8);

/** Draws the chosen point, its match, and its true position. */
function drawPointed(context, { a, b }, { side, point, truthShown }) {
  if (!point) return;
  drawCrosshair(context, a, point);
  const { match, pair } = side;
  if (pair && match) drawCell(context, a, pair.gridA, match.cell);
  const radius = markerRadius(a);
  drawMarker(context, a, point, { kind: "dot", radius });
  if (!match) return;
  if (truthShown && match.truth) {
    drawError(context, b, match.point, match.truth);
    drawMarker(context, b, match.truth, { kind: "truth", colour: CORRECT, radius });
  }
  drawMarker(context, b, match.point, { kind: "ring", colour: WRONG, radius });
}

/** The meaning of the colours of matches: correctness if the truth is known and shown, else similarity. */
export const lineColours = ({ pictures, truthShown }) => (pictures.truth && truthShown ? "truth" : "score");

/** The index of the match whose position in A is nearest to a point, less than 1.5 cells away; -1 if there is none. */
export function nearestMatch(matches, [u, v], [rows, columns]) {
  let [nearest, least] = [-1, 1.5];
  matches.forEach(({ a }, index) => {
    const distance = Math.hypot((a[0] - u) * columns, (a[1] - v) * rows);
    if (distance < least) [nearest, least] = [index, distance];
  });
  return nearest;
}
