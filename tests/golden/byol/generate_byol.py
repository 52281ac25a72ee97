"""The goldens of BYOL by PyTorch, in float64: a second derivation, whose results must be those of `generate_numpy.py`.

Run with torch 2.5.1 and torchvision 0.20.1 on 2026-11-28: within 5.8e-8 of the files, the rounding to f32.

    pip install torch==2.5.1 torchvision==0.20.1 numpy pillow
    python -B generate_byol.py             # compares with the files on disk
    python -B generate_byol.py --write     # writes them instead

Gradients are autograd's; convolution, batch normalisation, cosine similarity and SGD are torch's own functions.
"""

import math
import sys

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from torchvision.transforms.functional import solarize

import cases
from container import Goldens

torch.manual_seed(0)
torch.set_num_threads(1)


def tensors(values: dict[str, np.ndarray], learned: bool) -> dict[str, Tensor]:
    made = {name: torch.from_numpy(value.copy()) for name, value in values.items()}
    for name, tensor in made.items():
        tensor.requires_grad_(learned and not cases.is_buffer(name))
    return made


class SplitBatchNorm:
    """torch's batch norm on each group by itself; sample i is in group i mod GROUPS. The running statistics follow the
    mean of the groups' statistics."""

    def __init__(self, network: dict[str, Tensor]):
        self.network = network

    def __call__(self, x: Tensor, name: str) -> Tensor:
        leaves = ("weight", "bias", "running_mean", "running_var")
        weight, bias, mean, var = (self.network[f"{name}.{leaf}"] for leaf in leaves)
        parts, means, variances = [], [], []
        for group in range(cases.GROUPS):
            group_mean, group_var = mean.clone(), var.clone()
            part = x[group :: cases.GROUPS]
            parts.append(F.batch_norm(part, group_mean, group_var, weight, bias, True, cases.RUNNING, cases.EPSILON))
            means.append(group_mean)
            variances.append(group_var)
        with torch.no_grad():
            mean.copy_(torch.stack(means).mean(0))
            var.copy_(torch.stack(variances).mean(0))
        # Sample i is row i // GROUPS of part i mod GROUPS.
        return torch.stack(parts, 1).flatten(0, 1)


def projector(x: Tensor, network: dict[str, Tensor], name: str) -> Tensor:
    x = F.linear(x, network[f"{name}.fc1.weight"], network[f"{name}.fc1.bias"])
    x = F.relu(SplitBatchNorm(network)(x, f"{name}.bn1"))
    return F.linear(x, network[f"{name}.fc2.weight"])


