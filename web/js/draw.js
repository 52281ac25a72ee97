/**
 * Drawing on a 2D canvas: pictures, heat maps, match lines, PCA colours and markers. The element and the demo
 * page share it. It knows no network.
 *
 * Positions in a picture are `[u, v]` in [0, 1], x to the right, y down. A `Rect` says where a picture lies on the
 * canvas, in CSS pixels. A grid is `[rows, columns]`, row-major, and covers its picture. Colours are those of the
 * native program (`core/src/visualize`), so both show the same picture of the same result.
 *
 * @typedef {{x: number, y: number, width: number, height: number}} Rect
 * @typedef {[number, number]} Point
 * @typedef {[rows: number, columns: number]} Grid
 * @typedef {{a: Point, b: Point, score: number, correct?: boolean | null}} Line
 */

/** A match known to be right, and one known to be wrong: they stay apart with every kind of colour-blindness. */
export const CORRECT = "#56b4e9";
export const WRONG = "#ee7714";

// viridis (Smith and van der Walt), eleven evenly spaced samples.
const VIRIDIS = [
  [68, 1, 84], [72, 37, 118], [65, 68, 135], [53, 96, 141], [42, 120, 142], [33, 144, 140],
  [34, 168, 132], [67, 191, 113], [122, 209, 81], [187, 223, 39], [253, 231, 37],
];

/** The colour `[r, g, b]` at `t` in [0, 1] (clamped; what is not a number counts as 0). */
export function viridis(t) {
  const position = Math.min(Math.max(t || 0, 0), 1) * (VIRIDIS.length - 1);
  const first = Math.min(Math.floor(position), VIRIDIS.length - 2);
  const [from, to] = [VIRIDIS[first], VIRIDIS[first + 1]];
  return from.map((c, k) => Math.round(c + (to[k] - c) * (position - first)));
}

/** `viridis` as a CSS colour. */
export const viridisCss = (t) => `rgb(${viridis(t).join(" ")})`;

/** `[least, greatest]` finite value; `[0, 0]` when there is none. */
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
 * Where two pictures lie: side by side, or one above the other where that leaves each too narrow. Both get the same
 * height side by side and the same width when stacked, and keep their proportions.
 *
 * @param {number} width CSS pixels there are
 * @param {{width: number, height: number}} a
 * @param {{width: number, height: number}} b
 * @param {{gap?: number, minWidth?: number, maxHeight?: number}} options `minWidth`: the least width of the narrower
 *   picture side by side; `maxHeight` of the whole
 * @returns {{a: Rect, b: Rect, width: number, height: number, stacked: boolean}}
 */
