/**
 * In the worker: downloads weights. Every shard is verified by its SHA-256 before it is used. Verified shards are
 * cached under their SHA-256, so an interrupted download resumes at the shard where it stopped.
 */

import { EngineError } from "./errors.js";
import { broken, fetchFile, name } from "./fetch.js";

const MIB = 1 << 20;
/** The largest file that is accepted, larger than any that `densecl` reads; checked before memory is allocated. */
const MAX_BYTES = 512 * MIB;
const MAX_SHARD = 25 * MIB;
const MAX_MANIFEST = MIB;
const CACHE = "densecl-weights-1";

/** Verified shards of incomplete downloads by their hash, so that a download resumes even without a cache. */
const kept = new Map();

/**
 * Reads a response piece by piece.
 * @param {Response} response
 * @param {string} url the URL of the response, for messages
 * @param {number} limit in bytes; a longer body is an error
 * @param {(loaded: number) => void} onBytes
 */
async function readBody(response, url, limit, onBytes = () => {}) {
  const pieces = [];
  let length = 0;
  const reader = response.body.getReader();
  for (;;) {
    const { done, value } = await reader.read().catch((error) => {
      throw broken(error, url);
    });
    if (done) break;
    length += value.length;
    if (length > limit) {
      reader.cancel().catch(() => {});
      throw new EngineError("unsupported-weights", `${name(url)} is longer than the ${limit} bytes expected.`);
    }
    pieces.push(value);
    onBytes(length);
  }
  return join(pieces, length);
}

/** @param {Uint8Array[]} pieces */
function join(pieces, length) {
  if (pieces.length === 1) return pieces[0];
  const all = new Uint8Array(length);
  let at = 0;
  for (const piece of pieces) {
    all.set(piece, at);
    at += piece.length;
  }
  return all;
}

/** The cache, or null where storage is not allowed (private windows, sandboxed frames, insecure pages). */
async function openCache() {
  try {
    return await caches.open(CACHE);
  } catch {
    return null;
  }
}

/** The key of a shard in the cache. Keys of a cache must be URLs; this one is never fetched. @param {string} hash */
const cacheKey = (hash) => `https://weights.invalid/sha256/${hash}`;

const isHash = (value) => typeof value === "string" && /^[0-9a-f]{64}$/.test(value);
const isSize = (value, most) => Number.isSafeInteger(value) && value > 0 && value <= most;

/** Checks every field of a manifest, which may come from anywhere. */
function checkManifest(manifest) {
  const wrong = (what) => new EngineError("unsupported-weights", `The weights' manifest is not usable: ${what}. \`densecl export --web\` writes one.`);
  if (manifest?.format !== "densecl-web-bundle") throw wrong("it is not of the format densecl-web-bundle");
  if (manifest.version !== 1) throw wrong(`version ${manifest.version} is newer than this page; reload it`);
  if (!isSize(manifest.bytes, MAX_BYTES) || !isHash(manifest.sha256)) throw wrong("size or hash is missing or out of range");
  const shards = manifest.shards;
  const whole = Array.isArray(shards) && shards.every((s) => isSize(s?.bytes, MAX_SHARD) && isHash(s.sha256) && /^[\w-][\w.-]*$/.test(s.file));
  if (!whole || shards.reduce((sum, s) => sum + s.bytes, 0) !== manifest.bytes) throw wrong("its shards do not add up");
  return manifest;
}

/**
 * Loads one shard from the cache or the network and verifies it.
 * @param {(bytes: Uint8Array) => Promise<string>} sha256
 */
async function loadShard(shard, url, sha256, file, signal) {
  const cache = await openCache();
  const stored = kept.get(shard.sha256) ?? (await cached(cache, shard));
  if (stored && (await sha256(stored)) === shard.sha256) {
    kept.set(shard.sha256, stored);
    return { bytes: stored, fresh: false };
  }
  const response = await fetchFile(url, { signal });
  const bytes = await readBody(response, url, shard.bytes, file.loaded);
  if (bytes.length < shard.bytes) {
    throw new EngineError("truncated", `${shard.file} ended after ${bytes.length} of ${shard.bytes} bytes. Try again.`);
  }
  if ((await sha256(bytes)) !== shard.sha256) {
    throw new EngineError("hash-mismatch", `${shard.file} is not the file that its manifest describes: it was changed or damaged on the way. Try again; if it stays, the weights have to be exported anew.`);
  }
  kept.set(shard.sha256, bytes);
  // If the storage is full or not allowed, the next visit downloads the shard again.
  await cache?.put(cacheKey(shard.sha256), new Response(bytes)).catch(() => {});
  return { bytes, fresh: true };
}

async function cached(cache, shard) {
  try {
    const response = await cache?.match(cacheKey(shard.sha256));
    return response && new Uint8Array(await response.arrayBuffer());
  } catch {
    return undefined;
  }
}

