"""Inputs and weights of the cases as tensors, and checks that rounding decides nothing in them."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from formula import formula, parameter

MARGIN = 5e-4  # least gap between the best and the next, so that rounding decides no argmax


def values(name: str, *shape: int) -> Tensor:
    """An input tensor from the formula, in the run's precision."""
    return torch.from_numpy(formula(name, math.prod(shape))).reshape(shape).to(
        torch.get_default_dtype()
    )


def unit(name: str, *shape: int) -> Tensor:
    return F.normalize(values(name, *shape), dim=1)


def fill(module: nn.Module, prefix: str = "") -> nn.Module:
    """Gives every parameter and buffer its formula value."""
    with torch.no_grad():
        for key, tensor in module.state_dict().items():
            tensor.copy_(torch.from_numpy(parameter(prefix + key, tuple(tensor.shape))))
    return module


def assert_decided(similarity: Tensor, dim: int) -> None:
    """Every argmax along `dim` wins by MARGIN, so that the match is beyond rounding."""
    best = similarity.topk(2, dim=dim).values
    gap = (best.select(dim, 0) - best.select(dim, 1)).min().item()
    assert gap > MARGIN, f"a match is decided by {gap:.1e} only"


def assert_top1_decided(logits: Tensor) -> None:
    """Every positive differs from its largest negative by MARGIN: so is the accuracy."""
    gap = (logits[:, 0] - logits[:, 1:].amax(dim=1)).abs()
    assert (gap > MARGIN).all(), f"a top-1 hit is decided by {gap.min().item():.1e} only"
