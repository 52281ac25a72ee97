"""Writes what PyTorch computes with files that densecl imports; see README.md.

    pip install torch==2.5.1 torchvision==0.20.1 safetensors
    python -B generate_interop.py       # writes *.pth, *.safetensors and index.json beside this file

Two kinds of goldens: torchvision's own ResNets with random weights and the features they compute, and
a training state in the authors' layout with the losses of the steps that follow it. The networks have
few channels, so that the files take kilobytes; `check_exports.py` compares networks of full width.
"""

import math
import pathlib
import sys

import torch
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "model"))

import reference as ref  # noqa: E402
from formula import formula, parameter, permutation  # noqa: E402
from recorder import Recorder  # noqa: E402

FLOAT32_BOUND = 2e-5  # relative to the largest magnitude; the tests allow 1e-4
WIDTH, DIM, QUEUE, BATCH, SIDE, GROUPS = 4, 8, 20, 8, 64, 2
STEPS_BEFORE, STEPS_AFTER = 3, 3
SGD = {"lr": 0.05, "momentum": 0.9, "weight_decay": 1e-4}


def values(name: str, *shape: int) -> Tensor:
    """An input tensor from the formula, in the run's precision."""
    return torch.from_numpy(formula(name, math.prod(shape))).reshape(shape).to(
        torch.get_default_dtype()
    )


# torchvision


