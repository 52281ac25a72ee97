// Tests web/js/weights.js and progress.js without a browser and thus without storage, as in a private window.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";

import { Progress } from "../../../web/js/progress.js";
import { loadWeights } from "../../../web/js/weights.js";
import { unit as test } from "../lib/test.js";

const sha256 = async (bytes) => createHash("sha256").update(bytes).digest("hex");
const hash = (bytes) => createHash("sha256").update(bytes).digest("hex");
const URL_ = "https://example.test/some/manifest.json";

/** A bundle of two shards as a site would serve it; `change` can damage it. */
function bundle(change = () => {}) {
  const shards = [Uint8Array.of(1, 2, 3, 4), Uint8Array.of(5, 6)];
  const whole = Uint8Array.of(1, 2, 3, 4, 5, 6);
  const manifest = {
    format: "densecl-web-bundle", version: 1, name: "some", bytes: 6, sha256: hash(whole),
    shards: shards.map((bytes, i) => ({ file: `some-00${i}.bin`, bytes: bytes.length, sha256: hash(bytes) })),
  };
  const files = { "some-000.bin": shards[0], "some-001.bin": shards[1] };
  change(manifest, files);
  files["manifest.json"] = new TextEncoder().encode(JSON.stringify(manifest));
  return files;
}

/** Loads weights with `files` instead of the network; also returns the URLs that were requested. */
async function load(files, source = { url: URL_ }) {
  const asked = [];
  globalThis.fetch = async (url) => {
    const name = new URL(url).pathname.split("/").pop();
    asked.push(name);
    if (files[name] instanceof Error) throw files[name];
    return files[name] ? new Response(files[name]) : new Response("", { status: 404 });
  };
  const told = [];
  const progress = new Progress((detail) => told.push(detail));
  try {
    return { ...(await loadWeights(source, sha256, progress)), asked, told };
  } catch (error) {
    error.asked = asked;
    throw error;
  }
}

const fails = (type, change) => assert.rejects(load(bundle(change)), (error) => error.type === type && error.message.length > 20);

test("shards are put together, and the progress is one figure that ends at 1", async () => {
  const { bytes, name, cached, told } = await load(bundle());
  assert.deepEqual([...bytes], [1, 2, 3, 4, 5, 6]);
  assert.deepEqual([name, cached], ["some", false]);
  const fractions = told.map((detail) => detail.fraction);
  assert.equal(fractions.at(-1), 1);
  assert.deepEqual(fractions, [...fractions].sort((a, b) => a - b));
});

test("a load that broke goes on at the shard where it broke, without storage too", async () => {
  const broken = bundle((_, files) => (files["some-001.bin"] = new TypeError("no connection")));
  await assert.rejects(load(broken), { type: "network" });
  const { asked, cached } = await load(bundle());
  assert.deepEqual(asked, ["manifest.json", "some-001.bin"]);
  assert.equal(cached, false);
});

test("each way in which a bundle can be wrong has its type", async () => {
  await fails("not-found", (_, files) => delete files["some-000.bin"]);
  await fails("truncated", (_, files) => (files["some-000.bin"] = Uint8Array.of(1, 2)));
  await fails("hash-mismatch", (_, files) => (files["some-000.bin"] = Uint8Array.of(1, 2, 3, 5)));
  await fails("unsupported-weights", (_, files) => (files["some-000.bin"] = Uint8Array.of(1, 2, 3, 4, 5)));
  await fails("unsupported-weights", (manifest) => (manifest.version = 2));
  await fails("unsupported-weights", (manifest) => (manifest.bytes = 7));
  await fails("unsupported-weights", (manifest) => (manifest.shards[0].bytes = 1e12));
  await fails("unsupported-weights", (manifest) => (manifest.shards[0].file = "../elsewhere.bin"));
  await fails("unsupported-weights", (manifest) => (manifest.shards = null));
});

test("a hash of the whole that is wrong is found even when its parts are right", async () => {
  await fails("hash-mismatch", (manifest) => (manifest.sha256 = hash(Uint8Array.of(9))));
  await fails("hash-mismatch", (manifest) => {
    manifest.shards.pop();
    manifest.bytes = 4;
  });
});

test("a safetensors file that ends early is called truncated", async () => {
  const header = JSON.stringify({ weight: { dtype: "F32", shape: [4], data_offsets: [0, 16] } });
  const bytes = new Uint8Array(8 + header.length + 15);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(header.length), true);
  bytes.set(new TextEncoder().encode(header), 8);
  await assert.rejects(load({}, { blob: new Blob([bytes]) }), { type: "truncated" });
  const whole = new Uint8Array(bytes.length + 1);
  whole.set(bytes);
  assert.equal((await load({}, { blob: new Blob([whole]) })).bytes.length, whole.length);
});

/** Numbers below `most` from a seed, the same on every machine (mulberry32). */
function numbers(seed) {
  return (most) => {
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) % most;
  };
}

/** A value that a manifest should not hold at the place where it is put. */
const ODD = [null, true, -1, 0, 1.5, 1e308, 2 ** 53, "", "..", "a/b", "\u0000", "é".repeat(9), [], [[]], {}, { length: 2 }, "__proto__"];

/** Replaces, deletes or repeats one value somewhere in `node`. */
function damage(node, below) {
  const keys = Object.keys(node);
  if (keys.length === 0) return;
  const key = keys[below(keys.length)];
  const inner = node[key];
  if (inner && typeof inner === "object" && below(4) > 0) return damage(inner, below);
  const way = below(4);
  if (way === 0) delete node[key];
  else if (way === 1 && Array.isArray(node)) node.push(structuredClone(inner));
  else node[key] = ODD[below(ODD.length)];
}

test("a damaged manifest is refused as such or loads the bytes it promises, and asks for no other file", async () => {
  const outcomes = { loaded: 0, refused: 0 };
  for (let seed = 0; seed < 3000; seed++) {
    const below = numbers(seed);
    const files = bundle((manifest) => {
      for (let times = 1 + below(3); times > 0; times--) damage(manifest, below);
    });
    if (below(3) === 0) {
      const bytes = files["manifest.json"];
      for (let times = 1 + below(4); times > 0; times--) bytes[below(bytes.length)] = below(256);
      if (below(2)) files["manifest.json"] = bytes.slice(0, below(bytes.length));
    }
    const [asked, error] = await load(files).then(
      ({ bytes, sha256, asked }) => {
        assert.equal(hash(bytes), sha256, `seed ${seed}`);
        return [asked, null];
      },
      (error) => [error.asked, error],
    );
    outcomes[error ? "refused" : "loaded"]++;
    if (error) assert.ok(["unsupported-weights", "hash-mismatch", "truncated", "not-found", "network"].includes(error.type), `seed ${seed}: ${error.stack}`);
    assert.ok(asked.every((file) => /^[\w-][\w.-]*$/.test(file)), `seed ${seed}: ${asked}`);
  }
  assert.ok(outcomes.loaded > 10 && outcomes.refused > 1000, JSON.stringify(outcomes));
});
