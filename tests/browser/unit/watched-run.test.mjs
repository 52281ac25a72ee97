// Tests the client of a run that is served, with a server made of functions.
import assert from "node:assert/strict";
import { register } from "node:module";
import { unit as test } from "../lib/test.js";

// The page finds the package's modules under dense-match/, which exists only where it is built.
const folder = JSON.stringify(String(new URL("../../../web/js/", import.meta.url)));
const hook = `export function resolve(name, context, next) {
  const [, file] = name.split("/dense-match/");
  return next(file ? new URL(file, ${folder}).href : name, context);
}`;
register(`data:text/javascript,${encodeURIComponent(hook)}`);
const { WatchedRun, addressOf } = await import("../../../web/page/train/watched.js");

const ORIGIN = "https://page.example";

/** A status as the program writes it. */
const status = (phase, step, more = {}) => ({
  densecl_version: "0.1.0", phase, message: null, objective: "DenseCL", data: "scenes", backbone: "resnet10",
  batch_size: 16, step, total_steps: 100, steps_per_epoch: 10, figures: [], measured: [], weights_step: step,
  untrained: false, ...more,
});

/**
 * Watches a run that gives one answer after the other: a status, a status with `rows` (the log so far), or an Error for
 * a connection that is refused. Resolves when nothing more is asked.
 */
async function watched(answers, { isHidden = () => false } = {}) {
  const asked = [];
  let at = -1;
  const respond = async (url) => {
    const { pathname, searchParams } = new URL(url);
    asked.push(pathname);
    if (pathname === "/run/status.json") at++;
    const answer = answers[Math.min(at, answers.length - 1)];
    if (answer instanceof Error) throw new TypeError("Failed to fetch");
    if (answer instanceof Response) return answer.clone();
    const { rows = "", ...rest } = answer;
    if (pathname === "/run/status.json") return Response.json(rest);
    const from = Number(searchParams.get("from"));
    if (pathname === "/run/metrics.jsonl") return new Response(Buffer.from(rows).subarray(from));
    return new Response(`weights of step ${rest.weights_step}`);
  };
  const run = new WatchedRun(new URL("http://127.0.0.1:6006/run/"), {
    fetch: respond, wait: async () => {}, isHidden, origin: ORIGIN,
  });
  const phases = [];
  const weights = [];
  run.addEventListener("change", () => phases.at(-1) !== run.phase && phases.push(run.phase));
  run.weights.addEventListener("change", () => weights.push(run.weights.current));
  await run.watch();
  return { run, phases, asked, weights: await Promise.all(weights.map((blob) => blob.text())) };
}

const line = (step) => `{"step":${step},"loss":${step}.5}\n`;

test("a run is watched from its preparation to its end", async () => {
  const { run, phases, weights } = await watched([
    status("preparing", 0, { weights_step: null, total_steps: 0 }),
    status("training", 0, { untrained: true }),
    status("training", 5, { untrained: true, rows: line(5) }),
    status("measuring", 100, { untrained: true, rows: line(5) + line(100) }),
    status("ended", 100, { untrained: true, rows: line(5) + line(100) }),
  ]);
  assert.deepEqual(phases, ["preparing", "training", "measuring", "ended"]);
  assert.deepEqual(run.rows.map(({ step }) => step), [5, 100]);
  assert.deepEqual(weights.slice(0, 3), ["weights of step 0", "weights of step 5", "weights of step 100"]);
  assert.equal(run.untrained.name, "Untrained");
  assert.equal(run.error, "");
});

test("without weights of the untrained network, the first ones are those before", async () => {
  const { run } = await watched([status("training", 30), status("training", 31), status("stopped", 31)]);
  assert.equal(await run.untrained.text(), "weights of step 30");
  assert.equal(run.untrained.name, "When you began to watch");
  assert.equal(run.phase, "stopped");
});

test("a run that does not say how it ended is lost, with its last step", async () => {
  const { run, phases } = await watched([status("training", 40), new Error()]);
  assert.deepEqual(phases, ["training", "lost"]);
  assert.match(run.error, /no longer answers after step 40 of 100: it was killed, or the connection/);
});

test("a single question without an answer loses no run", async () => {
  const { phases } = await watched([status("training", 40), new Error(), new Error(), status("ended", 100)]);
  assert.deepEqual(phases, ["training", "ended"]);
});

test("a run that fell silent after its last step has ended", async () => {
  const { run } = await watched([status("measuring", 100), new Error()]);
  assert.deepEqual([run.phase, run.error], ["ended", ""]);
});

test("a failed run gives its reason", async () => {
  const { run } = await watched([status("failed", 7, { message: "the loss is not finite after step 7" })]);
  assert.deepEqual([run.phase, run.error], ["failed", "the loss is not finite after step 7"]);
});

test("where nothing answers, the address and --serve-origin are named", async () => {
  const { run, phases } = await watched([new Error()]);
  assert.deepEqual(phases, ["lost"]);
  assert.match(run.error, /Nothing answers at 127\.0\.0\.1:6006\.[^]*--serve-origin https:\/\/page\.example/);
});

test("another server is no run", async () => {
  for (const answer of [
    new Response("not found", { status: 404 }), new Response("<h1>Welcome</h1>"), Response.json({}),
    Response.json(null), Response.json({ phase: "training" }),
  ]) {
    const { run } = await watched([answer]);
    assert.equal(run.phase, "lost");
    assert.match(run.error, /127\.0\.0\.1:6006 answers, but no run of densecl is served there/);
  }
});

test("steps that a resumed run takes again replace the earlier ones, and foreign lines are left out", async () => {
  const log = line(10) + line(20) + "not a row\n{}\nnull\n";
  const { run } = await watched([
    status("training", 20, { rows: log }),
    status("ended", 100, { rows: log + '{"step":15,"loss":null}\n' + line(100) }),
  ]);
  assert.deepEqual(run.rows.map(({ step, loss }) => [step, loss]), [[10, 10.5], [15, null], [100, 100.5]]);
});

test("a hidden page asks for no weights, and for each step only once", async () => {
  const hidden = await watched([status("training", 5), status("ended", 100)], { isHidden: () => true });
  assert.deepEqual(hidden.weights, []);
  const still = status("training", 5);
  const { asked } = await watched([still, still, still, status("stopped", 5)]);
  const files = asked.filter((path) => path.endsWith("/weights.safetensors"));
  assert.equal(files.length, 2, "one while it trains, one at the end");
});

test("an address is that of a run on this computer, or of this page", () => {
  for (const [given, url] of [
    ["http://127.0.0.1:6006", "http://127.0.0.1:6006/run/"],
    [" localhost:6006 ", "http://localhost:6006/run/"],
    ["http://127.0.0.1:6006/#mode=watch&run=here", "http://127.0.0.1:6006/run/"],
    ["https://page.example/somewhere", "https://page.example/run/"],
  ]) assert.equal(addressOf(given, ORIGIN).href, url);
  for (const wrong of ["", "  ", "6006 please", "ftp://localhost", "http://", "javascript:alert(1)"]) {
    assert.throws(() => addressOf(wrong, ORIGIN), /such as http:\/\/127\.0\.0\.1:6006/, wrong);
  }
  for (const foreign of ["http://gpu-box:6006", "https://127.0.0.1:6006", "http://127.0.0.1.example"]) {
    assert.throws(() => addressOf(foreign, ORIGIN), /--serve-page/, foreign);
  }
});
