// The same network in this project's modules and in onnxruntime-web, in the same Chromium, side by side.
// See README.md.
import { execFileSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { cpus, tmpdir } from "node:os";
import path from "node:path";
import { parseArgs } from "node:util";
import { gzipSync } from "node:zlib";
import { closeBrowsers } from "../../tests/browser/lib/browser.js";
import { ROOT } from "../../tests/browser/lib/site.js";
import { distance, here, measure, median } from "./measure.mjs";

const { values: options } = parseArgs({
  options: {
    densecl: { type: "string", default: path.join(ROOT, "target/release/densecl") },
    weights: { type: "string", default: "quickstart" },
    onnx: { type: "string" }, // made with `densecl export` unless given
    size: { type: "string", default: "224" },
    stride: { type: "string", default: "16" },
    runs: { type: "string", default: "10" },
    rounds: { type: "string", default: "3" },
    device: { type: "string", multiple: true, default: ["cpu"] },
    json: { type: "string" },
  },
});
const [size, stride, runs, rounds] = ["size", "stride", "runs", "rounds"].map((name) => Number(options[name]));

const milliseconds = (ms) => `${ms.toFixed(1)} ms`;
const megabytes = (bytes) => `${(bytes / 1e6).toFixed(2)} MB`;

/** The safetensors file that a bundle's shards are. */
function wholeFile(folder) {
  const { shards } = JSON.parse(readFileSync(path.join(folder, "manifest.json")));
  return Buffer.concat(shards.map(({ file }) => readFileSync(path.join(folder, file))));
}

/** The same weights as an ONNX file. */
function onnxModel(folder) {
  if (options.onnx) return readFileSync(options.onnx);
  if (!existsSync(options.densecl)) throw new Error(`${options.densecl} is not there: cargo build --release, or --onnx FILE`);
  const scratch = mkdtempSync(path.join(tmpdir(), "densecl-bench-"));
  try {
    const [weights, model] = [path.join(scratch, "weights.safetensors"), path.join(scratch, "model.onnx")];
    writeFileSync(weights, wholeFile(folder));
    const args = ["export", weights, "--to", "onnx", "--stride", String(stride), "--out", model];
    execFileSync(options.densecl, args, { stdio: ["ignore", "inherit", "inherit"] });
    return readFileSync(model);
  } finally {
    rmSync(scratch, { recursive: true });
  }
}

/** What came over the network, each file once and gzipped, as a static host would send it. */
async function transferred(site) {
  const counted = /^\/(package|ort)\/|^\/model\.onnx$/;
  const files = new Set(site.requests.filter(({ path, status }) => status === 200 && counted.test(path)).map((r) => r.path));
  const sizes = await Promise.all([...files].map(async (file) => [file, gzipSync(await site.read(file), { level: 9 }).length]));
  return { bytes: sizes.reduce((sum, [, bytes]) => sum + bytes, 0), files: Object.fromEntries(sizes) };
}

const mounts = [["/ort/", path.join(here, "node_modules/onnxruntime-web/dist")]];

/** Both on one device, turn about, so that what else the machine does meets both. */
async function compare(device, model) {
  const found = { ours: [], ort: [] };
  for (let round = 0; round < rounds; round++) {
    for (const contender of ["ours", "ort"]) {
      const { weights } = options;
      found[contender].push(await measure({ contender, device, weights, size, stride, runs, mounts, model, after: transferred }));
    }
  }
  const [ours, ort] = ["ours", "ort"].map((name) => ({
    warm: median(found[name].flatMap(({ times }) => times)),
    ready: median(found[name].map(({ ready }) => ready)),
    first: median(found[name].map(({ first }) => first)),
    bytes: found[name][0].bytes,
    files: found[name][0].files,
  }));
  const apart = distance(found.ours[0].row, found.ort[0].row);
  if (!(apart < 1e-3)) {
    throw new Error(`these are not the same network: similarities differ by ${apart}`);
  }
  const ratios = found.ours.map(({ times }, i) => median(times) / median(found.ort[i].times));
  return { device, ours, ort, apart, time_ratio: ours.warm / ort.warm, time_ratios: ratios, bytes_ratio: ours.bytes / ort.bytes };
}

const model = onnxModel(path.join(ROOT, "web/dist/weights", options.weights));
const results = [];
try {
  for (const device of options.device) {
    const result = await compare(device, model);
    results.push(result);
    const { ours, ort } = result;
    console.log(`\n${device}: ${options.weights}, ${size} × ${size} px, stride ${stride}; similarities agree to ${result.apart.toExponential(1)}`);
    for (const [name, one] of [["densecl", ours], ["onnxruntime-web", ort]]) {
      console.log(`  ${name.padEnd(16)} warm ${milliseconds(one.warm).padStart(10)}   from nothing to first features ${milliseconds(one.ready).padStart(10)}   ${megabytes(one.bytes)} gzipped`);
    }
    const each = result.time_ratios.map((ratio) => ratio.toFixed(2)).join(", ");
    console.log(`  densecl / onnxruntime-web: time ${result.time_ratio.toFixed(2)} (rounds: ${each}), bytes ${result.bytes_ratio.toFixed(2)}`);
  }
} finally {
  await closeBrowsers();
}
const { version } = JSON.parse(readFileSync(path.join(here, "node_modules/onnxruntime-web/package.json")));
const report = { date: new Date().toISOString().slice(0, 10), machine: `${cpus().length} × ${cpus()[0].model}`, onnxruntime_web: version, size, stride, runs, rounds, results };
if (options.json) writeFileSync(options.json, `${JSON.stringify(report, null, 2)}\n`);
