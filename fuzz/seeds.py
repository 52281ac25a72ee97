"""Writes the seeds of every target to corpus/TARGET/, from the golden files of the tests. Needs only Python's
standard library."""

import json
import shutil
import struct
import zipfile
from pathlib import Path

HERE = Path(__file__).parent
TORCH = HERE.parent / "tests/golden/torch"
PICTURES = HERE.parent / "train/tests_data"
# Longer files slow down every execution and exercise no further code.
LONGEST = 90_000


def folder(target):
    path = HERE / "corpus" / target
    path.mkdir(parents=True, exist_ok=True)
    return path


def safetensors(tensors, metadata=None):
    """The bytes of a safetensors file with tensors of these names and shapes, all zero, in f16."""
    header, end = {}, 0
    if metadata:
        header["__metadata__"] = {"densecl": json.dumps(metadata)}
    for name, shape in tensors.items():
        size = 2
        for side in shape:
            size *= side
        header[name] = {"dtype": "F16", "shape": shape, "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + bytes(end)


checkpoints = [path for path in TORCH.glob("*.pth") if path.stat().st_size <= LONGEST]
for path in checkpoints:
    shutil.copy(path, folder("torch"))
    shutil.copy(path, folder("weights"))
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                if name.endswith("/data.pkl"):
                    (folder("torch_pickle") / f"{path.stem}.pkl").write_bytes(archive.read(name))

model = {"backbone": "resnet10", "width": 2, "output_stride": 32, "dim": 3, "num_grid": 0}
ours = {"format_version": 1, "method": "densecl", "model": model, "steps": 1, "data": "x", "config": ""}
for name, entry in json.loads((TORCH / "index.json").read_text()).items():
    shapes = {key: tensor["shape"] for key, tensor in entry["tensors"].items()}
    lines = [" ".join([key, *map(str, shape)]) for key, shape in shapes.items()]
    (folder("keys") / name).write_text("\n".join(lines))
    seed = safetensors(shapes)
    if len(seed) <= LONGEST:
        (folder("weights") / f"{name}.safetensors").write_bytes(seed)
        (folder("weights") / f"{name}_ours.safetensors").write_bytes(safetensors(shapes, ours))

for path in PICTURES.iterdir():
    # The files `*.rgb.png` hold the decoded pixels that tests expect; they are not inputs.
    if path.suffix in (".jpg", ".png", ".webp") and not path.name.endswith(".rgb.png"):
        shutil.copy(path, folder("image"))

# In seeds of `truth` and `boxes` the first byte chooses the reader; the rest is the file.
flo = b"PIEH" + struct.pack("<II4f", 2, 1, 0.5, 1.0, 1e10, 0.0)
text = b"{'descr': '<f4', 'fortran_order': False, 'shape': (1, 2, 2), }\n"
npy = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + struct.pack("<4f", 1, 2, 3, 4)
(folder("truth") / "flo").write_bytes(b"\0" + flo)
(folder("truth") / "npy").write_bytes(b"\1" + npy)
for name in ("grey", "palette", "bilevel", "rgb16"):
    (folder("truth") / name).write_bytes(b"\2" + (PICTURES / f"{name}.png").read_bytes())

VOC = """<annotation><folder>x</folder><filename>a.png</filename>
<size><width>64</width><height>48</height><depth>3</depth></size>
<object><name>cat</name><difficult>1</difficult>
<bndbox><xmin>1</xmin><ymin>2.5</ymin><xmax>30</xmax><ymax>40</ymax></bndbox></object></annotation>"""
COCO = {
    "images": [{"id": 1, "file_name": "a.png", "width": 64, "height": 48}],
    "annotations": [
        {"id": 1, "image_id": 1, "category_id": 3, "bbox": [1, 2, 3, 4], "area": 12, "iscrowd": 0},
        {"id": 2, "image_id": 1, "category_id": 3, "bbox": [1, 2, 9, 9], "iscrowd": 1},
    ],
    "categories": [{"id": 3, "name": "cat"}],
}
(folder("boxes") / "voc").write_bytes(b"\0" + VOC.encode())
(folder("boxes") / "yolo").write_bytes(b"\1" + b"0 0.5 0.5 0.25 0.5\n1 0.1 0.2 0.1 0.1\n")
(folder("boxes") / "coco").write_bytes(b"\2" + json.dumps(COCO).encode())

for target in sorted((HERE / "corpus").iterdir()):
    print(target.name, len(list(target.iterdir())))
