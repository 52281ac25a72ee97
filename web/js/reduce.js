/** In a worker: decodes a picture and reduces it to the size that training needs. */

import { EngineError } from "./errors.js";

const MAX_FILE_BYTES = 256 << 20;
/** The largest ratio of the sides; a longer picture is cut to its middle, because its views could show almost nothing. */
const MAX_RATIO = 4;

/**
 * Decodes a picture upright over white, and reduces it so that its shorter side has `side` pixels, or its own number
 * if that is smaller.
 * @param {Blob} file
 * @param {number} side
 * @returns {Promise<{rgb: Uint8Array, width: number, height: number}>}
 */
export async function reduce(file, side) {
  if (file.size > MAX_FILE_BYTES) {
    throw new EngineError("image-too-large", `it has ${Math.round(file.size / 1e6)} MB; at most ${MAX_FILE_BYTES >> 20} are taken`);
  }
  let bitmap;
  try {
    bitmap = await createImageBitmap(file);
  } catch {
    throw new EngineError("not-an-image", "not a picture that this browser can read");
  }
  const shorter = Math.min(bitmap.width, bitmap.height);
  const [fromWidth, fromHeight] = [bitmap.width, bitmap.height].map((length) => Math.min(length, shorter * MAX_RATIO));
  const scale = Math.min(1, side / shorter);
  const [width, height] = [fromWidth, fromHeight].map((length) => Math.max(1, Math.round(length * scale)));
  const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  context.fillStyle = "white";
  context.fillRect(0, 0, width, height);
  context.imageSmoothingQuality = "high";
  const [left, top] = [(bitmap.width - fromWidth) / 2, (bitmap.height - fromHeight) / 2];
  context.drawImage(bitmap, left, top, fromWidth, fromHeight, 0, 0, width, height);
  bitmap.close();
  const { data } = context.getImageData(0, 0, width, height);
  const rgb = new Uint8Array(3 * width * height);
  for (let from = 0, to = 0; from < data.length; from += 4) {
    rgb[to++] = data[from];
    rgb[to++] = data[from + 1];
    rgb[to++] = data[from + 2];
  }
  return { rgb, width, height };
}
