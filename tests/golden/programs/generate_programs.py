"""Writes the names and shapes of checkpoints of other programs; see README.md.

    python -B generate_programs.py      # writes programs.json and two .pth beside this file; standard library only

Each function says where the names stand: repository, file, commit. The networks are torchvision's ResNets with
few channels; heads keep their layers and have few units.
"""

import io
import json
import pathlib
import pickle
import sys
import types
import zipfile

HERE = pathlib.Path(__file__).parent
LAYERS = {10: [1, 1, 1, 1], 18: [2, 2, 2, 2], 50: [3, 4, 6, 3]}
HIDDEN, DIM, CLASSES = 6, 4, 3


def norm(name, channels, counter=()):
    """The tensors of a batch normalisation, in the order of its state dict."""
    leaves = ["weight", "bias", "running_mean", "running_var"]
    return [[f"{name}.{leaf}", [channels]] for leaf in leaves] + [
        [f"{name}.num_batches_tracked", list(counter)]
    ]


def resnet(depth, width=2, classes=0, counter=()):
    """torchvision, torchvision/models/resnet.py: the same names since version 0.1."""
    expansion = 4 if depth >= 50 else 1
    tensors = [["conv1.weight", [width, 3, 7, 7]], *norm("bn1", width, counter)]
    before = width
    for stage, blocks in enumerate(LAYERS[depth]):
        planes = width << stage
        for block in range(blocks):
            place = f"layer{stage + 1}.{block}"
            kernels = [3, 3] if expansion == 1 else [1, 3, 1]
            channels = before
            for index, kernel in enumerate(kernels, 1):
                out = planes * expansion if index == len(kernels) else planes
                tensors.append([f"{place}.conv{index}.weight", [out, channels, kernel, kernel]])
                tensors += norm(f"{place}.bn{index}", out, counter)
                channels = out
            if before != planes * expansion or (stage > 0 and block == 0):
                tensors.append([f"{place}.downsample.0.weight", [channels, before, 1, 1]])
                tensors += norm(f"{place}.downsample.1", channels, counter)
            before = channels
    if classes:
        tensors += [["fc.weight", [classes, before]], ["fc.bias", [classes]]]
    return tensors


def features(depth, width=2):
    return (width << 3) * (4 if depth >= 50 else 1)


def linear(name, inputs, outputs, bias=True):
    return [[f"{name}.weight", [outputs, inputs]]] + ([[f"{name}.bias", [outputs]]] if bias else [])


def below(prefix, tensors):
    return [[prefix + name, shape] for name, shape in tensors]


def lightly_simclr():
    """lightly-ai/lightly, benchmarks/imagenet/resnet50/simclr.py at e8489e6568f95c3d45d383681777d8043e76cf67,
    lightly/models/modules/heads.py (`layers`), lightly/utils/benchmarking/online_linear_classifier.py
    (`classification_head`)."""
    inputs = features(18)
    return [
        *below("backbone.", resnet(18)),
        *linear("projection_head.layers.0", inputs, HIDDEN, bias=False),
        *norm("projection_head.layers.1", HIDDEN),
        *linear("projection_head.layers.3", HIDDEN, DIM, bias=False),
        *norm("projection_head.layers.4", DIM),
        *linear("online_classifier.classification_head", inputs, CLASSES),
    ]


def lightly_mocov2():
    """lightly-ai/lightly, benchmarks/imagenet/resnet50/mocov2.py at 00283d72a429b1d471e09fc04ad56ed1c35673c2."""
    inputs = features(10)
    head = [*linear("layers.0", inputs, HIDDEN), *linear("layers.2", HIDDEN, DIM)]
    return [
        *below("backbone.", resnet(10)),
        *below("projection_head.", head),
        *below("query_backbone.", resnet(10)),
        *below("query_projection_head.", head),
        ["criterion.memory_bank.bank", [DIM, 8]],
        ["criterion.memory_bank.bank_ptr", [1]],
        *linear("online_classifier.classification_head", inputs, CLASSES),
    ]


def lightly_byol():
    """lightly-ai/lightly, benchmarks/imagenet/resnet50/byol.py at 32c2b47cc4944c59eb713eaa35deefdb6d829934."""
    inputs = features(10)
    head = [
        *linear("layers.0", inputs, HIDDEN, bias=False),
        *norm("layers.1", HIDDEN),
        *linear("layers.3", HIDDEN, DIM),
    ]
    return [
        *below("backbone.", resnet(10)),
        *below("projection_head.", head),
        *linear("prediction_head.layers.0", DIM, HIDDEN, bias=False),
        *norm("prediction_head.layers.1", HIDDEN),
        *linear("prediction_head.layers.3", HIDDEN, DIM),
        *below("teacher_backbone.", resnet(10)),
        *below("teacher_projection_head.", head),
        *linear("online_classifier.classification_head", inputs, CLASSES),
    ]


