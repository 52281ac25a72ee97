"""Writes the seeds of every target to corpus/TARGET/, from the golden files of the tests, and a few small ones of each to
replay/TARGET/, which are committed and which `cargo test` replays. Needs only Python's standard library."""

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
# What is committed: inputs up to this length, and this many of a target, but the smallest two in any case.
REPLAYED, MOST = 6_000, 10
# Whole networks are longer; without one the reader of weights accepts no input of the small corpus.
ALSO = {"weights": ["ours.safetensors", "authors_backbone.pth"], "layers_model": ["resnet50"]}


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


def layers_model(width, blocks):
    """`model.json` of a Keras ResNet with bottlenecks."""
    layers, weights = [], []

    def convolution(names, kernel, stride):
        conv, norm = names
        layers.append({"class_name": "Conv2D", "config": {"name": conv, "strides": [stride, stride], "use_bias": True}})
        layers.append({"class_name": "BatchNormalization", "config": {"name": norm, "epsilon": 1e-3}})
        tensors = {f"{conv}/kernel": kernel, f"{conv}/bias": kernel[3:]}
        for kind in ("gamma", "beta", "moving_mean", "moving_variance"):
            tensors[f"{norm}/{kind}"] = kernel[3:]
        weights.extend({"name": name, "shape": shape, "dtype": "float32"} for name, shape in tensors.items())

    convolution(("conv1_conv", "conv1_bn"), [7, 7, 3, width], 2)
    channels = width
    for stage, count in enumerate(blocks):
        inner = width << stage
        for block in range(count):
            place = f"conv{stage + 2}_block{block + 1}_"
            stride = 2 if stage and not block else 1
            if not block:
                convolution((f"{place}0_conv", f"{place}0_bn"), [1, 1, channels, 4 * inner], stride)
            for branch, kernel in ((1, [1, 1, channels, inner]), (2, [3, 3, inner, inner]), (3, [1, 1, inner, 4 * inner])):
                names = (f"{place}{branch}_conv", f"{place}{branch}_bn")
                convolution(names, kernel, stride if branch == 1 else 1)
            channels = 4 * inner
    return {
        "format": "layers-model",
        "modelTopology": {"model_config": {"config": {"layers": layers}}},
        "weightsManifest": [{"paths": ["a.bin"], "weights": weights}],
    }


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

whole = json.dumps(layers_model(2, [3, 4, 6, 3]), separators=(",", ":"))
(folder("layers_model") / "resnet50").write_text(whole)
(folder("layers_model") / "two_blocks").write_text(json.dumps(layers_model(2, [1, 1])))

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

(folder("boxes") / "yaml").write_bytes(b"\3" + b"train: ../train/images\nval: [images/val, 'x']\nnames:\n  0: cat\n  1: dog\n")
(folder("boxes") / "yaml_flow").write_bytes(b"\3" + b"names: {0: 'a, b', 1: \"c\"} # two\nnc: 2\n")

for name, pnm in {
    "p1": b"P1\n# bits\n3 2\n1 0 1\n0 1 0\n",
    "p2": b"P2 2 2 15\n0 5 10 15\n",
    "p3": b"P3\n1 1\n255\n1 2 3\n",
    "p4": b"P4 9 2\n\x80\x00\x7f\x80",
    "p5": b"P5 2 1 65535\n\x12\x34\xab\xcd",
    "p6": b"P6 1 1 255\n\x01\x02\x03",
}.items():
    (folder("image") / name).write_bytes(pnm)

LIST = "# a comment\r\na.png\r\nb (1).png\r\n/images/a.png /labels/a.png\r\nsub\\c.PNG 1\r\n"
for reader in range(3):
    lead = bytes([reader])
    (folder("lists") / f"utf8_{reader}").write_bytes(lead + LIST.encode())
    (folder("lists") / f"utf16_{reader}").write_bytes(lead + b"\xff\xfe" + LIST.encode("utf-16-le"))
POINTS = "image_a,image_b,xa,ya,xb,yb\na.png,b.png,1,2,3.5,4\n"
(folder("lists") / "points").write_bytes(b"\3" + POINTS.encode())

