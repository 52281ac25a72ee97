"""Collects the results of a run of the generator, checks that they are well conditioned, and writes them."""

import json
import pathlib

import numpy as np
import torch
from safetensors.numpy import save
from torch import Tensor

from formula import indices

SAMPLES = 256


class Recorder:
    """The results of one run: file -> key -> (array, meaning)."""

    def __init__(self):
        self.files = {}

    def add(self, file: str, key: str, value, meaning: str) -> None:
        array = value.detach().numpy() if isinstance(value, Tensor) else np.asarray(value)
        kind = np.float64 if array.dtype.kind == "f" else np.int64
        array = np.array(array, dtype=kind, order="C")
        assert np.isfinite(array).all(), f"{file}: {key} is not finite"
        entries = self.files.setdefault(file, {})
        assert key not in entries, f"{file}: {key} is recorded twice"
        entries[key] = (array, meaning)

    def add_digest(self, file: str, key: str, value: Tensor, meaning: str) -> None:
        """Adds sum, norm and sampled values of a tensor that is too large to store."""
        flat = value.detach().flatten()
        chosen = torch.from_numpy(indices(f"samples/{file}/{key}", len(flat), SAMPLES))
        self.add(file, f"{key}/shape", np.array(value.shape), f"shape of {meaning}")
        self.add(file, f"{key}/sum", flat.sum(dtype=torch.float64)[None], f"sum of {meaning}")
        self.add(file, f"{key}/norm", flat.double().norm()[None], f"L2 norm of {meaning}")
        self.add(file, f"{key}/samples", flat[chosen], f"{SAMPLES} sampled values of {meaning}")

    def assert_conditioned(self, single: "Recorder", bound: float) -> None:
        """Asserts that the float32 run is within `bound` of this float64 run; prints each file's worst key."""
        for file, entries in self.files.items():
            errors = {}
            for key, (want, _) in entries.items():
                got = single.files[file][key][0]
                if want.dtype == np.int64:
                    assert np.array_equal(got, want), f"{file}: {key} depends on the precision"
                else:
                    scale = max(np.abs(want).max(), 1e-12)
                    errors[key] = np.abs(got - want).max() / scale
            worst = max(errors, key=errors.get)
            print(f"{file:22} float32 within {errors[worst]:.1e} of float64 ({worst})")
            assert errors[worst] <= bound, f"{file}: {worst} is ill-conditioned"

    def write(self, folder: pathlib.Path) -> None:
        """Writes each file as .safetensors with floats rounded to f32, and index.json."""
        index = {}
        for file, entries in sorted(self.files.items()):
            arrays = {
                key: array.astype(np.float32) if array.dtype == np.float64 else array
                for key, (array, _) in entries.items()
            }
            (folder / f"{file}.safetensors").write_bytes(save(arrays))
            index[f"{file}.safetensors"] = {
                key: {
                    "shape": list(array.shape),
                    "dtype": "i64" if array.dtype == np.int64 else "f32",
                    "meaning": entries[key][1],
                }
                for key, array in sorted(arrays.items())
            }
        lines = []
        for file, entries in index.items():
            keys = ",\n".join(f"    {json.dumps(k)}: {json.dumps(v)}" for k, v in entries.items())
            lines.append(f"  {json.dumps(file)}: {{\n{keys}\n  }}")
        (folder / "index.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")
