/**
 * Drawing on a 2D canvas: pictures, heat maps, match lines, PCA colours and markers. The element and the demo
 * page share it; it does not depend on the network.
 *
 * Positions in a picture are `[u, v]` in [0, 1], x to the right, y down. A `Rect` is the place of a picture on the
 * canvas in CSS pixels. A grid is `[rows, columns]`, row-major, and covers its picture. Colours are those of the
 * native program (`core/src/visualize`), so both draw the same result in the same way.
 *
 * @typedef {{x: number, y: number, width: number, height: number}} Rect
 * @typedef {[number, number]} Point
 * @typedef {[rows: number, columns: number]} Grid
 * @typedef {{a: Point, b: Point, score: number, correct?: boolean | null}} Line
 */

/** Colours of correct and wrong matches, distinguishable with every kind of colour-blindness. */
export const CORRECT = "#56b4e9";
export const WRONG = "#ee7714";
/** Colour of a match without truth, because its point is hidden in the other picture. */
export const UNKNOWN = "#b4b8bc";

// Eleven evenly spaced samples of the colour map viridis (Smith and van der Walt).
const VIRIDIS = [
  [68, 1, 84], [72, 37, 118], [65, 68, 135], [53, 96, 141], [42, 120, 142], [33, 144, 140],
  [34, 168, 132], [67, 191, 113], [122, 209, 81], [187, 223, 39], [253, 231, 37],
];

/** The colour `[r, g, b]` of viridis at `t` in [0, 1] (clamped; NaN counts as 0). */
export function viridis(t) {
  const position = Math.min(Math.max(t || 0, 0), 1) * (VIRIDIS.length - 1);
  const first = Math.min(Math.floor(position), VIRIDIS.length - 2);
  const [from, to] = [VIRIDIS[first], VIRIDIS[first + 1]];
  return from.map((c, k) => Math.round(c + (to[k] - c) * (position - first)));
}

/** `viridis` as a CSS colour. */
export const viridisCss = (t) => `rgb(${viridis(t).join(" ")})`;

/** The smallest and the largest finite value; `[0, 0]` when there is none. */
export function finiteRange(values) {
  let [low, high] = [Infinity, -Infinity];
  for (const value of values) {
    if (!Number.isFinite(value)) continue;
    if (value < low) low = value;
    if (value > high) high = value;
  }
  return low <= high ? [low, high] : [0, 0];
}

/**
 * The places of two pictures: side by side, or stacked if they would be too narrow. They have the same height side by
 * side and the same width when stacked, and keep their aspect ratios.
 *
 * @param {number} width available width in CSS pixels
 * @param {{width: number, height: number}} a
 * @param {{width: number, height: number}} b
 * @param {{gap?: number, minWidth?: number, maxHeight?: number}} options `minWidth`: the smallest width of the narrower
 *   picture side by side; `maxHeight`: the largest height of both together
 * @returns {{a: Rect, b: Rect, width: number, height: number, stacked: boolean}}
 */
export function layout(width, a, b, { gap = 8, minWidth = 180, maxHeight = Infinity } = {}) {
  const [ratioA, ratioB] = [a.width / a.height, b.width / b.height];
  const beside = Math.min(Math.max(width - gap, 1) / (ratioA + ratioB), maxHeight);
  const narrower = beside * Math.min(ratioA, ratioB);
  // Stacking is better only if it makes the pictures larger.
  const above = Math.min(width, Math.max(maxHeight - gap, 1) / (1 / ratioA + 1 / ratioB));
  const stacked = narrower < minWidth && above > 1.2 * (beside * Math.max(ratioA, ratioB));
  if (stacked) {
    const x = (width - above) / 2;
    const rectA = { x, y: 0, width: above, height: above / ratioA };
    const rectB = { x, y: rectA.height + gap, width: above, height: above / ratioB };
    return { a: rectA, b: rectB, width, height: rectB.y + rectB.height, stacked };
  }
  const x = (width - gap - beside * (ratioA + ratioB)) / 2;
  const rectA = { x, y: 0, width: beside * ratioA, height: beside };
  const rectB = { x: x + rectA.width + gap, y: 0, width: beside * ratioB, height: beside };
  return { a: rectA, b: rectB, width, height: beside, stacked };
}

/** The position `[u, v]` in a picture of the point (x, y) of the canvas; null outside. @returns {Point | null} */
export function positionAt(rect, x, y) {
  const [u, v] = [(x - rect.x) / rect.width, (y - rect.y) / rect.height];
  return u >= 0 && u <= 1 && v >= 0 && v <= 1 ? [u, v] : null;
}

