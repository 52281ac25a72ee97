"""Loads every export of densecl strictly with the program it is made for, and compares features.

    pip install torch==2.5.1 torchvision==0.20.1 timm onnx onnxruntime safetensors
    python -B check_exports.py --densecl ../../../target/release/densecl --work /tmp/interop-check

Further programs are checked if installed, and named in the output if not: mmengine with mmcv-lite, mmpretrain,
mmdet, mmsegmentation; detectron2 and AdelaiDet, whose Python sources are enough (--sources FOLDER with
`detectron2/` and `adet/` in it). Compiled operators, which a ResNet does not use, are replaced by stand-ins.

The weights are random weights of torchvision's ResNet-18 and ResNet-50; no tensor has its default values. The
last recorded run is in docs/interop.md.
"""

import argparse
import importlib
import importlib.metadata
import logging
import pathlib
import pickle
import subprocess
import sys
import types

import numpy as np
import torch
import torchvision
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

SIZES = [(224, 224), (375, 500)]
DILATE = {32: (False, False, False), 16: (False, False, True), 8: (False, True, True)}
BOUND = 1e-4  # of the largest magnitude
ROWS = []
# Names from the model zoo's index that mmpretrain imports; a backbone does not need them.
INDEX = ["models", "models.Model", "load_model_index"]


def report(receiver: str, what: str, error: float) -> None:
    ROWS.append((receiver, what, error))
    print(f"{receiver:28} {what:58} {error:.1e}")
    assert error <= BOUND, f"{receiver}: {what}: {error}"


def difference(got: Tensor, want: Tensor) -> float:
    assert got.shape == want.shape, f"{tuple(got.shape)} instead of {tuple(want.shape)}"
    return ((got - want).abs().max() / want.abs().max()).item()


def version(package: str) -> str:
    try:
        return f"{package} {importlib.metadata.version(package)}"
    except importlib.metadata.PackageNotFoundError:
        return package


