// Makes bundles of weights from safetensors files, in the format of `densecl export --to web`.
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import path from "node:path";

const fixtures = process.env.DENSECL_BROWSER_FIXTURES ?? new URL("../../../target/tmp/browser", import.meta.url).pathname;

export const sha256 = (bytes) => createHash("sha256").update(bytes).digest("hex");

/** A file written by reference.rs: `tiny.safetensors`, `shipped-a.png`, … */
export const reference = (name) => readFileSync(path.join(fixtures, name));

/** densecl's metadata in a safetensors file, without the run's settings. */
function info(bytes) {
  const header = JSON.parse(bytes.subarray(8, 8 + Number(bytes.readBigUInt64LE(0))).toString());
  const { config: _, ...rest } = JSON.parse(header.__metadata__.densecl);
  return rest;
}

/** A safetensors file without densecl's metadata, as another program would write it. */
export function withoutMetadata(bytes) {
  const end = 8 + Number(bytes.readBigUInt64LE(0));
  const { __metadata__: _, ...tensors } = JSON.parse(bytes.subarray(8, end).toString());
  const header = JSON.stringify(tensors);
  const padded = Buffer.from(header.padEnd(Math.ceil(header.length / 8) * 8));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(padded.length));
  return Buffer.concat([length, padded, bytes.subarray(end)]);
}

/**
 * Puts a bundle on a site.
 * @param {import("./site.js").Site} site
 * @param {Buffer} bytes a safetensors file
 * @param {{folder?: string, shards?: number, change?: (manifest: object) => void}} options
 * @returns {string} the path of its manifest
 */
export function putBundle(site, bytes, { folder = "/weights/tiny", shards = 1, change = () => {} } = {}) {
  const size = Math.ceil(bytes.length / shards);
  const parts = Array.from({ length: shards }, (_, i) => bytes.subarray(i * size, (i + 1) * size));
  const manifest = {
    format: "densecl-web-bundle",
    version: 1,
    name: path.basename(folder),
    bytes: bytes.length,
    sha256: sha256(bytes),
    shards: parts.map((part, i) => ({ file: `part-${i}.bin`, bytes: part.length, sha256: sha256(part) })),
    info: info(bytes),
  };
  change(manifest);
  parts.forEach((part, i) => site.put(`${folder}/part-${i}.bin`, part));
  site.put(`${folder}/manifest.json`, JSON.stringify(manifest));
  return `${folder}/manifest.json`;
}
