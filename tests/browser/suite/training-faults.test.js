// Training in a page when something goes wrong: a lost GPU, settings, memory, a hidden page.
import assert from "node:assert/strict";
import { test } from "../lib/test.js";
import { bytesOf, openTraining, startScenes, tensors, TINY, told, untilState, untilStep } from "../lib/training.js";

test("when the GPU goes away in the middle, the CPU goes on from the state that was kept", async (visit) => {
  const site = await visit.site();
  const page = await visit.visitor({ browser: "webgpu", tolerate: /device|WebGPU|wgpu/i });
  site.put("/package/training-worker-itself.js", await site.read("/package/training-worker.js"));
  site.put("/package/devices.js", `
    const request = GPUAdapter.prototype.requestDevice;
    globalThis.opened = [];
    GPUAdapter.prototype.requestDevice = async function (...options) {
      const device = await request.apply(this, options);
      globalThis.opened.push(device);
      return device;
    };`);
  site.put("/package/training-worker.js", 'import "./devices.js";\nimport "./training-worker-itself.js";\n');
  await openTraining(page, site, { device: "gpu" });
  await startScenes(page, { steps: 200 });
  await untilStep(page, 2);
  await page.evaluate(() => globalThis.training.pause());
  const { step } = await page.evaluate(() => globalThis.training.kept);
  const [worker] = page.workers();
  await page.evaluate(() => globalThis.training.goOn());
  await worker.evaluate(() => globalThis.opened.forEach((device) => device.destroy()));
  await page.waitForFunction(() => globalThis.training.device.kind === "cpu", null, { timeout: 60_000 });
  await untilState(page, "ended");
  const [, again] = await told(page, "started");
  assert.equal(again.step, step);
  assert.match((await told(page, "devicechange")).at(-1).reason, /GPU failed/);
  const steps = await page.evaluate(() => globalThis.training.rows.map((row) => row.step));
  assert.deepEqual(steps, [...new Set(steps)].sort((a, b) => a - b), "each row once");
  assert.equal(steps.at(-1), 200);
  assert.deepEqual(await told(page, "error"), []);
});

test("settings that do not exist or do not fit into memory are refused with one sentence", async (visit) => {
  const site = await visit.site();
  const page = await visit.visitor();
  await openTraining(page, site);
  const refusal = (set) =>
    page.evaluate((set) => globalThis.training.start("scenes", { set }).catch(({ type, message }) => ({ type, message })), set);
  const unknown = await refusal(["optim.speed=2"]);
  assert.equal(unknown.type, "settings");
  assert.match(unknown.message, /optim\.speed/);
  const large = await refusal(["views.size=512", "train.batch_size=512", "data.scene_count=1024"]);
  assert.equal(large.type, "out-of-memory");
  assert.match(large.message, /MB.*smaller/);
  assert.deepEqual((await told(page, "error")).map(({ type }) => type), ["settings", "out-of-memory"]);
});

test("when memory runs out in the middle, the message says so and the newest weights are still there", async (visit) => {
  const site = await visit.site();
  const page = await visit.visitor({ tolerate: /out of memory|unreachable/i });
  await openTraining(page, site);
  await startScenes(page, { steps: 100_000 });
  await untilStep(page, 5);
  const [worker] = page.workers();
  // An allocation that fails aborts the module, which traps.
  await worker.evaluate(() => setTimeout(() => { throw new WebAssembly.RuntimeError("unreachable"); }));
  await page.waitForFunction(() => globalThis.training.state === "failed");
  const { type, message } = await page.evaluate(() => globalThis.training.error);
  assert.equal(type, "out-of-memory");
  assert.match(message, /memory/);
  const { info } = tensors(await bytesOf(page, "globalThis.training.weights.current"));
  assert.ok(info.steps >= 0);
  await page.evaluate(() => globalThis.training.resume({ paused: true }).catch(() => {}));
});

test("a training that diverges ends with a message", async (visit) => {
  const site = await visit.site();
  const page = await visit.visitor();
  await openTraining(page, site);
  const set = [...TINY, "optim.lr=1e30", "log.every_steps=1"];
  await startScenes(page, { set, steps: 100 });
  await page.waitForFunction(() => globalThis.training.state === "failed");
  const { type, message } = await page.evaluate(() => globalThis.training.error);
  assert.equal(type, "diverged");
  assert.match(message, /step \d+/);
});

