// Training in a page, with the package's training.js: the numbers, the sources, pauses, and the storage.
import assert from "node:assert/strict";
import { STRICT_CSP } from "../lib/site.js";
import { test } from "../lib/test.js";
import { putBundle, reference } from "../lib/bundle.js";
import { landscapePng, notAnImage } from "../lib/pictures.js";
import { bytesOf, native, openTraining, prepare, startScenes, tensors, TINY, told, untilState, untilStep } from "../lib/training.js";
import { hear, heard, openWidgets, putPair, tag } from "../lib/widget.js";

/**
 * Relative distance of two tensors: |a − b| / |b|. A bias is 0 at first, and is added to values of unit variance, so that its
 * distance is relative to ones.
 */
function distance(a, b, name) {
  assert.equal(a.length, b.length);
  let [difference, norm] = [0, 0];
  a.forEach((value, i) => {
    difference += (value - b[i]) ** 2;
    norm += name.endsWith(".bias") ? 1 : b[i] ** 2;
  });
  return Math.sqrt(difference / norm);
}

// --- the numbers ---

/** For five steps: SwiftShader compiles every kernel of the training first, which takes minutes on two busy cores. */
const STEPS_MS = 480_000;

/**
 * Takes the native run's steps in the browser and compares losses and weights.
 * @param {{browser: string, device: string, name: string, losses: number, weights: number}} options the largest relative
 *   differences
 */
async function sameSteps(visit, { browser, device, name, losses, weights }) {
  const site = await visit.site();
  const page = await visit.visitor({ browser });
  await openTraining(page, site, { device });
  const expected = native(name);
  const seed = Number(/seed=(\d+)/.exec(expected.set.join(" "))?.[1] ?? 0);
  await startScenes(page, { set: expected.set, steps: expected.steps, seed });
  await untilState(page, "ended", STEPS_MS - 30_000);
  assert.match((await told(page, "devicechange"))[0].kind, device === "cpu" ? /cpu/ : /software/);
  const found = (await told(page, "row")).map((row) => row.loss);
  assert.equal(found.length, expected.losses.length);
  const off = found.map((loss, i) => Math.abs(loss - expected.losses[i]) / Math.abs(expected.losses[i]));
  for (const [step, one] of off.entries()) assert.ok(one <= losses, `loss of step ${step + 1}: ${one}`); // NaN fails too
  const saved = tensors(await bytesOf(page, "globalThis.training.save()"));
  assert.deepEqual(Object.keys(saved.tensors).sort(), Object.keys(expected.tensors).sort());
  let worst = 0;
  for (const [tensor, values] of Object.entries(saved.tensors)) {
    const one = distance(values, expected.tensors[tensor], tensor);
    assert.ok(one <= weights, `${tensor}: ${one}`);
    worst = Math.max(worst, one);
  }
  console.log(`${name} on ${device}: losses within ${Math.max(...off).toExponential(1)}, weights within ${worst.toExponential(1)} of the native ones`);
}

test("five steps on the browser's CPU give the losses and weights of five native steps", async (visit) => {
  await sameSteps(visit, { browser: "plain", device: "cpu", name: "preset", losses: 1e-4, weights: 1e-3 });
});

test("five tiny steps on the browser's CPU give the native losses and weights", async (visit) => {
  await sameSteps(visit, { browser: "plain", device: "cpu", name: "tiny", losses: 1e-4, weights: 1e-3 });
});

test("five tiny steps on WebGPU give the native losses and weights", async (visit) => {
  // The tolerance between backends, as in tests/tests/backends.rs.
  await sameSteps(visit, { browser: "webgpu", device: "gpu", name: "tiny", losses: 1e-3, weights: 1e-3 });
}, STEPS_MS);

// --- a run from beginning to end ---