def lightly_swav():
    """lightly-ai/lightly, benchmarks/imagenet/resnet50/swav.py at 0137c615d307c20aeaf532540a8a166b071626c9."""
    return [
        *below("backbone.", resnet(10)),
        *linear("projection_head.layers.0", features(10), HIDDEN),
        *linear("projection_head.layers.3", HIDDEN, DIM),
        *linear("prototypes.heads.0", DIM, 5, bias=False),
        *linear("online_classifier.classification_head", features(10), CLASSES),
        ["queues.0.bank", [DIM, 8]],
        ["queues.0.bank_ptr", [1]],
    ]


def solo_learn_simclr():
    """vturrisi/solo-learn, solo/methods/base.py at c980e9e3f55342cec67da90045271d2511392562 (`backbone`,
    `classifier`), solo/methods/simclr.py (`projector`)."""
    inputs = features(18)
    return [
        *below("backbone.", resnet(18)),
        *linear("classifier", inputs, CLASSES),
        *linear("projector.0", inputs, HIDDEN),
        *linear("projector.2", HIDDEN, DIM),
    ]


def solo_learn_mocov2plus():
    """vturrisi/solo-learn, solo/methods/base.py at c980e9e3f55342cec67da90045271d2511392562
    (`momentum_backbone`), solo/methods/mocov2plus.py at 08e027afab3be84f2035e197f218208c61c49b38 (`queue`)."""
    inputs = features(10)
    head = [*linear("0", inputs, HIDDEN), *linear("2", HIDDEN, DIM)]
    return [
        ["queue", [2, DIM, 8]],
        ["queue_ptr", [1]],
        *below("backbone.", resnet(10)),
        *linear("classifier", inputs, CLASSES),
        *below("momentum_backbone.", resnet(10)),
        *below("projector.", head),
        *below("momentum_projector.", head),
    ]


def solo_learn_swav():
    """vturrisi/solo-learn, solo/methods/swav.py at 3b357ee5635113f15c3f96fffa7258570618bf4d: the prototypes have
    torch.nn.utils.weight_norm."""
    inputs = features(10)
    return [
        ["queue", [2, 8, DIM]],
        *below("backbone.", resnet(10)),
        *linear("classifier", inputs, CLASSES),
        *linear("projector.0", inputs, HIDDEN),
        *norm("projector.1", HIDDEN),
        *linear("projector.3", HIDDEN, DIM),
        ["prototypes.weight_g", [5, 1]],
        ["prototypes.weight_v", [5, DIM]],
    ]


def solo_learn_first():
    """vturrisi/solo-learn, solo/methods/base.py at 008f64fa785169ad7999836d57e6f872f74a854d: `encoder`."""
    inputs = features(18)
    return [
        *below("encoder.", resnet(18)),
        *linear("classifier", inputs, CLASSES),
        *linear("projector.0", inputs, HIDDEN),
        *linear("projector.2", HIDDEN, DIM),
    ]


def swav():
    """facebookresearch/swav, src/resnet50.py and main_swav.py at 04b8f4310a21ddd92af7e2b8f2ea2ef501ce7158:
    DistributedDataParallel, so `module.`. Its stem pads by 1 and then by 2, which is torchvision's 3."""
    network = [
        *resnet(50, 1),
        *linear("projection_head.0", features(50, 1), HIDDEN),
        *norm("projection_head.1", HIDDEN),
        *linear("projection_head.3", HIDDEN, DIM),
        *linear("prototypes", DIM, 5, bias=False),
    ]
    return below("module.", network)


def deepcluster_v2():
    """facebookresearch/swav, src/resnet50.py at 04b8f4310a21ddd92af7e2b8f2ea2ef501ce7158 (`MultiPrototypes`)."""
    network = [
        *resnet(50, 1),
        *linear("projection_head.0", features(50, 1), HIDDEN),
        *norm("projection_head.1", HIDDEN),
        *linear("projection_head.3", HIDDEN, DIM),
        *linear("prototypes.prototypes0", DIM, 5, bias=False),
        *linear("prototypes.prototypes1", DIM, 5, bias=False),
    ]
    return below("module.", network)