test("a hidden page goes on training, keeps its state, and is told no weights", async (visit) => {
  const site = await visit.site();
  const page = await visit.visitor();
  await openTraining(page, site);
  await startScenes(page, { steps: 100_000 });
  await untilStep(page, 5);
  const hide = (hidden) => page.evaluate((hidden) => {
    Object.defineProperty(document, "hidden", { configurable: true, get: () => hidden });
    document.dispatchEvent(new Event("visibilitychange"));
  }, hidden);
  await hide(true);
  await page.waitForFunction(() => globalThis.training.kept !== null);
  const { step, weights } = await page.evaluate(() => ({
    step: globalThis.training.step,
    weights: globalThis.heard.filter((e) => e.type === "weights").length,
  }));
  await untilStep(page, step + 20);
  await page.evaluate(() => new Promise((resolve) => setTimeout(resolve, 1500)));
  assert.ok((await told(page, "weights")).length <= weights + 1, "one may have been under way");
  const before = (await told(page, "weights")).length;
  await hide(false);
  await page.waitForFunction((before) => globalThis.heard.filter((e) => e.type === "weights").length > before, before);
});

// --- memory ---

/**
 * Asks the debugger of a page's worker. `connect` before the worker starts.
 * @param {import("playwright-core").Page} page
 */
async function connect(page) {
  const cdp = await page.context().newCDPSession(page);
  const answers = new Map();
  let session = null;
  cdp.on("Target.attachedToTarget", ({ sessionId }) => (session = sessionId));
  cdp.on("Target.receivedMessageFromTarget", ({ message }) => {
    const { id, result } = JSON.parse(message);
    answers.get(id)?.(result);
  });
  await cdp.send("Target.setAutoAttach", { autoAttach: true, waitForDebuggerOnStart: false, flatten: false });
  const toPage = (method) => cdp.send(method);
  const toWorker = (method) => {
    const id = answers.size + 1;
    const answer = new Promise((resolve) => answers.set(id, resolve));
    return cdp.send("Target.sendMessageToTarget", { sessionId: session, message: JSON.stringify({ id, method }) }).then(() => answer);
  };
  return [toPage, toWorker];
}

/** Bytes of JavaScript's objects and buffers, after a collection of garbage. */
async function heap(ask) {
  await ask("HeapProfiler.collectGarbage");
  const { usedSize, embedderHeapUsedSize = 0, backingStorageSize = 0 } = await ask("Runtime.getHeapUsage");
  return usedSize + embedderHeapUsedSize + backingStorageSize;
}

test("after a thousand steps a page has the memory that it had after a hundred", async (visit) => {
  const site = await visit.site();
  const page = await visit.visitor();
  await openTraining(page, site);
  const sides = await connect(page);
  await startScenes(page, { set: [...TINY, "log.every_steps=50"], steps: 100_000 });
  const used = async (step) => {
    await untilStep(page, step);
    await page.evaluate(() => globalThis.training.pause());
    const module = await page.evaluate(() => globalThis.training.rows.at(-1).resident_bytes);
    const [ofPage, ofWorker] = [await heap(sides[0]), await heap(sides[1])];
    await page.evaluate(() => globalThis.training.goOn());
    return { module, ofPage, ofWorker, sum: module + ofPage + ofWorker };
  };
  // When the state is kept and the weights are told for the first time, memory for this is taken, and used again later.
  await untilStep(page, 50);
  await page.evaluate(() => globalThis.training.keep());
  const [early, late] = [await used(100), await used(1000)];
  console.log(`memory after 100 steps ${JSON.stringify(early)}, after 1,000 ${JSON.stringify(late)}`);
  assert.ok(early.module > 1e6 && early.ofWorker > 1e5 && early.ofPage > 1e5);
  assert.ok(late.sum <= 1.02 * early.sum, `${early.sum} bytes after 100 steps, ${late.sum} after 1,000`);
});