class Check:
    """One network: its weights, and what torchvision computes with them."""

    def __init__(self, depth: int, densecl: str, work: pathlib.Path):
        self.depth, self.densecl, self.work = depth, densecl, work
        torch.manual_seed(depth)
        self.network = getattr(torchvision.models, f"resnet{depth}")()
        for name, tensor in self.network.state_dict().items():
            if name.endswith("running_mean"):
                tensor.uniform_(-0.2, 0.2)
            elif name.endswith("running_var"):
                tensor.uniform_(0.5, 1.5)
            elif name.endswith("num_batches_tracked"):
                tensor.fill_(4321)
            elif tensor.dim() == 1:
                tensor.add_(torch.empty_like(tensor).uniform_(-0.1, 0.1))
        self.original = self.path("original.pth")
        torch.save(self.network.state_dict(), self.original)
        self.images = {size: torch.randn(1, 3, *size) for size in SIZES}
        self.features = {}
        for stride, dilate in DILATE.items():
            if depth == 18 and stride < 32:
                continue  # torchvision does not dilate basic blocks
            build = getattr(torchvision.models, f"resnet{depth}")
            network = build(replace_stride_with_dilation=dilate) if stride < 32 else self.network
            network.load_state_dict(self.network.state_dict())
            for size, images in self.images.items():
                self.features[size, stride] = stages(network, images)
        recorded = {f"images/{h}x{w}": x for (h, w), x in self.images.items()}
        for ((height, width), stride), maps in self.features.items():
            recorded[f"features/{height}x{width}/stride{stride}"] = maps[-1]
        save_file({k: v.contiguous() for k, v in recorded.items()}, self.path("features.safetensors"))

    def path(self, name: str) -> str:
        return str(self.work / f"resnet{self.depth}_{name}")

    def run(self, *arguments: str) -> None:
        subprocess.run([self.densecl, *arguments], check=True, capture_output=True)

    def export(self, name: str, *arguments: str) -> str:
        self.run("export", self.path("weights.safetensors"), "--out", self.path(name), *arguments)
        return self.path(name)

    def compare(self, receiver: str, what: str, features, stride: int = 32) -> None:
        """Compares `features`, a function from images to the last stage's map or to a list of maps."""
        for size, images in self.images.items():
            want = self.features[size, stride]
            with torch.no_grad():
                got = features(images)
            got = list(got) if isinstance(got, (list, tuple)) else [got]
            worst = max(difference(g, w) for g, w in zip(got, want[-len(got) :], strict=True))
            report(receiver, f"resnet{self.depth} {what}, {size[0]}x{size[1]}", worst)

    def all(self) -> None:
        self.run("import", self.original, "--out", self.path("weights.safetensors"))
        self.round_trip()
        self.torchvision()
        self.timm()
        self.onnx()
        for check in [self.openmmlab, self.detectron2, self.adelaidet]:
            try:
                check()
            except ImportError as error:
                print(f"not installed, not checked: {check.__name__} ({error})")

    def round_trip(self) -> None:
        want = {k: v for k, v in self.network.state_dict().items() if not k.startswith("fc.")}
        mapped = torch.load(self.export("r.pth"), weights_only=True, mmap=True)
        for file, got in [
            ("r.pth", torch.load(self.path("r.pth"), weights_only=True)),
            ("r.pth, mapped", mapped),
            ("r.safetensors", load_file(self.export("r.safetensors"))),
        ]:
            assert got.keys() == want.keys(), got.keys() ^ want.keys()
            for key, tensor in want.items():
                same = got[key].dtype == tensor.dtype and torch.equal(got[key], tensor)
                assert same and got[key].shape == tensor.shape, f"{file}: {key}"
            report(f"torch {torch.__version__}", f"resnet{self.depth} {file}: bit for bit", 0.0)

    def torchvision(self) -> None:
        for file, state in [
            ("r.pth", torch.load(self.path("r.pth"), weights_only=True)),
            ("r.safetensors", load_file(self.path("r.safetensors"))),
        ]:
            network = getattr(torchvision.models, f"resnet{self.depth}")()
            network.fc = nn.Identity()
            network.load_state_dict(state, strict=True)
            self.compare(version("torchvision"), f"{file}, strict", lambda x: stages(network, x)[-1])

    def timm(self) -> None:
        timm = importlib.import_module("timm")
        for file in ["r.pth", "r.safetensors"]:
            # create_model loads strictly; with num_classes=0 the network has no classifier that could be
            # missing.
            network = timm.create_model(
                f"resnet{self.depth}", num_classes=0, checkpoint_path=self.path(file)
            ).eval()
            self.compare(version("timm"), f"{file}, create_model", network.forward_features)

    def onnx(self) -> None:
        onnx, runtime = importlib.import_module("onnx"), importlib.import_module("onnxruntime")
        for stride in DILATE:
            path = self.export(f"s{stride}.onnx", "--stride", str(stride))
            model = onnx.load(path)
            onnx.checker.check_model(model, full_check=True)
            session = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
            two = torch.cat([self.images[SIZES[0]]] * 2).numpy()
            (batch,) = session.run(["features"], {"images": two})
            assert len(batch) == 2 and np.allclose(batch[0], batch[1], atol=1e-6)
            if (SIZES[0], stride) not in self.features:
                continue

            def features(images: Tensor) -> Tensor:
                (found,) = session.run(["features"], {"images": images.numpy()})
                return torch.from_numpy(found)

            self.compare(version("onnxruntime"), f"stride {stride}", features, stride)

    def openmmlab(self) -> None:
        names_for_operators()
        load = importlib.import_module("mmengine.runner").load_checkpoint
        for package in ["mmpretrain", "mmdet", "mmseg"]:
            backbones = importlib.import_module(f"{package}.models.backbones")
            settings = dict(depth=self.depth, out_indices=(0, 1, 2, 3), style="pytorch")
            if package == "mmseg":  # the other packages have this as their default
                settings.update(strides=(1, 2, 2, 2), dilations=(1, 1, 1, 1))
            name = version({"mmseg": "mmsegmentation"}.get(package, package))
            network = backbones.ResNet(**settings)
            load(network, self.path("r.pth"), map_location="cpu", strict=True)
            network.eval()
            self.compare(name, "r.pth, load_checkpoint strict", network)
            pretrained = dict(type="Pretrained", checkpoint=self.path("r.pth"))
            network = backbones.ResNet(**settings, init_cfg=pretrained)
            logging.disable()  # it logs a line for each tensor
            network.init_weights()
            logging.disable(logging.NOTSET)
            network.eval()
            self.compare(name, "r.pth, init_cfg", network)

    def detectron2(self) -> None:
        path = self.export("r.pkl")
        with open(path, "rb") as file:
            arrays = pickle.load(file)["model"]
        assert all(array.dtype == np.float32 for array in arrays.values())
        config = importlib.import_module("detectron2.config").get_cfg()
        resnets = config.MODEL.RESNETS
        resnets.DEPTH, resnets.STRIDE_IN_1X1 = self.depth, False
        resnets.OUT_FEATURES = ["res2", "res3", "res4", "res5"]
        if self.depth == 18:
            resnets.RES2_OUT_CHANNELS = 64
        for norm in ["FrozenBN", "BN"]:
            resnets.NORM = norm
            network = importlib.import_module("detectron2.modeling").build_backbone(config).eval()
            checkpointer = importlib.import_module("detectron2.checkpoint").DetectionCheckpointer
            # The heuristics that match names expect a whole model with the backbone as a part.
            whole = nn.ModuleDict({"backbone": network})
            left = checkpointer(whole)._load_model(checkpointer(whole)._load_file(path))
            missing = [key for key in left.missing_keys if "num_batches_tracked" not in key]
            assert not missing and not left.unexpected_keys and not left.incorrect_shapes, left
            stages = lambda x: [network(x)[f"res{n}"] for n in (2, 3, 4, 5)]  # noqa: E731
            self.compare("detectron2", f"r.pkl, DetectionCheckpointer, {norm}", stages)

    def adelaidet(self) -> None:
        sys.modules.setdefault("adet._C", Names("adet._C"))
        config = importlib.import_module("adet.config").get_cfg()
        importlib.import_module("adet.modeling.backbone")
        config.MODEL.BACKBONE.NAME = "build_fcos_resnet_fpn_backbone"
        resnets = config.MODEL.RESNETS
        resnets.DEPTH, resnets.STRIDE_IN_1X1 = self.depth, False
        resnets.OUT_FEATURES = config.MODEL.FPN.IN_FEATURES = ["res2", "res3", "res4", "res5"]
        if self.depth == 18:
            resnets.RES2_OUT_CHANNELS = 64
        network = importlib.import_module("detectron2.modeling").build_backbone(config).eval()
        checkpointer = importlib.import_module("detectron2.checkpoint").DetectionCheckpointer
        whole = nn.ModuleDict({"backbone": network})
        left = checkpointer(whole)._load_model(checkpointer(whole)._load_file(self.path("r.pkl")))
        assert not left.unexpected_keys and not left.incorrect_shapes, left
        assert all("fpn" in key or "top_block" in key for key in left.missing_keys), left
        below = lambda x: [network.bottom_up(x)[f"res{n}"] for n in (2, 3, 4, 5)]  # noqa: E731
        self.compare("AdelaiDet", "r.pkl, DetectionCheckpointer", below)