/**
 * Loads a bundle: a manifest and its shards.
 * @param {string} url that of the manifest
 * @param {(bytes: Uint8Array) => Promise<string>} sha256
 * @param {import("./progress.js").Progress} progress
 */
async function loadBundle(url, sha256, progress, signal) {
  const listing = progress.file();
  const text = await readBody(await fetchFile(url, { signal, cache: "no-cache" }), url, MAX_MANIFEST);
  let manifest;
  try {
    manifest = checkManifest(JSON.parse(new TextDecoder().decode(text)));
  } catch (error) {
    if (error instanceof EngineError) throw error;
    throw new EngineError("unsupported-weights", `${name(url)} is not JSON: not the manifest of weights.`);
  }
  const files = manifest.shards.map((shard) => progress.file(shard.bytes));
  listing.drop();
  const parts = [];
  let anyFresh = false;
  try {
    for (const [index, shard] of manifest.shards.entries()) {
      const { bytes, fresh } = await loadShard(shard, new URL(shard.file, url).href, sha256, files[index], signal);
      files[index].done(!fresh);
      anyFresh ||= fresh;
      parts.push(bytes);
    }
  } finally {
    for (const file of files.slice(parts.length)) file.drop();
  }
  const bytes = join(parts, manifest.bytes);
  const whole = parts.length > 1 ? await sha256(bytes) : manifest.shards[0].sha256;
  if (whole !== manifest.sha256) {
    throw new EngineError("hash-mismatch", "The parts of the weights do not make the file that the manifest describes. They have to be exported anew.");
  }
  for (const shard of manifest.shards) kept.delete(shard.sha256);
  return { bytes, name: String(manifest.name ?? name(url)), sha256: manifest.sha256, cached: !anyFresh };
}

/** Loads a single file of weights from a URL. */
async function loadPlain(url, sha256, progress, signal) {
  const response = await fetchFile(url, { signal });
  // With a content encoding the header gives the encoded length, but the decoded bytes are read.
  const length = response.headers.has("content-encoding") ? 0 : Number(response.headers.get("content-length"));
  const file = progress.file(length || undefined);
  try {
    const bytes = await readBody(response, url, MAX_BYTES, file.loaded);
    if (length && bytes.length < length) throw new EngineError("truncated", `${name(url)} ended after ${bytes.length} of ${length} bytes. Try again.`);
    file.done(false);
    return { bytes, name: name(url), sha256: await sha256(bytes), cached: false };
  } catch (error) {
    file.drop();
    throw error;
  }
}

/** Reads a file that the visitor dropped or picked. @param {Blob} blob */
async function loadBlob(blob, sha256) {
  if (blob.size > MAX_BYTES) throw new EngineError("unsupported-weights", `The file has ${blob.size} bytes; weights have at most ${MAX_BYTES}.`);
  const bytes = new Uint8Array(await blob.arrayBuffer());
  return { bytes, name: /** @type {any} */ (blob).name ?? "weights", sha256: await sha256(bytes), cached: false };
}

/** Rejects a safetensors file that is shorter than its header states. @param {Uint8Array} bytes */
function checkLength(bytes) {
  if (bytes.length < 9 || bytes[8] !== 0x7b) return; // not safetensors: the core reports the format
  const header = Number(new DataView(bytes.buffer, bytes.byteOffset, 8).getBigUint64(0, true));
  let end = 8 + header;
  if (end <= bytes.length) {
    try {
      const tensors = JSON.parse(new TextDecoder().decode(bytes.subarray(8, end)));
      const ends = Object.values(tensors).map((tensor) => tensor.data_offsets?.[1] ?? 0);
      end += Math.max(0, ...ends);
    } catch {
      return; // the core reports what is wrong
    }
  }
  if (end > bytes.length && end <= MAX_BYTES) throw new EngineError("truncated", `The weights end after ${bytes.length} of ${end} bytes. Get the file again.`);
}

/**
 * Loads the bytes of weights. A bundle is verified by the hashes of its manifest; a single file has none.
 * @param {{url?: string, blob?: Blob}} source
 * @param {(bytes: Uint8Array) => Promise<string>} sha256
 * @param {import("./progress.js").Progress} progress
 * @param {AbortSignal} [signal]
 * @returns {Promise<{bytes: Uint8Array, name: string, sha256: string, cached: boolean}>}
 */
export async function loadWeights(source, sha256, progress, signal) {
  let found;
  if (source.blob) found = await loadBlob(source.blob, sha256);
  else if (new URL(source.url).pathname.endsWith(".json")) found = await loadBundle(source.url, sha256, progress, signal);
  else found = await loadPlain(source.url, sha256, progress, signal);
  checkLength(found.bytes);
  return found;
}
