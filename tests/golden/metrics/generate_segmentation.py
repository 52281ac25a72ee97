"""Writes scikit-learn's and torchmetrics' results for random label maps to segmentation.json.

    python generate_segmentation.py     needs numpy, scikit-learn, torch and torchmetrics
"""

import json
import pathlib

import numpy as np
import torch
from sklearn.metrics import accuracy_score, confusion_matrix, jaccard_score
from torchmetrics.functional.classification import multiclass_jaccard_index

IGNORE = 255
rng = np.random.default_rng(0)
cases = []
# Number of classes, of pixels, of classes that occur; share of right pixels, share of ignored ones.
for classes, pixels, true, right, ignored in [(3, 40, 3, 0.6, 0.0), (5, 120, 3, 0.7, 0.2), (21, 400, 15, 0.4, 0.1), (2, 9, 1, 1.0, 0.5)]:
    truth = rng.integers(0, true, pixels)
    predicted = np.where(rng.random(pixels) < right, truth, rng.integers(0, classes - 1, pixels))
    truth[rng.random(pixels) < ignored] = IGNORE
    t, p = truth[truth != IGNORE], predicted[truth != IGNORE]
    # A class that occurs neither in the truth nor in the prediction has no IoU: null.
    iou = [
        float(jaccard_score(t, p, labels=[c], average=None)[0]) if c in t or c in p else None
        for c in range(classes)
    ]
    mean = multiclass_jaccard_index(
        torch.tensor(predicted), torch.tensor(truth), num_classes=classes, average="macro", ignore_index=IGNORE
    )
    assert abs(float(mean) - np.mean([x for x in iou if x is not None])) < 1e-6
    cases.append({
        "classes": classes, "truth": truth.tolist(), "predicted": predicted.tolist(),
        "iou": iou, "mean_iou": float(mean), "pixel_accuracy": float(accuracy_score(t, p)),
        "true_pixels": confusion_matrix(t, p, labels=range(classes)).sum(1).tolist(),
    })
path = pathlib.Path(__file__).with_name("segmentation.json")
path.write_text(json.dumps(cases, separators=(",", ":")).replace('},{"classes"', '},\n{"classes"') + "\n")
