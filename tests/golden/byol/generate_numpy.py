"""The goldens of BYOL by NumPy alone, in float64, rounded once to float32.

    pip install numpy pillow
    python -B generate_numpy.py            # half a minute; the same bytes every time

Checks its own gradients by finite differences before it writes.
"""

import numpy as np
from PIL import Image, ImageOps

import cases
import numpy_byol as byol
from container import Goldens


def check_gradients():
    """The tape's gradient along a random direction is the slope of the loss."""
    names = cases.shapes(True)
    views = [cases.images("check", 0, view) for view in ("first", "second")]
    target = cases.filled("target.", cases.shapes(False))
    online = cases.filled("", names)
    _, gradient, _, _ = byol.loss_and_gradient(dict(online), dict(target), views)
    for name in ("conv1.weight", "layer3.0.downsample.0.weight", "layer4.0.bn2.bias", "projector.fc1.weight",
                 "projector.bn1.weight", "predictor.fc1.bias", "predictor.fc2.weight"):
        direction = cases.inputs(f"byol/direction/{name}", names[name])
        ahead, behind = (
            byol.loss_and_gradient({**online, name: online[name] + step * direction}, dict(target), views)[0]
            for step in (1e-8, -1e-8)
        )
        slope, expected = (ahead - behind) / 2e-8, (gradient[name] * direction).sum()
        scale = np.linalg.norm(gradient[name]) * np.sqrt((direction**2).mean())
        assert abs(slope - expected) <= 1e-4 * scale + 1e-6, (name, slope, expected)
        print(f"{name}: slope {slope:+.6e}, gradient {expected:+.6e}")


def steps(goldens, file, case, kind=np.float64):
    names = cases.shapes(True)
    online, target = cases.filled("", names, kind), cases.filled("target.", cases.shapes(False), kind)
    velocity = {name: np.zeros(shape, kind) for name, shape in names.items() if not cases.is_buffer(name)}
    for step in range(cases.STEPS):
        views = [cases.images(case["views"], step, view).astype(kind) for view in ("first", "second")]
        loss, gradient, projections, targets = byol.loss_and_gradient(online, target, views)
        key = f"step{step}"
        goldens.add(file, f"{key}/loss", loss)
        goldens.add(file, f"{key}/feature_std", byol.spread(projections[0]))
        goldens.add(file, f"{key}/target_std", byol.spread(targets[0]))
        goldens.add(file, f"{key}/grad_norm", np.sqrt(sum((g**2).sum() for g in gradient.values())))
        tau = float(byol.momentum(case["tau"], step, cases.STEPS) if case["cosine"] else case["tau"])
        goldens.add(file, f"{key}/momentum", tau)
        if step == 0:
            goldens.add(file, "step0/projection", projections[0])
            goldens.add(file, "step0/target", targets[0])
            for name, values in gradient.items():
                goldens.add_tensor(file, f"step0/grad/{name}", values)
        for name in velocity:
            online[name], velocity[name] = byol.sgd(online[name], velocity[name], gradient[name], case)
        for name in target:
            if not cases.is_buffer(name):
                target[name] = tau * target[name] + (1 - tau) * online[name]
    for which, network in (("online", online), ("target", target), ("velocity", velocity)):
        for name, values in network.items():
            if which == "velocity" and name.endswith("fc1.bias"):
                continue  # before batch normalisation: its gradient is rounding
            goldens.add_tensor(file, f"end/{which}/{name}", values)


def parts(goldens):
    """The loss and its gradient, and a projector, its gradients and its running statistics."""
    prediction = byol.Var(cases.inputs("byol/prediction", (6, cases.DIM)))
    tape = byol.Tape()
    loss = byol.regression_loss(tape, prediction, cases.inputs("byol/target", (6, cases.DIM)))
    tape.backward(loss)
    goldens.add("parts", "loss/value", loss.value)
    goldens.add("parts", "loss/grad", prediction.grad)

    sizes = {n: s for n, s in cases.shapes(True).items() if n.startswith("predictor.")}
    values = cases.filled("", sizes)
    buffers = {name: value for name, value in values.items() if cases.is_buffer(name)}
    parameters, tape = byol.variables(values), byol.Tape()
    rows = byol.Var(cases.inputs("byol/rows", (cases.BATCH, cases.DIM)))
    out = byol.projector(tape, rows, parameters, buffers, "predictor")
    goldens.add("parts", "projector/output", out.value)
    out.grad = cases.inputs("byol/slopes", out.value.shape)
    for step in reversed(tape.back):
        step()
    goldens.add("parts", "projector/grad/input", rows.grad)
    for name, variable in parameters.items():
        goldens.add_tensor("parts", f"projector/grad/{name.removeprefix('predictor.')}", variable.grad)
    for name, value in buffers.items():
        goldens.add("parts", f"projector/after/{name.removeprefix('predictor.')}", value)


def optimizer(goldens):
    case = dict(cases.LARS, lars=True)
    for name in cases.LARS_SHAPES:
        theta, velocity = cases.lars_values("theta", name), 0.0
        for step in range(cases.LARS_STEPS):
            theta, velocity = byol.sgd(theta, velocity, cases.lars_values(f"gradient{step}", name), case)
            goldens.add("lars", f"step{step}/theta/{name}", theta)
            goldens.add("lars", f"step{step}/velocity/{name}", velocity)
    for base, total, step in cases.MOMENTA:
        goldens.add("lars", f"momentum/{base}/{total}/{step}", byol.momentum(base, step, total))


def solarized(goldens):
    """torchvision's solarize on a PIL image is PIL's."""
    levels = (cases.inputs("byol/picture", (16, 16, 3)) + 1) * 128
    picture = levels.astype(np.uint8)
    done = ImageOps.solarize(Image.fromarray(picture), threshold=128)
    goldens.add("parts", "solarize/before", picture.astype(np.int64))
    goldens.add("parts", "solarize/after", np.asarray(done).astype(np.int64))


if __name__ == "__main__":
    check_gradients()
    goldens, single = Goldens(), Goldens()
    for file, case in cases.STEP_CASES.items():
        steps(goldens, file, case)
        steps(single, file, case, np.float32)
    goldens.assert_conditioned(single, 5e-5)
    parts(goldens)
    optimizer(goldens)
    solarized(goldens)
    goldens.write()
    goldens.compare(1e-7)
