"""Writes the golden data of the model, the losses and the training step; see README.md.

    pip install torch==2.5.1 torchvision==0.20.1 safetensors
    python -B generate_model.py         # writes *.safetensors and index.json beside this file

Every case is computed twice. The stored numbers come from float64, rounded once to f32, so that a
test measures only the error of the implementation under test; PyTorch's own float32 run must come
within `FLOAT32_BOUND` of them, which shows that the cases are well conditioned.
"""

import math
import pathlib

import numpy as np
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn

import reference as ref
from formula import formula, indices, parameter, permutation, words
from in_view_cases import (
    TRAIN_VIEWS,
    assert_geometry_decided,
    assert_hits_decided,
    in_view_cases,
    split,
)
from inputs import assert_decided, assert_top1_decided, fill, unit, values
from recorder import Recorder

HERE = pathlib.Path(__file__).parent
FLOAT32_BOUND = 2e-5  # relative to the largest magnitude; the tests allow 1e-4


def assert_same(what: str, got: Tensor, want: Tensor) -> None:
    """Asserts that both are equal within float64 rounding."""
    assert got.shape == want.shape and got.dtype == torch.float64, what
    error = ((got - want).abs().max() / want.abs().max()).item()
    assert error <= 1e-10, f"{what}: relative difference {error:.1e}"


def formula_case(out: Recorder) -> None:
    file = "formula"
    for name in ("layer1.0.conv1.weight", "input/resnet18"):
        out.add(file, f"v/{name}", formula(name, 4), "first four values v")
        out.add(file, f"word/{name}", words(name, 4).view(np.int64), "first four words, as i64")
    for name, shape in (
        ("layer1.0.conv1.weight", (64, 64, 3, 3)),
        ("global_head.fc1.weight", (16, 16)),
        ("global_head.fc1.bias", (16,)),
        ("bn1.weight", (64,)),
        ("layer1.0.bn3.weight", (64,)),
        ("bn1.bias", (64,)),
        ("bn1.running_mean", (64,)),
        ("bn1.running_var", (64,)),
    ):
        first = parameter(name, shape).flatten()[:4]
        out.add(file, f"parameter/{name}", first, f"first four values for shape {list(shape)}")
    out.add(file, "indices", indices("samples/test", 1000, 8), "indices('samples/test', 1000, 8)")
    out.add(file, "permutation", permutation("permutation/test", 8), "of 'permutation/test', 8")
    out.add_digest(file, "digest", values("digest/test", 20, 50) + 1, "1 + v of 'digest/test'")


# name: (block kind, input channels, planes, stride, first dilation, dilation)
BLOCK_CASES = {
    "basic_plain": ("basic", 8, 8, 1, 1, 1),
    "basic_stride2": ("basic", 8, 16, 2, 1, 1),
    "basic_dilated_first": ("basic", 8, 16, 1, 1, 2),
    "basic_dilated": ("basic", 8, 8, 1, 2, 2),
    "bottleneck_plain": ("bottleneck", 16, 4, 1, 1, 1),
    "bottleneck_stride2": ("bottleneck", 8, 4, 2, 1, 1),
    "bottleneck_dilated_first": ("bottleneck", 8, 4, 1, 1, 2),
    "bottleneck_dilated": ("bottleneck", 16, 4, 1, 2, 2),
}


def block_cases(out: Recorder) -> None:
    file = "blocks"
    for case, (kind, inputs, planes, stride, first_dilation, dilation) in BLOCK_CASES.items():
        block = ref.BLOCKS[kind](inputs, planes, stride, first_dilation, dilation)
        fill(block, f"{case}.")
        x = values(f"input/{case}", 2, inputs, 9, 9).requires_grad_()
        out.add(file, f"{case}/eval", block.eval()(x), "output in eval mode")
        y = block.train()(x)
        (y * values(f"loss_weights/{case}", *y.shape)).sum().backward()
        out.add(file, f"{case}/train", y, "output in train mode")
        out.add(file, f"{case}/grad/input", x.grad, "gradient of the loss, train mode")
        for key in ("conv1.weight", "conv2.weight", "bn1.weight", "bn2.bias"):
            gradient = block.get_parameter(key).grad
            out.add(file, f"{case}/grad/{key}", gradient, "gradient of the loss, train mode")
        for key, buffer in block.named_buffers():
            out.add(file, f"{case}/{key}", buffer, "after the one train-mode forward")


def resnet(depth: int, output_stride: int = 32) -> ref.ResNet:
    return fill(ref.ResNet(depth, output_stride=output_stride))