/** The point (x, y) of the canvas at the position `[u, v]` of a picture. @returns {Point} */
export const pointAt = (rect, [u, v]) => [rect.x + u * rect.width, rect.y + v * rect.height];

/** The rectangle of one cell of a grid that covers `rect`. @returns {Rect} */
export function cellRect(rect, [rows, columns], cell) {
  const [width, height] = [rect.width / columns, rect.height / rows];
  const [x, y] = [rect.x + (cell % columns) * width, rect.y + Math.floor(cell / columns) * height];
  return { x, y, width, height };
}

/**
 * Sets the size of a canvas to `width` × `height` CSS pixels at the screen's resolution and clears it.
 * @returns {CanvasRenderingContext2D} scaled so that one unit is one CSS pixel
 */
export function prepare(canvas, width, height, ratio = globalThis.devicePixelRatio || 1) {
  const [w, h] = [Math.max(1, Math.round(width * ratio)), Math.max(1, Math.round(height * ratio))];
  if (canvas.width !== w) canvas.width = w;
  if (canvas.height !== h) canvas.height = h;
  const context = canvas.getContext("2d");
  context.setTransform(w / width, 0, 0, h / height, 0, 0);
  context.clearRect(0, 0, width, height);
  return context;
}

/**
 * Draws a picture in its place.
 * @param {CanvasImageSource} source
 * @param {{grey?: number, dim?: number, radius?: number}} options `grey`: how much its colours are desaturated, `dim`:
 *   how much it is darkened, both 0 to 1; `radius`: radius of the corners in CSS pixels
 */
export function drawPicture(context, source, rect, { grey = 0, dim = 0, radius = 0 } = {}) {
  const { width, height } = rect;
  const ratio = context.getTransform().a;
  const wanted = [width, height, ratio, grey, dim, radius].join();
  let layer = layers.get(source);
  if (layer?.wanted !== wanted) {
    layer = { wanted, canvas: document.createElement("canvas") };
    paintPicture(prepare(layer.canvas, width, height, ratio), source, { x: 0, y: 0, width, height }, grey, dim, radius);
    // Only an ImageBitmap never changes, so only it can be cached.
    if (source instanceof ImageBitmap) layers.set(source, layer);
  }
  context.drawImage(layer.canvas, rect.x, rect.y, width, height);
}

/** Cache of scaled pictures, because scaling one in high quality at every move of the pointer is slow without a GPU. */
const layers = new WeakMap();

function paintPicture(context, source, rect, grey, dim, radius) {
  context.imageSmoothingQuality = "high";
  within(context, rect, radius, () => {
    context.drawImage(source, rect.x, rect.y, rect.width, rect.height);
    if (grey > 0) {
      context.globalCompositeOperation = "saturation";
      context.fillStyle = `rgb(0 0 0 / ${grey})`;
      context.fillRect(rect.x, rect.y, rect.width, rect.height);
      context.globalCompositeOperation = "source-over";
    }
    if (dim > 0) {
      context.fillStyle = `rgb(0 0 0 / ${dim})`;
      context.fillRect(rect.x, rect.y, rect.width, rect.height);
    }
  });
}

/**
 * Draws similarities as colours over a picture, interpolated bilinearly between cell centres. Draw the picture with
 * `grey: 1`, because its own colours could be mistaken for similarities.
 * @param {ArrayLike<number>} values one per cell
 * @param {Grid} grid
 * @param {{opacity?: number, range?: [number, number], radius?: number}} options `range`: the values at the two ends of
 *   the colour map, by default the smallest and largest of `values`; two maps are comparable only with the same `range`
 */
export function drawHeat(context, values, grid, rect, { opacity = 0.65, range, radius = 0 } = {}) {
  const [low, high] = range ?? finiteRange(values);
  const span = high - low;
  // A constant map has no contrast, so it gets the middle of the colour map, neither its high nor its low end.
  const levels = Float32Array.from(values, (s) =>
    !Number.isFinite(s) ? 0 : span > 0 ? Math.min(Math.max((s - low) / span, 0), 1) : 0.5);
  // Values are interpolated before they are coloured, because interpolated colours would not lie on the colour map.
  const image = enlargeValues(levels, grid, Math.max(1, Math.ceil(224 / Math.max(...grid))));
  drawPixels(context, image, rect, opacity, radius);
}

