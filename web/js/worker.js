/**
 * The Web Worker: holds a wasm module with its device, weights, features and pairs, and serves engine.js.
 *
 * All its state is a cache. A request contains everything that it needs (pixels, the source of the weights), so entries
 * that were evicted, or lost when the worker was replaced after a crash, are computed again.
 */

import { openDevice } from "./device.js";
import { EngineError, aborted, engineError } from "./errors.js";
import { Progress } from "./progress.js";
import { loadWeights } from "./weights.js";

/** Longer side in pixels of the preview that a page draws. */
const PREVIEW = 1024;

const tell = (message, transfer = []) => self.postMessage(message, { transfer });
const progress = new Progress((detail) => tell({ event: "progress", detail }));

/** A map of limited size that evicts and frees the least recently used entry. */
class Recent extends Map {
  constructor(most) {
    super();
    this.most = most;
  }
  get(key) {
    const value = super.get(key);
    if (value !== undefined) this.delete(key), super.set(key, value);
    return value;
  }
  set(key, value) {
    super.set(key, value);
    if (this.size > this.most) {
      const [oldest, gone] = this.entries().next().value;
      this.delete(oldest);
      gone.free?.();
    }
    return this;
  }
}

let opened; // Promise of {module, session, info}
const weights = new Recent(4); // source key → {net, facts}
const loading = new Map(); // source key → Promise of weights
const features = new Recent(12); // weights|picture|feature|stride → {data, ms, free}
const pairs = new Recent(8);
const truths = new Recent(8);
const stopped = new Set(); // ids of requests whose result is no longer needed
let running = null; // id of the request that is being computed, which fails if the module crashes
let dead = false;

/** Reports that this worker cannot go on; engine.js then replaces it. */
function die(type, message) {
  if (dead) return;
  dead = true;
  tell({ event: "dead", type, message, running });
}

/** Handles the events of a module: "panic", or "device" when its GPU is lost. */
function listener(type, message) {
  if (type === "device") die("device", message);
  else die("worker", `Something went wrong inside: ${message}. Try again.`);
}

// Handles a trap of the module. In an async call no other handler receives it. A trap without a panic before it comes
// from a failed allocation.
function trapped(error) {
  if (error instanceof WebAssembly.RuntimeError) die("out-of-memory", "There is not enough memory for this. Choose a smaller size, a larger stride or smaller weights.");
  else die("worker", `Something went wrong inside: ${error?.message ?? error}. Try again.`);
}
self.addEventListener("error", (event) => trapped(event.error ?? event));
self.addEventListener("unhandledrejection", (event) => trapped(event.reason));

/** Yields to the event loop, so that waiting messages are handled between two computations. */
const breathe = () => new Promise((resolve) => setTimeout(resolve));

/** The queue of computations, which run one after the other. A stopped request is skipped. */
let last = Promise.resolve();
function queued(id, work) {
  const result = last.then(async () => {
    await breathe();
    if (stopped.has(id)) throw aborted();
    running = id;
    try {
      return await work(await opened);
    } finally {
      running = null;
    }
  });
  last = result.catch(() => {});
  return result;
}

async function sha256(bytes) {
  const { module } = await opened;
  const hasher = new module.Hasher();
  hasher.update(bytes);
  const hex = hasher.hex();
  hasher.free();
  return hex;
}

/** Loads the weights of a source once. @param {{key: string, url?: string, blob?: Blob, seed?: number}} source */
function load(id, source) {
  if (weights.has(source.key)) return Promise.resolve(weights.get(source.key));
  if (!loading.has(source.key)) {
    const promise = loadNew(id, source).finally(() => loading.delete(source.key));
    promise.catch(() => {});
    loading.set(source.key, promise);
  }
  return loading.get(source.key);
}

