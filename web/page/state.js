/**
 * What a visitor can choose, and how it is written into the address: a copied link shows the same thing.
 *
 * @typedef {object} Side one of the two columns: a set of weights, and what the network with them says
 * @property {"idle" | "weights" | "features" | "ready" | "error"} phase
 * @property {import("../js/engine.js").Weights | null} weights
 * @property {import("../js/engine.js").Pair | null} pair
 * @property {object | null} match of the cell under the pointer
 * @property {object[] | null} matches mutual nearest neighbours over the threshold
 * @property {{a: Uint8ClampedArray, b: Uint8ClampedArray} | null} pca
 * @property {{pck05: number, pck10: number, meanError: number, cells: number} | null} accuracy
 * @property {Error | null} error
 */

export const VIEWS = ["heatmap", "matches", "pca"];
export const FEATURES = ["stage3", "stage4", "stage3+stage4", "dense"];
export const STRIDES = [32, 16, 8];
export const PAIRS = ["scene", "warp", "own"];
/** Where the shipped weights lie, from the page. */
export const SHIPPED = "dense-match/weights/densecl_r18_photos/manifest.json";

const DEFAULT_SEED = 6;

/** @returns {Side} */
export const emptySide = () => ({
  phase: "idle", weights: null, pair: null, match: null, matches: null, pca: null, accuracy: null, error: null,
});

export const initialState = {
  // What the visitor chose; this part goes into the address.
  kind: "scene",
  seed: DEFAULT_SEED,
  warpSeed: 1,
  view: "heatmap",
  feature: "stage4",
  stride: 16,
  /** Lower than the element's 0.9: the shipped weights' cosines are low, and over 0.9 little but the border is left. */
  threshold: 0.75,
  /** One choice per column, "trained", "untrained" or "file"; null: no second column. */
  weights: ["trained", null],
  /** Where the first picture is looked at, in [0, 1]²; null: nowhere yet. */
  point: null,

  // Choices that an address cannot hold.
  pinned: false,
  /** The pointer, or the keyboard's cursor, is on a first picture. */
  looking: false,
  /** The point wanders by itself; nobody chose it. */
  touring: false,
  /** The last move came from the keyboard: screen readers are told what it found. */
  spoken: false,
  truthShown: true,
  /** The visitor's own pictures (File or Blob), first and second. */
  own: [null, null],
  /** The visitor's own weights per column. */
  files: [null, null],
  /** Raised to try again what failed. */
  attempt: 0,

  // What the engine answered.
  device: null,
  progress: null,
  pictures: null,
  picturesBusy: false,
  engineError: null,
  picturesError: null,
  notice: null,
  sides: [emptySide(), emptySide()],
};

const clamp01 = (x) => Math.min(Math.max(x, 0), 1);
const among = (list, value, otherwise) => (list.includes(value) ? value : otherwise);
const wholeNumber = (text, otherwise) => (/^\d{1,9}$/.test(text ?? "") ? Number(text) : otherwise);

/** A value of an address whose `+` a mail program or a form may have written as %2B, as a space, or as %20. */
function asWritten(value) {
  try {
    value = decodeURIComponent(value);
  } catch {
    // Not an encoding of anything: what it says is then not known.
  }
  return value.replaceAll(" ", "+");
}

/** The address' fragment for a state. A `+` is allowed in it and stays one. */
export function toHash({ kind, seed, warpSeed, view, feature, stride, threshold, weights, point }) {
  const parts = {
    pair: { scene: `scene.${seed}`, warp: `warp.${seed}.${warpSeed}`, own: "own" }[kind],
    view,
    feature,
    stride,
    threshold: threshold.toFixed(2),
    weights: weights.filter(Boolean).join("+"),
  };
  if (point) parts.at = point.map((t) => t.toFixed(3)).join(",");
  return "#" + Object.entries(parts).map(([key, value]) => `${key}=${value}`).join("&");
}

/**
 * The choices an address asks for. What is missing or makes no sense keeps its default; what cannot be restored, since
 * files never leave their owner's machine, is told in `lost`.
 * @returns {{choices: Partial<typeof initialState>, lost: string[]}}
 */
export function fromHash(hash) {
  const fields = new Map(hash.replace(/^#/, "").split("&").map((part) => {
    const [key, value = ""] = part.split("=");
    return [key, asWritten(value)];
  }));
  const lost = [];

  const pair = (fields.get("pair") ?? "").split(".");
  const [kind, seed, warpSeed] = PAIRS.includes(pair[0]) ? pair : [initialState.kind];
  const choices = {
    kind,
    seed: wholeNumber(seed, DEFAULT_SEED),
    warpSeed: wholeNumber(warpSeed, initialState.warpSeed),
    view: among(VIEWS, fields.get("view"), initialState.view),
    feature: among(FEATURES, fields.get("feature"), initialState.feature),
    stride: among(STRIDES, Number(fields.get("stride")), initialState.stride),
    threshold: initialState.threshold,
    weights: initialState.weights,
    point: null,
  };
  if (choices.kind === "own") {
    choices.kind = "scene";
    lost.push("pictures");
  }
  const threshold = Number.parseFloat(fields.get("threshold"));
  if (Number.isFinite(threshold)) choices.threshold = clamp01(threshold);

  const wanted = (fields.get("weights") ?? "").split("+").filter(Boolean);
  if (wanted.includes("file")) lost.push("weights");
  const [first, second] = wanted.map((name) => among(["trained", "untrained"], name, null));
  if (wanted.length) choices.weights = [first ?? "trained", second && second !== first ? second : null];

  const at = (fields.get("at") ?? "").split(",").map(Number.parseFloat);
  if (at.length === 2 && at.every(Number.isFinite)) choices.point = at.map(clamp01);
  return { choices, lost };
}
