/**
 * The state of the page, and the encoding of the visitor's choices in the URL's fragment, so that a link restores them.
 *
 * @typedef {object} Side one of the two columns: a set of weights, and the results of the network with them
 * @property {"idle" | "weights" | "features" | "ready" | "error"} phase
 * @property {import("../js/engine.js").Weights | null} weights
 * @property {import("../js/engine.js").Pair | null} pair
 * @property {object | null} match the match of the chosen point's cell
 * @property {object[] | null} matches the mutual nearest neighbours over the threshold, also those at the border
 * @property {{a: Uint8ClampedArray, b: Uint8ClampedArray} | null} pca
 * @property {{pck05: number, pck10: number, meanError: number, cells: number} | null} accuracy
 * @property {Error | null} error
 */

/** What the page is used for: to compare two pictures, to train in it, or to watch a run of the program. */
export const MODES = ["match", "train", "watch"];
export const VIEWS = ["heatmap", "matches", "pca"];
export const FEATURES = ["stage3", "stage4", "stage3+stage4", "dense"];
export const STRIDES = [32, 16, 8];
export const PAIRS = ["photos", "scene", "warp", "own"];
/** URL of the shipped weights, relative to the page. */
export const SHIPPED = "dense-match/weights/densecl_r18_photos/manifest.json";
/** URL of a network that was trained with labels, which a host may add (`web/build.sh --supervised`). */
export const SUPERVISED = "dense-match/weights/supervised/manifest.json";
/** URL of the list of all weights that this host has. */
export const HOSTED = "dense-match/weights/index.json";

/** URLs of the two photographs, relative to the page. */
export const PHOTOS = ["page/pictures/collins.jpg", "page/pictures/hopper.jpg"];
/** Width to height of both, a multiple of 32 px as the network sees them. */
export const PHOTO_SHAPE = [6, 7];
/** The nose in the first photograph, where the point is until the visitor points. */
export const NOSE = [0.51, 0.35];

const DEFAULT_SEED = 6;

/** The pair of a mode until the visitor chooses one: to judge a training, one whose truth is known. */
export const firstPair = (mode) => (mode === "match" ? "photos" : "scene");

/** @returns {Side} */
export const emptySide = () => ({
  phase: "idle", weights: null, pair: null, match: null, matches: null, pca: null, accuracy: null, error: null,
});

export const initialState = {
  // The visitor's choices that are encoded in the URL.
  mode: "match",
  /** The address of the run that is watched; "here" if this page comes from it, null if there is none. */
  run: null,
  kind: firstPair("match"),
  seed: DEFAULT_SEED,
  warpSeed: 1,
  view: "heatmap",
  feature: "stage4",
  stride: 16,
  /** Lower than the element's 0.9, because few cells of two photographs match over 0.9. */
  threshold: 0.75,
  /** Whether matches at the border of a picture are shown. */
  borderMatches: false,
  /** One choice per column: "trained", "untrained", "supervised" or "file"; null if there is no second column. */
  weights: ["trained", null],
  /** The chosen point of the first picture in [0, 1]²; null before one is chosen. */
  point: null,

  // Choices that are not encoded in the URL.
  pinned: false,
  /** Whether the pointer or the keyboard's cursor is on the first picture of a column. */
  looking: false,
  /** Whether the automatic tour moves the point. */
  touring: false,
  /** Whether the point was last moved by keyboard, so that screen readers announce the match. */
  spoken: false,
  truthShown: true,
  /** The visitor's own pictures (File or Blob), first and second. Beside one there may be the URL of a photograph. */
  own: [null, null],
  /** The visitor's own weights per column. */
  files: [null, null],
  /** Whether the host has a supervised network. */
  supervisedOffered: false,
  /** Whether the weights of the columns change all the time, so that old results stay until there are new ones. */
  live: false,
  /** A mode's function for what is dropped on the page; returns whether it took it. */
  onDrop: null,
  /** A counter; when it increases, the requests to the engine are repeated. */
  attempt: 0,

  // Results of the engine.
  device: null,
  progress: null,
  pictures: null,
  picturesBusy: false,
  engineError: null,
  picturesError: null,
  notice: null,
  sides: [emptySide(), emptySide()],
};

