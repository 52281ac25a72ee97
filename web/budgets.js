// What a visitor has to download, against what was promised. Run after web/build.sh: `node web/budgets.js`.
import { readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";

const root = fileURLToPath(new URL("../", import.meta.url));
const packaged = path.join(root, "web/dist");

const gzipped = (file) => gzipSync(readFileSync(file), { level: 9 }).length;

/** A module and all that it imports statically: what has to arrive before it runs. */
function withImports(file, seen = new Set()) {
  if (seen.has(file)) return seen;
  seen.add(file);
  const text = readFileSync(file, "utf8");
  for (const [, name] of text.matchAll(/(?:^|[\s;}])(?:import|from)\s*["'](\.[^"']+)["']/g)) {
    withImports(path.resolve(path.dirname(file), name), seen);
  }
  return seen;
}

const inPackage = (name) => path.join(packaged, name);
const sum = (files) => [...files].reduce((total, file) => total + gzipped(file), 0);

// What runs on the page; the worker and what it loads count as the modules they bring.
const BUDGETS = [
  ["JavaScript of <dense-match>, gzipped", 15_000, sum(withImports(inPackage("dense-match.js")))],
  ["CPU module, gzipped", 450_000, sum([inPackage("densecl_cpu.wasm"), inPackage("densecl_cpu.js")])],
  ["GPU module, gzipped", 3_000_000, sum([inPackage("densecl_gpu.wasm"), inPackage("densecl_gpu.js")])],
];

// Static hosts refuse files of 25 MiB and more.
for (const folder of [packaged, path.join(root, "dist")]) {
  const files = readdirSync(folder, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  const sizes = files.map((entry) => readFileSync(path.join(entry.parentPath, entry.name)).length);
  const name = path.relative(root, folder);
  BUDGETS.push([`largest of ${files.length} files in ${name}/, as it is`, 25 * 2 ** 20 - 1, Math.max(...sizes)]);
}

let exceeded = 0;
for (const [what, limit, bytes] of BUDGETS) {
  const verdict = bytes <= limit ? "ok" : "TOO LARGE";
  console.log(`${what}: ${bytes.toLocaleString("en")} of ${limit.toLocaleString("en")} bytes ... ${verdict}`);
  if (bytes > limit) exceeded++;
}
if (exceeded) process.exitCode = 1;
