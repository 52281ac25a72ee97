/**
 * The worker of a training: holds the training module, takes steps in slices, and serves training.js.
 *
 * Between two slices it handles messages, so that a pause or a request waits for one step at most. What the page is told
 * is described in training.d.ts; messages have the form {event, detail}, answers to requests {id, value} or {id, error}.
 */

import { openDevice } from "./device.js";
import { EngineError, engineError } from "./errors.js";
import { Progress } from "./progress.js";
import { reduce } from "./reduce.js";
import { breathe, clock, holdClock } from "./training-clock.js";
import { keeper } from "./training-keeper.js";
import * as store from "./training-store.js";

/** Milliseconds of steps between two looks at the messages. */
const SLICE_MS = 50;
/** Milliseconds between two snapshots of the weights, two reports of the step, and two states that are kept. */
const SNAPSHOT_MS = 1000;
const REPORT_MS = 250;
const KEEP_MS = 10_000;
/** Seconds over which the speed is measured. */
const SPEED_S = 15;
const MOST_PICTURES = 2000;
/** Pictures that are stored in one transaction. */
const PER_TRANSACTION = 50;

const tell = (event, detail, transfer = []) => self.postMessage({ event, detail }, { transfer });
const progress = new Progress(({ fraction }) => tell("preparation", { phase: "module", done: fraction, total: 1 }));

let training = null; // the module's object
let state = "loading";
let visible = true;
let held = false; // whether the page wants a pause, also one that begins with the first step
let dead = false;
let run = null; // StartedDetail
let before = null;
let rows = [];
let untrained = null; // ArrayBuffer

/** Reports that this worker cannot go on. */
function die(type, message) {
  if (dead) return;
  dead = true;
  tell("dead", { type, message });
}

function listener(type, message) {
  if (type === "device") die("device", message);
  else die("worker", `Something went wrong inside: ${message}. Start anew.`);
}

// Handles a trap of the module. In an async call no other handler receives it. A trap without a panic before it comes
// from a failed allocation.
function trapped(error) {
  if (error instanceof WebAssembly.RuntimeError || error instanceof RangeError) {
    die("out-of-memory", "There is not enough memory for this training. Close other tabs, or take fewer pictures.");
  } else die("worker", `Something went wrong inside: ${error?.message ?? error}. Start anew.`);
}
self.addEventListener("error", (event) => trapped(event.error ?? event));
self.addEventListener("unhandledrejection", (event) => trapped(event.reason));

function failed(error) {
  if (error instanceof WebAssembly.RuntimeError || error instanceof RangeError) return trapped(error);
  const { type, message } = engineError(error);
  die(type, message);
}

function change(next) {
  if (next === state) return;
  state = next;
  tell("state", next);
}

// --- one thing at a time ---

let last = Promise.resolve();
/** Runs work that uses the module after all work before it. */
function exclusive(work) {
  const result = last.then(() => {
    if (dead) throw new EngineError("aborted", "No longer needed.");
    return work();
  });
  last = result.catch(() => {});
  return result;
}

// --- preparation ---

/** Gives the pictures to the module, and stores them. @returns {Promise<{refused: object[], leftOut: number}>} */
async function addFiles(files) {
  const refused = [];
  const total = Math.min(files.length, MOST_PICTURES);
  let batch = [];
  let stored = 0;
  const flush = async () => {
    await keeper.attempt(() => store.writePictures(stored, batch));
    stored += batch.length;
    batch = [];
  };
  for (const [index, file] of files.slice(0, total).entries()) {
    try {
      const picture = await reduce(file, training.pictureSide);
      training.addPicture(picture.rgb, picture.width, picture.height);
      batch.push(picture);
    } catch (error) {
      if (error instanceof WebAssembly.RuntimeError) throw error;
      refused.push({ name: file.name ?? `picture ${index + 1}`, reason: engineError(error).message });
    }
    if (batch.length >= PER_TRANSACTION) await flush();
    tell("preparation", { phase: "pictures", done: index + 1, total });
  }
  await flush();
  return { refused, leftOut: files.length - total };
}