def stages(network: nn.Module, images: Tensor) -> list[Tensor]:
    """The maps of torchvision's four stages."""
    network.eval()
    with torch.no_grad():
        x = network.maxpool(network.relu(network.bn1(network.conv1(images))))
        maps = []
        for layer in [network.layer1, network.layer2, network.layer3, network.layer4]:
            x = layer(x)
            maps.append(x)
        return maps


class Names(types.ModuleType):
    """Stand-in for a compiled module whose functions are not called."""

    __file__ = "not a file"  # `inspect` reads it

    def __getattr__(self, name: str):
        if name.startswith("__"):
            raise AttributeError(name)
        return lambda *_: None


def names_for_operators() -> None:
    index = ["modelindex", *(f"modelindex.{part}" for part in INDEX)]
    for name in ["mmcv._ext", *index]:
        sys.modules.setdefault(name, Names(name))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--densecl", required=True, help="the program")
    parser.add_argument("--work", required=True, type=pathlib.Path, help="a folder for the files")
    parser.add_argument("--sources", help="a folder with detectron2/ and adet/")
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    if arguments.sources:
        sys.path.insert(0, arguments.sources)
    for depth in [18, 50]:
        Check(depth, arguments.densecl, arguments.work).all()
    print(f"{len(ROWS)} checks, the worst {max(row[2] for row in ROWS):.1e}")


if __name__ == "__main__":
    main()