SETTINGS = """optim.lr=0.1
[train]
epochs = 2
init_ignore = ["a.*"]
[views]
size = 64
blur_sigma = [0.1, 2.0]
[model]
backbone = "resnet18"
"""
(folder("settings") / "some").write_text(SETTINGS)
(folder("settings") / "wrong").write_text("train.epoch=1\n[optim]\nlr = 'x'\n")

ROW = {
    "step": 1, "epoch": 0.5, "loss": None, "loss_dense": 2.5, "correspondence_accuracy": 0.1,
    "correspondence_chance": None, "grad_norm": 1.0, "learning_rate": 0.1, "images_per_second": 9,
    "data_wait_share": 0, "seconds": 3.25,
}
LINES = [json.dumps(ROW), json.dumps({**ROW, "step": 2}), json.dumps({**ROW, "step": 1}), '{"step": 3']
(folder("run_files") / "rows").write_text("\n".join(LINES))
BOXED = [
    {"image": "a.jpg", "width": 20, "height": 10, "boxes": [[0, 0, 20, 10], [3, 4, 5, 6]]},
    {"image": "b/\u00fc.png", "width": 0, "height": 0, "pixels": 7, "boxes": []},
]
(folder("run_files") / "boxes").write_text("".join(json.dumps(line) + "\n" for line in BOXED))

ORIGIN = {
    "format_version": 1, "weights_sha256": "0", "weights": "w", "images": "/p", "model": model,
    "recipe": {
        "features": ["stage4"], "pool": "mean", "unit_length": False, "size": 224, "fit": "crop", "stride": 32,
    },
}
NAMES = json.dumps(["a.png", "b.png"]).encode()
header = {
    "__metadata__": {"densecl_embeddings": json.dumps(ORIGIN)},
    "names": {"dtype": "U8", "shape": [len(NAMES)], "data_offsets": [0, len(NAMES)]},
    "stage4": {"dtype": "F32", "shape": [2, 1], "data_offsets": [len(NAMES), len(NAMES) + 8]},
}
text = json.dumps(header).encode()
rows = struct.pack("<2f", 1.0, -2.0)
(folder("index") / "rows").write_bytes(struct.pack("<Q", len(text)) + text + NAMES + rows)

for path in checkpoints:
    if any(word in path.name for word in ("authors", "mmselfsup", "moco")):
        shutil.copy(path, folder("training_state"))



def crc32c(data):
    value = 0xFFFFFFFF
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
    return value ^ 0xFFFFFFFF


packed = [(PICTURES / name).read_bytes() for name in ("grey16.png", "alpha.webp")]
index = b""
for name, bytes_ in zip((b"a.png", b"sub/b.webp"), packed):
    index += struct.pack("<IIH", len(bytes_), crc32c(bytes_), len(name)) + name
start = 32 + sum(map(len, packed))
head = b"DENSECLP" + struct.pack("<IIQQ", 1, crc32c(index), start, len(index))
(folder("pack") / "two").write_bytes(head + b"".join(packed) + index)

# `densecl pretrain --config quickstart --steps 1 --set model.width=2 --set model.dim=3 --set model.output_stride=32
# --set method.queue=32 --set data.scene_count=64 --set scenes.size=64 --set train.batch_size=4`
shutil.copy(HERE / "replay/checkpoint/one_step", folder("checkpoint"))

for target in sorted((HERE / "corpus").iterdir()):
    seeds = sorted(target.iterdir(), key=lambda path: (path.stat().st_size, path.name))
    small = [path for path in seeds if path.stat().st_size <= REPLAYED]
    # What is there already is kept: inputs that once broke a reader, and `checkpoint/one_step`.
    replay = HERE / "replay" / target.name
    replay.mkdir(parents=True, exist_ok=True)
    named = [target / name for name in ALSO.get(target.name, [])]
    for path in (small if len(small) >= 2 else seeds[:2])[:MOST] + named:
        shutil.copy(path, replay)
    print(target.name, len(seeds), len(list(replay.iterdir())))
