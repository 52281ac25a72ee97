"""Goldens on disk: a safetensors file per case, written without the safetensors package, and an index."""

import json
import struct

import numpy as np

from cases import HERE
from formula import indices

SAMPLES = 256
LARGEST_WHOLE = 1000
# A gradient that is 0 but for rounding, such as that of a bias before batch normalisation, has no golden.
NOTHING = 1e-6


class Goldens:
    def __init__(self):
        self.files = {}

    def add(self, file, key, value):
        array = np.asarray(value)
        array = array.astype("<i8" if array.dtype.kind in "iu" else np.float64)
        assert np.isfinite(array).all(), (file, key)
        entries = self.files.setdefault(file, {})
        assert key not in entries, (file, key)
        entries[key] = np.atleast_1d(array)

    def add_tensor(self, file, key, value):
        """Nothing for rounding noise; all values, or of a large tensor its norm and sampled values."""
        value = np.asarray(value)
        if np.abs(value).max() < NOTHING:
            return
        if value.size <= LARGEST_WHOLE:
            self.add(file, key, value)
            return
        flat = value.ravel()
        self.add(file, f"{key}/norm", np.linalg.norm(flat.astype(np.float64)))
        self.add(file, f"{key}/samples", flat[indices(f"samples/{file}/{key}", flat.size, SAMPLES)])

    def write(self):
        for file, entries in self.files.items():
            header, blobs, at = {}, [], 0
            for key, array in sorted(entries.items()):
                array = array if array.dtype.kind == "i" else array.astype("<f4")
                blob = array.tobytes()
                kind = "I64" if array.dtype.kind == "i" else "F32"
                header[key] = {"dtype": kind, "shape": list(array.shape), "data_offsets": [at, at + len(blob)]}
                blobs.append(blob)
                at += len(blob)
            text = json.dumps(header, separators=(",", ":")).encode()
            text += b" " * (-len(text) % 8)
            (HERE / f"{file}.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + b"".join(blobs))

    def assert_conditioned(self, single, bound):
        """The float32 run `single` is within `bound` of this float64 run, relative to each tensor's largest magnitude."""
        for file in single.files:
            errors = {}
            for key, want in self.files[file].items():
                errors[key] = np.abs(single.files[file][key] - want).max() / max(np.abs(want).max(), 1e-12)
            worst = max(errors, key=errors.get)
            print(f"{file}: float32 within {errors[worst]:.1e} of float64 ({worst})")
            assert errors[worst] <= bound, f"{file}: {worst} is ill-conditioned"

    def compare(self, bound):
        """Asserts that what is on disk are these goldens within `bound` of each tensor's largest magnitude."""
        for file, entries in self.files.items():
            data = (HERE / f"{file}.safetensors").read_bytes()
            (length,) = struct.unpack("<Q", data[:8])
            header, body, worst = json.loads(data[8 : 8 + length]), data[8 + length :], 0.0
            assert sorted(header) == sorted(entries), f"{file}: other keys"
            for key, entry in header.items():
                begin, end = entry["data_offsets"]
                kind = "<i8" if entry["dtype"] == "I64" else "<f4"
                stored = np.frombuffer(body[begin:end], kind).reshape(entry["shape"])
                want = entries[key]
                error = np.abs(stored - want).max() / max(np.abs(want).max(), 1e-12)
                assert error <= bound, f"{file}: {key} is off by {error:.1e}"
                worst = max(worst, error)
            print(f"{file}: on disk within {worst:.1e}")
