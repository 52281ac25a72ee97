"""Makes the fixtures of this folder and Pillow's reading of each (Pillow 13.0.0, NumPy).

Run here: `python make.py`. The tests need no Python: the outputs are committed.
"""

import io
import struct
import zlib

import numpy as np
from PIL import Image

W, H = 24, 16


def gradient(channels):
    """A smooth [H, W, channels] picture; smooth, so that JPEG changes it little."""
    y, x = np.mgrid[0:H, 0:W]
    planes = [x * 10, y * 15, 255 - x * 5 - y * 5, (x + y) * 3]
    return np.stack(planes[:channels], -1).astype(np.uint8)


def save(name, image, reference=None, **options):
    """Writes NAME and, as NAME.rgb.png, what `convert("RGB")` (or `reference`) makes of it."""
    if isinstance(image, bytes):
        open(name, "wb").write(image)
    else:
        image.save(name, **options)
    if reference is None:
        reference = Image.open(name).convert("RGB")
    reference.save(name + ".rgb.png", optimize=True)


rgb = Image.fromarray(gradient(3))
grey = rgb.convert("L")
cmyk = Image.fromarray(gradient(4), mode="CMYK")
rgba = Image.fromarray(gradient(4), mode="RGBA")

save("rgb.jpg", rgb, quality=90)
save("progressive.jpg", rgb, quality=90, progressive=True)
save("grey.jpg", grey, quality=90)
save("cmyk.jpg", cmyk, quality=95)

# libjpeg stores Pillow's CMYK untransformed and says so in the Adobe segment, whose last byte is the
# colour transform; with 2 there, the same samples are Y, Cb, Cr and K.
buffer = io.BytesIO()
cmyk.save(buffer, "JPEG", quality=95)
ycck = bytearray(buffer.getvalue())
transform = ycck.index(b"Adobe") + 11
assert ycck[transform] == 0
ycck[transform] = 2
save("ycck.jpg", bytes(ycck))

exif = Image.Exif()
exif[0x0112] = 6  # Orientation: rotate by 90 degrees to display
save("exif_rotated.jpg", rgb, quality=90, exif=exif)

save("grey.png", grey)
save("rgba.png", rgba)
save("grey_alpha.png", rgba.convert("LA"))
palette = rgb.quantize(16)
save("palette.png", palette)
save("palette_transparent.png", palette, transparency=3)
save("bilevel.png", grey.convert("1"))

# Pillow clips 16-bit grey at 255 in convert("RGB"), which leaves a white picture, and cannot write
# 16-bit colour: the reference is the high byte, which is also what it keeps of 16-bit colour.
wide = gradient(1)[..., 0].astype(np.uint16) * 256 + 77
high_byte = Image.fromarray((wide >> 8).astype(np.uint8)).convert("RGB")
save("grey16.png", Image.fromarray(wide), high_byte)


def png_rgb16(pixels):
    """A 16-bit colour PNG: [H, W, 3] uint16 to bytes."""
    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    header = struct.pack(">IIBBBBB", pixels.shape[1], pixels.shape[0], 16, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows, 9)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


save("rgb16.png", png_rgb16(gradient(3).astype(np.uint16) * 256 + 200))

save("lossy.webp", rgb, quality=90)
save("lossless.webp", rgb, lossless=True)
save("alpha.webp", rgba, lossless=True, exact=True)
