"""Writes pycocotools' masks and its average precision of masks to instances.json.

    python generate_instances.py          needs numpy and pycocotools
"""

import contextlib
import io
import json
import pathlib

import numpy as np
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

rng = np.random.default_rng(23)


def runs(rle):
    """The uncompressed run lengths of a compressed RLE."""
    flat = coco_mask.decode(rle).ravel(order="F")
    ends = np.flatnonzero(np.diff(np.concatenate([[0], flat])))
    return np.diff(np.concatenate([[0], ends, [flat.size]])).tolist()


def polygon(width, height):
    """A star-shaped polygon, partly outside the picture, or one of random points."""
    points = int(rng.integers(3, 12))
    if rng.uniform() < 0.3:
        xy = rng.uniform([-4, -4], [width + 4, height + 4], (points, 2))
    else:
        angles = np.sort(rng.uniform(0, 2 * np.pi, points))
        radius = rng.uniform(0.1, 0.5, points) * min(width, height)
        centre = rng.uniform([0, 0], [width, height])
        xy = centre + radius[:, None] * np.stack([np.cos(angles), np.sin(angles)], 1)
    return np.round(xy, 2).ravel().tolist()


def polygons():
    cases = []
    for i in range(40):
        height, width = int(rng.integers(5, 60)), int(rng.integers(5, 60))
        own = [polygon(width, height) for _ in range(1 + i % 3)]
        if i == 0:
            own = [[2.0, 2.0, 2.0, 2.0, 8.0, 2.0, 8.0, 9.0, 2.0, 9.0]]  # a point twice
        rle = coco_mask.merge(coco_mask.frPyObjects(own, height, width))
        cases.append({
            "width": width, "height": height, "polygons": own,
            "runs": runs(rle), "compressed": rle["counts"].decode(), "area": int(coco_mask.area(rle)),
        })
    return cases


def random_case(seed, pictures, classes, objects, crowds):
    rng = np.random.default_rng(seed)
    scenes = []
    for _ in range(pictures):
        width, height = int(rng.integers(60, 200)), int(rng.integers(60, 160))
        y, x = np.mgrid[:height, :width]

        def ellipse(cx, cy, rx, ry):
            return (((x - cx) / rx) ** 2 + ((y - cy) / ry) ** 2 <= 1).astype(np.uint8)

        def packed(mask):
            return coco_mask.encode(np.asfortranarray(mask))["counts"].decode()

        truths, found = [], []
        for _ in range(rng.integers(0, objects + 1)):
            cx, cy = rng.uniform(0, width), rng.uniform(0, height)
            rx, ry = np.exp(rng.uniform(np.log(4), np.log(100), 2))
            mask = ellipse(cx, cy, rx, ry)
            if not mask.any():
                continue
            crowd, label = bool(rng.uniform() < crowds), int(rng.integers(0, classes))
            truths.append({"mask": packed(mask), "class": label, "area": float(mask.sum()), "crowd": crowd})
            for _ in range(rng.integers(0, 3)):
                a, b, c, d = rng.normal(0, rng.uniform(0.02, 0.3), 4)
                mask = ellipse(cx + a * rx, cy + b * ry, rx * np.exp(c), ry * np.exp(d))
                named = label if rng.uniform() < 0.9 else int(rng.integers(0, classes))
                found.append({"mask": packed(mask), "class": named, "score": round(float(rng.uniform()), 3)})
        scenes.append({"width": width, "height": height, "truths": truths, "found": found})
    return {"classes": classes, "scenes": scenes}


def judge(case):
    annotations, results = [], []
    for image, scene in enumerate(case["scenes"], 1):
        rle = lambda one: {"size": [scene["height"], scene["width"]], "counts": one["mask"]}
        for truth in scene["truths"]:
            annotations.append({
                "id": len(annotations) + 1, "image_id": image, "category_id": truth["class"] + 1,
                "segmentation": rle(truth), "iscrowd": int(truth["crowd"]), "area": truth["area"],
                "bbox": coco_mask.toBbox(rle(truth)).tolist(),
            })
        for found in scene["found"]:
            results.append({"image_id": image, "category_id": found["class"] + 1,
                            "segmentation": rle(found), "score": found["score"]})
    coco = COCO()
    coco.dataset = {
        "images": [{"id": i, "width": s["width"], "height": s["height"]} for i, s in enumerate(case["scenes"], 1)],
        "categories": [{"id": i + 1} for i in range(case["classes"])],
        "annotations": annotations,
    }
    with contextlib.redirect_stdout(io.StringIO()):
        coco.createIndex()
        evaluation = COCOeval(coco, coco.loadRes(results), "segm")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    known = lambda value: None if value < 0 else float(value)
    stats = evaluation.stats
    return {
        "ap": known(stats[0]), "ap50": known(stats[1]), "ap75": known(stats[2]),
        "ap_small": known(stats[3]), "ap_medium": known(stats[4]), "ap_large": known(stats[5]),
        "recall": known(stats[8]),
    }


cases = [random_case(1, 6, 2, 5, 0.0), random_case(2, 8, 3, 5, 0.25)]
for case in cases:
    case["expected"] = judge(case)
path = pathlib.Path(__file__).with_name("instances.json")
path.write_text(json.dumps({"polygons": polygons(), "average_precision": cases}, separators=(",", ":")) + "\n")
