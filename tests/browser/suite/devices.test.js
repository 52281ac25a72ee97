// The choice of the device: without WebGPU, with WebGPU, and after the device is lost.
import assert from "node:assert/strict";
import { test } from "../lib/test.js";
import { putBundle, reference } from "../lib/bundle.js";
import { beforeWorker, hear, heard, openWidgets, putPair, tag, Widget } from "../lib/widget.js";

// Records the devices that the engine opens, so that a test can destroy them.
const KEEP_DEVICES = `
  const request = GPUAdapter.prototype.requestDevice;
  globalThis.opened = [];
  GPUAdapter.prototype.requestDevice = async function (...options) {
    const device = await request.apply(this, options);
    globalThis.opened.push(device);
    return device;
  };`;

async function opened(visit, browser, script) {
  const site = await visit.site();
  putPair(site, "tiny");
  const weights = putBundle(site, reference("tiny.safetensors"));
  if (script) await beforeWorker(site, script);
  const page = await visit.visitor({ browser, tolerate: /device|WebGPU|wgpu/i });
  await openWidgets(page, site, tag({ "src-a": "/a.png", "src-b": "/b.png", weights, size: 64, loading: "eager" }));
  await hear(page, "load", { timeout: 60_000 });
  return { site, page, widget: new Widget(page) };
}

test("without WebGPU the CPU computes, and the large module is not loaded", async (visit) => {
  const { site, page, widget } = await opened(visit, "plain");
  assert.match(await widget.part("badge").innerText(), /CPU/);
  const [device] = await heard(page, "devicechange");
  assert.equal(device.kind, "cpu");
  assert.ok(device.reason.length > 10, device.reason);
  assert.equal(site.count(/gpu.*\.wasm$/), 0);
  assert.equal(site.count(/cpu.*\.wasm$/), 1);
});

// The engine uses a software GPU only if asked for it by name, so SwiftShader has to report itself as a real
// GPU.
const LOOK_REAL = `
  Object.defineProperty(GPUAdapter.prototype, "info", {
    get: () => ({ vendor: "acme", architecture: "testing", device: "", description: "Acme 9000" }),
  });`;

test("with WebGPU the GPU computes, and the badge names it", async (visit) => {
  const { site, page, widget } = await opened(visit, "webgpu", LOOK_REAL);
  assert.match(await widget.part("badge").innerText(), /GPU[^]*Acme 9000/);
  assert.equal((await heard(page, "devicechange")).at(-1).kind, "gpu");
  assert.equal(site.count(/cpu.*\.wasm$/), 0, "the CPU module is not loaded");
  await widget.point("a", [0.4, 0.4]);
  assert.ok((await hear(page, "match")).score <= 1.001);
});

test("a software GPU is left alone, since the CPU is faster", async (visit) => {
  const { page, widget } = await opened(visit, "webgpu");
  assert.match(await widget.part("badge").innerText(), /CPU/);
  assert.match((await heard(page, "devicechange")).at(-1).reason, /software/i);
});

test("when the GPU goes away the CPU takes over, and the visitor goes on", async (visit) => {
  const { page, widget } = await opened(visit, "webgpu", LOOK_REAL + KEEP_DEVICES);
  assert.match(await widget.part("badge").innerText(), /GPU/);
  const [worker] = page.workers();
  assert.ok(await worker.evaluate(() => globalThis.opened.length) > 0, "a device was opened");
  await worker.evaluate(() => globalThis.opened.forEach((device) => device.destroy()));
  await widget.point("a", [0.4, 0.4]);
  await hear(page, "match", { timeout: 60_000 });
  await page.evaluate(() => (document.querySelector("dense-match").stride = 32));
  await hear(page, "load", { count: 2, timeout: 60_000 });
  await widget.part("badge").getByText("CPU").first().waitFor();
  const change = (await heard(page, "devicechange")).at(-1);
  assert.equal(change.kind, "cpu");
  assert.ok(change.reason.length > 10, change.reason);
  assert.equal((await heard(page, "error")).length, 0);
});

test("a GPU whose numbers are wrong is not believed", async (visit) => {
  // Simulates a driver that drops shaders without an error: nothing is computed.
  const { page, widget } = await opened(visit, "webgpu", `${LOOK_REAL}
    GPUComputePassEncoder.prototype.dispatchWorkgroups = () => {};
    GPUComputePassEncoder.prototype.dispatchWorkgroupsIndirect = () => {};`);
  assert.match(await widget.part("badge").innerText(), /CPU/);
  assert.match((await heard(page, "devicechange")).at(-1).reason, /self-test|numbers|wrong/i);
  await widget.point("a", [0.4, 0.4]);
  assert.ok((await hear(page, "match")).score <= 1.001);
});

test("a GPU without timestamps, which would bring the runtime down, is not used", async (visit) => {
  const { page } = await opened(visit, "webgpu", `${LOOK_REAL}
    const has = GPUSupportedFeatures.prototype.has;
    GPUSupportedFeatures.prototype.has = function (name) { return name !== "timestamp-query" && has.call(this, name); };`);
  const change = (await heard(page, "devicechange")).at(-1);
  assert.equal(change.kind, "cpu");
  assert.match(change.reason, /timestamp/i);
});
