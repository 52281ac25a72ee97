// One contender in a page of its own, with an empty cache: what bench.js and versions.js have in common.
import { readFileSync, readdirSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { browser } from "../../tests/browser/lib/browser.js";
import { landscapePng } from "../../tests/browser/lib/pictures.js";
import { openSite } from "../../tests/browser/lib/site.js";

export const here = fileURLToPath(new URL(".", import.meta.url));

export const median = (values) => [...values].sort((a, b) => a - b)[values.length >> 1];

/** The largest distance of two rows of similarities; infinite where they have no common length. */
export const distance = (a, b) => (a.length === b.length ? Math.max(...a.map((value, i) => Math.abs(value - b[i]))) : Infinity);

/**
 * Milliseconds until the first features and of each warm run, and a row of similarities.
 * @param {object} what
 * @param {"ours" | "ort"} what.contender the module of this folder that runs the network
 * @param {"cpu" | "webgpu"} what.device
 * @param {string} what.weights name of a bundle of weights in the package
 * @param {number} what.size side of the pictures in pixels
 * @param {number} what.stride pixels per cell
 * @param {number} what.runs warm runs
 * @param {[string, string][]} what.mounts further folders of the site
 * @param {(text: string) => string} [what.edit] changes the modules of this folder
 * @param {Buffer} [what.model] the network as an ONNX file
 * @param {(site: object) => Promise<object>} [what.after] finds more, while the site is open
 */
export async function measure({ contender, device, weights, size, stride, runs, mounts, edit = (text) => text, model, after }) {
  const site = await openSite({ csp: null, mounts });
  for (const file of readdirSync(here).filter((name) => name.endsWith(".js"))) {
    site.put(`/bench/${file}`, edit(readFileSync(path.join(here, file), "utf8")));
  }
  if (model) site.put("/model.onnx", model);
  const pictures = [0, 1].map((seed) => site.put(`/${seed}.png`, landscapePng(size, size, seed)));
  site.html("/", "", { head: '<script type="module" src="/bench/page.js"></script>' });
  const context = await (await browser(device === "cpu" ? "plain" : "webgpu")).newContext();
  try {
    const page = await context.newPage();
    await page.goto(site.url("/"));
    await page.waitForFunction(() => globalThis.bench);
    const given = { model: "/model.onnx", weights: `/package/weights/${weights}/manifest.json`, pictures, size, stride };
    const { ready, first } = await page.evaluate(([c, d, g]) => globalThis.bench.open(c, d, g), [contender, device, given]);
    const times = await page.evaluate((count) => globalThis.bench.warm(count), runs);
    const row = await page.evaluate(() => globalThis.bench.row(0));
    return { ready, first, times, row, ...(await after?.(site)) };
  } finally {
    await context.close();
    await site.close();
  }
}
