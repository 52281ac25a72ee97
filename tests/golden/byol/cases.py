"""What both generators compute: the network, the inputs, the settings. No arithmetic of the method is here."""

import pathlib
import sys

import numpy as np

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "model"))

from formula import formula, parameter  # noqa: E402

EPSILON = 1e-5  # of batch normalisation
RUNNING = 0.1  # weight of the newest batch in its running statistics
BATCH, SIDE, GROUPS = 8, 96, 2
WIDTH, HIDDEN, DIM = 8, 24, 12
CHANNELS = 8 * WIDTH  # of the last feature map
STEPS = 3

# Two ways to take STEPS steps. At larger rates rounding decides after a step or two which ReLUs are open. `views`
# names inputs for which it does not: noise of 3e-7 of the spread of every convolution changes no gradient of the three
# steps by more than 1e-4 of its largest value. Of 18 names that were tried, a third are as good.
STEP_CASES = {
    "step_sgd": dict(views="step_sgd", lars=False, lr=0.002, momentum=0.9, decay=1e-2, trust=1e-3, tau=0.9, cosine=False),
    "step_lars": dict(views="step_lars g", lars=True, lr=0.004, momentum=0.9, decay=1e-2, trust=0.1, tau=0.8, cosine=True),
}

# Weights, gradients and settings of LARS alone: a matrix, a bias, a matrix of zeros, a gradient of zeros.
LARS = dict(lr=0.7, momentum=0.9, decay=0.05, trust=0.01)
LARS_STEPS = 3
LARS_SHAPES = {"matrix": (5, 7), "kernel": (4, 3, 3, 3), "bias": (6,), "zero": (3, 4), "still": (4, 5)}

MOMENTA = [(0.996, 1000, s) for s in (0, 1, 250, 500, 999, 1000)] + [(0.99, 7, s) for s in range(8)]


def shapes(prefix_predictor: bool) -> dict[str, tuple[int, ...]]:
    """Name -> shape of every parameter and buffer of ResNet-10 of this width with a projector, in the network's order;
    with the predictor for the online network."""
    found = {}

    def norm(name, channels):
        for leaf in ("weight", "bias", "running_mean", "running_var"):
            found[f"{name}.{leaf}"] = (channels,)

    found["conv1.weight"] = (WIDTH, 3, 7, 7)
    norm("bn1", WIDTH)
    into = WIDTH
    for stage in range(4):
        out, block = WIDTH << stage, f"layer{stage + 1}.0"
        found[f"{block}.conv1.weight"] = (out, into, 3, 3)
        norm(f"{block}.bn1", out)
        found[f"{block}.conv2.weight"] = (out, out, 3, 3)
        norm(f"{block}.bn2", out)
        if stage > 0:
            found[f"{block}.downsample.0.weight"] = (out, into, 1, 1)
            norm(f"{block}.downsample.1", out)
        into = out

    def projector(name, sizes):
        before, hidden, after = sizes
        found[f"{name}.fc1.weight"] = (hidden, before)
        found[f"{name}.fc1.bias"] = (hidden,)
        norm(f"{name}.bn1", hidden)
        found[f"{name}.fc2.weight"] = (after, hidden)

    projector("projector", (CHANNELS, HIDDEN, DIM))
    if prefix_predictor:
        projector("predictor", (DIM, HIDDEN, DIM))
    return found


def is_buffer(name: str) -> bool:
    return name.rsplit(".", 1)[-1].startswith("running_")


def filled(prefix: str, names: dict[str, tuple[int, ...]], kind=np.float64) -> dict[str, np.ndarray]:
    """The formula's values."""
    return {name: parameter(prefix + name, shape).astype(kind) for name, shape in names.items()}


def inputs(name: str, shape) -> np.ndarray:
    return formula(name, int(np.prod(shape))).astype(np.float64).reshape(shape)


def images(views: str, step: int, view: str) -> np.ndarray:
    return inputs(f"byol/{views}/step{step}/{view}", (BATCH, 3, SIDE, SIDE))


def lars_values(kind: str, name: str) -> np.ndarray:
    zero = (kind == "theta" and name == "zero") or (kind != "theta" and name == "still")
    values = inputs(f"byol/lars/{kind}/{name}", LARS_SHAPES[name])
    return values * 0.0 if zero else values
