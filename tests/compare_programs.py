#!/usr/bin/env python3
"""Checks whether two builds of the program compute the same results, to the bit.

    python3 tests/compare_programs.py OLD NEW        # two `densecl` binaries, on one machine

Trains tiny networks with both (a few steps on embedded scenes, CPU), resumes one run, and computes features,
exports and figures of `eval compare` from the weights. Tensors must be identical; metadata may differ. For changes that move code without changing
results. Needs only Python and takes about a minute. The exit code is 1 if something differs.
"""

import json
import re
import struct
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

TINY = """--device cpu --seed 3 --set model.backbone=resnet10 --set model.width=8 --set model.dim=16
    --set model.output_stride=16 --set views.size=64 --set scenes.size=64 --set data.scene_count=32
    --set train.batch_size=8 --set method.bn_groups=2 --set eval.pairs=4 --set log.every_steps=1
    --set optim.schedule=step""".split()

# Only settings that both programs have; settings new in one of them keep their defaults.
RUNS = {
    "densecl": "",
    "mocov2": "--set method.lambda=0",
    "centred": "--set method.matching=centred",
    "dense": "--set method.matching=dense --set model.num_grid=3",
    "random": "--set method.matching=random --set optim.accumulate=2",
    "half": "--set optim.precision=f16",
    # The size of the first quick start, some of its steps.
    "quickstart": "--set model.width=32 --set model.dim=128 --set model.output_stride=8 --set scenes.size=128 "
    "--set data.scene_count=1024 --set method.queue=512 --set train.batch_size=16",
}


def run(program, folder, line):
    done = subprocess.run([program, *line], cwd=folder, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{program} {' '.join(map(str, line))}\n{done.stderr}")


def work(program, folder):
    """Lets one program write runs, features and exports to `folder`."""
    for name, sets in RUNS.items():
        run(program, folder, ["pretrain", "--out", name, "--steps", "4", *TINY, *sets.split()])
    run(program, folder, ["pretrain", "--out", "resumed", "--steps", "2", *TINY])
    run(program, folder, ["pretrain", "--resume", "resumed", "--set", "train.steps=4"])
    run(program, folder, ["synth", "--out", "scenes", "--count", "4", "--size", "64"])
    weights = "densecl/weights.safetensors"
    images = "scenes/images"
    for feature in ("stage4", "dense", "global"):
        line = ["embed", "--images", images, "--weights", weights, "--feature", feature]
        run(program, folder, [*line, "--out", f"{feature}.npy"])
    for to, out in (("onnx", "e.onnx"), ("torch", "e.pth"), ("detectron2", "e.pkl")):
        run(program, folder, ["export", weights, "--to", to, "--out", out])
    line = ["eval", "compare", "--weights", f"w={weights}", "--weights", "r=random:resnet10", "--seeds", "2"]
    run(program, folder, [*line, "--corr", "scenes", "--limit", "2", "--out", "compared"])


def safetensors(path):
    data = path.read_bytes()
    (length,) = struct.unpack_from("<Q", data)
    header = json.loads(data[8 : 8 + length])
    header.pop("__metadata__", None)
    body = data[8 + length :]
    return {
        name: (t["dtype"], t["shape"], body[slice(*t["data_offsets"])]) for name, t in header.items()
    }


def payload(path):
    """The parts of a file that must be the same: its tensors by name, or all of its bytes."""
    if path.suffix == ".safetensors":
        return safetensors(path)
    if path.name == "compare.json":
        return compared_figures(path)
    if path.suffix == ".pth":
        with zipfile.ZipFile(path) as archive:
            return {name: archive.read(name) for name in archive.namelist() if "/data/" in name}
    return {"bytes": path.read_bytes()}


def compared_figures(path):
    """The values of a compare.json by task, column and name."""
    return {
        f"{part['task']}, column {i}, {figure['name']}": figure["values"]
        for part in json.loads(path.read_text())["parts"]
        for i, column in enumerate(part["columns"])
        for figure in column
    }


def figures(path):
    """The rows of a metrics.jsonl, without the figures that depend on time and memory use."""
    clock = {"seconds", "images_per_second", "data_wait_share", "resident_bytes"}
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    return [{k: v for k, v in row.items() if k not in clock} for row in rows]


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    programs = [str(Path(program).resolve()) for program in sys.argv[1:]]
    with tempfile.TemporaryDirectory() as root:
        folders = [Path(root) / side for side in ("old", "new")]
        for program, folder in zip(programs, folders):
            folder.mkdir()
            work(program, folder)
        old, new = folders
        compared, different = 0, []
        wanted = re.compile(r"(\.(safetensors|pth|npy|onnx|pkl|jsonl)|compare\.json)$")
        for path in sorted(p for p in old.rglob("*") if wanted.search(p.name)):
            name = path.relative_to(old)
            other = new / name
            if not other.exists():
                different.append(f"{name}: missing in the new")
                continue
            if path.suffix == ".jsonl":
                for a, b in zip(figures(path), figures(other), strict=True):
                    compared += 1
                    off = [k for k in a.keys() & b.keys() if a[k] != b[k]]
                    if off:
                        different.append(f"{name}, step {a['step']}: {', '.join(off)}")
                continue
            a, b = payload(path), payload(other)
            compared += len(a)
            if a.keys() != b.keys():
                different.append(f"{name}: other tensors: {sorted(a.keys() ^ b.keys())[:5]}")
            different += [f"{name}: {key}" for key in a.keys() & b.keys() if a[key] != b[key]]
    for line in different:
        print("differs:", line)
    print(f"{compared} tensors, payloads and rows compared, {len(different)} differ")
    sys.exit(bool(different))


main()