def backbone_cases(out: Recorder) -> None:
    for depth in (18, 50):
        file = f"resnet{depth}"
        inputs = {
            "": values(f"input/{file}", 2, 3, 64, 64),
            "_odd": values(f"input/{file}/odd", 1, 3, 75, 101),
        }
        for stride, size in ((32, ""), (16, ""), (8, ""), (32, "_odd")):
            with torch.no_grad():
                stages = resnet(depth, stride).eval().stages(inputs[size])
            first = 1 if stride == 32 else 3  # earlier stages do not depend on the output stride
            for number, stage in list(enumerate(stages, start=1))[first - 1 :]:
                meaning = f"stage {number}, eval mode, output stride {stride}"
                out.add_digest(file, f"eval{stride}{size}/stage{number}", stage, meaning)
        model = resnet(depth).train()
        with torch.no_grad():
            stages = model.stages(inputs[""])
        for number, stage in enumerate(stages, start=1):
            meaning = f"stage {number}, train mode, output stride 32"
            out.add_digest(file, f"train32/stage{number}", stage, meaning)
        last = "layer4.1.bn2" if depth == 18 else "layer4.2.bn3"
        for key, buffer in model.named_buffers():
            if key.rpartition(".")[0] in ("bn1", last):
                out.add(file, f"train32/{key}", buffer, "after the one train-mode forward")
    for depth in (10, 34, 101):
        with torch.no_grad():
            y = resnet(depth).eval()(values(f"input/resnet{depth}", 1, 3, 64, 64))
        meaning = f"ResNet-{depth}'s stage 4, eval mode, output stride 32"
        out.add_digest("other_depths", f"resnet{depth}/stage4", y, meaning)


def check_backbones() -> None:
    """Compares the reference with torchvision, and its finer grids with the coarse one."""
    for depth, maker in ((18, torchvision.models.resnet18), (50, torchvision.models.resnet50)):
        for size in ((2, 3, 64, 64), (1, 3, 75, 101)):
            images = values(f"input/check{depth}", *size)
            for training in (False, True):
                outputs = {}
                for stride in (32, 16, 8):
                    mine = resnet(depth, stride).train(training)
                    with torch.no_grad():
                        outputs[stride] = mine(images)
                    if depth == 18 and stride != 32:  # torchvision dilates Bottleneck only
                        continue
                    dilate = [False, stride <= 8, stride <= 16]
                    theirs = maker(replace_stride_with_dilation=dilate)
                    theirs.fc = nn.Identity()
                    theirs.load_state_dict(resnet(depth).state_dict(), strict=True)
                    with torch.no_grad():
                        pooled = theirs.train(training)(images)
                    what = f"ResNet-{depth}, stride {stride}, training {training}, torchvision"
                    assert_same(what, outputs[stride].mean(dim=(2, 3)), pooled)
                    for key, buffer in mine.named_buffers():
                        assert_same(f"{what}, {key}", buffer, theirs.get_buffer(key))
                if not training:
                    what = f"ResNet-{depth}, every other cell of a finer grid"
                    assert_same(what, outputs[16][:, :, ::2, ::2], outputs[32])
                    assert_same(what, outputs[8][:, :, ::2, ::2], outputs[16])


def check_split_bn() -> None:
    """Compares the reference's split batch norm with PyTorch's batch norm applied to each group."""
    groups, x = 4, values("input/split_bn", 8, 5, 3, 3)
    mine = fill(ref.SplitBatchNorm(5, groups), "split_bn.").train()
    output, means, variances = torch.empty_like(x), [], []
    for group in range(groups):
        theirs = nn.BatchNorm2d(5).train()
        theirs.load_state_dict(fill(ref.SplitBatchNorm(5), "split_bn.").state_dict())
        output[group::groups] = theirs(x[group::groups])
        means.append(theirs.running_mean)
        variances.append(theirs.running_var)
    assert_same("split BN", mine(x), output)
    assert_same("split BN, running mean", mine.running_mean, torch.stack(means).mean(dim=0))
    assert_same("split BN, running variance", mine.running_var, torch.stack(variances).mean(dim=0))


def split_bn_case(out: Recorder) -> None:
    file, groups = "split_bn", 4
    norm = fill(ref.SplitBatchNorm(5, groups), "split_bn.")
    x = values("input/split_bn", 8, 5, 3, 3).requires_grad_()
    y = norm.train()(x)
    (y * values("loss_weights/split_bn", *y.shape)).sum().backward()
    out.add(file, "train", y, "output in train mode, [8, 5, 3, 3] in 4 groups")
    out.add(file, "grad/input", x.grad, "gradient of the loss")
    out.add(file, "grad/weight", norm.weight.grad, "gradient of the loss")
    out.add(file, "grad/bias", norm.bias.grad, "gradient of the loss")
    out.add(file, "running_mean", norm.running_mean, "after the one train-mode forward")
    out.add(file, "running_var", norm.running_var, "after the one train-mode forward")
    out.add(file, "eval", norm.eval()(x), "output in eval mode, with the updated statistics")