export function layout(width, a, b, { gap = 8, minWidth = 180, maxHeight = Infinity } = {}) {
  const [ratioA, ratioB] = [a.width / a.height, b.width / b.height];
  const beside = Math.min(Math.max(width - gap, 1) / (ratioA + ratioB), maxHeight);
  const narrower = beside * Math.min(ratioA, ratioB);
  // Two pictures above each other are only better where they come out larger.
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
 * Gives a canvas `width` × `height` CSS pixels at the screen's resolution and clears it.
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
 * A picture into its place.
 * @param {CanvasImageSource} source
 * @param {{grey?: number, dim?: number, radius?: number}} options `grey`: how much of its colour is taken away, `dim`:
 *   how much darker it gets, both 0 to 1; `radius` of the corners, in CSS pixels
 */
export function drawPicture(context, source, rect, { grey = 0, dim = 0, radius = 0 } = {}) {
  const { width, height } = rect;
  const ratio = context.getTransform().a;
  const wanted = [width, height, ratio, grey, dim, radius].join();
  let layer = layers.get(source);
  if (layer?.wanted !== wanted) {
    layer = { wanted, canvas: document.createElement("canvas") };
    paintPicture(prepare(layer.canvas, width, height, ratio), source, { x: 0, y: 0, width, height }, grey, dim, radius);
    // Only of these is it certain that they stay as they are.
    if (source instanceof ImageBitmap) layers.set(source, layer);
  }
  context.drawImage(layer.canvas, rect.x, rect.y, width, height);
}

/** Pictures as they were drawn last: scaling one well, at every move of the pointer, is slow without a GPU. */
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
 * Similarities as colours over a picture (draw that with `grey: 1`, or its colours read as similarity): bilinear
 * between cell centres.
 * @param {ArrayLike<number>} values one per cell
 * @param {Grid} grid
 * @param {{opacity?: number, range?: [number, number], radius?: number}} options `range`: the values at the two ends of
 *   the colour map; without it the least and greatest of `values`. Fix it to compare two maps.
 */
export function drawHeat(context, values, grid, rect, { opacity = 0.65, range, radius = 0 } = {}) {
  const [low, high] = range ?? finiteRange(values);
  const span = high - low;
  // A constant map has no contrast to show: the middle of the colour map says neither hot nor cold.
  const levels = Float32Array.from(values, (s) =>
    !Number.isFinite(s) ? 0 : span > 0 ? Math.min(Math.max((s - low) / span, 0), 1) : 0.5);
  // Values are interpolated, then coloured: interpolated colours would not lie on the colour map.
  const image = enlargeValues(levels, grid, Math.max(1, Math.ceil(224 / Math.max(...grid))));
  drawPixels(context, image, rect, opacity, radius);
}

/**
 * PCA colours over a picture.
 * @param {Uint8ClampedArray} rgba four bytes per cell
 * @param {{opacity?: number, smooth?: boolean, radius?: number}} options
 */
export function drawPca(context, rgba, [rows, columns], rect, { opacity = 0.75, smooth = true, radius = 0 } = {}) {
  const cells = new ImageData(new Uint8ClampedArray(rgba), columns, rows);
  drawPixels(context, cells, rect, opacity, radius, smooth);
}

/**
 * One line per match, best on top. Coloured by truth where it is known, else by score.
 * @param {Line[]} lines
 * @param {{range?: [number, number], colour?: "auto" | "score" | "truth", highlight?: number, width?: number}} options
 *   `range`: the scores at the ends of the colour map and of the opacity; `highlight`: the index of a line that stands
 *   out while the others recede
 */
export function drawLines(context, rectA, rectB, lines, options = {}) {
  const { range = [0, 1], colour = "auto", highlight = -1, width = 1.5 } = options;
  const level = (score) => (range[1] > range[0] ? Math.min(Math.max((score - range[0]) / (range[1] - range[0]), 0), 1) : 1);
  const style = ({ score, correct }) => lineColour(colour === "score" ? null : correct, level(score));
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
  // Dots after all lines, so that where a match begins and ends is never covered.
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

/** The CSS colour of a line: by truth where `correct` is a boolean, else by `level` (0 to 1) of its score. */
export function lineColour(correct, level) {
  if (typeof correct === "boolean") return correct ? CORRECT : WRONG;
  // The dark end of viridis cannot be seen on a dimmed picture.
  return viridisCss(0.35 + 0.65 * level);
}

/** Hair lines through a position, to the edges of its picture. */
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

/** The outline of one cell. */
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
 * A marker at a position, legible on any picture.
 * @param {{kind?: "ring" | "dot" | "truth", colour?: string, radius?: number}} options `ring`: a found position (with a
 *   dot at its centre), `dot`: a chosen one, `truth`: where it really is (a diamond)
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

/** The distance from a found position to the true one, dashed. */
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

/** Levels in [0, 1] of a grid as viridis pixels, `factor` per cell along each side. */
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

/** The two cells whose centres enclose a pixel's centre along one axis, and the weight of the second. */
export function neighbours(pixel, factor, cells) {
  const position = Math.min(Math.max((pixel + 0.5) / factor - 0.5, 0), cells - 1);
  const first = Math.floor(position);
  return [first, Math.min(first + 1, cells - 1), position - first];
}

let paletteOnce;
/** 256 steps of viridis as pixels, in the machine's byte order. */
function palette() {
  paletteOnce ??= new Uint32Array(Uint8Array.from({ length: 1024 }, (_, i) => [...viridis((i >> 2) / 255), 255][i & 3]).buffer);
  return paletteOnce;
}

let scratch;
/** Pixels (of a grid, say) over the whole of `rect`. */
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