test("a training on scenes tells its figures, measures before and after, and goes on after the end", async (visit) => {
  const site = await visit.site();
  const page = await visit.visitor();
  await openTraining(page, site);
  await startScenes(page, { steps: 20 });
  await untilState(page, "ended");
  const states = (await told(page, "statechange")).map(({ state }) => state);
  assert.deepEqual(states, ["loading", "preparing", "running", "measuring", "ended"]);
  const [started] = await told(page, "started");
  assert.deepEqual(
    [started.step, started.totalSteps, started.images, started.heldOut, started.batchSize, started.source],
    [0, 20, 8, 0, 4, "scenes"]);
  assert.ok(started.figures.some(({ name, panel }) => name === "loss_in_view" && panel === "loss"));
  assert.match(started.settings, /\[model\]/);
  assert.deepEqual((await told(page, "row")).map(({ step }) => step), [5, 10, 15, 20]);
  const [before, after] = await told(page, "measured");
  assert.deepEqual([before.step, after.step, before.pairs], [0, 20, 2]);
  assert.ok(before.chance > 0 && before.chance < 1 && before.cells > 0);
  assert.notEqual(before.accuracy, after.accuracy);
  assert.ok((await told(page, "weights")).length >= 2, "the untrained weights, and those after the last step");
  const untrained = tensors(await bytesOf(page, "globalThis.training.untrained"));
  const current = tensors(await bytesOf(page, "globalThis.training.weights.current"));
  assert.equal(untrained.info.steps, 0);
  assert.equal(current.info.steps, 20);
  assert.ok(distance(untrained.tensors["conv1.weight"], current.tensors["conv1.weight"], "conv1.weight") > 1e-3);

  await page.evaluate(() => globalThis.training.goOn(10));
  await page.waitForFunction(() => globalThis.training.run.totalSteps === 30);
  await untilState(page, "ended");
  assert.deepEqual((await told(page, "row")).map(({ step }) => step).slice(4), [25, 30]);
  assert.equal((await told(page, "measured")).at(-1).step, 30);
});

test("a paused training takes no step, and goes on where it was", async (visit) => {
  const site = await visit.site();
  const page = await visit.visitor();
  await openTraining(page, site);
  await startScenes(page, { steps: 100_000 });
  await untilStep(page, 10);
  await page.evaluate(() => globalThis.training.pause());
  const [kept] = (await told(page, "kept")).slice(-1);
  assert.equal(await page.evaluate(() => globalThis.training.state), "paused");
  const seen = async () => tensors(await bytesOf(page, "globalThis.training.save()")).info.steps;
  const at = await seen();
  assert.equal(kept.step, at);
  await page.evaluate(() => new Promise((resolve) => setTimeout(resolve, 300)));
  assert.equal(await seen(), at, "no step in a pause");
  const seconds = (await told(page, "step")).at(-1).seconds;
  await page.evaluate(() => globalThis.training.goOn());
  await untilStep(page, at + 5);
  assert.ok((await told(page, "step")).at(-1).seconds - seconds < 60, "a pause is not training");
  await page.evaluate(() => globalThis.training.stop());
  assert.equal(await page.evaluate(() => globalThis.training.state), "ended");
  const after = await page.evaluate(() => globalThis.training.after);
  assert.ok(after.step > at && after.step < 100_000, JSON.stringify(after));
});

test("every objective trains", async (visit) => {
  const site = await visit.site();
  const page = await visit.visitor();
  await openTraining(page, site);
  for (const [objective, method] of [["densecl", "densecl"], ["mocov2", "mocov2"], ["byol", "byol"]]) {
    const own = objective === "byol" ? ["method.projector_hidden=16", "method.projector_dim=8"] : [];
    await startScenes(page, { objective, steps: 5, set: [...TINY, ...own] });
    await untilState(page, "ended");
    const { info } = tensors(await bytesOf(page, "globalThis.training.save()"));
    assert.equal(info.method, method);
    const { loss } = (await told(page, "row")).at(-1);
    assert.ok(Number.isFinite(loss), `${objective}: ${loss}`);
  }
});

// --- pictures ---

/** Starts a training on pictures that the site serves. */
async function startPictures(page, site, files, settings) {
  const names = files.map(([name, content]) => [name, site.put(`/pictures/${name}`, content)]);
  await page.evaluate(async ([names, settings]) => {
    const file = async ([name, url]) => new File([await (await fetch(url)).blob()], name);
    const files = await Promise.all(names.map(file));
    globalThis.started = globalThis.training.start(files, settings);
    globalThis.started.catch(() => {});
  }, [names, settings]);
}

const photographs = (count) => Array.from({ length: count }, (_, i) => [`${i}.png`, landscapePng(96, 64 + i, i)]);