class Narrow(ResNet):
    """torchvision's ResNet with `width` channels in the stem, all other widths in proportion."""

    def __init__(self, block, layers, width: int, dilate=(False, False, False)):
        super().__init__(block, layers, num_classes=3, replace_stride_with_dilation=list(dilate))
        self.inplanes, self.dilation = width, 1
        self.conv1 = nn.Conv2d(3, width, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        for stage, count in enumerate(layers):
            stride = 1 if stage == 0 else 2
            dilated = stage > 0 and dilate[stage - 1]
            layer = self._make_layer(block, width << stage, count, stride, dilated)
            setattr(self, f"layer{stage + 1}", layer)
        self.fc = nn.Linear((width << 3) * block.expansion, 3)

    def last_map(self, x: Tensor) -> Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        return self.layer4(self.layer3(self.layer2(self.layer1(x))))


KINDS = {18: (BasicBlock, [2, 2, 2, 2]), 50: (Bottleneck, [3, 4, 6, 3])}
DILATE = {32: (False, False, False), 16: (False, False, True), 8: (False, True, True)}


def random_state(depth: int) -> dict[str, Tensor]:
    """torchvision's random weights in f32, with running statistics that differ from their defaults."""
    torch.manual_seed(depth)
    network = Narrow(*KINDS[depth], WIDTH - 1).float()
    for name, tensor in network.state_dict().items():
        if name.endswith("running_mean"):
            tensor.uniform_(-0.2, 0.2)
        elif name.endswith("running_var"):
            tensor.uniform_(0.5, 1.5)
        elif name.endswith("num_batches_tracked"):
            tensor.fill_(1234)
        elif tensor.dim() == 1:
            tensor.add_(torch.empty_like(tensor).uniform_(-0.1, 0.1))
    return network.state_dict()


def network_at(depth: int, stride: int, state: dict[str, Tensor]) -> nn.Module:
    """torchvision's network; the reference's for dilated basic blocks, which torchvision does not have."""
    if depth == 18 and stride < 32:
        network = ref.ResNet(depth, WIDTH - 1, stride)
        kept = {k: v for k, v in state.items() if not k.startswith("fc.")}
        kept = {k: v for k, v in kept.items() if not k.endswith("num_batches_tracked")}
        network.load_state_dict(kept)
        network.last_map = network.forward
    else:
        network = Narrow(*KINDS[depth], WIDTH - 1, DILATE[stride])
        network.load_state_dict(state)
    return network.to(torch.get_default_dtype()).eval()


def record_features(out: Recorder, states: dict[int, dict[str, Tensor]]) -> None:
    for depth, state in states.items():
        file = f"features_r{depth}"
        for height, width in [(224, 224), (375, 500)]:
            images = values(f"{file}/{height}x{width}", 1, 3, height, width)
            for stride in DILATE:
                with torch.no_grad():
                    features = network_at(depth, stride, state).last_map(images)
                key = f"{height}x{width}/stride{stride}"
                out.add_digest(file, key, features, f"torchvision's layer4 at stride {stride}")


# The authors' training state


class Neck(nn.Module):
    """DenseCLNeck of OpenSelfSup."""

    def __init__(self, channels: int):
        super().__init__()
        self.mlp = nn.Sequential(
            nn.Linear(channels, channels), nn.ReLU(inplace=True), nn.Linear(channels, DIM)
        )
        self.mlp2 = nn.Sequential(
            nn.Conv2d(channels, channels, 1), nn.ReLU(inplace=True), nn.Conv2d(channels, DIM, 1)
        )


class Encoder(nn.Sequential):
    """Backbone and neck as in `encoder_q` and `encoder_k`; returns the same as the reference's encoder."""

    def forward(self, images: Tensor):
        features = self[0](images)
        neck = self[1]
        dense = neck.mlp2(features).flatten(2)
        unit = nn.functional.normalize
        return (
            unit(neck.mlp(features.mean(dim=(2, 3))), dim=1),
            unit(dense, dim=1),
            unit(dense.mean(dim=2), dim=1),
            unit(features.flatten(2), dim=1),
        )


class DenseCL(nn.Module):
    """The modules and buffers of the authors' class in its order, with a pointer for each queue."""

    def __init__(self):
        super().__init__()
        for name in ["encoder_q", "encoder_k"]:
            backbone = ref.ResNet(10, WIDTH, 32, GROUPS)
            setattr(self, name, Encoder(backbone, Neck(backbone.channels)))
        self.backbone = self.encoder_q[0]
        for key in self.encoder_k.parameters():
            key.requires_grad = False
        for name in ["queue", "queue2"]:
            keys = values(f"authors/{name}", DIM, QUEUE)
            self.register_buffer(name, nn.functional.normalize(keys, dim=0))
            self.register_buffer(f"{name}_ptr", torch.zeros(1, dtype=torch.long))


def trainer_of(model: DenseCL, optimizer: torch.optim.Optimizer) -> ref.Trainer:
    """The reference's training step over the authors' modules."""
    queues = [model.queue.T.clone(), model.queue2.T.clone()]
    settings = {"m": 0.99, "tau": 0.2, "lam": 0.5, "lr": 0.0, "weight_decay": 0.0}
    trainer = ref.Trainer(model.encoder_q, model.encoder_k, *queues, **settings)
    trainer.optimizer = optimizer
    trainer.pointer = int(model.queue_ptr)
    return trainer


def step(trainer: ref.Trainer, number: int) -> dict[str, Tensor]:
    images = [values(f"authors/step{number}/{view}", BATCH, 3, SIDE, SIDE) for view in "qk"]
    order = torch.from_numpy(permutation(f"authors/step{number}/permutation", BATCH))
    return trainer.step(*images, order)


def optimizer_of(model: DenseCL) -> torch.optim.SGD:
    return torch.optim.SGD(model.parameters(), **SGD)  # as build_optimizer: the key encoder's, too


def train_before() -> dict:
    """Takes some steps from the formula's weights; returns the state as OpenSelfSup saves it, in f32."""
    model = DenseCL()
    with torch.no_grad():
        for name in ["encoder_q", "encoder_k"]:
            for key, tensor in getattr(model, name).state_dict().items():
                ours = key.replace("0.", "", 1) if key.startswith("0.") else f"head.{key}"
                tensor.copy_(torch.from_numpy(parameter(ours, tuple(tensor.shape))))
    optimizer = optimizer_of(model)
    trainer = trainer_of(model, optimizer)
    for number in range(STEPS_BEFORE):
        step(trainer, number)
    model.queue.copy_(trainer.queue_global.T)
    model.queue2.copy_(trainer.queue_dense.T)
    model.queue_ptr[0] = model.queue2_ptr[0] = trainer.pointer
    state = {}
    for key, tensor in model.state_dict().items():
        state[key] = tensor.float() if tensor.is_floating_point() else tensor
        if key.endswith("running_var"):  # the reference's normalisation does not count batches
            counter = key.replace("running_var", "num_batches_tracked")
            state[counter] = torch.tensor(STEPS_BEFORE)
    moved = optimizer.state_dict()
    for buffers in moved["state"].values():
        buffers["momentum_buffer"] = buffers["momentum_buffer"].float()
    meta = {"epoch": 1, "iter": STEPS_BEFORE, "time": "Mon Nov 23 00:00:00 2026"}
    return {"meta": meta, "state_dict": state, "optimizer": moved}


def record_training(out: Recorder, checkpoint: dict) -> None:
    """The losses of the steps that follow the checkpoint."""

    def losses(with_optimizer: bool) -> list[Tensor]:
        model = DenseCL()
        state = checkpoint["state_dict"]
        kept = {k: v.clone() for k, v in state.items() if not k.endswith("num_batches_tracked")}
        model.load_state_dict(kept)
        optimizer = optimizer_of(model)
        if with_optimizer:
            optimizer.load_state_dict(checkpoint["optimizer"])
        trainer = trainer_of(model, optimizer)
        steps = range(STEPS_BEFORE, STEPS_BEFORE + STEPS_AFTER)
        return [step(trainer, number) for number in steps]

    measured = losses(True)
    for number, figures in enumerate(measured, STEPS_BEFORE):
        for key in ["loss", "loss_global", "loss_dense"]:
            out.add("authors", f"step{number}/{key}", figures[key][None], f"{key} of step {number}")
    fresh = losses(False)[-1]["loss"]
    change = abs(fresh - measured[-1]["loss"]) / measured[-1]["loss"]
    assert change > 1e-3, f"the optimizer's state changes the last loss by {change:.1e} only"


def main() -> None:
    torch.set_default_dtype(torch.float64)
    states = {depth: random_state(depth) for depth in KINDS}
    for depth, state in states.items():
        torch.save(state, HERE / f"torchvision_r{depth}.pth")
    checkpoint = train_before()
    torch.save(checkpoint, HERE / "authors_training.pth")
    runs = {}
    for precision in [torch.float64, torch.float32]:
        torch.set_default_dtype(precision)
        runs[precision] = Recorder()
        record_features(runs[precision], states)
        record_training(runs[precision], checkpoint)
    runs[torch.float64].assert_conditioned(runs[torch.float32], FLOAT32_BOUND)
    runs[torch.float64].write(HERE)


if __name__ == "__main__":
    main()
