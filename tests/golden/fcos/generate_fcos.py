"""Writes what torchvision's FCOS computes on one level to fcos.json.

    python -B generate_fcos.py      needs torch 2.5.1 and torchvision 0.20.1
"""

import json
import pathlib
import sys

import torch
from torchvision.models.detection.fcos import FCOS, FCOSHead

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "model"))
import formula  # noqa: E402

torch.set_default_dtype(torch.float64)
CHANNELS, HIDDEN, CLASSES, CONVS, STRIDE, ROWS, COLUMNS = 12, 64, 3, 2, 8, 5, 7

neck = torch.nn.Sequential(torch.nn.Conv2d(CHANNELS, HIDDEN, 1), torch.nn.GroupNorm(32, HIDDEN), torch.nn.ReLU())
head = FCOSHead(HIDDEN, 1, CLASSES, CONVS)
for module, prefix in [(neck, "neck."), (head, "")]:
    values = {name: torch.tensor(formula.parameter(prefix + name, tuple(t.shape)), dtype=torch.float64).reshape(t.shape)
              for name, t in module.state_dict().items()}
    module.load_state_dict(values, strict=True)

shape = (3, CHANNELS, ROWS, COLUMNS)
count = 3 * CHANNELS * ROWS * COLUMNS
features = torch.tensor(formula.formula("fcos/features", count), dtype=torch.float64).reshape(shape).requires_grad_()

# Three pictures: overlapping large and small boxes and one at the edge; a box between the cells' points; no
# box.
targets = [
    {"boxes": torch.tensor([[2.0, 3.0, 50.0, 38.0], [22.0, 14.0, 35.5, 27.0], [40.0, 20.0, 56.0, 40.0]]),
     "labels": torch.tensor([0, 2, 1])},
    {"boxes": torch.tensor([[5.0, 5.0, 11.0, 11.0], [10.5, 9.0, 43.0, 31.0]]), "labels": torch.tensor([1, 1])},
    {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)},
]

x = neck(features)
outputs = head([x])
# Anchors with a side of one stride, centred at the paper's points (i + 0.5)·stride; torchvision's are at
# i·stride.
ys, xs = torch.meshgrid(torch.arange(ROWS), torch.arange(COLUMNS), indexing="ij")
corners = torch.stack([xs, ys, xs + 1, ys + 1], -1).reshape(-1, 4) * float(STRIDE)
# compute_loss uses only the detector's head and its radius of centre sampling.
detector = FCOS.__new__(FCOS)
torch.nn.Module.__init__(detector)
detector.head, detector.center_sampling_radius = head, 1.5
losses = FCOS.compute_loss(detector, targets, outputs, [corners] * 3, [ROWS * COLUMNS])
sum(losses.values()).backward()

flat = lambda t: [float(f"{v:.8g}") for v in t.detach().reshape(-1).tolist()]
result = {
    "channels": CHANNELS, "hidden": HIDDEN, "classes": CLASSES, "convs": CONVS, "stride": STRIDE,
    "grid": [ROWS, COLUMNS],
    "objects": [[{"box": b, "class": c} for b, c in zip(t["boxes"].tolist(), t["labels"].tolist())] for t in targets],
    # In torchvision's order: [picture, cell, channel].
    "class_logits": flat(outputs["cls_logits"]),
    "sides": flat(outputs["bbox_regression"]),
    "centerness": flat(outputs["bbox_ctrness"]),
    "losses": {name: float(loss) for name, loss in losses.items()},
    "gradient_features": flat(features.grad),
    "gradient_neck": flat(neck[0].weight.grad),
    "gradient_boxes": flat(head.regression_head.bbox_reg.bias.grad),
    "gradient_classes": flat(head.classification_head.cls_logits.bias.grad),
}
pathlib.Path(__file__).with_name("fcos.json").write_text(json.dumps(result, separators=(",", ":")).replace(',"', ',\n"') + "\n")
