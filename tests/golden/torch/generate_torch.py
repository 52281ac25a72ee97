"""Writes small checkpoints in the layouts of other programs; see README.md.

    pip install torch==2.5.1 torchvision==0.20.1
    python -B generate_torch.py         # writes *.pth and index.json beside this file

The networks are torchvision's ResNets with few channels, so that a checkpoint takes kilobytes.
"""

import argparse
import collections
import json
import os
import pathlib
import zipfile

import numpy as np
import torch
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet

HERE = pathlib.Path(__file__).parent
DIM, KEYS = 6, 10  # dimension of the heads' outputs, keys in a queue


class ConfigDict(dict):
    """Stand-in for a class unknown to the reader, such as one of mmcv's."""


class Malicious:
    """Runs a command when Python unpickles it."""

    def __reduce__(self):
        return (os.system, ("touch densecl-was-here",))


class Stem(ResNet):
    """A ResNet with `width` channels in the stem, all other widths in proportion."""

    def __init__(self, block, layers, width: int, classes: int = 3):
        super().__init__(BasicBlock, [1, 1, 1, 1], num_classes=classes)
        self.inplanes = width
        self.conv1 = nn.Conv2d(3, width, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        for stage, count in enumerate(layers):
            layer = self._make_layer(block, width << stage, count, 1 if stage == 0 else 2)
            setattr(self, f"layer{stage + 1}", layer)
        self.channels = (width << 3) * block.expansion
        self.fc = nn.Linear(self.channels, classes)


def resnet(depth: int = 10, width: int = 2) -> Stem:
    kinds = {
        10: (BasicBlock, [1, 1, 1, 1]),
        18: (BasicBlock, [2, 2, 2, 2]),
        34: (BasicBlock, [3, 4, 6, 3]),
        50: (Bottleneck, [3, 4, 6, 3]),
    }
    network = Stem(*kinds[depth], width)
    for buffer in network.buffers():  # so that no statistic has its default value
        if buffer.dtype == torch.float32:
            buffer.uniform_(0.5, 1.5)
        else:
            buffer.fill_(1234)
    return network


def bare(network: nn.Module) -> dict[str, Tensor]:
    return {k: v for k, v in network.state_dict().items() if not k.startswith("fc.")}


def neck(channels: int) -> nn.Module:
    """The heads with the names and layers of OpenSelfSup's DenseCLNeck."""
    module = nn.Module()
    module.mlp = nn.Sequential(
        nn.Linear(channels, channels), nn.ReLU(), nn.Linear(channels, DIM)
    )
    module.mlp2 = nn.Sequential(
        nn.Conv2d(channels, channels, 1), nn.ReLU(), nn.Conv2d(channels, DIM, 1)
    )
    return module


def prefixed(prefix: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {prefix + key: value for key, value in state.items()}


def queues() -> dict[str, Tensor]:
    state = {}
    for name, position in [("queue", 4), ("queue2", 8)]:
        state[name] = nn.functional.normalize(torch.randn(DIM, KEYS), dim=0)
        state[f"{name}_ptr"] = torch.tensor([position])
    return state


def authors() -> dict:
    """A training state as OpenSelfSup writes it, with the backbone's tensors under a second name, too."""
    query, key = resnet(), resnet()
    q = {**prefixed("0.", bare(query)), **prefixed("1.", neck(query.channels).state_dict())}
    k = {**prefixed("0.", bare(key)), **prefixed("1.", neck(key.channels).state_dict())}
    state = collections.OrderedDict(
        **queues(),
        **prefixed("encoder_q.", q),
        **prefixed("encoder_k.", k),
        **prefixed("backbone.", bare(query)),
    )
    state._metadata = collections.OrderedDict({"": {"version": 1}})
    parameters = [v.clone().requires_grad_() for v in q.values() if v.is_floating_point()]
    optimizer = torch.optim.SGD(parameters, lr=0.03, momentum=0.9)
    sum(p.sum() for p in parameters).backward()
    optimizer.step()
    meta = {
        "epoch": 3,
        "iter": 77,
        "time": "now",
        "config": ConfigDict(model="DenseCL"),
        "seed": None,
        "distributed": True,
    }
    state_of_sgd = optimizer.state_dict()
    state_of_sgd["state"] = {
        index: {k: v[..., :1].clone() for k, v in buffers.items()}
        for index, buffers in list(state_of_sgd["state"].items())[:2]
    }
    return {"meta": meta, "state_dict": state, "optimizer": state_of_sgd}


def moco(layers: int) -> dict:
    """A state of the official MoCo v1 (head of one layer) or v2 (two layers), under DistributedDataParallel."""
    encoders = []
    for _ in "qk":
        network = resnet()
        linear = nn.Linear(network.channels, DIM)
        hidden = nn.Linear(network.channels, network.channels)
        network.fc = linear if layers == 1 else nn.Sequential(hidden, nn.ReLU(), linear)
        encoders.append(network.state_dict())
    state = {
        **{k: v for k, v in queues().items() if "2" not in k},
        **prefixed("encoder_q.", encoders[0]),
        **prefixed("encoder_k.", encoders[1]),
    }
    return {"epoch": 200, "arch": "resnet10", "state_dict": prefixed("module.", state)}


def mmselfsup() -> dict:
    query, key = resnet(), resnet()
    k = {**prefixed("0.", bare(key)), **prefixed("1.", neck(key.channels).state_dict())}
    state = {
        "data_preprocessor.mean": torch.zeros(3, 1, 1),
        "encoder_k.steps": torch.tensor(5),
        **queues(),
        **prefixed("backbone.", bare(query)),
        **prefixed("neck.", neck(query.channels).state_dict()),
        **prefixed("encoder_k.module.", k),
    }
    return {"meta": ConfigDict(cfg="text"), "state_dict": state, "message_hub": Opaque()}


class Opaque:
    """An object that has a state but no tensors."""

    def __init__(self):
        self.log = [1, 2.5, {"x": np.float64(3.0), "y": np.arange(3)}]


def mmpretrain() -> dict:
    network = resnet(18)
    state = {
        **prefixed("backbone.", bare(network)),
        **prefixed("head.fc.", network.fc.state_dict()),
    }
    return {"meta": {}, "state_dict": state}


def lightly() -> dict:
    network = resnet()
    backbone = nn.Sequential(*list(network.children())[:-2])
    state = {
        **prefixed("backbone.", backbone.state_dict()),
        **prefixed("backbone_momentum.", backbone.state_dict()),
        "projection_head_global.layers.0.weight": torch.randn(3, 3),
    }
    return {"epoch": 1, "state_dict": state}


def ours() -> dict[str, Tensor]:
    """densecl's own names, as in a safetensors file of densecl that another program has converted."""
    network = resnet()
    heads = neck(network.channels).state_dict()
    names = {
        "mlp.0": "global_head.fc1",
        "mlp.2": "global_head.fc2",
        "mlp2.0": "dense_head.conv1",
        "mlp2.2": "dense_head.conv2",
    }
    renamed = {}
    for key, value in heads.items():
        layer, leaf = key.rsplit(".", 1)
        renamed[f"{names[layer]}.{leaf}"] = value
    backbone = {k: v for k, v in bare(network).items() if not k.endswith("tracked")}
    return {**backbone, **renamed}


def numbers() -> dict[str, Tensor]:
    """Tensors of all types and strides, including NaN, infinities, -0 and subnormal numbers."""
    special = torch.tensor([float("nan"), float("inf"), -float("inf"), -0.0, 1e-45, 3.4e38])
    grid = torch.arange(60, dtype=torch.float32).reshape(3, 4, 5)
    return {
        "f64": torch.tensor([1.1, -2.2], dtype=torch.float64),
        "f32": special,
        "f16": torch.tensor([0.1, -65504.0, 6e-8], dtype=torch.float16),
        "bf16": torch.tensor([0.1, 3e38], dtype=torch.bfloat16),
        "i64": torch.tensor([-3, 1 << 20]),
        "i32": torch.tensor([-3, 7], dtype=torch.int32),
        "i16": torch.tensor([-300], dtype=torch.int16),
        "i8": torch.tensor([-3], dtype=torch.int8),
        "u8": torch.tensor([200], dtype=torch.uint8),
        "bool": torch.tensor([True, False]),
        "scalar": torch.tensor(1234),
        "empty": torch.zeros(0, 3),
        "parameter": nn.Parameter(torch.tensor([1.5])),
        "strided.transposed": grid.permute(2, 0, 1),
        "strided.slice": grid[1:, ::2, 1:4],
        "strided.expanded": torch.tensor([7.0, 8.0])[:, None].expand(2, 3),
        "strided.channels_last": grid[None].contiguous(memory_format=torch.channels_last),
    }


def beside() -> dict:
    """A state dict beside values of many other types."""
    return {
        "args": argparse.Namespace(lr=0.03, path=pathlib.PurePosixPath("x")),
        "best": np.float32(0.5),
        "history": np.arange(4),
        "size": torch.Size([1, 2]),
        "seen": {1, 2},
        "big": 1 << 100,
        "flag": False,
        "nothing": None,
        "raw": b"\x00\xff",
        "cuda": torch.device("cpu"),
        "type": torch.float32,
        "factory": collections.defaultdict(list, {"a": [1]}),
        "model": {"block": {"weight": torch.tensor([[1.0, 2.0]])}, "step": 3},
    }


def describe(tensor: Tensor) -> dict:
    """The shape, the bits of the first values and a hash of all values, as f32."""
    flat = tensor.detach().float().contiguous().flatten().numpy()
    value = 0xCBF29CE484222325  # 64-bit FNV-1a over the little-endian bytes
    for byte in flat.astype("<f4").tobytes():
        value = ((value ^ byte) * 0x100000001B3) & ((1 << 64) - 1)
    first = [int(x) for x in flat[:3].view(np.uint32)]
    return {"shape": list(tensor.shape), "first_bits": first, "fnv1a64": f"{value:016x}"}


def flat(state: dict, prefix: str = "") -> dict[str, Tensor]:
    found = {}
    for key, value in state.items():
        if isinstance(value, Tensor):
            found[prefix + key] = value
        elif isinstance(value, dict):
            found.update(flat(value, f"{prefix}{key}."))
    return found


def repack(source: pathlib.Path, target: pathlib.Path) -> None:
    """Writes the same archive with compression, as a zip program would."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for entry in old.infolist():
            copy = zipfile.ZipInfo(entry.filename)  # without today's date: the same bytes in every run
            new.writestr(copy, old.read(entry), compress_type=zipfile.ZIP_DEFLATED)


def main() -> None:
    torch.manual_seed(0)
    old = {"_use_new_zipfile_serialization": False}
    half = {k: v.half() if v.is_floating_point() else v for k, v in bare(resnet()).items()}
    cases = {  # file: (object, key of the state dict, how it is saved)
        "authors_backbone": ({"state_dict": bare(resnet()), "author": "DenseCL"}, "state_dict", {}),
        "authors_checkpoint": (authors(), "state_dict", {}),
        "authors_legacy": (authors(), "state_dict", old),
        "moco_v1": (moco(1), "state_dict", {}),
        "moco_v2_legacy": (moco(2), "state_dict", old),
        "torchvision_r18": (resnet(18).state_dict(), None, {}),
        "torchvision_r50": (resnet(50, 1).state_dict(), None, {}),
        "mmselfsup": (mmselfsup(), "state_dict", {}),
        "mmpretrain": (mmpretrain(), "state_dict", {}),
        "lightly": (lightly(), "state_dict", {}),
        "ours": (ours(), None, {}),
        "half": (half, None, {}),
        "numbers": (numbers(), None, {}),
        "numbers_legacy": (numbers(), None, old),
        "numbers_protocol4": (numbers(), None, {"pickle_protocol": 4}),
        "beside": (beside(), "model", {}),
        "beside_legacy": (beside(), "model", old),
        "malicious_beside": (
            {"state_dict": {"w": torch.ones(2)}, "x": Malicious()},
            "state_dict",
            {},
        ),
    }
    index = {}
    for name, (value, under, how) in cases.items():
        torch.save(value, HERE / f"{name}.pth", **how)
        state = value[under] if under else value
        tensors = {key: describe(tensor) for key, tensor in flat(state).items()}
        index[name] = {"under": under or "", "tensors": tensors}

    # Files that must be refused, each for a different reason.
    torch.save(Malicious(), HERE / "refused_malicious.pth")
    torch.save(Malicious(), HERE / "refused_malicious_legacy.pth", **old)
    hidden = {"w": torch.ones(2), "x": [torch.ones(1)]}
    torch.save({"state_dict": hidden}, HERE / "refused_list.pth")
    torch.save(nn.Linear(1, 1), HERE / "refused_module.pth")
    torch.save({"epoch": 1}, HERE / "refused_no_tensors.pth")
    torch.save({"w": torch.ones(1, dtype=torch.complex64)}, HERE / "refused_complex.pth")
    huge = torch.ones(1).expand(1 << 20, 1 << 20)
    torch.save({"w": huge}, HERE / "refused_expanded.pth")
    torch.jit.save(torch.jit.script(nn.Linear(1, 1)), HERE / "refused_torchscript.pth")
    repack(HERE / "half.pth", HERE / "refused_compressed.pth")
    files = [f"{json.dumps(name)}: {json.dumps(entry)}" for name, entry in index.items()]
    (HERE / "index.json").write_text("{\n" + ",\n".join(files) + "\n}\n")


if __name__ == "__main__":
    main()
