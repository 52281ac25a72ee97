// Compares features and best matches computed in the browser with those that reference.rs computed natively
// in this test run, from the same weights and pixels.
import assert from "node:assert/strict";
import { test } from "../lib/test.js";
import { reference } from "../lib/bundle.js";
import { hear, openWidgets, ORDINARY, putPair, tag } from "../lib/widget.js";

/** Allowed distance of a cell's two unit-length vectors. Measured: 3e-6 on the CPU, 1e-6 on SwiftShader. */
const TOLERANCE = 1e-3;
/** Numbers of a match in `Pair.mutual`: cells of A and B, u and v in A, u and v in B, similarity, correctness, border. */
const MUTUAL_RECORD = 9;

/** Runs in the browser: computes features and matches with the package's module. */
async function computeInPage({ module, weights, pictures, cases }) {
  const wasm = await import(`/package/${module}.js`);
  (await wasm.default()).__wasm_call_ctors();
  const session = await wasm.Session.open((type, message) => console.error(type, message));
  const bytes = async (url) => new Uint8Array(await (await fetch(url)).arrayBuffer());
  const parts = await Promise.all(weights.map(bytes));
  const network = wasm.Weights.load(session, new Uint8Array(await new Blob(parts).arrayBuffer()));
  const picture = async (url) => {
    const bitmap = await createImageBitmap(new Blob([await bytes(url)]));
    const context = new OffscreenCanvas(bitmap.width, bitmap.height).getContext("2d");
    context.drawImage(bitmap, 0, 0);
    const { data } = context.getImageData(0, 0, bitmap.width, bitmap.height);
    const rgb = new Uint8Array((data.length / 4) * 3);
    for (let i = 0, at = 0; i < data.length; i++) if (i % 4 !== 3) rgb[at++] = data[i];
    return wasm.Picture.fromRgb(rgb, bitmap.width, bitmap.height);
  };
  const encode = (floats) => {
    const raw = new Uint8Array(floats.buffer, floats.byteOffset, floats.byteLength);
    let text = "";
    for (let i = 0; i < raw.length; i += 8192) text += String.fromCharCode(...raw.subarray(i, i + 8192));
    return btoa(text);
  };
  const [a, b] = await Promise.all(pictures.map(picture));
  const answers = [];
  for (const { feature, stride } of cases) {
    const [fa, fb] = [await network.features(a, feature, stride), await network.features(b, feature, stride)];
    const pair = await wasm.Pair.compare(fa, fb);
    const best = Array.from({ length: fa.rows * fa.columns }, (_, cell) => pair.matchCell(cell).best);
    const mutual = Array.from(pair.mutual(-1));
    answers.push({
      grid: [fa.rows, fa.columns], channels: fa.channels, features: [fa, fb].map((f) => encode(f.data())), best, mutual,
    });
  }
  return answers;
}

const floats = (buffer) => new Float32Array(Uint8Array.from(buffer).buffer);

/** Splits a map [C, h, w] into one vector for each cell. */
function cellsOf(map, channels) {
  const cells = map.length / channels;
  return Array.from({ length: cells }, (_, i) => Float64Array.from({ length: channels }, (_, c) => map[c * cells + i]));
}

const dot = (a, b) => a.reduce((sum, value, i) => sum + value * b[i], 0);

/** Compares one case: the distances of the features, and the best matches. */
function compare({ feature, stride, channels, grid, file }, answer) {
  const name = `${feature} at stride ${stride}`;
  assert.deepEqual([answer.grid, answer.channels], [grid, channels], name);
  const native = floats(reference(file));
  const half = native.length / 2;
  const [a, b] = [native.subarray(0, half), native.subarray(half)].map((map) => cellsOf(map, channels));
  let worst = 0;
  [a, b].forEach((vectors, side) => {
    const browser = floats(Buffer.from(answer.features[side], "base64"));
    assert.equal(browser.length, half, name);
    vectors.forEach((vector, cell) => {
      const distance = Math.sqrt(vector.reduce((sum, v, c) => sum + (v - browser[cell * channels + c]) ** 2, 0));
      assert.ok(distance <= TOLERANCE, `${name}, cell ${cell}: ${distance}`); // NaN fails too
      worst = Math.max(worst, distance);
    });
  });
  // Each similarity can be off by the errors of its two vectors, and two similarities are compared.
  const error = 4 * worst + 1e-6;
  const scores = a.map((one) => b.map((other) => dot(one, other)));
  const forth = scores.map((row) => clearBest(row, error));
  const back = b.map((_, j) => clearBest(scores.map((row) => row[j]), error));
  const decided = forth.filter((best) => best !== null).length;
  forth.forEach((best, cell) => {
    if (best !== null) assert.equal(answer.best[cell], best, `${name}: the best match of cell ${cell}`);
  });
  assert.ok(decided >= 0.75 * a.length, `${name}: only ${decided} of ${a.length} cells have a margin above ${error}`);

  assert.equal(answer.mutual.length % MUTUAL_RECORD, 0, name);
  const mutual = Array.from({ length: answer.mutual.length / MUTUAL_RECORD }, (_, i) =>
    answer.mutual.slice(i * MUTUAL_RECORD, (i + 1) * MUTUAL_RECORD));
  const found = new Map(mutual.map(([i, j]) => [i, j]));
  assert.equal(found.size, mutual.length, `${name}: a cell has two mutual matches`);
  for (const [i, j, , , , , score, correct, atBorder] of mutual) {
    assert.ok([j, null].includes(forth[i]) && [i, null].includes(back[j]), `${name}: ${i} and ${j} are not mutual`);
    assert.ok(Math.abs(scores[i][j] - score) <= error, `${name}: ${score} for ${scores[i][j]}`);
    assert.equal(correct, -1, `${name}: no truth is known`);
    assert.equal(atBorder, Number([i, j].some((cell) => isOutermost(cell, grid))), `${name}: ${i} and ${j}`);
  }
  const expected = forth.flatMap((j, i) => (j !== null && back[j] === i ? [[i, j]] : []));
  assert.ok(expected.length > 0, name);
  for (const [i, j] of expected) assert.equal(found.get(i), j, `${name}: the mutual match of cell ${i}`);
  return { name, worst, decided, cells: a.length };
}

