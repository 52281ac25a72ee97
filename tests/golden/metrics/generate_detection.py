"""Writes pycocotools' results for random detections to detection.json.

    python generate_detection.py          needs numpy and pycocotools
"""

import contextlib
import io
import json
import pathlib

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

# VOC's `difficult` objects are ignored with the ordinary IoU. pycocotools has no such flag, but an object of
# this area is outside every area range of COCOeval, `all` included, and is treated in the same way.
DIFFICULT_AREA = 2e10


def random_case(name, seed, images, classes, objects, crowds, difficult, doubles):
    rng = np.random.default_rng(seed)
    r = lambda x: round(float(x), 2)
    scenes = []
    for _ in range(images):
        truths, found = [], []
        for _ in range(rng.integers(0, objects + 1)):
            side = np.exp(rng.uniform(np.log(8), np.log(260)))
            w, h = r(side * rng.uniform(0.6, 1.6)), r(side * rng.uniform(0.6, 1.6))
            x, y = r(rng.uniform(0, 400)), r(rng.uniform(0, 300))
            kind = rng.uniform()
            crowd = kind < crowds
            hard = crowds <= kind < crowds + difficult
            label = int(rng.integers(0, classes))
            truths.append({
                "box": [x, y, w, h], "class": label,
                "area": r(w * h * rng.uniform(0.5, 1.0)), "crowd": bool(crowd), "difficult": bool(hard),
            })
            # Some objects are found, some twice, some with a wrong class; crowds get several detections.
            for _ in range(rng.integers(0, 4) if crowd else int(rng.uniform() < 0.8) + int(rng.uniform() < doubles)):
                jitter = rng.normal(0, rng.uniform(0.01, 0.2), 4) * [w, h, w, h]
                named = label if rng.uniform() < 0.9 else int(rng.integers(0, classes))
                found.append({
                    "box": [r(x + jitter[0]), r(y + jitter[1]), r(max(1, w + jitter[2])), r(max(1, h + jitter[3]))],
                    "class": named, "score": round(float(rng.uniform()), 3),
                })
        for _ in range(rng.integers(0, 4)):
            found.append({
                "box": [r(rng.uniform(0, 400)), r(rng.uniform(0, 300)), r(rng.uniform(5, 150)), r(rng.uniform(5, 150))],
                "class": int(rng.integers(0, classes)), "score": round(float(rng.uniform(0, 0.7)), 3),
            })
        scenes.append({"truths": truths, "found": found})
    return {"name": name, "classes": classes, "scenes": scenes}


def crowded_case():
    """A picture with more detections of one class than the evaluation takes into account."""
    rng = np.random.default_rng(9)
    truths = [{"box": [10.0 * i, 10.0, 9.37, 9.0], "class": 0, "area": 84.3, "crowd": False, "difficult": False}
              for i in range(30)]
    found = [{"box": [round(10.0 * (i % 30) + float(rng.normal(0, 0.8)), 3), 10.0, 9.37, 9.0], "class": 0,
              "score": round(float(rng.uniform()), 4)} for i in range(150)]
    return {"name": "more_than_100_detections", "classes": 1, "scenes": [{"truths": truths, "found": found}]}


def judge(case):
    annotations, results = [], []
    for image, scene in enumerate(case["scenes"], 1):
        for truth in scene["truths"]:
            annotations.append({
                "id": len(annotations) + 1, "image_id": image, "category_id": truth["class"] + 1,
                "bbox": truth["box"], "iscrowd": int(truth["crowd"]),
                "area": DIFFICULT_AREA if truth["difficult"] else truth["area"],
            })
        for found in scene["found"]:
            results.append({"image_id": image, "category_id": found["class"] + 1,
                            "bbox": found["box"], "score": found["score"]})
    coco = COCO()
    coco.dataset = {
        "images": [{"id": i + 1} for i in range(len(case["scenes"]))],
        "categories": [{"id": i + 1} for i in range(case["classes"])],
        "annotations": annotations,
    }
    with contextlib.redirect_stdout(io.StringIO()):
        coco.createIndex()
        evaluation = COCOeval(coco, coco.loadRes(results), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    known = lambda value: None if value < 0 else float(value)
    stats = evaluation.stats
    precision = evaluation.eval["precision"][:, :, :, 0, 2]  # threshold, recall, class
    per_class = [precision[:, :, c] for c in range(case["classes"])]
    return {
        "ap": known(stats[0]), "ap50": known(stats[1]), "ap75": known(stats[2]),
        "ap_small": known(stats[3]), "ap_medium": known(stats[4]), "ap_large": known(stats[5]),
        "recall": known(stats[8]),
        "per_class": [known(p[p > -1].mean()) if (p > -1).any() else None for p in per_class],
    }


cases = [
    random_case("plain", 1, 8, 3, 4, 0.0, 0.0, 0.2),
    random_case("crowds", 2, 10, 2, 5, 0.3, 0.0, 0.4),
    random_case("difficult", 3, 10, 2, 5, 0.0, 0.3, 0.4),
    random_case("both", 4, 12, 4, 5, 0.15, 0.15, 0.3),
    random_case("rare_classes", 5, 5, 12, 2, 0.1, 0.1, 0.3),
    crowded_case(),
]
for case in cases:
    case["expected"] = judge(case)
path = pathlib.Path(__file__).with_name("detection.json")
path.write_text(json.dumps(cases, separators=(",", ":")).replace('},{"name"', '},\n{"name"') + "\n")