test("of twenty pictures with a corrupt one nineteen are used, and the other is named", async (visit) => {
  const site = await visit.site();
  const page = await visit.visitor();
  await openTraining(page, site);
  const files = photographs(20);
  files[7] = ["diary.jpg", notAnImage()];
  await startPictures(page, site, files, { set: TINY, steps: 5 });
  await untilState(page, "ended");
  const { images, heldOut, refused, leftOut, source } = (await told(page, "started"))[0];
  assert.deepEqual([images + heldOut, heldOut, leftOut, source], [19, 2, 0, "pictures"]);
  assert.deepEqual(refused.map(({ name }) => name), ["diary.jpg"]);
  assert.match(refused[0].reason, /not a picture/);
  assert.equal((await told(page, "measured")).at(-1).pairs, 2);
  const asked = site.requests.filter(({ method }) => method !== "GET");
  assert.deepEqual(asked, [], "nothing is uploaded");
});

test("fifteen pictures are too few, and sixteen are enough", async (visit) => {
  const site = await visit.site();
  const page = await visit.visitor();
  await openTraining(page, site);
  await startPictures(page, site, photographs(15), { set: TINY });
  const { type, message } = await page.evaluate(() => globalThis.started.catch(({ type, message }) => ({ type, message })));
  assert.equal(type, "too-few-pictures");
  assert.match(message, /15.*16/);
  assert.equal(await page.evaluate(() => globalThis.training.state), "failed");
  // With the batch of the preset: it has to shrink to the 14 pictures that are not held out.
  const set = TINY.filter((setting) => !setting.startsWith("train.batch_size"));
  await startPictures(page, site, photographs(16), { set, steps: 2 });
  await untilState(page, "ended");
  assert.equal((await told(page, "started")).at(-1).batchSize, 14);
});

test("of more than two thousand pictures the first two thousand are taken", async (visit) => {
  const site = await visit.site();
  const page = await visit.visitor();
  await openTraining(page, site);
  site.put("/one.png", landscapePng(16, 16));
  await page.evaluate(async (set) => {
    const picture = await (await fetch("/one.png")).blob();
    await globalThis.training.start(Array(2003).fill(picture), { set, steps: 1 });
  }, TINY);
  const { images, heldOut, leftOut } = await page.evaluate(() => globalThis.training.run);
  assert.deepEqual([images + heldOut, heldOut, leftOut], [2000, 2, 3]);
});

// --- the storage ---

test("a run goes on after a reload in the middle, with its figures", async (visit) => {
  const site = await visit.site();
  const page = await visit.visitor();
  await openTraining(page, site);
  await startPictures(page, site, photographs(16), { set: TINY, steps: 2000 });
  await untilStep(page, 20);
  const kept = await page.evaluate(() => globalThis.training.keep());
  assert.deepEqual([kept.where, kept.reason], ["storage", ""]);
  const rows = await page.evaluate((step) => globalThis.training.rows.filter((row) => row.step <= step), kept.step);
  await page.reload();
  await prepare(page);
  const stored = await page.evaluate(() => globalThis.Training.stored());
  assert.equal(stored.step, kept.step);
  assert.deepEqual([stored.totalSteps, stored.images, stored.source], [2000, 14, "pictures"]);
  await page.evaluate(() => globalThis.training.resume({ paused: true }));
  await untilState(page, "paused");
  assert.equal((await told(page, "started"))[0].step, kept.step);
  const restored = await page.evaluate(() => globalThis.training.rows);
  assert.deepEqual(restored.filter((row) => row.step <= kept.step), rows);
  assert.equal(await page.evaluate(() => globalThis.training.before.step), 0);
  assert.equal(tensors(await bytesOf(page, "globalThis.training.untrained")).info.steps, 0);
  await page.evaluate(() => globalThis.training.goOn());
  await untilStep(page, kept.step + 5);
  await page.evaluate(() => globalThis.Training.discard());
  assert.equal(await page.evaluate(() => globalThis.Training.stored()), null);
});

