"""Inputs and weights of the cases as tensors, and checks that rounding changes no match and no accuracy."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from formula import formula, parameter

MARGIN = 5e-4  # least difference between the best and the second best, so that rounding changes no argmax


def values(name: str, *shape: int) -> Tensor:
    """An input tensor from the formula, in the run's precision."""
    return torch.from_numpy(formula(name, math.prod(shape))).reshape(shape).to(
        torch.get_default_dtype()
    )


def unit(name: str, *shape: int) -> Tensor:
    return F.normalize(values(name, *shape), dim=1)


def fill(module: nn.Module, prefix: str = "") -> nn.Module:
    """Sets every parameter and buffer to its values from the formula."""
    with torch.no_grad():
        for key, tensor in module.state_dict().items():
            tensor.copy_(torch.from_numpy(parameter(prefix + key, tuple(tensor.shape))))
    return module


def assert_decided(similarity: Tensor, dim: int) -> None:
    """Asserts that every maximum along `dim` exceeds the next by MARGIN, beyond rounding."""
    best = similarity.topk(2, dim=dim).values
    gap = (best.select(dim, 0) - best.select(dim, 1)).min().item()
    assert gap > MARGIN, f"a match is decided by {gap:.1e} only"


def assert_top1_decided(logits: Tensor) -> None:
    """Asserts that every positive differs from its largest negative by MARGIN, beyond rounding."""
    gap = (logits[:, 0] - logits[:, 1:].amax(dim=1)).abs()
    assert (gap > MARGIN).all(), f"a top-1 hit is decided by {gap.min().item():.1e} only"