/**
 * Draws PCA colours over a picture.
 * @param {Uint8ClampedArray} rgba four bytes per cell
 * @param {{opacity?: number, smooth?: boolean, radius?: number}} options
 */
export function drawPca(context, rgba, [rows, columns], rect, { opacity = 0.75, smooth = true, radius = 0 } = {}) {
  const cells = new ImageData(new Uint8ClampedArray(rgba), columns, rows);
  drawPixels(context, cells, rect, opacity, radius, smooth);
}

/**
 * Draws one line per match, the most similar on top, coloured by truth if it is known, else by score.
 * @param {Line[]} lines
 * @param {{range?: [number, number], colour?: "auto" | "score" | "truth", highlight?: number, width?: number}} options
 *   `range`: the scores at the ends of the colour map and of the opacity; `colour`: see `lineColour`; `highlight`: the
 *   index of a line that is emphasised while the others are faded
 */
export function drawLines(context, rectA, rectB, lines, options = {}) {
  const { range = [0, 1], colour = "auto", highlight = -1, width = 1.5 } = options;
  const level = (score) => (range[1] > range[0] ? Math.min(Math.max((score - range[0]) / (range[1] - range[0]), 0), 1) : 1);
  const style = ({ score, correct }) => lineColour(correct, level(score), colour);
  const order = lines.map((_, index) => index).sort((i, j) => lines[i].score - lines[j].score);
  if (highlight >= 0) order.push(highlight);
  const fade = (index) => (highlight < 0 || highlight === index ? 1 : 0.18);

  context.save();
  context.lineCap = "round";
  for (const index of order) {
    const line = lines[index];
    const strong = index === highlight;
    context.globalAlpha = strong ? 1 : (0.3 + 0.6 * level(line.score)) * fade(index);
    context.beginPath();
    context.moveTo(...pointAt(rectA, line.a));
    context.lineTo(...pointAt(rectB, line.b));
    if (strong) {
      stroke(context, "rgb(0 0 0 / 0.55)", width + 4.5);
      stroke(context, "#fff", width + 2.5);
    }
    stroke(context, style(line), strong ? width + 0.5 : width);
  }
  // The dots are drawn after all lines, so that no line covers an end of a match.
  for (const index of order) {
    const line = lines[index];
    context.globalAlpha = fade(index);
    for (const [x, y] of [pointAt(rectA, line.a), pointAt(rectB, line.b)]) {
      const strong = index === highlight;
      if (strong) dot(context, x, y, 7.5, "rgb(20 20 20 / 0.7)");
      dot(context, x, y, strong ? 6 : 3.5, strong ? "#fff" : "rgb(20 20 20 / 0.7)");
      dot(context, x, y, strong ? 4.5 : 2.5, style(line));
    }
  }
  context.restore();
}

/**
 * The CSS colour of a line. `colour` "auto": by truth if `correct` is a boolean, else by the `level` of its score, 0 to
 * 1. "score": by level only. "truth": by truth only, and grey where the truth is unknown.
 */
export function lineColour(correct, level, colour = "auto") {
  if (typeof correct === "boolean" && colour !== "score") return correct ? CORRECT : WRONG;
  if (colour === "truth") return UNKNOWN;
  // The dark end of viridis is left out, because it is hardly visible on a dimmed picture.
  return viridisCss(0.35 + 0.65 * level);
}

/** Draws a horizontal and a vertical hairline through a position, up to the edges of its picture. */
export function drawCrosshair(context, rect, position) {
  const [x, y] = pointAt(rect, position);
  context.save();
  for (const [style, width] of [["rgb(0 0 0 / 0.35)", 3], ["rgb(255 255 255 / 0.75)", 1]]) {
    context.beginPath();
    context.moveTo(rect.x, y);
    context.lineTo(rect.x + rect.width, y);
    context.moveTo(x, rect.y);
    context.lineTo(x, rect.y + rect.height);
    stroke(context, style, width);
  }
  context.restore();
}

/** Draws the outline of one cell. */
export function drawCell(context, rect, grid, cell, { colour = "#fff", width = 1.5 } = {}) {
  const { x, y, width: w, height: h } = cellRect(rect, grid, cell);
  context.save();
  context.beginPath();
  context.roundRect(x, y, w, h, Math.min(3, w / 4));
  stroke(context, "rgb(0 0 0 / 0.5)", width + 2);
  stroke(context, colour, width);
  context.restore();
}

