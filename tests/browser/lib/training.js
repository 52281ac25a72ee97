// A page that trains with the package's training.js, without the demo page, and records what it is told.
import { reference } from "./bundle.js";

/** Settings with which a step takes milliseconds. */
export const TINY = [
  "train.batch_size=4", "model.width=8", "model.dim=16", "views.size=32", "scenes.size=32", "data.scene_count=8",
  "eval.pairs=2", "log.every_steps=5",
];

/**
 * Opens an empty page that has `training`, a `Training`, and `heard`, the events it sent.
 * @param {import("playwright-core").Page} page
 * @param {import("./site.js").Site} site
 * @param {{device?: string, module?: string}} options `module`: URL of training.js
 */
export async function openTraining(page, site, options) {
  await page.goto(site.html("/training.html", ""));
  await prepare(page, options);
}

/** Makes `training` and `heard` in a page that is open. */
export async function prepare(page, { device = "auto", module = "/package/training.js" } = {}) {
  await page.evaluate(async ([device, module]) => {
    const { Training } = await import(module);
    globalThis.Training = Training;
    globalThis.training = new Training({ device });
    globalThis.heard = [];
    const types = ["statechange", "preparation", "started", "row", "step", "measured", "kept", "devicechange", "error"];
    for (const type of types) {
      globalThis.training.addEventListener(type, ({ detail }) => globalThis.heard.push({ type, detail }));
    }
    globalThis.training.weights.addEventListener("change", () => globalThis.heard.push({ type: "weights", detail: null }));
  }, [device, module]);
}

/** Starts a training on scenes with tiny settings. */
export const startScenes = (page, { set = TINY, ...settings } = {}) =>
  page.evaluate((settings) => globalThis.training.start("scenes", settings), { set, ...settings });

/** The details of all events of a type so far. */
export const told = (page, type) =>
  page.evaluate((type) => globalThis.heard.filter((e) => e.type === type).map((e) => e.detail), type);

/** Waits until the training is in a state, or fails. */
export async function untilState(page, state, timeout = 90_000) {
  const found = await page.waitForFunction(
    (state) => [state, "failed"].includes(globalThis.training.state) && globalThis.training.state,
    state,
    { timeout },
  );
  if ((await found.jsonValue()) === state) return;
  throw new Error(`the training failed: ${JSON.stringify(await page.evaluate(() => globalThis.training.error))}`);
}

/** Waits until so many steps are taken. */
export const untilStep = (page, step, timeout = 90_000) =>
  page.waitForFunction(
    (step) => globalThis.training.step >= step || globalThis.training.state === "failed", step, { timeout });

/** The bytes that an expression of the page gives, which is a promise of a Blob. */
export async function bytesOf(page, expression) {
  const text = await page.evaluate(async (expression) => {
    const blob = await eval(expression);
    const bytes = new Uint8Array(await blob.arrayBuffer());
    let text = "";
    for (let i = 0; i < bytes.length; i += 8192) text += String.fromCharCode(...bytes.subarray(i, i + 8192));
    return btoa(text);
  }, expression);
  return Buffer.from(text, "base64");
}

/** The tensors of a safetensors file of f32: name → Float32Array; and densecl's metadata. */
export function tensors(bytes) {
  const length = Number(bytes.readBigUInt64LE(0));
  const { __metadata__: metadata, ...entries } = JSON.parse(bytes.subarray(8, 8 + length).toString());
  const data = bytes.subarray(8 + length);
  const read = ({ dtype, data_offsets: [from, to] }) => {
    if (dtype !== "F32") throw new Error(`a tensor of ${dtype}`);
    return new Float32Array(Uint8Array.from(data.subarray(from, to)).buffer);
  };
  const all = Object.entries(entries).map(([name, entry]) => [name, read(entry)]);
  return { tensors: Object.fromEntries(all), info: JSON.parse(metadata.densecl) };
}

/** The native steps that training.rs took: {set, steps, losses, tensors}. */
export function native(name) {
  const summary = JSON.parse(reference(`training-${name}.json`));
  return { ...summary, tensors: tensors(reference(`training-${name}.safetensors`)).tensors };
}