/** Whether a cell is in the first or last row or column of a grid; false if the grid has at most four of either. */
function isOutermost(cell, [rows, columns]) {
  const [row, column] = [Math.floor(cell / columns), cell % columns];
  return Math.min(rows, columns) > 4 && ([0, rows - 1].includes(row) || [0, columns - 1].includes(column));
}

/** The index of the largest value, or null if another value is within `error` of it. */
function clearBest(values, error) {
  const best = values.indexOf(Math.max(...values));
  const second = Math.max(...values.filter((_, i) => i !== best));
  return values[best] - second > error ? best : null;
}

async function sameNumbers(visit, { browser, module, network, only = () => true }) {
  const site = await visit.site();
  const weights = network === "shipped" ? await shards(site) : [`/reference/${network}.safetensors`];
  const page = await visit.visitor({ browser });
  await page.goto(site.html("/empty.html", ""));
  const cases = JSON.parse(reference(`${network}.json`)).cases.filter(only);
  const pictures = ["a", "b"].map((side) => `/reference/${network}-${side}.png`);
  const answers = await page.evaluate(computeInPage, { module, weights, pictures, cases });
  const found = cases.map((one, i) => compare(one, answers[i]));
  const worst = Math.max(...found.map((one) => one.worst));
  console.log(`${module}, ${network} weights: features within ${worst.toExponential(1)} of the native ones`);
}

/** The shards of the included weights, as the package has them. */
async function shards(site) {
  const folder = "/package/weights/densecl_r18_photos";
  const manifest = JSON.parse(await site.read(`${folder}/manifest.json`));
  return manifest.shards.map(({ file }) => `${folder}/${file}`);
}

test("the browser's CPU computes the native numbers with the shipped weights", async (visit) => {
  await sameNumbers(visit, { browser: "plain", module: "densecl_cpu", network: "shipped" });
});

test("the browser's CPU computes the native numbers with a tiny network", async (visit) => {
  await sameNumbers(visit, { browser: "plain", module: "densecl_cpu", network: "tiny" });
});

test("WebGPU computes the native numbers with a tiny network", async (visit) => {
  // SwiftShader compiles the shaders of each layer anew for every shape, so only two grids are tested: at
  // stride 32 the dense head and the fused features, which interpolate there; at stride 8 the dilated
  // convolutions.
  const only = ({ feature, stride }) =>
    stride === 32 ? ["dense", "stage3+stage4"].includes(feature) : feature === "stage4" && stride === 8;
  await sameNumbers(visit, { browser: "webgpu", module: "densecl_gpu", network: "tiny", only });
});

test("what a visitor is shown are the native matches", async (visit) => {
  const site = await visit.site();
  putPair(site);
  const page = await visit.visitor();
  await openWidgets(page, site, tag({ ...ORDINARY, threshold: -1 }));
  await hear(page, "load");
  const listed = (borderMatches) => page.evaluate((borderMatches) => {
    const element = document.querySelector("dense-match");
    element.borderMatches = borderMatches;
    return element.matches();
  }, borderMatches);
  const { cases, size } = JSON.parse(reference("shipped.json"));
  const { file, channels, grid } = cases.find((one) => one.feature === "stage4" && one.stride === 16);
  const native = floats(reference(file));
  const half = native.length / 2;
  const [a, b] = [native.subarray(0, half), native.subarray(half)].map((map) => cellsOf(map, channels));
  const scores = a.map((one) => b.map((other) => dot(one, other)));
  const best = (row) => row.indexOf(Math.max(...row));
  const mutual = scores.flatMap((row, i) => (best(scores.map((r) => r[best(row)])) === i ? [[i, best(row)]] : []));
  const cellOf = ({ x, y }) => Math.floor((y / size) * grid[0]) * grid[1] + Math.floor((x / size) * grid[1]);
  const inner = mutual.filter((cells) => !cells.some((cell) => isOutermost(cell, grid)));
  assert.ok(0 < inner.length && inner.length < mutual.length, `${inner.length} of ${mutual.length}`);
  for (const [borderMatches, expected] of [[false, inner], [true, mutual]]) {
    const shown = await listed(borderMatches);
    assert.equal(shown.length, expected.length);
    const found = new Set(shown.map(({ point }) => cellOf(point)));
    for (const [cell] of expected) assert.ok(found.has(cell), `cell ${cell}`);
    for (const { point, score } of shown) {
      const [i, j] = expected.find(([cell]) => cell === cellOf(point));
      assert.ok(Math.abs(scores[i][j] - score) < TOLERANCE, `${score} for ${scores[i][j]}`);
    }
  }
});