def moco_v3():
    """facebookresearch/moco-v3, moco/builder.py at 0c5d00a3d5136367b7bb3b98c2f77765ea6da37e; `module.` as
    main_lincls.py at 2877a788f92aa762f4049ec1d5160b1410c75322 expects it."""

    def mlp(name, inputs):
        # The last normalisation has no weights (affine=False).
        return [
            *linear(f"{name}.0", inputs, HIDDEN, bias=False),
            *norm(f"{name}.1", HIDDEN),
            *linear(f"{name}.3", HIDDEN, DIM, bias=False),
            *norm(f"{name}.4", DIM)[2:],
        ]

    encoder = [*resnet(18), *mlp("fc", features(18))]
    network = [
        *below("base_encoder.", encoder),
        *below("momentum_encoder.", encoder),
        *mlp("predictor", DIM),
    ]
    return below("module.", network)


def vissl():
    """facebookresearch/vissl, vissl/models/trunks/resnext.py and vissl/models/base_ssl_model.py
    (`get_classy_state`) at 0832020479cf6656e1e1b2f2e5be7c34e3aafde8: below classy_state_dict.base_model.model."""
    return [
        *below("trunk._feature_blocks.", resnet(50, 1)),
        *linear("heads.0.clf.0", features(50, 1), HIDDEN),
        *linear("heads.0.clf.2", HIDDEN, DIM),
    ]


def barlow_twins():
    """facebookresearch/barlowtwins, main.py at a655214c76c97d0150277b85d16e69328ea52fd9 (`checkpoint.pth`)."""
    network = [
        *below("backbone.", resnet(50, 1)),
        *linear("projector.0", features(50, 1), HIDDEN, bias=False),
        *norm("projector.1", HIDDEN),
        *linear("projector.3", HIDDEN, HIDDEN, bias=False),
        *norm("projector.4", HIDDEN),
        *linear("projector.6", HIDDEN, DIM, bias=False),
        *norm("bn", DIM)[2:],
    ]
    return below("module.", network)


def dino():
    """facebookresearch/dino, main_dino.py at cc72fe982d650ff28e974d0f5a7c974fecb56209 (`teacher`, in
    DistributedDataParallel where there are batch normalisations), utils.py at
    144f70567a6ff853b9ea44503ba37fdcf8ca41fb (`MultiCropWrapper`), vision_transformer.py (`DINOHead`)."""
    inputs = features(50, 1)
    network = [
        *below("backbone.", resnet(50, 1)),
        *linear("head.mlp.0", inputs, HIDDEN),
        *linear("head.mlp.2", HIDDEN, HIDDEN),
        *linear("head.mlp.4", HIDDEN, DIM),
        ["head.last_layer.weight_g", [5, 1]],
        ["head.last_layer.weight_v", [5, DIM]],
    ]
    return below("module.", network)


def detectron2():
    """facebookresearch/detectron2, tools/convert-torchvision-to-d2.py at
    1d650efc02992da9acb4ab80b553cf726639af8d: below `model` in a pickle."""
    renamed = []
    for name, shape in resnet(18, classes=CLASSES):
        if "layer" not in name:
            name = "stem." + name
        for stage in (1, 2, 3, 4):
            name = name.replace(f"layer{stage}", f"res{stage + 1}")
        for index in (1, 2, 3):
            name = name.replace(f"bn{index}", f"conv{index}.norm")
        name = name.replace("downsample.0", "shortcut").replace("downsample.1", "shortcut.norm")
        renamed.append([name, shape])
    return renamed


def compiled():
    """pytorch/pytorch, torch/_dynamo/eval_frame.py (`OptimizedModule._orig_mod`): torch.compile of a whole network
    in DistributedDataParallel, here of torchvision's."""
    return below("module._orig_mod.", resnet(18, classes=CLASSES))


def lightning():
    """A LightningModule whose network is `self.model`, here torchvision's, its layer4 compiled alone."""
    names = [
        [name.replace("layer4.", "layer4._orig_mod."), shape]
        for name, shape in resnet(18, classes=CLASSES)
    ]
    return below("model.", names)


def counters_of_length_1():
    """Counters that were gathered from several processes or went through numpy are vectors of length 1."""
    return resnet(18, counter=[1])


