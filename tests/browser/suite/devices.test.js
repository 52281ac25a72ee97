// On what it runs: without WebGPU, with WebGPU, and when the device goes away.
import assert from "node:assert/strict";
import { test } from "../lib/test.js";
import { putBundle, reference } from "../lib/bundle.js";
import { beforeWorker, hear, heard, openWidgets, putPair, tag, Widget } from "../lib/widget.js";

// Keeps the devices that the engine opens, so that a test can take them away.
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
