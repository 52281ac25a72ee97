"""The goldens of 3SAT by PyTorch, in float64, rounded once to float32.

    pip install torch==2.5.1 torchvision==0.20.1 numpy pillow
    python -B generate_three_sat.py            # checks that rounding decides no sign; compares with the files on disk
    python -B generate_three_sat.py --write    # writes them instead

Layers and projectors are those of ../byol; the network has the stem for small pictures. Gradients are autograd's, also
those of the pixels. The random start of an attack is derived from the run's seed by ChaCha with 8 rounds, written
anew here.
"""

import math
import pathlib
import struct
import sys

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "byol"))

import numpy as np  # noqa: E402
import torch  # noqa: E402
import torch.nn.functional as F  # noqa: E402

import cases  # noqa: E402
import container  # noqa: E402
from container import Goldens  # noqa: E402
from formula import parameter  # noqa: E402
from generate_byol import SplitBatchNorm, array, projector, regression_loss, spread, tensors  # noqa: E402

container.HERE = HERE
BATCH, SIDE, DIM = 8, 16, cases.DIM
SHAPE = (BATCH, 3, SIDE, SIDE)
MEAN = torch.tensor([0.485, 0.456, 0.406], dtype=torch.float64).reshape(1, 3, 1, 1)
STD = torch.tensor([0.229, 0.224, 0.225], dtype=torch.float64).reshape(1, 3, 1, 1)
EPSILON, ALPHA, ITERATIONS = 8 / 255, 2 / 255, 5
SETTINGS = dict(lr=0.002, momentum=0.9, decay=1e-2, tau=0.9)
SEED, ATTACK = 7, 13  # of the run; the purpose of the random stream
# Which steps of how many, the warm-up W, the attack's iterations, and whether the terms of the authors' code are added. The names choose inputs
# for which rounding decides neither a sign of the pixels' gradient nor which ReLUs are open: see `main`.
CASES = {
    "step": dict(views="step 24", steps=(1, 2), total=3, warmup=0.25, iterations=2, code=False),
    "step_code": dict(views="step_code 41", steps=(1,), total=2, warmup=0.0, iterations=5, code=True),
}
ATTACKED = "attack 135"  # the name of the inputs of the attack alone


def chacha8(key):
    """The 32-bit words of ChaCha with 8 rounds, from counter 0 and nonce 0."""
    words = [0x61707865, 0x3320646E, 0x79622D32, 0x6B206574, *struct.unpack("<8I", key)]
    rotated = lambda x, n: ((x << n) | (x >> (32 - n))) & 0xFFFFFFFF

    def quarter(s, a, b, c, d):
        for first, second, third, n in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
            s[first] = (s[first] + s[second]) & 0xFFFFFFFF
            s[third] = rotated(s[third] ^ s[first], n)

    counter = 0
    while True:
        before = [*words, counter & 0xFFFFFFFF, counter >> 32, 0, 0]
        s = before[:]
        for _ in range(4):
            for column in range(4):
                quarter(s, column, 4 + column, 8 + column, 12 + column)
            for column in range(4):
                quarter(s, column, 4 + (column + 1) % 4, 8 + (column + 2) % 4, 12 + (column + 3) % 4)
        yield from ((x + y) & 0xFFFFFFFF for x, y in zip(s, before))
        counter += 1


def random_start(index):
    """Uniform in [-eps, eps]: 24 bits of each word, in float32."""
    stream = chacha8(struct.pack("<4Q", SEED, ATTACK, index, 0))
    unit = np.array([(next(stream) >> 8) / 2**24 for _ in range(math.prod(SHAPE))])
    return torch.from_numpy(((2 * unit - 1).astype(np.float32) * np.float32(EPSILON)).astype(np.float64).reshape(SHAPE))


def shapes(with_predictor):
    names = cases.shapes(with_predictor)
    names["conv1.weight"] = (cases.WIDTH, 3, 3, 3)
    return names