async function addStored(count) {
  for (let first = 0; first < count; first += PER_TRANSACTION) {
    const some = await store.readPictures(first, PER_TRANSACTION);
    for (const { rgb, width, height } of some) training.addPicture(rgb, width, height);
    const done = Math.min(first + some.length, count);
    tell("preparation", { phase: "pictures", done, total: count });
    if (some.length === 0) break;
  }
}

/** Events of the module. */
function heard(kind, json) {
  const detail = JSON.parse(json);
  if (kind === "row") {
    rows.push(detail);
    tell("row", detail);
  } else if (kind === "measured") {
    if (state !== "measuring") before = detail;
    tell("measured", detail);
  } else tell("preparation", { phase: "measuring", done: detail[0], total: detail[1] });
}

async function measure() {
  while (!(await exclusive(() => training.measure()))) await breathe();
}

/** The weights as they are now. @returns {Promise<ArrayBuffer>} */
const weights = async () => (await training.weights()).buffer;

async function start(args) {
  const { origin, request, known } = args;
  const opened = await openDevice(args.device, args.why, args.wasmUrl, progress, listener, "densecl_train");
  tell("device", opened.info);
  change("preparing");
  const record = origin.kind === "stored" ? await store.read() : null;
  if (origin.kind === "stored" && !record) {
    throw new EngineError("not-found", "There is no training in this browser's storage to go on with. Start a new one.");
  }
  const settings = args.settings ?? record?.settings;
  const source = record?.source ?? (origin.kind === "files" ? "pictures" : "scenes");
  const asked = { source, ...(record ? { objective: record.objective } : request), ...(settings && { settings }) };
  training = opened.module.Training.create(opened.session, JSON.stringify(asked), clock, heard);
  let found = { refused: record?.run.refused ?? [], leftOut: record?.run.leftOut ?? 0 };
  await keeper.open(record !== null);
  if (source === "pictures") {
    if (record) await addStored(record.run.images + record.run.heldOut);
    else found = await addFiles(origin.files);
  }
  let bytes = null;
  if (known) {
    // The page knows a later state than the storage: that of the worker before this one.
    ({ rows, before } = known);
    untrained = (await known.untrained?.arrayBuffer()) ?? null;
    bytes = await known.state.arrayBuffer();
  } else if (record) {
    ({ rows, before, untrained, state: bytes } = record);
    tell("restored", { rows, before, untrained: untrained && new Blob([untrained]) });
  }
  base = known?.seconds ?? record?.seconds ?? 0;
  const text = training.begin(bytes && new Uint8Array(bytes), base);
  run = { ...JSON.parse(text), ...found, source, objective: asked.objective };
  run.planned = record?.run.planned ?? args.planned ?? run.totalSteps;
  if (!bytes) {
    await measure();
    untrained = await exclusive(weights);
    tell("untrained", new Blob([untrained]));
  }
  begunAt = clock();
  tell("started", run);
  if (run.step >= run.totalSteps) return finish();
  await snapshot();
  go(!held);
}

// --- steps ---

/** Times of the last steps, for the speed. */
let pace = [];
const times = { snapshot: 0, report: 0, keep: 0 };

function report() {
  const [now, step] = [clock(), training.taken];
  pace.push([now, step]);
  while (pace.length > 2 && now - pace[0][0] > SPEED_S) pace.shift();
  const [since, from] = pace[0];
  const perSecond = now > since ? (step - from) / (now - since) : 0;
  const left = run.totalSteps - step;
  tell("step", {
    step,
    totalSteps: run.totalSteps,
    imagesPerSecond: perSecond * run.batchSize,
    seconds: seconds(),
    secondsLeft: perSecond > 0 ? left / perSecond : Infinity,
  });
}

/** Seconds of training: those before a reload, and those since. */
let base = 0;
let begunAt = 0;
const seconds = () => base + clock() - begunAt;

