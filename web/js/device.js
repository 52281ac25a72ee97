/** In a worker: chooses one of two wasm modules by looking for a GPU, loads it and runs its self-test. */

import { EngineError } from "./errors.js";
import { fetchFile } from "./fetch.js";

/** The feature and the limits that Burn's wgpu runtime needs beyond WebGPU's defaults; it panics without them. */
const FEATURE = "timestamp-query";
const LIMITS = { maxComputeInvocationsPerWorkgroup: 256, maxStorageBuffersPerShaderStage: 8, maxComputeWorkgroupStorageSize: 16384 };

/**
 * The browser's GPU as `{name, kind}`, or as `{why}` the reason why none can be used.
 * @param {boolean} takeSoftware whether to accept a software GPU, which is slower than the CPU module
 */
async function findGpu(takeSoftware) {
  if (!navigator.gpu) return { why: "this browser has no WebGPU" };
  let adapter;
  try {
    adapter = await navigator.gpu.requestAdapter({ powerPreference: "high-performance" });
  } catch (error) {
    return { why: `WebGPU failed: ${error.message}` };
  }
  if (!adapter) return { why: "no graphics adapter answers" };
  const info = adapter.info ?? {};
  const name = info.description || info.device || [info.vendor, info.architecture].filter(Boolean).join(" ") || "GPU";
  if (!adapter.features.has(FEATURE)) return { why: `${name} has no timestamp queries` };
  for (const [limit, least] of Object.entries(LIMITS)) {
    if (!(adapter.limits[limit] >= least)) return { why: `${name} is too small (${limit})` };
  }
  const words = `${name} ${info.vendor} ${info.architecture} ${info.device}`;
  const software = info.isFallbackAdapter || adapter.isFallbackAdapter || /swiftshader|llvmpipe|lavapipe|softpipe|basic render/i.test(words);
  if (software && !takeSoftware) return { why: `${name} is a software GPU, slower than the CPU` };
  return { name, kind: software ? "software" : "gpu" };
}

/** A wasm module of some 30 bytes that is valid only if the browser supports SIMD. */
const SIMD = Uint8Array.of(0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 10, 1, 8, 0, 65, 0, 253, 15, 253, 98, 11);

/**
 * The browser's record of a fetch, which it may add a moment after the body has ended; none after half a second.
 * @param {string} url
 * @returns {Promise<PerformanceResourceTiming | undefined>}
 */
function timingOf(url) {
  return new Promise((resolve) => {
    const ended = (entry) => {
      observer.disconnect();
      resolve(entry);
    };
    const observer = new PerformanceObserver((list) => {
      const entry = list.getEntriesByName(url).at(-1);
      if (entry) ended(entry);
    });
    observer.observe({ type: "resource", buffered: true });
    setTimeout(ended, 500);
  });
}

/**
 * Loads a module and instantiates it.
 * @param {string} name such as `densecl_cpu`
 * @param {string} folder URL of the folder that contains the modules
 * @param {import("./progress.js").Progress} progress
 */
async function loadModule(name, folder, progress) {
  if (typeof WebAssembly !== "object" || !WebAssembly.validate(SIMD)) {
    throw new EngineError("no-webassembly", "This browser is too old: it has no WebAssembly with SIMD. Any current browser has.");
  }
  const glue = new URL(`${name}.js`, folder).href;
  const binary = new URL(`${name}.wasm`, folder).href;
  const file = progress.file();
  try {
    const [module, response] = await Promise.all([
      import(/* @vite-ignore */ /* webpackIgnore: true */ glue).catch(() => {
        throw new EngineError("not-found", `${glue} could not be loaded. Is wasm-url the folder of the densecl_*.wasm files?`);
      }),
      fetchFile(binary),
    ]);
    const counted = progress.file(module.BYTES);
    file.drop();
    let loaded = 0;
    const count = new TransformStream({
      transform(piece, out) {
        counted.loaded((loaded += piece.length));
        out.enqueue(piece);
      },
    });
    const body = new Response(response.body.pipeThrough(count), { headers: { "content-type": "application/wasm" } });
    const exports = await module.default({ module_or_path: body });
    exports.__wasm_call_ctors(); // web/build.rs says why
    const timing = await timingOf(binary);
    // A file from the cache, revalidated or not, is not sent, so its transfer is smaller than its body.
    counted.done(timing?.encodedBodySize > timing?.transferSize);
    return module;
  } catch (error) {
    file.drop();
    if (error instanceof EngineError) throw error;
    throw new EngineError("no-webassembly", `WebAssembly could not be started (${error.message}). If this page is yours: its security policy must allow 'wasm-unsafe-eval'.`);
  }
}

/** Time limit in which a GPU must compile its shaders and pass the self-test; after it the GPU counts as hung. */
const PATIENCE_MS = 120_000;

/** Opens a module's device and runs the self-test. */
async function start(name, folder, progress, listener) {
  const module = await loadModule(name, folder, progress);
  const begun = performance.now();
  const session = await module.Session.open(listener);
  const deviation = await session.selfTest();
  const selfTestMs = performance.now() - begun;
  if (!(deviation <= module.Session.tolerance())) {
    throw new EngineError("device", `its numbers are wrong (self-test off by ${deviation.toPrecision(2)})`);
  }
  return { module, session, selfTestMs };
}

/**
 * Opens the best device available.
 * @param {"auto" | "gpu" | "cpu"} choice
 * @param {string | null} why the reason for the choice "cpu", when the page did not choose it
 * @param {string} folder URL of the folder that contains the modules
 * @param {import("./progress.js").Progress} progress
 * @param {(type: string, message: string) => void} listener called when the device is lost or the module panics
 * @param {string} [family] the modules are `<family>_cpu` and `<family>_gpu`
 * @throws an EngineError of type "device" when there is a GPU that does not work. The CPU then needs a new worker,
 *   because a module that failed cannot be relied on to clean up
 */
export async function openDevice(choice, why, folder, progress, listener, family = "densecl") {
  let reason = why ?? "as asked";
  if (choice !== "cpu") {
    const gpu = await findGpu(choice === "gpu");
    if (gpu.name) {
      const late = new Promise((_, reject) => setTimeout(() => reject(new Error("it does not answer")), PATIENCE_MS));
      const opened = await Promise.race([start(`${family}_gpu`, folder, progress, listener), late]).catch((error) => {
        throw new EngineError("device", `${gpu.name}: ${error?.message ?? error}`);
      });
      const reason = choice === "gpu" ? "as asked" : "the GPU that answered";
      return { ...opened, info: { kind: gpu.kind, name: gpu.name, reason, selfTestMs: opened.selfTestMs } };
    }
    reason = gpu.why;
  }
  const opened = await start(`${family}_cpu`, folder, progress, listener);
  return { ...opened, info: { kind: "cpu", name: "CPU", reason, selfTestMs: opened.selfTestMs } };
}