async function loadNew(id, source) {
  const untrained = source.seed !== undefined;
  const file = untrained ? { bytes: null, name: "untrained", sha256: "", cached: true } : await loadWeights(source, sha256, progress);
  return queued(id, ({ module, session }) => {
    const net = untrained ? module.Weights.untrained(session, source.seed) : module.Weights.load(session, file.bytes);
    const facts = { name: file.name, sha256: file.sha256, bytes: file.bytes?.length ?? 0, cached: file.cached, info: JSON.parse(net.info()) };
    const entry = { net, facts, users: 0, forgotten: false };
    entry.free = () => {
      entry.forgotten = true;
      if (entry.users === 0) net.free();
    };
    weights.set(source.key, entry);
    return entry;
  });
}

/** Queues work that needs weights. The weights are loaded first, so that the queue does not wait for a download. */
async function withWeights(id, source, work) {
  // 0 instead of `id`: if this request is stopped, loading continues, because others may wait for these weights.
  const entry = await load(0, source);
  entry.users++;
  try {
    return await queued(id, (device) => work(device, entry.net));
  } finally {
    entry.users--;
    if (entry.forgotten) entry.free();
  }
}

async function featuresOf(id, { module }, net, picture, request) {
  const key = [request.weights.key, picture.id, request.feature, request.stride].join("|");
  const known = features.get(key);
  if (known) return known;
  await breathe();
  if (stopped.has(id)) throw aborted();
  const pixels = module.Picture.fromRgb(picture.rgb, picture.width, picture.height);
  const begun = performance.now();
  const data = await net.features(pixels, request.feature, request.stride);
  const entry = { data, ms: performance.now() - begun, free: () => data.free() };
  pixels.free();
  features.set(key, entry);
  return entry;
}

/** The features of both pictures of a pair. */
const both = async (id, device, net, request) => [
  await featuresOf(id, device, net, request.a, request),
  await featuresOf(id, device, net, request.b, request),
];

function truthOf({ module }, recipe) {
  if (!recipe) return null;
  const key = JSON.stringify(recipe);
  if (!truths.has(key)) truths.set(key, recipe.kind === "warp" ? module.Truth.warp(recipe.seed, recipe.width, recipe.height) : module.Scene.render(recipe.seed, recipe.index, recipe.size, recipe.baseline).truth());
  return truths.get(key);
}

function pairOf(id) {
  const pair = pairs.get(id);
  if (!pair) throw new EngineError("worker", "gone"); // engine.js requests the pair again
  return pair;
}

/** A picture's pixels for engine.js, and an ImageBitmap to draw. */
async function picture(pixels) {
  const { width, height } = pixels;
  const [rgb, rgba] = [pixels.rgb(), new Uint8ClampedArray(pixels.rgba().buffer)];
  pixels.free();
  const bitmap = await createImageBitmap(new ImageData(rgba, width, height));
  return { width, height, rgb, bitmap };
}

/** The preview that a page draws: sharper than the network's input, and small enough to draw quickly. */
function reduced(canvas) {
  const scale = Math.min(1, PREVIEW / Math.max(canvas.width, canvas.height));
  const [width, height] = [canvas.width, canvas.height].map((pixels) => Math.max(1, Math.round(pixels * scale)));
  return createImageBitmap(canvas, { resizeWidth: width, resizeHeight: height, resizeQuality: "high" });
}

/** A result whose buffers and bitmaps are transferred to the page instead of copied. */
class Moved {
  constructor(value, transfer) {
    this.value = value;
    this.transfer = transfer;
  }
}
const moved = (value, ...pictures) => new Moved(value, pictures.flatMap((p) => [p.bitmap, p.preview, p.rgb.buffer].filter(Boolean)));

