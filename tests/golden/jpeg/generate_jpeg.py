"""Makes `jpeg.safetensors`: small JPEGs stored in every possible way, and the pixels that Pillow reads.

    python generate_jpeg.py

needs numpy, Pillow, safetensors and the program `jpegtran` (Debian: libjpeg-turbo-progs). The
README beside it names the versions and the content.

This script encodes baseline JPEGs with any number of components and any sampling factors itself, because no
available encoder offers all of them. `jpegtran` then stores the same coefficients in other ways, which does
not change the pixels, so the files of a group share one golden.
"""

import io
import struct
import subprocess
import sys
import tempfile

import numpy as np
from PIL import Image
from safetensors.numpy import save_file

# Huffman tables K.3 and K.5 of the standard: number of codes of each length, then the values.
DC = ([0, 1, 5, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0], list(range(12)))
AC = (
    [0, 2, 1, 3, 3, 2, 4, 3, 5, 5, 4, 4, 0, 0, 1, 125],
    list(bytes.fromhex(
        "0102030004110512213141061351610722711432819 1a1082342b1c11552d1f0243362 7282090a161718191a25"
        "262728292a3435363738393a434445464748494a535455565758595a636465666768696a737475767778797a8384"
        "85868788898a92939495969798999aa2a3a4a5a6a7a8a9aab2b3b4b5b6b7b8b9bac2c3c4c5c6c7c8c9cad2d3d4d5"
        "d6d7d8d9dae1e2e3e4e5e6e7e8e9eaf1f2f3f4f5f6f7f8f9fa".replace(" ", "")
    )),
)
QUANTUM = 12
ZIGZAG = sorted(range(64), key=lambda i: (
    i // 8 + i % 8, i // 8 if (i // 8 + i % 8) % 2 else i % 8))
COSINES = np.array([[np.cos((2 * x + 1) * u * np.pi / 16) * (0.5 if u else 0.5 / np.sqrt(2))
                     for x in range(8)] for u in range(8)])


def codes(table):
    """Maps each symbol to (code, length)."""
    found, code, values = {}, 0, iter(table[1])
    for length, count in enumerate(table[0], 1):
        for _ in range(count):
            found[next(values)] = (code, length)
            code += 1
        code <<= 1
    return found


DC_CODES, AC_CODES = codes(DC), codes(AC)


class Bits:
    """Collects the bits of a scan and adds a zero byte after each FF."""

    def __init__(self):
        self.bits = []

    def put(self, value, length):
        self.bits += [(value >> i) & 1 for i in reversed(range(length))]

    def symbol(self, table, symbol):
        self.put(*table[symbol])

    def number(self, value, size):
        self.put(value if value > 0 else value + (1 << size) - 1, size)

    def finish(self):
        bits = self.bits + [1] * (-len(self.bits) % 8)
        return np.packbits(bits).tobytes().replace(b"\xff", b"\xff\0")


def encode_block(out, block, before):
    """Encodes an 8 × 8 block of samples, from which 128 was subtracted; returns its DC coefficient."""
    values = np.rint(COSINES @ block @ COSINES.T / QUANTUM).astype(int).reshape(64)[ZIGZAG]
    difference = int(values[0]) - before
    size = abs(difference).bit_length()
    out.symbol(DC_CODES, size)
    out.number(difference, size)
    zeros = 0
    last = max(np.nonzero(values[1:])[0], default=-1) + 1
    for value in map(int, values[1 : last + 1]):
        if value == 0:
            zeros += 1
            continue
        while zeros > 15:
            out.symbol(AC_CODES, 0xF0)
            zeros -= 16
        size = abs(value).bit_length()
        out.symbol(AC_CODES, zeros * 16 + size)
        out.number(value, size)
        zeros = 0
    if last < 63:
        out.symbol(AC_CODES, 0)
    return int(values[0])


def segment(marker, body):
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def encode(planes, sampling, adobe):
    """Encodes planes [H, W] in one scan, after averaging them down to their sampling factors (h, v)."""
    height, width = planes[0].shape
    # With a single component the standard does not group its blocks, whatever its sampling factors.
    grouping = sampling if len(planes) > 1 else [(1, 1)]
    h_max, v_max = (max(s[i] for s in grouping) for i in (0, 1))
    columns, rows = -(-width // (8 * h_max)), -(-height // (8 * v_max))
    small = []
    for plane, (h, v) in zip(planes, grouping):
        full = np.pad(plane, ((0, rows * v_max * 8 - height), (0, columns * h_max * 8 - width)), "edge")
        fy, fx = v_max // v, h_max // h
        means = full.reshape(full.shape[0] // fy, fy, full.shape[1] // fx, fx).mean((1, 3))
        small.append(means - 128)
    out, before = Bits(), [0] * len(planes)
    for row in range(rows):
        for column in range(columns):
            for c, (h, v) in enumerate(grouping):
                for y in range(row * v, row * v + v):
                    for x in range(column * h, column * h + h):
                        block = small[c][8 * y : 8 * y + 8, 8 * x : 8 * x + 8]
                        before[c] = encode_block(out, block, before[c])
    n = len(planes)
    frame = struct.pack(">BHHB", 8, height, width, n)
    frame += b"".join(bytes([c + 1, h * 16 + v, 0]) for c, (h, v) in enumerate(sampling))
    scan = bytes([n]) + b"".join(bytes([c + 1, 0]) for c in range(n)) + bytes([0, 63, 0])
    if adobe is None:
        application = segment(0xE0, b"JFIF\0\1\1\0\0\1\0\1\0\0")
    else:
        application = segment(0xEE, b"Adobe\0\x64\0\0\0\0" + bytes([adobe]))
    return (
        b"\xff\xd8" + application + segment(0xDB, b"\0" + bytes([QUANTUM] * 64)) + segment(0xC0, frame)
        + segment(0xC4, b"\0" + bytes(DC[0]) + bytes(DC[1]))
        + segment(0xC4, b"\x10" + bytes(AC[0]) + bytes(AC[1]))
        + segment(0xDA, scan) + out.finish() + b"\xff\xd9"
    )


def picture(width, height, channels):
    """Planes of samples: a different gradient in each, and a coarse pattern for a longer bit stream."""
    y, x = np.mgrid[0:height, 0:width].astype(float)
    slopes = [(3.1, 1.7), (-2.3, 2.9), (1.9, -3.7), (-1.1, -1.3)]
    planes = []
    for i, (a, b) in enumerate(slopes[:channels]):
        wave = 96 * np.sin((a * x + b * y) * 0.06 + i) + 24 * (((x // 5 + y // 7 + i) % 2) - 0.5)
        planes.append(np.clip(128 + wave, 0, 255))
    return planes


def tran(jpeg, options, script=None):
    """Stores a JPEG in another way with jpegtran."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as scans:
        if script:
            scans.write(script)
            scans.flush()
            options = [*options, "-scans", scans.name]
        done = subprocess.run(["jpegtran", "-copy", "all", "-optimize", *options], input=jpeg,
                              capture_output=True)
    assert not done.returncode, (done.stderr, script)
    return done.stdout


def scripts(components):
    """Names and scripts of the orders in which scans are stored."""
    every = range(components)
    yield "one", None
    if components == 1:
        yield "progressive", "0: 0-0, 0, 1; 0: 1-5, 0, 2; 0: 6-63, 0, 2; 0: 1-63, 2, 1; 0: 0-0, 1, 0; 0: 1-63, 1, 0;"
        return
    yield "each", " ".join(f"{c};" for c in every)
    yield "each_last_first", " ".join(f"{c};" for c in reversed(every))
    yield "first_and_rest", "0; " + " ".join(map(str, every[1:])) + ";"
    if components == 4:
        yield "pairs", "0 1; 2 3;"
    refined = "".join(f"{c}: 1-63, 0, 1; " for c in every) + "".join(f"{c}: 1-63, 1, 0; " for c in every)
    yield "progressive", " ".join(map(str, every)) + ": 0-0, 0, 0; " + refined
    yield "progressive_each", "".join(f"{c}: 0-0, 0, 0; " for c in every) + refined


# The sampling factors of each component: first those that cameras use, then others that the standard permits.
# In `between` a component's factor lies between the smallest and the largest.
THREE = {
    "444": [(1, 1)] * 3, "422": [(2, 1), (1, 1), (1, 1)], "420": [(2, 2), (1, 1), (1, 1)],
    "440": [(1, 2), (1, 1), (1, 1)], "411": [(4, 1), (1, 1), (1, 1)], "410": [(4, 2), (1, 1), (1, 1)],
    "441": [(1, 4), (1, 1), (1, 1)], "311": [(3, 1), (1, 1), (1, 1)], "444_as_2x1": [(2, 1)] * 3,
    "422_as_2x2": [(2, 2), (1, 2), (1, 2)], "uneven": [(2, 2), (2, 1), (1, 2)],
    "chroma_more": [(1, 1), (2, 1), (2, 1)], "green_less": [(1, 1), (2, 2), (1, 1)],
    "between": [(4, 1), (2, 1), (1, 1)],
}
FOUR = {
    "444": [(1, 1)] * 4, "420": [(2, 2), (1, 1), (1, 1), (2, 2)], "422": [(2, 1), (1, 1), (1, 1), (2, 1)],
    "key_less": [(2, 2), (1, 1), (1, 1), (1, 1)], "key_more": [(1, 1), (1, 1), (1, 1), (2, 2)],
}
# Colour space: (its samplings, the transform in Adobe's segment or None).
COLOURS = {
    "grey": ({"1x1": [(1, 1)], "2x2": [(2, 2)]}, None),
    "ycc": (THREE, None),
    "rgb": ({name: THREE[name] for name in ["444", "420", "green_less"]}, 0),
    "cmyk": (FOUR, 0),
    "ycck": (FOUR, 2),
}
SIZES = [(17, 13)]
MORE_SIZES = {"420": [(1, 1), (23, 35)], "422": [(35, 23)], "440": [(23, 35)], "410": [(33, 9)], "1x1": [(1, 1)]}
RESTARTS = {"r0": [], "r1block": ["-restart", "1b"], "r1row": ["-restart", "1"]}


def stored(tensors):
    """All colours, samplings and sizes; scans and restart markers alternate among them."""
    turn = 0
    for colour, (samplings, adobe) in COLOURS.items():
        for name, sampling in samplings.items():
            for width, height in SIZES + MORE_SIZES.get(name, []):
                first = encode(picture(width, height, len(sampling)), sampling, adobe)
                group = f"{colour}/{name}/{width}x{height}"
                tensors[group] = pixels_of(first)
                for scans, script in scripts(len(sampling)):
                    restart = list(RESTARTS)[turn % 3]
                    turn += 1
                    jpeg = tran(first, RESTARTS[restart], script)
                    assert (pixels_of(jpeg) == tensors[group]).all(), (group, scans, restart)
                    tensors[f"{group}/{scans}/{restart}"] = np.frombuffer(jpeg, np.uint8)


def told(tensors):
    """Combinations of the colour-space markers: segments and component names, some contradictory."""
    adobe = [segment(0xEE, b"Adobe\0\x64\0\0\0\0" + bytes([transform])) for transform in range(3)]
    jfif = segment(0xE0, b"JFIF\0\1\1\0\0\1\0\1\0\0")
    segments = {"none": b"", "jfif": jfif, "adobe0": adobe[0], "adobe1": adobe[1], "adobe2": adobe[2],
                "jfif_adobe0": jfif + adobe[0], "adobe0_jfif": adobe[0] + jfif}
    for sampling, names in ((THREE["420"], {"123": b"\1\2\3", "012": b"\0\1\2", "RGB": b"RGB"}),
                            (FOUR["420"], {"1234": b"\1\2\3\4", "CMYK": b"CMYK"})):
        plain = bytearray(encode(picture(9, 11, len(sampling)), sampling, None))
        del plain[2:20]  # removes the JFIF segment
        frame, scan = plain.index(b"\xff\xc0"), plain.index(b"\xff\xda")
        for name, ids in names.items():
            for c, number in enumerate(ids):
                plain[frame + 10 + 3 * c] = plain[scan + 5 + 2 * c] = number
            for said, segment_bytes in segments.items():
                jpeg = bytes(plain[:2]) + segment_bytes + bytes(plain[2:])
                tensors[f"{said}/{name}/9x11"] = pixels_of(jpeg)
                tensors[f"{said}/{name}/9x11/one/r0"] = np.frombuffer(jpeg, np.uint8)


def pixels_of(jpeg):
    return np.asarray(Image.open(io.BytesIO(jpeg)).convert("RGB"))


def main(path):
    tensors = {}
    stored(tensors)
    told(tensors)
    save_file(tensors, path)


main(sys.argv[1] if len(sys.argv) > 1 else "jpeg.safetensors")
