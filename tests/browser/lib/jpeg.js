// Makes baseline JPEG mosaics: every 8×8 block has one colour, so only DC coefficients are coded. This
// suffices for tests, and a picture of 108 megapixels takes a second and little memory.

// Code lengths of the DC table: one code for each of the categories 0 to 11 (ITU-T T.81, table K.3).
const DC_LENGTHS = [0, 1, 5, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0];
const DC_CODES = [
  [0b00, 2], [0b010, 3], [0b011, 3], [0b100, 3], [0b101, 3], [0b110, 3],
  [0b1110, 4], [0b11110, 5], [0b111110, 6], [0b1111110, 7], [0b11111110, 8], [0b111111110, 9],
];

const segment = (marker, bytes) =>
  Buffer.concat([Buffer.from([0xff, marker, (bytes.length + 2) >> 8, (bytes.length + 2) & 255]), Buffer.from(bytes)]);

/** The APP1 segment with an EXIF block that contains only the orientation (1 to 8). */
function exif(orientation) {
  const tiff = Buffer.alloc(26);
  tiff.write("MM\0*", 0, "latin1");
  tiff.writeUInt32BE(8, 4); // offset of the directory
  tiff.writeUInt16BE(1, 8); // one entry
  tiff.writeUInt16BE(0x0112, 10); // tag: orientation
  tiff.writeUInt16BE(3, 12); // type: short
  tiff.writeUInt32BE(1, 14); // one value
  tiff.writeUInt16BE(orientation, 18);
  return segment(0xe1, Buffer.concat([Buffer.from("Exif\0\0", "latin1"), tiff]));
}

/**
 * A mosaic of `columns` × `rows` tiles of 8×8 pixels.
 * @param {number} columns
 * @param {number} rows
 * @param {(column: number, row: number) => number[]} color of a tile, [r, g, b], 0 to 255
 * @param {{orientation?: number}} options the EXIF orientation, none when left out
 * @returns {Buffer}
 */
export function mosaicJpeg(columns, rows, color, { orientation } = {}) {
  const [width, height] = [columns * 8, rows * 8];
  const head = [
    Buffer.from([0xff, 0xd8]),
    ...(orientation ? [exif(orientation)] : []),
    // With a quantiser of 8, the DC coefficient of a flat block is its value minus 128.
    segment(0xdb, [0, ...Array(64).fill(8)]),
    segment(0xc0, [8, height >> 8, height & 255, width >> 8, width & 255, 3, 1, 0x11, 0, 2, 0x11, 0, 3, 0x11, 0]),
    segment(0xc4, [0x00, ...DC_LENGTHS, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]),
    // The AC table has one symbol, end of block, with the code 0.
    segment(0xc4, [0x10, 1, ...Array(15).fill(0), 0]),
    segment(0xda, [3, 1, 0, 2, 0, 3, 0, 0, 63, 0]),
  ];

  const chunks = [];
  let buffer = Buffer.alloc(1 << 16);
  let used = 0;
  let pending = 0; // bits that do not fill a byte yet
  let count = 0;
  const put = (bits, length) => {
    pending = (pending << length) | bits;
    count += length;
    while (count >= 8) {
      count -= 8;
      const byte = (pending >> count) & 255;
      buffer[used++] = byte;
      if (byte === 255) buffer[used++] = 0;
      if (used > buffer.length - 4) {
        chunks.push(buffer.subarray(0, used));
        buffer = Buffer.alloc(1 << 16);
        used = 0;
      }
    }
    pending &= (1 << count) - 1;
  };
  const block = (difference) => {
    const size = 32 - Math.clz32(Math.abs(difference));
    put(...DC_CODES[size]);
    if (size) put(difference > 0 ? difference : difference + (1 << size) - 1, size);
    put(0, 1);
  };

  const last = [0, 0, 0];
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) {
      const [r, g, b] = color(column, row);
      const next = [
        Math.round(0.299 * r + 0.587 * g + 0.114 * b - 128),
        Math.round(-0.168736 * r - 0.331264 * g + 0.5 * b),
        Math.round(0.5 * r - 0.418688 * g - 0.081312 * b),
      ];
      for (let component = 0; component < 3; component++) {
        block(next[component] - last[component]);
        last[component] = next[component];
      }
    }
  }
  if (count) put((1 << (8 - count)) - 1, 8 - count);
  return Buffer.concat([...head, ...chunks, buffer.subarray(0, used), Buffer.from([0xff, 0xd9])]);
}