def head_cases(out: Recorder) -> None:
    file = "heads"
    x = values("input/heads", 2, 16, 7, 7)
    head = fill(ref.GlobalHead(16, 8), "global_head.")
    out.add(file, "global", head(x), "global head's output [2, 8], not normalised")
    for case, num_grid in (("dense", None), ("dense_grid4", 4)):
        y = fill(ref.DenseHead(16, 8, num_grid), "dense_head.")(x)
        out.add(file, f"{case}/cells", y, f"dense head's output, num_grid {num_grid}")
        pooled = F.normalize(y.mean(dim=(2, 3)), dim=1)
        out.add(file, f"{case}/pooled", pooled, "its mean over the cells, then L2-normalised")


def matching_case(out: Recorder) -> None:
    file = "matching"
    cells_q, cells_k = (unit(f"input/matching/cells_{which}", 3, 16, 25) for which in "qk")
    sim = ref.similarity(cells_q, cells_k)
    for dim in (1, 2):
        assert_decided(sim, dim)
    out.add(file, "cells_q", cells_q, "unit query cells [3, 16, 25]")
    out.add(file, "cells_k", cells_k, "unit key cells [3, 16, 25]")
    out.add(file, "similarity", sim, "cosines [3, query cell, key cell]")
    out.add(file, "match", sim.argmax(dim=2), "nearest key cell of each query cell")
    out.add(file, "match_back", sim.argmax(dim=1), "nearest query cell of each key cell")
    out.add(file, "mutual", ref.mutual(sim), "1 where match_back[match[i]] = i")


def loss_case(out: Recorder) -> None:
    file, tau, lam = "losses", 0.2, 0.3
    q, queue = unit("input/losses/q", 6, 16), unit("input/losses/queue", 24, 16)
    k = F.normalize(q + 0.2 * values("input/losses/k", 6, 16), dim=1)
    cells = unit("input/losses/cells", 3, 16, 9)
    positives = F.normalize(cells + 0.3 * values("input/losses/positives", 3, 16, 9), dim=1)
    queue_dense = unit("input/losses/queue_dense", 24, 16)
    q.requires_grad_()
    cells.requires_grad_()
    logits = ref.info_nce_logits(q, k, queue, tau)
    logits_dense = ref.info_nce_logits(ref.as_rows(cells), ref.as_rows(positives), queue_dense, tau)
    assert_top1_decided(logits)
    assert_top1_decided(logits_dense)
    loss_global, loss_dense = ref.info_nce(logits), ref.info_nce(logits_dense)
    loss = (1 - lam) * loss_global + lam * loss_dense
    gradients = {
        "q/grad_global": torch.autograd.grad(loss_global, q, retain_graph=True)[0],
        "cells/grad_dense": torch.autograd.grad(loss_dense, cells, retain_graph=True)[0],
    }
    loss.backward()
    gradients |= {"q/grad": q.grad, "cells/grad": cells.grad}
    for key, value in {
        "q": q,
        "k": k,
        "queue": queue,
        "cells": cells,
        "positives": positives,
        "queue_dense": queue_dense,
    }.items():
        out.add(file, key, value, "input, L2-normalised along the channels")
    out.add(file, "logits", logits, "global logits [6, 1 + 24], positive first, divided by tau")
    out.add(file, "loss_global", loss_global[None], "InfoNCE of q, k, queue; tau 0.2")
    out.add(file, "loss_dense", loss_dense[None], "InfoNCE of 27 cells against queue_dense")
    out.add(file, "loss", loss[None], "0.7 loss_global + 0.3 loss_dense")
    out.add(file, "accuracy_global", ref.top1(logits)[None], "share with the positive largest")
    out.add(file, "accuracy_dense", ref.top1(logits_dense)[None], "share with the positive largest")
    for key, value in gradients.items():
        term = {"q/grad_global": "loss_global", "cells/grad_dense": "loss_dense"}.get(key, "loss")
        out.add(file, key, value, f"gradient of {term}")


# file: (steps, output stride, num_grid, lambda, weight decay). train_moco's decay is large, because in so few
# steps a decay of 1e-4 changes no weight by more than the tests' tolerance.
TRAIN_CASES = {
    "train_steps": (3, 32, None, 0.5, 1e-4),
    "train_stride8_grid3": (1, 8, 3, 1.0, 1e-4),
    "train_moco": (1, 32, None, 0.0, 0.1),
    "train_geometry": (1, 16, None, 0.5, 1e-4),
    "train_near": (1, 8, 3, 0.5, 1e-4),
}
# Settings that differ from the paper's dense loss.
TRAIN_LOCAL = {
    "train_geometry": {"matching": "geometry", "in_view_weight": 4.0, "in_view_tau": 0.1},
    "train_near": {"in_view_weight": 4.0, "in_view_tau": 0.1, "in_view_positives": "near"},
}
TRAIN = {"depth": 10, "width": 8, "groups": 2, "dim": 16}
BATCH, SIZE, QUEUE = 8, 64, 20
WATCHED = (
    "conv1.weight",
    "layer1.0.bn1.weight",
    "layer3.0.bn2.bias",
    "layer4.0.downsample.0.weight",
    "global_head.fc2.weight",
    "global_head.fc1.bias",
    "dense_head.conv2.weight",
    "dense_head.conv1.bias",
)