test("a run that is resumed takes the steps that it would have taken", async (visit) => {
  const site = await visit.site();
  const page = await visit.visitor();
  await openTraining(page, site);
  await startScenes(page, { steps: 40 });
  await untilState(page, "ended");
  const whole = (await told(page, "row")).map(({ step, loss }) => [step, loss]);
  await startScenes(page, { steps: 40 });
  await untilStep(page, 8);
  await page.evaluate(() => globalThis.training.pause());
  const kept = await page.evaluate(() => globalThis.training.kept);
  assert.ok(kept.step < 40, "the pause came in time");
  await page.reload();
  await prepare(page);
  await page.evaluate(() => globalThis.training.resume());
  await untilState(page, "ended");
  const resumed = await page.evaluate(() => globalThis.training.rows.map(({ step, loss }) => [step, loss]));
  assert.deepEqual(resumed, whole);
});

test("where the storage is refused the training goes on, and says that it is not stored", async (visit) => {
  const site = await visit.site();
  const page = await visit.visitor();
  await site.put("/package/training-worker-itself.js", await site.read("/package/training-worker.js"));
  site.put("/package/refuse.js", `
    IDBFactory.prototype.open = () => { throw new DOMException("refused", "SecurityError"); };`);
  site.put("/package/training-worker.js", 'import "./refuse.js";\nimport "./training-worker-itself.js";\n');
  await openTraining(page, site);
  await startScenes(page, { steps: 2000 });
  await untilStep(page, 5);
  const kept = await page.evaluate(() => globalThis.training.keep());
  assert.equal(kept.where, "page");
  assert.match(kept.reason, /storage/);
  await untilStep(page, kept.step + 5);
});

test("of two tabs that train the second says that its run is not stored", async (visit) => {
  const site = await visit.site();
  const page = await visit.visitor();
  await openTraining(page, site);
  await startScenes(page, { steps: 100_000 });
  await untilStep(page, 5);
  const second = await visit.tab(page.context());
  await openTraining(second, site);
  await startScenes(second, { steps: 100_000, seed: 1 });
  const kept = await second.evaluate(() => globalThis.training.keep());
  assert.equal(kept.where, "page");
  assert.match(kept.reason, /another tab/);
  await second.close();
  assert.equal((await page.evaluate(() => globalThis.training.keep())).where, "storage");
});

test("a page of one origin trains with the package of another", async (visit) => {
  const files = await visit.site({ cors: true });
  const csp = STRICT_CSP
    .replace("script-src 'self'", `script-src 'self' ${files.origin}`)
    .replace("connect-src 'self'", `connect-src 'self' ${files.origin}`);
  const site = await visit.site({ csp });
  const page = await visit.visitor();
  await openTraining(page, site, { module: files.url("/package/training.js") });
  await startScenes(page, { steps: 5 });
  await untilState(page, "ended");
  assert.equal(site.count(/^\/package\//), 0);
  assert.equal((await told(page, "kept")).at(-1).where, "storage");
});

// --- weights that change ---

test("the element follows a training, and keeps its point", async (visit) => {
  const site = await visit.site();
  putPair(site, "tiny");
  const page = await visit.visitor();
  const attributes = { "src-a": "/a.png", "src-b": "/b.png", size: 64, stride: 8, loading: "eager" };
  await openWidgets(page, site, tag(attributes));
  await page.evaluate(async (set) => {
    const { Training } = await import("/package/training.js");
    globalThis.training = new Training();
    document.querySelector("dense-match").weights = globalThis.training.weights;
    await globalThis.training.start("scenes", { set, steps: 100_000 });
  }, TINY);
  await hear(page, "load");
  const first = await page.evaluate(() => document.querySelector("dense-match").match(20, 20));
  await hear(page, "load", { count: 4 });
  await page.evaluate(() => globalThis.training.pause());
  const again = await page.evaluate(() => document.querySelector("dense-match").match(20, 20));
  assert.deepEqual(again.point, first.point);
  assert.notEqual(again.score, first.score);
  assert.deepEqual(await heard(page, "error"), []);
});

// --- what a visit without training asks for ---

test("a visitor who does not train fetches nothing of it", async (visit) => {
  const site = await visit.site();
  putPair(site, "tiny");
  const weights = putBundle(site, reference("tiny.safetensors"));
  const page = await visit.visitor();
  await openWidgets(page, site, tag({ "src-a": "/a.png", "src-b": "/b.png", weights, size: 64, loading: "eager" }));
  await hear(page, "load");
  assert.equal(site.count(/train/), 0, JSON.stringify(site.requests));
});
