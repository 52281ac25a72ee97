/** Decodes pictures of any format with the browser. The worker then resizes them for the network. */

import { EngineError, aborted } from "./errors.js";
import { broken, fetchFile, name } from "./fetch.js";

/** Pictures with more pixels are scaled down by the browser while it decodes; the core does all other resizing. */
const MAX_PIXELS = 1 << 24;
/** Pictures with more pixels are refused before they are decoded, because they would not fit into memory. */
const MAX_NATURAL = 1 << 28;
const MAX_FILE_BYTES = 256 << 20;
/** An SVG has no pixels of its own; its longer side is drawn at this multiple of the network's input. */
const SVG_SCALE = 2;

const notAnImage = (what) => new EngineError("not-an-image", `${what} is not a picture that this browser can show. JPEG, PNG, WebP and SVG work everywhere.`);

/**
 * @typedef {object} Decoded
 * @property {ImageBitmap} bitmap
 * @property {number} width width in pixels at which the bitmap is to be drawn
 * @property {number} height
 * @property {number} naturalWidth the picture's own width in pixels
 * @property {number} naturalHeight
 */

/** Width and height, scaled down if necessary so that the picture has at most `most` pixels. */
function within(width, height, most) {
  const scale = Math.min(1, Math.sqrt(most / (width * height)));
  return [Math.max(1, Math.floor(width * scale)), Math.max(1, Math.floor(height * scale))];
}

/** @param {string} url @param {AbortSignal} [signal] @returns {Promise<HTMLImageElement>} */
function imageAt(url, what, signal) {
  return new Promise((resolve, reject) => {
    const image = new Image();
    image.decoding = "async";
    const stop = () => {
      image.src = "";
      reject(aborted());
    };
    signal?.addEventListener("abort", stop, { once: true });
    image.onload = () => {
      signal?.removeEventListener("abort", stop);
      resolve(image);
    };
    image.onerror = () => reject(notAnImage(what));
    image.src = url;
  });
}

/** @param {Blob} blob @returns {Promise<Decoded>} */
async function decodeBlob(blob, what, size, signal) {
  if (blob.size > MAX_FILE_BYTES) throw new EngineError("image-too-large", `${what} has ${Math.round(blob.size / 1e6)} MB; at most ${MAX_FILE_BYTES >> 20} are taken.`);
  const url = URL.createObjectURL(blob);
  try {
    return await decodeElement(await imageAt(url, what, signal), what, size, /svg/.test(blob.type));
  } finally {
    URL.revokeObjectURL(url);
  }
}

/** @param {HTMLImageElement} image @returns {Promise<Decoded>} */
async function decodeElement(image, what, size, svg) {
  if (!image.complete) await image.decode().catch(() => {});
  // For an SVG without a size of its own some browsers return 0.
  let [naturalWidth, naturalHeight] = [image.naturalWidth, image.naturalHeight];
  if (svg && !naturalWidth) naturalWidth = naturalHeight = size;
  if (!naturalWidth || !naturalHeight) throw notAnImage(what);
  if (svg) return drawn(image, size, naturalWidth, naturalHeight);
  if (naturalWidth * naturalHeight > MAX_NATURAL) {
    throw new EngineError("image-too-large", `${what} has ${naturalWidth} × ${naturalHeight} pixels, more than a browser can hold. Make it smaller first.`);
  }
  const [width, height] = within(naturalWidth, naturalHeight, MAX_PIXELS);
  const options = width === naturalWidth && height === naturalHeight ? {} : { resizeWidth: width, resizeHeight: height, resizeQuality: "high" };
  try {
    const bitmap = await createImageBitmap(image, /** @type {any} */ (options));
    return { bitmap, width, height, naturalWidth, naturalHeight };
  } catch {
    throw notAnImage(what);
  }
}

/**
 * Draws an SVG on a canvas. createImageBitmap of an SVG differs between browsers, above all if it has no size; drawing
 * works in all.
 */
async function drawn(image, size, naturalWidth, naturalHeight) {
  const scale = (SVG_SCALE * size) / Math.max(naturalWidth, naturalHeight);
  const [width, height] = [naturalWidth, naturalHeight].map((side) => Math.max(1, Math.round(side * scale)));
  const canvas = Object.assign(document.createElement("canvas"), { width, height });
  canvas.getContext("2d").drawImage(image, 0, 0, width, height);
  return { bitmap: await createImageBitmap(canvas), width, height, naturalWidth, naturalHeight };
}

/**
 * @param {string | URL | Blob | ImageBitmap | ImageData | HTMLImageElement | HTMLCanvasElement} source
 * @param {number} size longer side of the network's input in pixels
 * @param {AbortSignal} [signal]
 * @returns {Promise<Decoded>}
 */
export async function decode(source, size, signal) {
  if (signal?.aborted) throw aborted();
  if (source instanceof Blob) return decodeBlob(source, /** @type {any} */ (source).name ?? "This", size, signal);
  if (typeof source === "string" || source instanceof URL) {
    const url = new URL(source, document.baseURI).href;
    // A page's security policy may allow showing these URLs, but not fetching them.
    if (/^(data|blob):/.test(url)) return decodeElement(await imageAt(url, "This", signal), "This", size, /^data:image\/svg/.test(url));
    const response = await fetchFile(url, { signal });
    const blob = await response.blob().catch((error) => {
      throw broken(error, url);
    });
    return decodeBlob(blob, name(url), size, signal);
  }
  if (source instanceof HTMLImageElement) return decodeElement(source, "This", size, /\.svg(\W|$)|^data:image\/svg/.test(source.currentSrc));
  try {
    const { width: naturalWidth, height: naturalHeight } = /** @type {any} */ (source);
    const [width, height] = within(naturalWidth, naturalHeight, MAX_PIXELS);
    return { bitmap: await createImageBitmap(/** @type {any} */ (source)), width, height, naturalWidth, naturalHeight };
  } catch {
    throw notAnImage("This");
  }
}
