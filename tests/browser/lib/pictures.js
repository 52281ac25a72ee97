// Generates the pictures to match. `landscape` looks different in every cell, so that its cells can be told
// apart.
import { mosaicJpeg } from "./jpeg.js";
import { png } from "./png.js";

/** A smooth picture without repetition: the colour [r, g, b] at (u, v) in [0, 1]². */
function landscape(u, v, seed) {
  const wave = (a, b, c) => 127 + 60 * Math.sin(a * u + c + seed) + 60 * Math.cos(b * v + c * u + seed);
  const disc = (x, y, r) => (u - x) ** 2 + (v - y) ** 2 < r * r;
  if (disc(0.3, 0.35, 0.14)) return [220, 40, 40];
  if (disc(0.7, 0.6, 0.18)) return [40, 90, 220];
  if (Math.abs(u - 0.55) < 0.04 && v < 0.5) return [245, 240, 90];
  return [wave(5, 7, 1), wave(9, 3, 2), wave(4, 11, 3)].map(Math.round);
}

export const landscapePng = (width, height, seed = 0) =>
  png(width, height, (x, y) => landscape((x + 0.5) / width, (y + 0.5) / height, seed));

/** A JPEG of 12,000 × 9,000 pixels. */
export const hugeJpeg = () => mosaicJpeg(1500, 1125, (column, row) => landscape(column / 1500, row / 1125, 0));

/** Stored as 96 × 64 with red left of blue; the EXIF orientation turns it clockwise: red above blue. */
export const turnedJpeg = () =>
  mosaicJpeg(12, 8, (column) => (column < 6 ? [230, 20, 20] : [20, 20, 230]), { orientation: 6 });

/** Left half opaque green, right half fully transparent black. */
export const transparentPng = () => png(128, 128, (x) => (x < 64 ? [20, 160, 20, 255] : [0, 0, 0, 0]));

/** Left half orange, right half teal. */
export const svg = () =>
  `<svg xmlns="http://www.w3.org/2000/svg" width="200" height="100" viewBox="0 0 2 1">
     <rect width="1" height="1" fill="#e08010"/><rect x="1" width="1" height="1" fill="#108080"/></svg>`;

export const notAnImage = () => Buffer.from("Dear diary, today I was named a photograph.\n".repeat(20));
