"""Computes weights and inputs from their names, so that PyTorch and Rust have the same without storing them.

`tests/src/golden.rs` computes the same in Rust: change both or neither. README.md states the formula.
"""

import math

import numpy as np

MASK = (1 << 64) - 1


def fnv1a64(name: str) -> int:
    """64-bit FNV-1a hash of the name's UTF-8 bytes."""
    value = 0xCBF29CE484222325
    for byte in name.encode():
        value = ((value ^ byte) * 0x100000001B3) & MASK
    return value


def words(name: str, n: int) -> np.ndarray:
    """The n 64-bit words splitmix64(fnv1a64(name) + i), i = 0 … n-1, as uint64."""
    with np.errstate(over="ignore"):
        z = np.arange(n, dtype=np.uint64) + np.uint64(fnv1a64(name))
        z += np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))


def formula(name: str, n: int) -> np.ndarray:
    """The n values v in [-1, 1) of `name`: multiples of 2^-23, so exact in f32."""
    u = (words(name, n) >> np.uint64(40)).astype(np.float64) / 2.0**24
    return (2.0 * u - 1.0).astype(np.float32)


def indices(name: str, n: int, count: int) -> np.ndarray:
    """`count` flat indices below n, with repetition: words of `name` modulo n."""
    return (words(name, count) % np.uint64(n)).astype(np.int64)


def permutation(name: str, n: int) -> np.ndarray:
    """The permutation that sorts the first n words of `name` in ascending order."""
    return np.argsort(words(name, n), kind="stable").astype(np.int64)


def parameter(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """The f32 values of the parameter or buffer `name`: v, scaled depending on name and shape.

    Each operation is rounded to f32; there is no fused multiply-add.
    """
    n = math.prod(shape)
    v = formula(name, n)
    leaf = name.rsplit(".", 1)[-1]
    if leaf == "weight" and len(shape) >= 2:  # convolution or linear
        fan_in = math.prod(shape[1:])
        value = v * np.float32(math.sqrt(3.0) * math.sqrt(2.0 / fan_in))
    elif leaf == "weight":  # batch norm
        value = np.float32(1) + np.float32(0.2) * v
        if name.endswith("bn3.weight"):  # keeps deep bottleneck networks well conditioned, see README.md
            value = np.float32(0.25) * value
    elif leaf == "bias" and "_head." in name:  # linear or 1x1 convolution of a head
        value = np.float32(0.1) * v
    elif leaf in ("bias", "running_mean"):  # batch norm
        value = np.float32(0.2) * v
    elif leaf == "running_var":
        value = np.float32(1) + np.float32(0.4) * v
    else:
        raise ValueError(f"no scale is defined for {name!r} of shape {shape}")
    assert value.dtype == np.float32
    return value.reshape(shape)