/**
 * Draws a marker at a position, visible on any picture.
 * @param {{kind?: "ring" | "dot" | "truth", colour?: string, radius?: number}} options `ring`: a found position (a ring
 *   with a dot at its centre), `dot`: a chosen position, `truth`: the true position (a diamond)
 */
export function drawMarker(context, rect, position, { kind = "ring", colour = "#ff5d73", radius = 8 } = {}) {
  const [x, y] = pointAt(rect, position);
  context.save();
  if (kind === "dot") {
    dot(context, x, y, radius * 0.8 + 2.5, "rgb(0 0 0 / 0.45)");
    dot(context, x, y, radius * 0.8 + 1.25, "#fff");
    dot(context, x, y, radius * 0.8 - 1, colour);
  } else {
    context.beginPath();
    if (kind === "truth") {
      context.moveTo(x, y - radius);
      context.lineTo(x + radius, y);
      context.lineTo(x, y + radius);
      context.lineTo(x - radius, y);
      context.closePath();
    } else {
      context.arc(x, y, radius, 0, 2 * Math.PI);
    }
    stroke(context, "rgb(0 0 0 / 0.55)", 4.5);
    stroke(context, "#fff", 2.25);
    dot(context, x, y, radius * 0.5, "rgb(0 0 0 / 0.55)");
    dot(context, x, y, radius * 0.375, colour);
  }
  context.restore();
}

/** Draws a dashed line from a found position to the true one. */
export function drawError(context, rect, found, truth) {
  context.save();
  context.setLineDash([4, 4]);
  context.beginPath();
  context.moveTo(...pointAt(rect, found));
  context.lineTo(...pointAt(rect, truth));
  stroke(context, "rgb(0 0 0 / 0.6)", 3.5);
  stroke(context, "#fff", 1.5);
  context.restore();
}

/** Interpolates the levels in [0, 1] of a grid and colours them by viridis, `factor` pixels per cell and axis. */
function enlargeValues(levels, [rows, columns], factor) {
  const image = new ImageData(columns * factor, rows * factor);
  const pixels = new Uint32Array(image.data.buffer);
  const across = Array.from({ length: image.width }, (_, x) => neighbours(x, factor, columns));
  for (let y = 0, at = 0; y < image.height; y++) {
    const [top, bottom, v] = neighbours(y, factor, rows);
    for (const [left, right, u] of across) {
      const above = levels[top * columns + left] * (1 - u) + levels[top * columns + right] * u;
      const below = levels[bottom * columns + left] * (1 - u) + levels[bottom * columns + right] * u;
      pixels[at++] = palette()[Math.round((above * (1 - v) + below * v) * 255)];
    }
  }
  return image;
}

/** The two cells between whose centres a pixel's centre lies along one axis, and the weight of the second. */
export function neighbours(pixel, factor, cells) {
  const position = Math.min(Math.max((pixel + 0.5) / factor - 0.5, 0), cells - 1);
  const first = Math.floor(position);
  return [first, Math.min(first + 1, cells - 1), position - first];
}

let paletteOnce;
/** 256 colours of viridis as 32-bit pixels in the machine's byte order. */
function palette() {
  paletteOnce ??= new Uint32Array(Uint8Array.from({ length: 1024 }, (_, i) => [...viridis((i >> 2) / 255), 255][i & 3]).buffer);
  return paletteOnce;
}

let scratch;
/** Draws an image, such as one pixel per cell, scaled to the whole of `rect`. */
function drawPixels(context, image, rect, opacity, radius, smooth = true) {
  scratch ??= document.createElement("canvas");
  scratch.width = image.width;
  scratch.height = image.height;
  scratch.getContext("2d").putImageData(image, 0, 0);
  within(context, rect, radius, () => {
    context.globalAlpha = opacity;
    context.imageSmoothingEnabled = smooth;
    context.drawImage(scratch, rect.x, rect.y, rect.width, rect.height);
  });
}

/** Runs `draw` clipped to a rectangle with round corners. */
function within(context, rect, radius, draw) {
  context.save();
  if (radius > 0) {
    context.beginPath();
    context.roundRect(rect.x, rect.y, rect.width, rect.height, radius);
    context.clip();
  }
  draw();
  context.restore();
}

function stroke(context, style, width) {
  context.strokeStyle = style;
  context.lineWidth = width;
  context.stroke();
}

function dot(context, x, y, radius, style) {
  context.beginPath();
  context.arc(x, y, radius, 0, 2 * Math.PI);
  context.fillStyle = style;
  context.fill();
}
