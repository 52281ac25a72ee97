#!/usr/bin/env python3
"""Makes a COCO data set of DAVIS 2016's masks, one object a frame, for `densecl eval instances`.

    python3 bench/davis_instances.py DAVIS OUT

DAVIS holds a folder a sequence, with each mask beside its frame (00000.jpg, 00000.png). Every fourth sequence, in the
order of their names, is for validation. Needs NumPy and Pillow.
"""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
from PIL import Image


def annotation(mask):
    """Box, area and uncompressed RLE (column by column, beginning with background) of a mask with pixels."""
    column_wise = mask.T.reshape(-1).astype(np.int8)
    changes = np.flatnonzero(np.diff(column_wise)) + 1
    runs = np.diff([0, *changes, column_wise.size]).tolist()
    counts = [0, *runs] if column_wise[0] else runs
    ys, xs = np.nonzero(mask)
    left, top = int(xs.min()), int(ys.min())
    return {
        "area": int(mask.sum()),
        "bbox": [left, top, int(xs.max()) - left + 1, int(ys.max()) - top + 1],
        "segmentation": {"size": list(mask.shape), "counts": counts},
    }


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    source, out = Path(sys.argv[1]), Path(sys.argv[2])
    for folder in ("annotations", "images"):
        (out / folder).mkdir(parents=True, exist_ok=True)
    parts = {part: {"images": [], "annotations": []} for part in ("train", "val")}
    for index, sequence in enumerate(sorted(path for path in source.iterdir() if path.is_dir())):
        part = parts["val" if index % 4 == 3 else "train"]
        for frame in sorted(sequence.glob("*.jpg")):
            mask = np.array(Image.open(frame.with_suffix(".png")).convert("L")) > 127
            number = len(part["images"]) + 1
            name = f"{sequence.name}_{frame.name}"
            shutil.copy(frame, out / "images" / name)
            height, width = mask.shape
            part["images"].append({"id": number, "file_name": name, "width": width, "height": height})
            if mask.any():
                ids = {"id": len(part["annotations"]) + 1, "image_id": number, "category_id": 1, "iscrowd": 0}
                part["annotations"].append(ids | annotation(mask))
    for name, part in parts.items():
        part["categories"] = [{"id": 1, "name": "object"}]
        (out / "annotations" / f"instances_{name}.json").write_text(json.dumps(part))
        print(f"{name}: {len(part['images'])} pictures, {len(part['annotations'])} objects")


if __name__ == "__main__":
    main()
