"""Tests of the installed wheel: python -m unittest discover python/tests. They need nothing but the wheel."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import logging
import os
import subprocess
import sys
import sysconfig
import tempfile
import unittest
from pathlib import Path
from unittest import mock

import densecl
import numpy as np
from safetensors.numpy import load_file

REPOSITORY = Path(__file__).resolve().parents[2]
SHIPPED = REPOSITORY / "weights/densecl_r18_photos.safetensors"
GOLDENS = REPOSITORY / "tests/golden/interop"
SMALL = {"device": "cpu", "size": 64}


def write_picture(path: Path, seed: int) -> None:
    """A picture of 80 × 64 random pixels as PPM, which needs no library."""
    pixels = np.random.default_rng(seed).integers(0, 256, (64, 80, 3), np.uint8)
    path.write_bytes(b"P6 80 64 255\n" + pixels.tobytes())


class Loading(unittest.TestCase):
    def test_the_shipped_weights_are_torchvisions_state_dict(self):
        stored = load_file(SHIPPED)
        loaded = densecl.load(SHIPPED, "numpy")
        backbone = {name for name in stored if "_head." not in name}
        counters = {name for name in loaded if name.endswith("num_batches_tracked")}
        self.assertEqual(set(loaded) - counters, backbone)
        self.assertEqual(len(counters), 20)  # the batch normalisations of a ResNet-18
        for name in backbone:
            self.assertEqual(loaded[name].dtype, np.float32)
            np.testing.assert_array_equal(loaded[name], stored[name].astype(np.float32), name)
        for name in counters:
            self.assertEqual((loaded[name].dtype, loaded[name].shape), (np.int64, ()))

    def test_heads_are_added_on_request(self):
        added = set(densecl.load("photos", "numpy", heads=True)) - set(densecl.load("photos", "numpy"))
        heads = ("global_head.fc1", "global_head.fc2", "dense_head.conv1", "dense_head.conv2")
        self.assertEqual(added, {f"{head}.{part}" for head in heads for part in ("weight", "bias")})

    def test_another_programs_file_can_be_loaded(self):
        self.assertIn("layer4.1.bn2.running_var", densecl.load(GOLDENS / "torchvision_r18.pth", "numpy"))

    def test_a_network_that_torchvision_has_not_is_a_warning(self):
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder, "w.safetensors")
            densecl.run("import", GOLDENS / "torchvision_r50.pth", "--stride-in-1x1", "--out", out)
            with self.assertLogs("densecl", logging.WARNING) as log:
                densecl.load(out, "numpy")
        self.assertIn("1x1 convolution", log.output[0])

    @unittest.skipUnless(importlib.util.find_spec("torch"), "torch is not installed")
    def test_torch_gets_tensors(self):
        import torch

        arrays = densecl.load(SHIPPED, "numpy")
        for name, tensor in densecl.load(SHIPPED).items():
            self.assertTrue(torch.equal(tensor, torch.from_numpy(arrays[name])), name)

    @unittest.skipIf(importlib.util.find_spec("torch"), "torch is installed")
    def test_without_torch_arrays_are_the_default(self):
        self.assertTrue(all(isinstance(array, np.ndarray) for array in densecl.load(SHIPPED).values()))
        with self.assertRaises(ImportError):
            densecl.load(SHIPPED, "torch")

    def test_an_unknown_framework_is_refused(self):
        with self.assertRaisesRegex(ValueError, "jax"):
            densecl.load(SHIPPED, "jax")  # type: ignore[call-overload]


class Features(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        for seed, name in enumerate(("ö.ppm", "a b.ppm")):
            write_picture(self.folder / name, seed)

    def test_two_pictures_have_vectors_and_names(self):
        vectors, names = densecl.features(self.folder, SHIPPED, **SMALL)
        self.assertEqual(names, ["a b.ppm", "ö.ppm"])
        self.assertEqual(list(vectors), ["stage4"])
        self.assertEqual((vectors["stage4"].dtype, vectors["stage4"].shape), (np.float32, (2, 512)))
        self.assertFalse(np.allclose(*vectors["stage4"]), "both pictures have the same features")

    def test_options_reach_the_program(self):
        vectors, _ = densecl.features(self.folder, feature=["stage3", "global"], unit_length=True, **SMALL)
        shapes = {name: array.shape for name, array in vectors.items()}
        self.assertEqual(shapes, {"stage3": (2, 256), "global": (2, 128)})
        for array in vectors.values():
            np.testing.assert_allclose(np.linalg.norm(array, axis=1), 1, rtol=1e-5)  # float32

    def test_the_mean_of_the_cells_is_the_vector(self):
        vectors, _ = densecl.features(self.folder, stride=8, **SMALL)
        cells, _ = densecl.features(self.folder, stride=8, pool="none", **SMALL)
        self.assertEqual(cells["stage4"].shape, (2, 512, 8, 8))
        np.testing.assert_allclose(cells["stage4"].mean((2, 3)), vectors["stage4"], rtol=1e-4, atol=1e-5)

    def test_a_picture_that_does_not_decode_is_a_warning(self):
        (self.folder / "broken.jpg").write_bytes(b"no picture")
        with self.assertLogs("densecl", logging.WARNING) as log:
            _, names = densecl.features(self.folder, max_bad_share=0.5, **SMALL)
        self.assertEqual(len(names), 2)
        self.assertIn("broken.jpg", log.output[0])


class Errors(unittest.TestCase):
    def test_a_wrong_path_is_an_exception_that_names_it(self):
        for call in (densecl.load, densecl.features, lambda path: densecl.features(".", path)):
            with self.assertRaises(densecl.Error) as raised:
                call("not-there")
            self.assertIn("not-there", str(raised.exception))
            self.assertNotIn("\n", str(raised.exception))

    def test_an_error_of_a_gpu_driver_is_no_part_of_the_message(self):
        with mock.patch.dict(os.environ):
            os.environ.pop("XDG_RUNTIME_DIR", None)  # Mesa prints an error then.
            with self.assertRaisesRegex(densecl.Error, "^not-there"):
                densecl.features("not-there")

    def test_an_option_that_the_program_has_not_is_an_exception(self):
        with self.assertRaisesRegex(densecl.Error, "^unexpected argument '--strides'"):
            densecl.features(".", strides=8)

    def test_nothing_is_printed(self):
        code = "import densecl\ntry: densecl.load('not-there')\nexcept densecl.Error: pass"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "", ""))


class Installation(unittest.TestCase):
    def test_versions_agree(self):
        self.assertEqual(densecl.run("--version").split(), ["densecl", densecl.__version__])

    def test_the_program_is_the_installed_one_even_if_path_has_none(self):
        densecl.program.cache_clear()
        with mock.patch.dict(os.environ, PATH=""):
            self.assertEqual(densecl.program().parent, Path(sysconfig.get_path("scripts")).resolve())


class Notebook(unittest.TestCase):
    def test_its_cells_run(self):
        """Those that need more than the wheel have a tag with what they need."""
        notebook = json.loads((REPOSITORY / "examples/features.ipynb").read_text(encoding="utf-8"))
        names: dict[str, object] = {}
        ran = 0
        for cell in notebook["cells"]:
            needs = cell["metadata"].get("tags", [])
            if cell["cell_type"] == "code" and all(map(importlib.util.find_spec, needs)):
                with contextlib.redirect_stdout(io.StringIO()):
                    exec("".join(cell["source"]), names)
                ran += 1
        self.assertGreaterEqual(ran, 3)


if __name__ == "__main__":
    unittest.main()