def branch(images, network):
    norm = SplitBatchNorm(network)

    def conv(x, name, stride):
        weight = network[f"{name}.weight"]
        return F.conv2d(x, weight, stride=stride, padding=(weight.shape[-1] - 1) // 2)

    x = F.relu(norm(conv(images, "conv1", 1), "bn1"))
    for stage in range(4):
        name, stride = f"layer{stage + 1}.0", 1 if stage == 0 else 2
        inside = F.relu(norm(conv(x, f"{name}.conv1", stride), f"{name}.bn1"))
        inside = norm(conv(inside, f"{name}.conv2", 1), f"{name}.bn2")
        if stage > 0:
            x = norm(conv(x, f"{name}.downsample.0", stride), f"{name}.downsample.1")
        x = F.relu(inside + x)
    return projector(F.adaptive_avg_pool2d(x, 1).flatten(1), network, "projector")


def predict(images, network):
    return projector(branch(images, network), network, "predictor")


def normalized(pixels):
    return (pixels - MEAN.to(pixels.dtype)) / STD.to(pixels.dtype)


def pixels(name, kind):
    """In [0, 1)."""
    return torch.from_numpy(((cases.inputs(name, SHAPE) + 1) / 2).astype(kind))


def perturbed(x, target, start, online, iterations, notes=None):
    """The perturbation by projected gradient ascent; `notes` receives loss and gradient of each iteration."""
    # The attack's forward passes have buffers of their own.
    copy = {name: tensor.detach().clone() for name, tensor in online.items()}
    low, high = torch.clamp(-x, min=-EPSILON), torch.clamp(1 - x, max=EPSILON)
    inside = lambda delta: torch.minimum(torch.maximum(delta, low), high)
    delta = inside(start.to(x.dtype))
    for _ in range(iterations):
        delta.requires_grad_(True)
        loss = regression_loss(predict(normalized(x + delta), copy), target)
        (gradient,) = torch.autograd.grad(loss, delta)
        if notes is not None:
            notes.append((loss.item(), array(gradient)))
        delta = inside(delta.detach() + ALPHA * gradient.sign())
    return delta.detach()


def networks(kind):
    online = tensors({n: parameter(n, s).astype(kind) for n, s in shapes(True).items()}, learned=True)
    target = tensors(cases.filled("target.", shapes(False), kind), learned=False)
    return online, target


def attack(goldens, margins, kind="float64"):
    online, _ = networks(kind)
    x = pixels(f"three_sat/{ATTACKED}/pixels", kind)
    target = torch.from_numpy(cases.inputs(f"three_sat/{ATTACKED}/target", (BATCH, DIM)).astype(kind))
    start = torch.from_numpy(cases.inputs(f"three_sat/{ATTACKED}/start", SHAPE).astype(kind)) * EPSILON
    notes = []
    delta = perturbed(x, target, start, online, ITERATIONS, notes)
    margins += [gradient for _, gradient in notes]
    goldens.add("attack", "delta1", array(perturbed(x, target, start, online, 1)))
    goldens.add("attack", "delta5", array(delta))
    goldens.add("attack", "gradient", notes[0][1])
    goldens.add("attack", "loss/before", notes[0][0])
    copy = {name: tensor.detach().clone() for name, tensor in online.items()}
    goldens.add("attack", "loss/after", regression_loss(predict(normalized(x + delta), copy), target).item())


def steps(goldens, margins, file, kind="float64"):
    case = CASES[file]
    online, target = networks(kind)
    learned = {name: tensor for name, tensor in online.items() if tensor.requires_grad}
    sgd = torch.optim.SGD(
        learned.values(), lr=SETTINGS["lr"], momentum=SETTINGS["momentum"], weight_decay=SETTINGS["decay"]
    )
    for step in case["steps"]:
        views = [pixels(f"three_sat/{case['views']}{step}/{view}", kind) for view in ("first", "second", "whole")]
        images = [normalized(view) for view in views]
        with torch.no_grad():
            targets = [branch(image, target) for image in images]
        projections = [branch(images[0], online)]
        first = projector(projections[0], online, "predictor")
        second = predict(images[1], online)
        of_byol = regression_loss(first, targets[1]) + regression_loss(second, targets[0])
        loss = of_byol
        if case["code"]:
            whole = predict(images[2], online)
            loss = loss + regression_loss(whole, targets[0]) + regression_loss(whole, targets[1])
        notes = []
        delta = perturbed(views[2], targets[2], random_start(step), online, case["iterations"], notes)
        margins += [gradient for _, gradient in notes]
        adversarial = regression_loss(predict(normalized(views[2] + delta), online), targets[2])
        weight = min(max((step / case["total"] - case["warmup"]) / (1 - case["warmup"]), 0.0), 1.0)
        loss = loss + weight * adversarial
        sgd.zero_grad()
        loss.backward()
        gradients = {name: array(tensor.grad) for name, tensor in learned.items()}
        for name, value in (
            ("loss", loss.item()), ("loss_byol", of_byol.item()), ("loss_adversarial", adversarial.item()),
            ("loss_before_attack", notes[0][0]), ("adversarial_weight", weight),
            ("feature_std", spread(projections[0]).item()), ("target_std", spread(targets[0]).item()),
            ("grad_norm", math.sqrt(sum((g**2).sum() for g in gradients.values()))),
        ):
            goldens.add(file, f"step{step}/{name}", value)
        if step == case["steps"][0]:
            for name, gradient in gradients.items():
                goldens.add_tensor(file, f"first/grad/{name}", gradient)
        sgd.step()
        with torch.no_grad():
            for name, tensor in target.items():
                if not cases.is_buffer(name):
                    tensor.mul_(SETTINGS["tau"]).add_(online[name], alpha=1 - SETTINGS["tau"])
    velocity = {name: sgd.state[tensor]["momentum_buffer"] for name, tensor in learned.items()}
    for which, network in (("online", online), ("target", target), ("velocity", velocity)):
        for name, tensor in network.items():
            if not (which == "velocity" and name.endswith("fc1.bias")):
                goldens.add_tensor(file, f"end/{which}/{name}", array(tensor))


def run(kind):
    goldens, margins = Goldens(), []
    attack(goldens, margins, kind)
    for file in CASES:
        steps(goldens, margins, file, kind)
    return goldens, margins


def main():
    goldens, margins = run("float64")
    single, others = run("float32")
    for number, (gradient, other) in enumerate(zip(margins, others)):
        flipped = int((np.sign(gradient) != np.sign(other)).sum())
        least = np.abs(gradient).min() / np.abs(gradient).max()
        assert flipped == 0, f"iteration {number}: rounding decides {flipped} signs (smallest gradient {least:.1e})"
    goldens.assert_conditioned(single, 5e-5)
    if "--write" in sys.argv:
        goldens.write()
    goldens.compare(1e-6)


if __name__ == "__main__":
    main()