/** Those of some matches that are shown: at the border of a picture only if the visitor wants them. */
export const shownMatches = ({ borderMatches }, matches) =>
  matches.filter(({ atBorder }) => borderMatches || !atBorder);

const clamp01 = (x) => Math.min(Math.max(x, 0), 1);
const among = (list, value, otherwise) => (list.includes(value) ? value : otherwise);
const wholeNumber = (text, otherwise) => (/^\d{1,9}$/.test(text ?? "") ? Number(text) : otherwise);

/** Decodes a value of the fragment. Mail programs and forms may have changed its `+` to %2B, a space or %20. */
function asWritten(value) {
  try {
    value = decodeURIComponent(value);
  } catch {
    // The value is not valid percent-encoding, so it is used as it is.
  }
  return value.replaceAll(" ", "+");
}

/** The URL's fragment for a state. A `+` is allowed in a fragment and is not encoded. */
export function toHash(state) {
  const { mode, run, kind, seed, warpSeed, view, feature, stride, threshold, borderMatches, weights, point } = state;
  const parts = {
    pair: { photos: "photos", scene: `scene.${seed}`, warp: `warp.${seed}.${warpSeed}`, own: "own" }[kind],
    view,
    feature,
    stride,
    threshold: threshold.toFixed(2),
  };
  if (borderMatches) parts.border = "shown";
  // Another mode chooses the weights itself.
  if (mode === "match") parts.weights = weights.filter(Boolean).join("+");
  else parts.mode = mode;
  if (mode === "watch" && run) parts.run = run;
  if (point) parts.at = point.map((t) => t.toFixed(3)).join(",");
  return "#" + Object.entries(parts).map(([key, value]) => `${key}=${value}`).join("&");
}

/**
 * The choices that a fragment encodes. Missing and invalid values keep their defaults. `lost` lists what could not be
 * restored, because the link was made with local files, which are never uploaded.
 * @returns {{choices: Partial<typeof initialState>, lost: string[]}}
 */
export function fromHash(hash) {
  const fields = new Map(hash.replace(/^#/, "").split("&").map((part) => {
    const [key, value = ""] = part.split("=");
    return [key, asWritten(value)];
  }));
  const lost = [];

  const mode = among(MODES, fields.get("mode"), initialState.mode);
  const pair = (fields.get("pair") ?? "").split(".");
  const [kind, seed, warpSeed] = PAIRS.includes(pair[0]) ? pair : [firstPair(mode)];
  const choices = {
    mode,
    run: fields.get("run") || null,
    kind,
    seed: wholeNumber(seed, DEFAULT_SEED),
    warpSeed: wholeNumber(warpSeed, initialState.warpSeed),
    view: among(VIEWS, fields.get("view"), initialState.view),
    feature: among(FEATURES, fields.get("feature"), initialState.feature),
    stride: among(STRIDES, Number(fields.get("stride")), initialState.stride),
    threshold: initialState.threshold,
    borderMatches: fields.get("border") === "shown",
    weights: initialState.weights,
    point: null,
  };
  if (choices.kind === "own") {
    choices.kind = firstPair(mode);
    lost.push("pictures");
  }
  const threshold = Number.parseFloat(fields.get("threshold"));
  if (Number.isFinite(threshold)) choices.threshold = clamp01(threshold);

  const wanted = (fields.get("weights") ?? "").split("+").filter(Boolean);
  if (wanted.includes("file")) lost.push("weights");
  const [first, second] = wanted.map((name) => among(["trained", "untrained", "supervised"], name, null));
  if (wanted.length) choices.weights = [first ?? "trained", second && second !== first ? second : null];

  const at = (fields.get("at") ?? "").split(",").map(Number.parseFloat);
  if (at.length === 2 && at.every(Number.isFinite)) choices.point = at.map(clamp01);
  return { choices, lost };
}