def train_case(out: Recorder, file: str) -> None:
    steps, output_stride, num_grid, lam, decay = TRAIN_CASES[file]
    encoders = [
        fill(ref.Encoder(**TRAIN, output_stride=output_stride, num_grid=num_grid)) for _ in range(2)
    ]
    queues = [unit(f"{file}/queue_{which}", QUEUE, 16) for which in ("global", "dense")]
    for which, queue in zip(("global", "dense"), queues, strict=True):
        out.add(file, f"initial/queue_{which}", queue, "[K, D] at the start")
    local = TRAIN_LOCAL.get(file, {})
    trainer = ref.Trainer(
        *encoders, *queues, m=0.99, tau=0.2, lam=lam, lr=0.05, weight_decay=decay, **local
    )
    geometry = split(TRAIN_VIEWS)
    for step in range(steps):
        at = f"step{step}"
        images_q = values(f"{file}/{at}/q", BATCH, 3, SIZE, SIZE)
        images_k = values(f"{file}/{at}/k", BATCH, 3, SIZE, SIZE)
        order = permutation(f"{file}/{at}/permutation", BATCH)
        result = trainer.step(images_q, images_k, torch.from_numpy(order), geometry)
        assert_decided(result["similarity"], 2)
        for logits in result["logits"]:
            assert_top1_decided(logits)
        out.add(file, f"{at}/permutation", order, "place i of the shuffled keys holds image p[i]")
        for key in ("loss", "loss_global", "loss_dense", "accuracy_global", "accuracy_dense"):
            out.add(file, f"{at}/{key}", result[key][None], "before the update")
        out.add(file, f"{at}/match", result["match"], "key cell of each query cell [N, M]")
        if local:
            views = torch.stack(geometry, dim=1)
            out.add(file, f"{at}/geometry", views, "[N, query and key view, 6]")
            assert_geometry_decided(*geometry, result["grid"])
            assert_hits_decided(result["in_view_similarity"], result["in_view_positives"])
            for key in ("loss_in_view", "accuracy_in_view"):
                out.add(file, f"{at}/{key}", result[key][None], "before the update")
        squares = sum(g.square().sum() for g in result["gradients"].values())
        out.add(file, f"{at}/grad_norm", squares.sqrt()[None], "L2 norm of all gradients")
        if step == 0:
            for key in ("q_global", "q_cells", "k_global", "k_cells", "k_pooled"):
                out.add(file, f"{at}/{key}", result[key], "unit embeddings, keys un-shuffled")
            for key in WATCHED:
                out.add(file, f"{at}/grad/{key}", result["gradients"][key], "without weight decay")
    for which, encoder in (("query", trainer.query), ("key", trainer.key)):
        for key, value in encoder.state_dict().items():
            if file == "train_steps" or key in WATCHED:
                out.add(file, f"end/{which}/{key}", value, "after the last step")
    out.add(file, "end/queue_global", trainer.queue_global, "[K, D] after the last step")
    out.add(file, "end/queue_dense", trainer.queue_dense, "[K, D] after the last step")
    out.add(file, "end/queue_pointer", [trainer.pointer], "row the next key goes to")


def run(dtype: torch.dtype) -> Recorder:
    torch.set_default_dtype(dtype)
    out = Recorder()
    formula_case(out)
    block_cases(out)
    backbone_cases(out)
    split_bn_case(out)
    head_cases(out)
    matching_case(out)
    loss_case(out)
    in_view_cases(out)
    for file in TRAIN_CASES:
        train_case(out, file)
    return out


def main() -> None:
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    double = run(torch.float64)
    check_backbones()
    check_split_bn()
    double.assert_conditioned(run(torch.float32), FLOAT32_BOUND)
    double.write(HERE)

    print(f"chance: ln(K + 1) = {math.log(QUEUE + 1):.4f} for a queue of {QUEUE}")
    for file, (steps, *_) in TRAIN_CASES.items():
        for step in range(steps):
            prefixes = (f"step{step}/loss", f"step{step}/accuracy")
            measured = {
                key.removeprefix(f"step{step}/"): round(value[0].item(), 4)
                for key, (value, _) in double.files[file].items()
                if key.startswith(prefixes)
            }
            print(file, f"step {step}", measured)


if __name__ == "__main__":
    main()