PROGRAMS = {  # name: (layout as densecl says it, depth, width, tensors)
    "lightly_simclr": ("lightly", 18, 2, lightly_simclr),
    "lightly_mocov2": ("lightly", 10, 2, lightly_mocov2),
    "lightly_byol": ("lightly", 10, 2, lightly_byol),
    "lightly_swav": ("lightly", 10, 2, lightly_swav),
    "solo_learn_simclr": ("solo-learn", 18, 2, solo_learn_simclr),
    "solo_learn_mocov2plus": ("solo-learn", 10, 2, solo_learn_mocov2plus),
    "solo_learn_swav": ("solo-learn", 10, 2, solo_learn_swav),
    "solo_learn_first": ("solo-learn", 18, 2, solo_learn_first),
    "swav": ("SwAV", 50, 1, swav),
    "deepcluster_v2": ("SwAV", 50, 1, deepcluster_v2),
    "moco_v3": ("MoCo v3", 18, 2, moco_v3),
    "vissl": ("VISSL", 50, 1, vissl),
    "barlow_twins": ("Barlow Twins", 50, 1, barlow_twins),
    "dino": ("DINO", 50, 1, dino),
    "detectron2": ("detectron2", 18, 2, detectron2),
    "compiled": ("torchvision", 18, 2, compiled),
    "lightning": ("torchvision", 18, 2, lightning),
    "counters_of_length_1": ("backbone without a classifier", 18, 2, counters_of_length_1),
}


class Storage:
    """One storage for all tensors of a file: 1024 zeros, which is more than any tensor here has."""

    LENGTH = 1024


class Tensor:
    """What torch.save writes for a tensor: a call of torch._utils._rebuild_tensor_v2 on a storage."""

    def __init__(self, shape):
        self.shape = tuple(shape)

    def __reduce__(self):
        strides, step = [], 1
        for side in reversed(self.shape):
            strides.insert(0, step)
            step *= side
        rebuild = sys.modules["torch._utils"]._rebuild_tensor_v2
        return rebuild, (Storage(), 0, self.shape, tuple(strides), False, {})


class Pickler(pickle.Pickler):
    def persistent_id(self, value):
        if isinstance(value, Storage):
            return ("storage", sys.modules["torch"].FloatStorage, "0", "cpu", Storage.LENGTH)
        return None


def stand_in_for_torch():
    """Modules whose names are torch's, so that the pickle names what torch's names."""
    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")
    torch.FloatStorage = type("FloatStorage", (), {"__module__": "torch"})

    def rebuild(*_):
        raise NotImplementedError

    rebuild.__name__ = rebuild.__qualname__ = "_rebuild_tensor_v2"
    rebuild.__module__ = "torch._utils"
    utils._rebuild_tensor_v2 = rebuild
    sys.modules.update({"torch": torch, "torch._utils": utils})


def save(name, value):
    """As torch.save since 1.6: a zip archive that stores a pickle and the numbers beside it."""
    text = io.BytesIO()
    Pickler(text, protocol=2).dump(value)
    with zipfile.ZipFile(HERE / f"{name}.pth", "w", zipfile.ZIP_STORED) as archive:
        for file, data in [("data.pkl", text.getvalue()), ("data/0", bytes(4 * Storage.LENGTH))]:
            archive.writestr(zipfile.ZipInfo(f"archive/{file}"), data)


def state_dict(tensors):
    return {name: Tensor(shape) for name, shape in tensors}


def nested():
    """Checkpoints whose state dict lies deeper than under one name; see `vissl` and `dino` for where that stands."""
    stand_in_for_torch()
    parts = {"trunk": {}, "heads": {}}
    for name, shape in vissl():
        part, rest = name.split(".", 1)
        parts[part][rest] = Tensor(shape)
    model = {"model": parts, "meta": {"trunk": {}, "heads": []}}
    classy = {"base_model": model, "optimizer": {"lr": 0.1}, "train_phase_idx": 99}
    save("vissl", {"iteration": 5, "classy_state_dict": classy})
    weights = dino()
    save(
        "dino",
        {
            "student": state_dict(weights),
            "teacher": state_dict(weights),
            "epoch": 800,
            "dino_loss": {"center": Tensor([1, 5])},
        },
    )


def main():
    programs = {}
    for name, (layout, depth, width, tensors) in PROGRAMS.items():
        lines = [" ".join([key, *map(str, shape)]) for key, shape in tensors()]
        programs[name] = {"layout": layout, "backbone": f"resnet{depth}", "width": width, "tensors": lines}
    text = json.dumps({"programs": programs}, indent=1)
    (HERE / "programs.json").write_text(text + "\n")
    nested()


main()
