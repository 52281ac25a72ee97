// A training in the tab beside the same training of the program on one thread, over seeds. See README.md.
import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { cpus, tmpdir } from "node:os";
import path from "node:path";
import { parseArgs } from "node:util";
import { browser, closeBrowsers } from "../../tests/browser/lib/browser.js";
import { openSite, ROOT } from "../../tests/browser/lib/site.js";

const { values: options } = parseArgs({
  options: {
    densecl: { type: "string", default: path.join(process.env.CARGO_TARGET_DIR ?? path.join(ROOT, "target"), "release/densecl") },
    seeds: { type: "string", default: "5" },
    preset: { type: "string", default: "tab" },
    set: { type: "string", multiple: true, default: [] },
    "tab-only": { type: "boolean", default: false },
    json: { type: "string" },
  },
});
if (!options["tab-only"] && !existsSync(options.densecl)) {
  throw new Error(`${options.densecl} is not there: cargo build --release, or --densecl PROGRAM, or --tab-only`);
}

/** Whether a program can be bound to one core; the loader and the loop then share it, as they do in a tab. */
const canBind = spawnSync("taskset", ["--version"]).status === 0;

/** The program's run of a seed, on one core. */
function native(seed) {
  const scratch = mkdtempSync(path.join(tmpdir(), "densecl-tab-"));
  try {
    const out = path.join(scratch, "run");
    const sets = options.set.flatMap((set) => ["--set", set]);
    const args = ["pretrain", "--config", options.preset, "--device", "cpu", "--seed", String(seed), "--out", out, "--set", "data.threads=1", ...sets];
    const begun = performance.now();
    const [program, ...given] = [...(canBind ? ["taskset", "-c", "0"] : []), options.densecl, ...args];
    execFileSync(program, given, { env: { ...process.env, RAYON_NUM_THREADS: "1" }, stdio: ["ignore", "ignore", "inherit"] });
    const whole = (performance.now() - begun) / 1000;
    const result = JSON.parse(readFileSync(path.join(out, "result.json")));
    return {
      whole, training: result.seconds,
      before: result.correspondence_accuracy_before, after: result.correspondence_accuracy_after,
      mirrored_before: result.correspondence_accuracy_mirrored_before, mirrored_after: result.correspondence_accuracy_mirrored_after,
    };
  } finally {
    rmSync(scratch, { recursive: true });
  }
}

/** A visitor's run of a seed, in a fresh page: from the press of the button to the figures at the end. */
async function inTheTab(seed) {
  const site = await openSite();
  const context = await (await browser("plain")).newContext();
  try {
    const page = await context.newPage();
    await page.goto(site.html("/training.html", ""));
    return await page.evaluate(async ([seed, set]) => {
      const { Training } = await import("/package/training.js");
      const training = new Training({ device: "cpu" });
      const begun = performance.now();
      let last;
      training.addEventListener("step", ({ detail }) => (last = detail));
      const ended = new Promise((resolve, reject) => {
        training.addEventListener("statechange", ({ detail }) => {
          if (detail.state === "ended") resolve();
          if (detail.state === "failed") reject(new Error("the training failed"));
        });
      });
      await training.start("scenes", { seed, set });
      const prepared = (performance.now() - begun) / 1000;
      await ended;
      const whole = (performance.now() - begun) / 1000;
      const { before, after } = training;
      training.close();
      return {
        whole, prepared, training: last.seconds, before: before.accuracy, after: after.accuracy,
        mirrored_before: before.mirrored, mirrored_after: after.mirrored,
      };
    }, [seed, options.set]);
  } finally {
    await context.close();
    await site.close();
  }
}

const percent = (share) => `${(100 * share).toFixed(1)} %`;
const seconds = (value) => `${value.toFixed(1)} s`;
const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;
const rows = [];
try {
  console.log("| seed | where | whole | training | untrained, mirrored | trained, mirrored |\n|---|---|--:|--:|--:|--:|");
  for (let seed = 0; seed < Number(options.seeds); seed++) {
    const row = { seed, tab: await inTheTab(seed), native: options["tab-only"] ? null : native(seed) };
    rows.push(row);
    for (const where of ["tab", "native"]) {
      const one = row[where];
      if (!one) continue;
      console.log(`| ${seed} | ${where} | ${seconds(one.whole)} | ${seconds(one.training)} | ${percent(one.before)}, ${percent(one.mirrored_before)} | ${percent(one.after)}, ${percent(one.mirrored_after)} |`);
    }
  }
} finally {
  await closeBrowsers();
}
for (const where of options["tab-only"] ? ["tab"] : ["tab", "native"]) {
  const of = (key) => mean(rows.map((row) => row[where][key]));
  console.log(`| mean | ${where} | ${seconds(of("whole"))} | ${seconds(of("training"))} | ${percent(of("before"))}, ${percent(of("mirrored_before"))} | ${percent(of("after"))}, ${percent(of("mirrored_after"))} |`);
}
if (!options["tab-only"]) {
  const ratios = rows.map(({ tab, native }) => tab.training / native.training);
  console.log(`\ntraining in the tab takes ${mean(ratios).toFixed(2)} times as long as natively on one thread (${ratios.map((ratio) => ratio.toFixed(2)).join(", ")})`);
}
const report = { date: new Date().toISOString().slice(0, 10), machine: `${cpus().length} × ${cpus()[0].model}`, preset: options.preset, set: options.set, rows };
if (options.json) writeFileSync(options.json, `${JSON.stringify(report, null, 2)}\n`);
