/** Parses the attributes of `<dense-match>`. As in HTML, a value that is not allowed counts as the default. */

const choice = (...allowed) => (text) => (allowed.includes(text) ? text : allowed[0]);
const numeric = (least, greatest, fallback) => (text) => {
  const value = Number.parseFloat(text);
  return Number.isFinite(value) ? Math.min(Math.max(value, least), greatest) : fallback;
};
const text = (value) => value ?? "";

/** For each attribute, the function from its text (null if it is absent) to its value. */
export const ATTRIBUTES = {
  "src-a": text,
  "src-b": text,
  weights: text,
  view: choice("heatmap", "matches", "pca"),
  feature: choice("stage4", "stage3", "stage3+stage4", "dense"),
  stride: (value) => Number(choice("16", "32", "8")(value)),
  threshold: numeric(-1, 1, 0.9),
  "border-matches": (value) => value !== null,
  size: (value) => Math.round(numeric(32, 1024, 224)(value)),
  loading: choice("auto", "lazy", "eager"),
  "wasm-url": text,
  "worker-url": text,
  poster: text,
};

/** The attributes whose change requires new pictures, weights or features; the others change only the drawing. */
export const INPUTS = ["src-a", "src-b", "weights", "feature", "stride", "size", "wasm-url", "worker-url"];

/** The name of the property that reflects an attribute: `src-a` → `srcA`. */
export const propertyName = (attribute) => attribute.replace(/-(.)/g, (_, letter) => letter.toUpperCase());
