// Two builds of the package in the same Chromium, turn about: what a change to the modules does to a visitor's time. See
// README.md.
import { writeFileSync } from "node:fs";
import { cpus } from "node:os";
import path from "node:path";
import { parseArgs } from "node:util";
import { closeBrowsers } from "../../tests/browser/lib/browser.js";
import { distance, measure, median } from "./measure.mjs";

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

const mounts = [["/before/", path.resolve(options.before)]];
const edits = { before: (text) => text.replaceAll("/package/", "/before/"), now: (text) => text };

const found = { before: [], now: [] };
try {
  for (let round = 0; round < rounds; round++) {
    for (const build of ["before", "now"]) {
      const { weights, device } = options;
      found[build].push(await measure({ contender: "ours", device, weights, size, stride, runs, mounts, edit: edits[build] }));
    }
  }
} finally {
  await closeBrowsers();
}
const apart = distance(found.now[0].row, found.before[0].row);
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
