// Runs the suite: `node run.js [FILTER]… [--exact] [--skip FILTER] [--list]`. Arguments and output are those
// of a Rust test program, because `cargo test --test browser` passes its arguments on.
import { run } from "node:test";
import { spawnSync } from "node:child_process";
import { readdirSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { inspect } from "node:util";
import path from "node:path";

// Each file runs in a process with its own Chromium; two of them keep two cores busy.
const CONCURRENCY = 2;

const here = fileURLToPath(new URL(".", import.meta.url));

function parse(args) {
  const options = { filters: [], skip: [], exact: false, list: false, none: false };
  // Options of Rust's test harness that take a value and have no effect here.
  const valued = new Set(["--test-threads", "--format", "--color", "--logfile", "-Z"]);
  for (let i = 0; i < args.length; i++) {
    const arg = args[i];
    if (arg === "--skip") options.skip.push(args[++i]);
    else if (valued.has(arg)) i++;
    else if (["--exact", "--list", "--none"].includes(arg)) options[arg.slice(2)] = true;
    else if (!arg.startsWith("-")) options.filters.push(arg);
  }
  return options;
}

/** The names of the tests in each file: {file, names}. */
function inventory() {
  const folders = ["unit", "suite"].map((folder) => path.join(here, folder));
  const files = folders.flatMap((folder) =>
    readdirSync(folder).filter((name) => /\.test\.m?js$/.test(name)).sort().map((name) => path.join(folder, name)));
  return files.map((file) => {
    const env = { ...process.env, DENSECL_BROWSER_LIST: "1" };
    const { stdout, stderr, status } = spawnSync(process.execPath, [file], { env, encoding: "utf8" });
    if (status !== 0) throw new Error(`${file} cannot be read:\n${stderr}`);
    const names = stdout.split("\n").filter((line) => line.endsWith(": test")).map((line) => line.slice(0, -6));
    return { file, names };
  });
}

const options = parse(process.argv.slice(2));
const hit = (name, filter) => (options.exact ? name === filter : name.includes(filter));
const selected = (name) =>
  !options.none &&
  (!options.filters.length || options.filters.some((filter) => hit(name, filter))) &&
  !options.skip.some((filter) => hit(name, filter));

const all = inventory();
const names = all.flatMap((entry) => entry.names);
const chosen = names.filter(selected);
const twice = names.find((name, index) => names.indexOf(name) !== index);
if (twice) throw new Error(`two tests are called "${twice}"`);

if (options.list) {
  for (const name of chosen) console.log(`${name}: test`);
  console.log(`\n${chosen.length} tests, 0 benchmarks`);
} else {
  process.exitCode = await runChosen();
}

async function runChosen() {
  const started = performance.now();
  const files = all.filter((entry) => entry.names.some(selected)).map((entry) => entry.file);
  const failed = [];
  let passed = 0;
  console.log(`\nrunning ${chosen.length} tests`);
  if (files.length) {
    process.env.DENSECL_BROWSER_ONLY = JSON.stringify(chosen);
    const events = run({ files, concurrency: CONCURRENCY });
    for await (const { type, data } of events) {
      const isCase = chosen.includes(data?.name);
      const seconds = () => `${(data.details.duration_ms / 1000).toFixed(1)} s`;
      if (type === "test:pass" && isCase) {
        passed++;
        console.log(`test ${data.name} ... ok (${seconds()})`);
      } else if (type === "test:fail") {
        const { error } = data.details;
        // If a case fails, node:test reports its file as failed, too; the case has been reported already.
        if (!isCase && error?.failureType === "subtestsFailed") continue;
        failed.push(data.name);
        console.log(`test ${data.name} ... FAILED (${seconds()})\n${inspect(error?.cause ?? error, { depth: 4 })}`);
      } else if (type === "test:stdout" || type === "test:stderr") {
        process.stderr.write(data.message);
      }
    }
  }
  // If a file's process ends early, some cases have neither passed nor failed.
  const lost = chosen.length - passed - failed.length;
  if (failed.length) console.log(`\nfailures:\n${failed.map((name) => `    ${name}`).join("\n")}`);
  if (lost > 0) console.log(`\n${lost} tests did not report`);
  const ok = failed.length === 0 && lost === 0;
  const seconds = ((performance.now() - started) / 1000).toFixed(2);
  console.log(
    `\ntest result: ${ok ? "ok" : "FAILED"}. ${passed} passed; ${failed.length} failed; 0 ignored; ` +
      `0 measured; ${names.length - chosen.length} filtered out; finished in ${seconds}s\n`,
  );
  return ok ? 0 : 1;
}