def branch(pixels: Tensor, network: dict[str, Tensor]) -> Tensor:
    norm = SplitBatchNorm(network)

    def conv(x, name, stride):
        weight = network[f"{name}.weight"]
        return F.conv2d(x, weight, stride=stride, padding=(weight.shape[-1] - 1) // 2)

    x = F.relu(norm(conv(pixels, "conv1", 2), "bn1"))
    x = F.max_pool2d(x, 3, 2, 1)
    for stage in range(4):
        name, stride = f"layer{stage + 1}.0", 1 if stage == 0 else 2
        inside = F.relu(norm(conv(x, f"{name}.conv1", stride), f"{name}.bn1"))
        inside = norm(conv(inside, f"{name}.conv2", 1), f"{name}.bn2")
        if stage > 0:
            x = norm(conv(x, f"{name}.downsample.0", stride), f"{name}.downsample.1")
        x = F.relu(inside + x)
    return projector(F.adaptive_avg_pool2d(x, 1).flatten(1), network, "projector")


def regression_loss(prediction: Tensor, target: Tensor) -> Tensor:
    return (2 - 2 * F.cosine_similarity(prediction, target.detach(), dim=1)).mean()


class Lars(torch.optim.SGD):
    """SGD whose gradient is scaled tensor by tensor. Biases and batch norms are left alone."""

    def __init__(self, parameters, trust: float, decay: float, **settings):
        super().__init__(parameters, **settings)
        self.trust, self.decay = trust, decay

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for theta in group["params"]:
                if theta.ndim == 1:
                    continue
                theta.grad.add_(theta, alpha=self.decay)
                of_theta, of_gradient = theta.norm(), theta.grad.norm()
                if of_theta > 0 and of_gradient > 0:
                    theta.grad.mul_(self.trust * of_theta / of_gradient)
        super().step()


def optimizer(parameters, case):
    settings = dict(lr=case["lr"], momentum=case["momentum"])
    if case["lars"]:
        return Lars(parameters, case["trust"], case["decay"], **settings)
    return torch.optim.SGD(parameters, weight_decay=case["decay"], **settings)


def momentum(base: float, step: int, total: int) -> float:
    return 1 - (1 - base) * (math.cos(math.pi * step / total) + 1) / 2


def spread(vectors: Tensor) -> Tensor:
    unit = F.normalize(vectors.detach(), dim=1)
    return unit.std(0).mean() * math.sqrt(unit.shape[1])


def array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().numpy().copy()


def steps(goldens: Goldens, file: str, case: dict) -> None:
    online = tensors(cases.filled("", cases.shapes(True)), learned=True)
    target = tensors(cases.filled("target.", cases.shapes(False)), learned=False)
    learned = {name: tensor for name, tensor in online.items() if tensor.requires_grad}
    sgd = optimizer(learned.values(), case)
    for step in range(cases.STEPS):
        views = [torch.from_numpy(cases.images(case["views"], step, view)) for view in ("first", "second")]
        with torch.no_grad():
            targets = [branch(view, target) for view in views]
        projections = [branch(views[0], online)]
        first = projector(projections[0], online, "predictor")
        projections.append(branch(views[1], online))
        second = projector(projections[1], online, "predictor")
        loss = regression_loss(first, targets[1]) + regression_loss(second, targets[0])
        sgd.zero_grad()
        loss.backward()
        key = f"step{step}"
        gradients = {name: array(tensor.grad) for name, tensor in learned.items()}
        goldens.add(file, f"{key}/loss", loss.item())
        goldens.add(file, f"{key}/feature_std", spread(projections[0]).item())
        goldens.add(file, f"{key}/target_std", spread(targets[0]).item())
        goldens.add(file, f"{key}/grad_norm", math.sqrt(sum((g**2).sum() for g in gradients.values())))
        tau = momentum(case["tau"], step, cases.STEPS) if case["cosine"] else case["tau"]
        goldens.add(file, f"{key}/momentum", tau)
        if step == 0:
            goldens.add(file, "step0/projection", array(projections[0]))
            goldens.add(file, "step0/target", array(targets[0]))
            for name, gradient in gradients.items():
                goldens.add_tensor(file, f"step0/grad/{name}", gradient)
        sgd.step()
        with torch.no_grad():
            for name, tensor in target.items():
                if not cases.is_buffer(name):
                    tensor.mul_(tau).add_(online[name], alpha=1 - tau)
    velocity = {name: sgd.state[tensor]["momentum_buffer"] for name, tensor in learned.items()}
    for which, network in (("online", online), ("target", target), ("velocity", velocity)):
        for name, tensor in network.items():
            if which == "velocity" and name.endswith("fc1.bias"):
                continue
            goldens.add_tensor(file, f"end/{which}/{name}", array(tensor))


def parts(goldens: Goldens) -> None:
    prediction = torch.from_numpy(cases.inputs("byol/prediction", (6, cases.DIM))).requires_grad_()
    loss = regression_loss(prediction, torch.from_numpy(cases.inputs("byol/target", (6, cases.DIM))))
    loss.backward()
    goldens.add("parts", "loss/value", loss.item())
    goldens.add("parts", "loss/grad", array(prediction.grad))

    sizes = {n: s for n, s in cases.shapes(True).items() if n.startswith("predictor.")}
    network = tensors(cases.filled("", sizes), learned=True)
    rows = torch.from_numpy(cases.inputs("byol/rows", (cases.BATCH, cases.DIM))).requires_grad_()
    out = projector(rows, network, "predictor")
    (out * torch.from_numpy(cases.inputs("byol/slopes", tuple(out.shape)))).sum().backward()
    goldens.add("parts", "projector/output", array(out))
    goldens.add("parts", "projector/grad/input", array(rows.grad))
    for name, tensor in network.items():
        leaf = name.removeprefix("predictor.")
        if cases.is_buffer(name):
            goldens.add("parts", f"projector/after/{leaf}", array(tensor))
        else:
            goldens.add_tensor("parts", f"projector/grad/{leaf}", array(tensor.grad))

    levels = (cases.inputs("byol/picture", (16, 16, 3)) + 1) * 128
    picture = levels.astype(np.uint8)
    done = solarize(Image.fromarray(picture), 128)
    goldens.add("parts", "solarize/before", picture.astype(np.int64))
    goldens.add("parts", "solarize/after", np.asarray(done).astype(np.int64))


def lars(goldens: Goldens) -> None:
    case = dict(cases.LARS, lars=True)
    for name in cases.LARS_SHAPES:
        theta = torch.from_numpy(cases.lars_values("theta", name)).requires_grad_()
        sgd = optimizer([theta], case)
        for step in range(cases.LARS_STEPS):
            theta.grad = torch.from_numpy(cases.lars_values(f"gradient{step}", name))
            sgd.step()
            goldens.add("lars", f"step{step}/theta/{name}", array(theta))
            goldens.add("lars", f"step{step}/velocity/{name}", array(sgd.state[theta]["momentum_buffer"]))
    for base, total, step in cases.MOMENTA:
        goldens.add("lars", f"momentum/{base}/{total}/{step}", momentum(base, step, total))


if __name__ == "__main__":
    goldens = Goldens()
    for file, case in cases.STEP_CASES.items():
        steps(goldens, file, case)
    parts(goldens)
    lars(goldens)
    if "--write" in sys.argv:
        goldens.write()
    goldens.compare(1e-6)
