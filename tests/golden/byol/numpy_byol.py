"""BYOL in NumPy, float64, with gradients by a tape: independent of PyTorch and of the Rust code.

Written from the paper (Grill et al. 2020) and the definitions of the layers, readable before fast.
"""

import numpy as np

from cases import EPSILON, GROUPS, RUNNING, is_buffer


class Tape:
    """Values with gradients. Each operation appends how its gradient goes back to what it was made of."""

    def __init__(self):
        self.back = []

    def backward(self, loss: "Var") -> None:
        loss.grad = np.ones_like(loss.value)
        for step in reversed(self.back):
            step()


class Var:
    def __init__(self, value):
        self.value = np.asarray(value)
        self.grad = np.zeros_like(self.value)


def record(tape, value, back):
    out = Var(value)
    tape.back.append(lambda: back(out.grad))
    return out


def conv(tape, x, w, stride):
    """Convolution without bias, padded by (k - 1) / 2."""
    n, c, height, width = x.value.shape
    out, _, k, _ = w.value.shape
    pad = (k - 1) // 2
    padded = np.pad(x.value, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    rows, columns = (height + 2 * pad - k) // stride + 1, (width + 2 * pad - k) // stride + 1

    def window(array, i, j):
        return array[:, :, i : i + stride * rows : stride, j : j + stride * columns : stride][:, :, :rows, :columns]

    places = [(i, j) for i in range(k) for j in range(k)]
    value = sum(np.einsum("ncyx,oc->noyx", window(padded, i, j), w.value[:, :, i, j]) for i, j in places)

    def back(g):
        to_x = np.zeros_like(padded)
        for i, j in places:
            w.grad[:, :, i, j] += np.einsum("noyx,ncyx->oc", g, window(padded, i, j))
            window(to_x, i, j)[...] += np.einsum("noyx,oc->ncyx", g, w.value[:, :, i, j])
        x.grad += to_x[:, :, pad : pad + height, pad : pad + width]

    return record(tape, value, back)


def norm(tape, x, parameters, buffers, name):
    """Batch normalisation of [N, C, ...] in GROUPS groups: sample i is in group i mod GROUPS."""
    gamma, beta = parameters[f"{name}.weight"], parameters[f"{name}.bias"]
    shape = x.value.shape
    n, c = shape[:2]
    grouped = x.value.reshape(n // GROUPS, GROUPS, c, -1)
    mean, var = grouped.mean((0, 3), keepdims=True), grouped.var((0, 3), keepdims=True)
    count = grouped.shape[0] * grouped.shape[3]
    sigma = np.sqrt(var + EPSILON)
    unit = (grouped - mean) / sigma
    as_channels = lambda v: v.reshape(1, 1, c, 1)
    value = unit * as_channels(gamma.value) + as_channels(beta.value)
    for leaf, statistic in (("running_mean", mean), ("running_var", var * count / (count - 1))):
        new = statistic.reshape(GROUPS, c).mean(0)
        buffers[f"{name}.{leaf}"] = (1 - RUNNING) * buffers[f"{name}.{leaf}"] + RUNNING * new

    def back(g):
        g = g.reshape(grouped.shape)
        gamma.grad += (g * unit).sum((0, 1, 3))
        beta.grad += g.sum((0, 1, 3))
        g = g * as_channels(gamma.value)
        centred = g - g.mean((0, 3), keepdims=True) - unit * (g * unit).mean((0, 3), keepdims=True)
        x.grad += (centred / sigma).reshape(shape)

    return record(tape, value.reshape(shape), back)


def relu(tape, x):
    def back(g):
        x.grad += g * (x.value > 0)

    return record(tape, np.maximum(x.value, 0), back)


def add(tape, a, b):
    def back(g):
        a.grad += g
        b.grad += g

    return record(tape, a.value + b.value, back)


def max_pool(tape, x):
    """3 x 3, stride 2, padding 1; the first of equal values wins."""
    n, c, height, width = x.value.shape
    padded = np.pad(x.value, ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=-np.inf)
    rows, columns = (height - 1) // 2 + 1, (width - 1) // 2 + 1
    windows = [padded[:, :, i : i + 2 * rows - 1 : 2, j : j + 2 * columns - 1 : 2] for i in range(3) for j in range(3)]
    stacked = np.stack(windows)
    chosen = stacked.argmax(0)

    def back(g):
        to_x = np.zeros_like(padded)
        for place in range(9):
            i, j = divmod(place, 3)
            to_x[:, :, i : i + 2 * rows - 1 : 2, j : j + 2 * columns - 1 : 2] += g * (chosen == place)
        x.grad += to_x[:, :, 1 : 1 + height, 1 : 1 + width]

    return record(tape, stacked.max(0), back)


def mean_of_cells(tape, x):
    n, c, height, width = x.value.shape

    def back(g):
        x.grad += g[:, :, None, None] / (height * width)

    return record(tape, x.value.mean((2, 3)), back)


def linear(tape, x, w, b=None):
    value = x.value @ w.value.T
    if b is not None:
        value = value + b.value

    def back(g):
        w.grad += g.T @ x.value
        x.grad += g @ w.value
        if b is not None:
            b.grad += g.sum(0)

    return record(tape, value, back)


def regression_loss(tape, prediction, target):
    """2 - 2 cos, the mean over the batch; `target` is an array, to which no gradient flows."""
    unit_target = target / np.linalg.norm(target, axis=1, keepdims=True)
    length = np.linalg.norm(prediction.value, axis=1, keepdims=True)
    unit = prediction.value / length
    cosine = (unit * unit_target).sum(1, keepdims=True)

    def back(g):
        slope = -2 * g[0] / len(unit)
        prediction.grad += slope * (unit_target - cosine * unit) / length

    return record(tape, np.array([2 - 2 * cosine.mean()]), back)


def variables(values):
    return {name: Var(value) for name, value in values.items() if not is_buffer(name)}


def projector(tape, x, parameters, buffers, name):
    x = linear(tape, x, parameters[f"{name}.fc1.weight"], parameters[f"{name}.fc1.bias"])
    x = relu(tape, norm(tape, x, parameters, buffers, f"{name}.bn1"))
    return linear(tape, x, parameters[f"{name}.fc2.weight"])


def branch(tape, pixels, parameters, buffers):
    """Pixels [B, 3, S, S] to projections [B, D]: ResNet-10, mean over cells, projector."""
    x = conv(tape, Var(pixels), parameters["conv1.weight"], 2)
    x = max_pool(tape, relu(tape, norm(tape, x, parameters, buffers, "bn1")))
    for stage in range(1, 5):
        name, stride = f"layer{stage}.0", 1 if stage == 1 else 2
        inside = conv(tape, x, parameters[f"{name}.conv1.weight"], stride)
        inside = relu(tape, norm(tape, inside, parameters, buffers, f"{name}.bn1"))
        inside = conv(tape, inside, parameters[f"{name}.conv2.weight"], 1)
        inside = norm(tape, inside, parameters, buffers, f"{name}.bn2")
        if stage > 1:
            x = conv(tape, x, parameters[f"{name}.downsample.0.weight"], stride)
            x = norm(tape, x, parameters, buffers, f"{name}.downsample.1")
        x = relu(tape, add(tape, inside, x))
    return projector(tape, mean_of_cells(tape, x), parameters, buffers, "projector")


def loss_and_gradient(online, target, views):
    """The symmetric loss, and its gradient by every online parameter. The buffers of both networks follow."""
    targets = [branch(Tape(), view, variables(target), target).value for view in views]
    total, gradient, projections = 0.0, {}, []
    for view, wanted in zip(views, reversed(targets)):
        tape, parameters = Tape(), variables(online)
        projection = branch(tape, view, parameters, online)
        loss = regression_loss(tape, projector(tape, projection, parameters, online, "predictor"), wanted)
        tape.backward(loss)
        total += loss.value[0]
        projections.append(projection.value)
        for name, variable in parameters.items():
            gradient[name] = gradient.get(name, 0.0) + variable.grad
    return total, gradient, projections, targets


def sgd(theta, velocity, gradient, case):
    """One step of SGD or LARS on one tensor; returns (theta, velocity)."""
    if case["lars"]:
        if theta.ndim > 1:
            gradient = gradient + case["decay"] * theta
            lengths = np.linalg.norm(theta), np.linalg.norm(gradient)
            gradient = gradient * (case["trust"] * lengths[0] / lengths[1] if min(lengths) > 0 else 1.0)
    else:
        gradient = gradient + case["decay"] * theta
    velocity = case["momentum"] * velocity + gradient
    return theta - case["lr"] * velocity, velocity


def momentum(base, step, total):
    return 1 - (1 - base) * (np.cos(np.pi * step / total) + 1) / 2


def spread(vectors):
    """Standard deviation over the batch of the channels of the unit vectors, times the root of their number."""
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit.std(0, ddof=1).mean() * np.sqrt(unit.shape[1])