/** Tells the present weights, unless nobody looks. */
async function snapshot(always = false) {
  if (!visible && !always) return;
  const bytes = await exclusive(weights);
  tell("weights", new Blob([bytes]));
}

const due = (what, every) => {
  const now = performance.now();
  if (now - times[what] < every) return false;
  times[what] = now;
  return true;
};

let looping = false;
/** Takes steps until the last, or a pause. */
async function loop() {
  if (looping) return;
  looping = true;
  try {
    while (state === "running") {
      const begun = performance.now();
      let ended = false;
      do {
        ended = await exclusive(() => training.step());
      } while (!ended && performance.now() - begun < SLICE_MS && state === "running");
      if (ended) return await finish();
      if (due("report", REPORT_MS)) report();
      if (due("snapshot", SNAPSHOT_MS)) await snapshot();
      if (due("keep", KEEP_MS)) await keep();
      await breathe();
    }
  } finally {
    looping = false;
  }
}

async function finish() {
  report();
  holdClock(true);
  change("measuring");
  await measure();
  await snapshot(true);
  await keep();
  change("ended");
}

/** Goes on, or waits. */
function go(on) {
  holdClock(!on);
  pace = [];
  const now = performance.now();
  Object.assign(times, { snapshot: 0, report: now, keep: now });
  change(on ? "running" : "paused");
  if (on) loop().catch(failed);
}

// --- keeping the state ---

/** Keeps the state: in the storage, and always with the page, in case this worker dies. */
async function keep() {
  const { taken, bytes } = await exclusive(async () => ({ bytes: await training.checkpoint(), taken: training.taken }));
  times.keep = performance.now();
  const { source, objective, settings, totalSteps } = run;
  await keeper.attempt(() =>
    store.write({
      version: store.VERSION,
      source, objective, settings, run, before, rows, totalSteps, untrained,
      step: taken,
      seconds: seconds(),
      time: Date.now(),
      state: bytes.buffer,
    }),
  );
  const kept = { step: taken, where: keeper.refused ? "page" : "storage", reason: keeper.refused };
  tell("kept", { kept, state: new Blob([bytes]), seconds: seconds() });
  return kept;
}

// --- requests ---

const begun = () => {
  if (["running", "paused", "ended"].includes(state)) return;
  throw new EngineError("worker", "The training is not ready for this yet.");
};

/** The requests of training.js. */
const methods = {
  async start(given) {
    visible = given.visible;
    held = given.paused ?? false;
    await start(given);
  },

  async pause() {
    held = true;
    if (state !== "running") return;
    change("paused");
    holdClock(true);
    await exclusive(() => {});
    await snapshot();
    await keep();
  },

  async goOn({ steps }) {
    held = false;
    if (["loading", "preparing"].includes(state)) return;
    begun();
    if (state === "ended") {
      const text = await exclusive(() => training.prolong(steps ?? run.planned));
      run = { ...run, ...JSON.parse(text) };
      tell("started", run);
    }
    if (state !== "running") go(true);
  },

  async stop() {
    begun();
    if (state === "ended") return;
    await exclusive(() => training.stop());
    if (state === "paused") go(true);
  },

  async keep() {
    begun();
    return keep();
  },

  async save() {
    begun();
    return new Blob([await exclusive(weights)]);
  },

  async visible({ visible: now }) {
    visible = now;
    if (["running", "paused", "ended"].includes(state) && now) await snapshot();
    // A hidden page may be discarded at any time, on a phone above all.
    if (state === "running" && !now) await keep();
  },
};

self.addEventListener("message", async ({ data: { id, method, args } }) => {
  try {
    self.postMessage({ id, value: await methods[method](args) });
  } catch (error) {
    if (method === "start" || error instanceof WebAssembly.RuntimeError) return failed(error);
    const { type, message } = engineError(error);
    if (type === "device" || type === "diverged") return die(type, message);
    self.postMessage({ id, error: { type, message } });
  }
});
