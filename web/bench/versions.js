// Two builds of the package in the same Chromium, turn about: what a change to the modules does to a visitor's time. See
// README.md.
import { readFileSync, readdirSync, writeFileSync } from "node:fs";
import { cpus } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { browser, closeBrowsers } from "../../tests/browser/lib/browser.js";
import { landscapePng } from "../../tests/browser/lib/pictures.js";
import { openSite } from "../../tests/browser/lib/site.js";

const here = fileURLToPath(new URL(".", import.meta.url));
const { values: options } = parseArgs({
  options: {
    before: { type: "string" },
    weights: { type: "string", default: "quickstart" },
    size: { type: "string", default: "64" },
    stride: { type: "string", default: "16" },
    runs: { type: "string", default: "3" },
    rounds: { type: "string", default: "2" },
    device: { type: "string", default: "webgpu" },
    json: { type: "string" },
  },
});
if (!options.before) throw new Error("--before FOLDER: the web/dist of the build to compare with");
const [size, stride, runs, rounds] = ["size", "stride", "runs", "rounds"].map((name) => Number(options[name]));
const median = (values) => [...values].sort((a, b) => a - b)[values.length >> 1];

/** One build in a page of its own: milliseconds until the first features, of one picture when warm, and a row of similarities. */
async function measure(build) {
  const site = await openSite({ csp: null, mounts: [["/before/", path.resolve(options.before)]] });
  for (const file of readdirSync(here).filter((name) => name.endsWith(".js"))) {
    const text = readFileSync(path.join(here, file), "utf8");
    site.put(`/bench/${file}`, build === "before" ? text.replaceAll("/package/", "/before/") : text);
  }
  const pictures = [0, 1].map((seed) => site.put(`/${seed}.png`, landscapePng(size, size, seed)));
  site.html("/", "", { head: '<script type="module" src="/bench/page.js"></script>' });
  const context = await (await browser(options.device === "cpu" ? "plain" : "webgpu")).newContext();
  try {
    const page = await context.newPage();
    await page.goto(site.url("/"));
    await page.waitForFunction(() => globalThis.bench);
    const given = { weights: `/package/weights/${options.weights}/manifest.json`, pictures, size, stride };
    const { ready } = await page.evaluate(([device, g]) => globalThis.bench.open("ours", device, g), [options.device, given]);
    const times = await page.evaluate((count) => globalThis.bench.warm(count), runs);
    return { ready, times, row: await page.evaluate(() => globalThis.bench.row(0)) };
  } finally {
    await context.close();
    await site.close();
  }
}

const found = { before: [], now: [] };
try {
  for (let round = 0; round < rounds; round++) {
    for (const build of ["before", "now"]) found[build].push(await measure(build));
  }
} finally {
  await closeBrowsers();
}
const apart = Math.max(...found.now[0].row.map((value, i) => Math.abs(value - found.before[0].row[i])));
if (!(apart < 1e-3)) throw new Error(`the builds give other similarities, which differ by ${apart}`);
console.log(`${options.device}: ${options.weights}, ${size} × ${size} px, stride ${stride}; similarities agree to ${apart.toExponential(1)}`);
for (const build of ["before", "now"]) {
  const warm = median(found[build].flatMap(({ times }) => times));
  const ready = median(found[build].map(({ ready }) => ready));
  console.log(`  ${build.padEnd(7)} warm ${warm.toFixed(1)} ms   until the first features ${ready.toFixed(0)} ms`);
}
const ratios = found.before.map(({ times }, i) => median(times) / median(found.now[i].times));
console.log(`  before / now, warm, by round: ${ratios.map((ratio) => ratio.toFixed(2)).join(", ")}`);
const report = { date: new Date().toISOString().slice(0, 10), machine: `${cpus().length} × ${cpus()[0].model}`, ...options, apart, ratios, found };
if (options.json) writeFileSync(options.json, `${JSON.stringify(report, null, 2)}\n`);
