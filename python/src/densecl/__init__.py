"""Weights and features of densecl for Python.

The program `densecl` comes with this package and does the work: this module calls it and reads the files that it
writes, so that there is one implementation. docs/python.md shows the use.
"""

from __future__ import annotations

import functools
import importlib.util
import json
import logging
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Union, overload

import numpy as np
from safetensors.numpy import load_file

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

__all__ = ["Error", "features", "load", "program", "run"]
__version__ = metadata.version("densecl")

StrPath = Union[str, "os.PathLike[str]"]
Single = Union[StrPath, float, None]
Option = Union[Single, Sequence[Single]]
"""The value of an option of the program: True for one without a value, None or False to leave it out, a list to give
it several times."""

_log = logging.getLogger("densecl")


class Error(RuntimeError):
    """The program refused or failed; the text is its message."""


@overload
def load(path: StrPath, framework: Literal["numpy"], **options: Option) -> dict[str, NDArray[Any]]: ...
@overload
def load(path: StrPath, framework: Literal["torch"], **options: Option) -> dict[str, torch.Tensor]: ...
@overload
def load(path: StrPath, framework: None = None, **options: Option) -> dict[str, Any]: ...
def load(path: StrPath, framework: Literal["numpy", "torch"] | None = None, **options: Option) -> dict[str, Any]:
    """The backbone in a file of weights, as a state dict of torchvision's ResNet without `fc`.

    These are the tensors of `densecl export`, which also converts half precision to float32 and reads the files of
    other programs.

    Args:
        path: `weights.safetensors` of a run, a file of another program, or `photos`, the weights in the program.
        framework: "numpy" for arrays, "torch" for tensors on the CPU; None for tensors if torch is installed, else
            arrays.
        **options: options of `densecl export`: `heads=True` adds `global_head.*` and `dense_head.*`; `prefix` and
            `ignore` read a part of another program's file.

    Returns:
        Tensors by name: float32 of the shapes that torchvision has, and `*.num_batches_tracked`, int64 of shape [].

    Raises:
        Error: the file cannot be read, or holds no usable weights.
        ImportError: `framework="torch"` without torch.
    """
    if framework not in ("numpy", "torch", None):
        raise ValueError(f'framework={framework!r}: must be "numpy", "torch" or None')
    if framework is None:
        framework = "torch" if importlib.util.find_spec("torch") else "numpy"
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "backbone.safetensors")
        notes = _call(["export", *_flags(options), "--out", out, "--", path]).stderr.splitlines()
        # The last note describes the file. Those about it before say which change torchvision's network needs.
        for note in notes[:-1]:
            if note.startswith(f"{out}: "):
                _log.warning(note[len(f"{out}: ") :])
        arrays = load_file(out)
    if framework == "numpy":
        return arrays
    import torch

    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def features(
    images: StrPath, weights: StrPath = "photos", **options: Option
) -> tuple[dict[str, NDArray[np.float32]], list[str]]:
    """Features of pictures, by `densecl embed`.

    Args:
        images: a folder of pictures, or a text file with a path per line.
        weights: a file that `load` reads, or `photos`, the weights in the program.
        **options: options of `densecl embed`, with `_` for `-`: `feature="stage4"` or several in a list,
            `pool="none"` for a vector per cell, `stride=8`, `size=224`, `fit="stretch"`, `unit_length=True`,
            `device="cpu"`, `batch_size=32`, `max_bad_share=0.1`, `prefix` and `ignore`.

    Returns:
        Arrays by feature, float32 of shape [B, C], or [B, C, rows, columns] with `pool="none"`; and the names of the
        B pictures that decode, sorted by path, relative to the folder of `images`. A picture that does not decode
        has no row; it is logged as a warning.

    Raises:
        Error: pictures or weights cannot be read, or an option is wrong.
    """
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "features.safetensors")
        _call(["embed", f"--images={images}", f"--weights={weights}", f"--out={out}", *_flags(options)])
        arrays = load_file(out)
    names = json.loads(arrays.pop("names").tobytes())
    return arrays, names


def run(*arguments: StrPath | float) -> str:
    """Runs the program with any arguments, such as `run("import", "a.pth", "--out", "w.safetensors")`.

    Returns:
        What it wrote to standard output.

    Raises:
        Error: it refused or failed.
    """
    return _call(arguments).stdout


@functools.cache
def program() -> Path:
    """The path of the program: the one that was installed with this package, or else the one on PATH.

    Raises:
        Error: there is neither.
    """
    name = "densecl.exe" if os.name == "nt" else "densecl"
    for file in metadata.files("densecl") or ():
        # pip records where it put the program, which depends on how it was called (venv, --user, --prefix).
        if file.name == name and (path := Path(file.locate())).is_file():
            return path.resolve()
    if found := shutil.which(name):
        return Path(found)
    raise Error(f"the program {name} is neither where pip installed it nor on PATH; install the package again")


def _call(arguments: Sequence[StrPath | float]) -> subprocess.CompletedProcess[str]:
    """Runs the program; its warnings and notes go to the log, and its error becomes the exception."""
    line = [program(), *(a if isinstance(a, os.PathLike) else str(a) for a in arguments)]
    done = subprocess.run(line, capture_output=True, encoding="utf-8", errors="replace")
    if done.returncode:
        # Libraries of a GPU's driver print errors of their own, so the last one counts; what follows a mistake in the
        # arguments is about the command line.
        pattern = r".*^error: (.+?)(?:\n\nUsage:|\n\nFor more information|\Z)"
        message = re.match(pattern, done.stderr.strip(), re.MULTILINE | re.DOTALL)
        raise Error(message[1] if message else f"densecl ended with code {done.returncode}: {done.stderr.strip()}")
    for note in done.stderr.splitlines():
        if note.startswith("warning: "):
            _log.warning(note[len("warning: ") :])
        else:
            _log.info(note)
    return done


def _flags(options: dict[str, Option]) -> list[str]:
    """Options as arguments: `batch_size=8` becomes `--batch-size=8`."""
    flags = []
    for name, given in options.items():
        flag = f"--{name.replace('_', '-')}"
        for value in given if isinstance(given, (list, tuple)) else (given,):
            if value is True:
                flags.append(flag)
            elif value is not None and value is not False:
                flags.append(f"{flag}={value}")
    return flags