/** The requests of engine.js: (request id, arguments) → result. */
const methods = {
  async start(_, { device, why, wasmUrl }) {
    opened = openDevice(device, why, wasmUrl, progress, listener);
    return (await opened).info;
  },

  async weights(id, source) {
    return (await load(id, source)).facts;
  },

  /** Draws a decoded picture over white and resizes it for the network. */
  picture: (id, { bitmap, width, height, size }) =>
    queued(id, async ({ module }) => {
      const canvas = new OffscreenCanvas(width, height);
      const context = canvas.getContext("2d", { willReadFrequently: true });
      context.fillStyle = "white";
      context.fillRect(0, 0, width, height);
      context.imageSmoothingQuality = "high";
      context.drawImage(bitmap, 0, 0, width, height);
      bitmap.close();
      const { data } = context.getImageData(0, 0, width, height);
      const made = await picture(module.Picture.resized(new Uint8Array(data.buffer), width, height, size));
      const shown = { ...made, preview: await reduced(canvas) };
      return moved(shown, shown);
    }),

  scene: (id, recipe) =>
    queued(id, async ({ module }) => {
      const scene = module.Scene.render(recipe.seed, recipe.index, recipe.size, recipe.baseline);
      const [a, b] = [await picture(scene.a()), await picture(scene.b())];
      truths.set(JSON.stringify(recipe), scene.truth());
      return moved({ a, b }, a, b);
    }),

  warp: (id, { rgb, recipe }) =>
    queued(id, async ({ module }) => {
      const source = module.Picture.fromRgb(rgb, recipe.width, recipe.height);
      const b = await picture(source.warped(recipe.seed));
      source.free();
      return moved(b, b);
    }),

  pair: (id, request) =>
    withWeights(id, request.weights, async (device, net) => {
      request.feature ??= device.module.defaultFeature();
      const pixelsPerCell = net.cellSide(request.feature, request.stride) ** 2;
      device.module.Pair.admit(...[request.a, request.b].map((p) => (p.width * p.height) / pixelsPerCell));
      const [a, b] = await both(id, device, net, request);
      const begun = performance.now();
      const compared = await device.module.Pair.compare(a.data, b.data);
      const similarity = performance.now() - begun;
      pairs.set(request.pair, { compared, request, free: () => compared.free() });
      return {
        feature: request.feature,
        gridA: [a.data.rows, a.data.columns],
        gridB: [b.data.rows, b.data.columns],
        ms: { features: a.ms + b.ms, similarity },
      };
    }),

  async match(_, { pair, cell }) {
    const device = await opened;
    const { compared, request } = pairOf(pair);
    const found = compared.matchCell(cell);
    if (!found) throw new EngineError("wrong-weights", "These weights give no numbers to compare.");
    const point = [found.u, found.v];
    const value = { cell, row: found.row(), best: found.best, point, score: found.score, truth: null, error: null };
    found.free();
    const truth = truthOf(device, request.truth);
    if (truth) {
      const seen = truth.at(...compared.centre(cell));
      if (seen) {
        value.truth = [...seen];
        value.error = Math.hypot((seen[0] - point[0]) * request.b.width, (seen[1] - point[1]) * request.b.height);
      }
    }
    return new Moved(value, [value.row.buffer]);
  },

  async matches(_, { pair, threshold }) {
    const device = await opened;
    const { compared, request } = pairOf(pair);
    const truth = truthOf(device, request.truth);
    const flat = truth ? compared.judged(threshold, truth) : compared.mutual(threshold);
    return new Moved(flat, [flat.buffer]);
  },

  async pca(id, { pair }) {
    const { request } = pairOf(pair);
    return withWeights(id, request.weights, async (device, net) => {
      const [a, b] = await both(id, device, net, request);
      const colors = device.module.jointPca(a.data, b.data);
      return new Moved({ colors, split: 4 * a.data.rows * a.data.columns }, [colors.buffer]);
    });
  },

  async accuracy(_, { pair }) {
    const device = await opened;
    const { compared, request } = pairOf(pair);
    const truth = truthOf(device, request.truth);
    return truth && [...compared.accuracy(truth)];
  },

  async dispose(_, { pair }) {
    pairs.get(pair)?.free();
    pairs.delete(pair);
  },

  async stop(_, { id }) {
    stopped.add(id);
  },
};

self.addEventListener("message", async ({ data: { id, method, args } }) => {
  try {
    const answer = await methods[method](id, args);
    if (answer instanceof Moved) tell({ id, value: answer.value }, answer.transfer);
    else tell({ id, value: answer });
  } catch (error) {
    if (error instanceof WebAssembly.RuntimeError) return trapped(error);
    const { type, message } = engineError(error);
    if (type === "device") return die(type, message);
    tell({ id, error: { type, message } });
  } finally {
    stopped.delete(id);
  }
});
