// Makes PNG files from pixels, so that no pictures have to be stored for the tests.
import { crc32, deflateSync } from "node:zlib";

function chunk(type, data) {
  const body = Buffer.concat([Buffer.from(type, "latin1"), data]);
  const out = Buffer.alloc(body.length + 8);
  out.writeUInt32BE(data.length, 0);
  body.copy(out, 4);
  out.writeUInt32BE(crc32(body), body.length + 4);
  return out;
}

/**
 * An 8-bit RGBA PNG.
 * @param {number} width
 * @param {number} height
 * @param {(x: number, y: number) => number[]} color at a pixel: [r, g, b] or [r, g, b, a], 0 to 255
 * @returns {Buffer}
 */
export function png(width, height, color) {
  const rows = Buffer.alloc(height * (1 + width * 4));
  for (let y = 0, at = 0; y < height; y++) {
    rows[at++] = 0; // no filter
    for (let x = 0; x < width; x++, at += 4) {
      const [r, g, b, a = 255] = color(x, y);
      rows.set([r, g, b, a], at);
    }
  }
  const header = Buffer.alloc(13);
  header.writeUInt32BE(width, 0);
  header.writeUInt32BE(height, 4);
  header.set([8, 6, 0, 0, 0], 8); // bits, RGBA, deflate, filters, not interlaced
  return Buffer.concat([
    Buffer.from([137, 80, 78, 71, 13, 10, 26, 10]),
    chunk("IHDR", header),
    chunk("IDAT", deflateSync(rows)),
    chunk("IEND", Buffer.alloc(0)),
  ]);
}
