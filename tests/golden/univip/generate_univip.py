"""The goldens of UniVIP by PyTorch, in float64, rounded once to float32.

    pip install torch==2.5.1 torchvision==0.20.1 numpy pillow
    python -B generate_univip.py            # also checks that float32 gives the same; compares with the files on disk
    python -B generate_univip.py --write    # writes them instead

Networks, layers and inputs are those of ../byol; gradients are autograd's. The plan is computed by scaling exp(-C/eps),
not on logarithms as the Rust code does, and iterated until it stops changing.
"""

import math
import pathlib
import sys

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "byol"))

import torch  # noqa: E402
import torch.nn.functional as F  # noqa: E402

import cases  # noqa: E402
import container  # noqa: E402
from container import Goldens  # noqa: E402
from formula import parameter  # noqa: E402
from generate_byol import array, branch, projector, spread, tensors  # noqa: E402

container.HERE = HERE
COUNT, INSTANCE_SIDE, STEPS = 3, 64, 2
SCENES = ("first", "second")
STEP = dict(lr=0.002, momentum=0.9, decay=1e-2, tau=0.9, epsilon=0.1)
PLAN_BATCH = 5


def negative_cosine(prediction, target):
    return -F.cosine_similarity(prediction, target.detach(), dim=1).mean()


def marginals(scores):
    scores = torch.clamp(scores, min=0) + 1e-3
    return scores / scores.sum(1, keepdim=True)


def scaled(kernel, rows, columns, iterations):
    """Sinkhorn's iteration by scaling rows and columns of exp(-C/eps), for each element of the batch."""
    v = torch.ones_like(columns)
    for _ in range(iterations):
        u = rows / torch.einsum("bmn,bn->bm", kernel, v)
        v = columns / torch.einsum("bmn,bm->bn", kernel, u)
    return u[:, :, None] * kernel * v[:, None, :]


def residual(plan, rows, columns):
    return ((plan.sum(2) - rows).abs().sum(1) + (plan.sum(1) - columns).abs().sum(1)).mean()


@torch.no_grad()
def transport(online, target, online_scenes, target_scenes, epsilon, iterations=50):
    """Plan and residual; vectors [B, K, D], scenes [B, D] each."""
    unit = lambda x: F.normalize(x, dim=-1)
    o, t = unit(online), unit(target)
    f = (unit(online_scenes[0]) + unit(online_scenes[1])) / 2
    g = (unit(target_scenes[0]) + unit(target_scenes[1])) / 2
    rows = marginals((o * g[:, None, :]).sum(2))
    columns = marginals((t * f[:, None, :]).sum(2))
    cost = 1 - torch.einsum("bmd,bnd->bmn", o, t)
    plan = scaled(torch.exp(-cost / epsilon), rows, columns, iterations)
    return plan, residual(plan, rows, columns)


def instance_loss(online, target, plan):
    cosine = F.cosine_similarity(online[:, :, None, :], target.detach()[:, None, :, :], dim=3)
    return -(cosine * plan).sum((1, 2)).mean()


def images(step, view, side, kind):
    values = cases.inputs(f"univip/step{step}/{view}", (cases.BATCH, 3, side, side))
    return torch.from_numpy(values.astype(kind))


def shapes():
    """BYOL's online network, and the layer of the instances."""
    names = cases.shapes(True)
    names["instances.weight"] = (cases.DIM, COUNT * cases.DIM)
    names["instances.bias"] = (cases.DIM,)
    return names


def by_image(vectors):
    return vectors.reshape(COUNT, cases.BATCH, cases.DIM).transpose(0, 1)


def steps(goldens, kind="float64"):
    online = tensors({n: parameter(n, s).astype(kind) for n, s in shapes().items()}, learned=True)
    target = tensors(cases.filled("target.", cases.shapes(False), kind), learned=False)
    learned = {name: tensor for name, tensor in online.items() if tensor.requires_grad}
    sgd = torch.optim.SGD(learned.values(), lr=STEP["lr"], momentum=STEP["momentum"], weight_decay=STEP["decay"])
    for step in range(STEPS):
        scenes = [images(step, view, cases.SIDE, kind) for view in SCENES]
        instances = torch.cat([images(step, f"instance{k}", INSTANCE_SIDE, kind) for k in range(COUNT)])
        others = torch.cat([images(step, f"other{k}", INSTANCE_SIDE, kind) for k in range(COUNT)])
        with torch.no_grad():
            g = [branch(scene, target) for scene in scenes]
            t = by_image(branch(others, target))
        projections, f = [], []
        for scene in scenes:
            projections.append(branch(scene, online))
            f.append(projector(projections[-1], online, "predictor"))
        o = by_image(projector(branch(instances, online), online, "predictor"))
        plan, left = transport(o, t, f, g, STEP["epsilon"])
        joined = F.linear(o.reshape(cases.BATCH, -1), online["instances.weight"], online["instances.bias"])
        scene = negative_cosine(f[0], g[1]) + negative_cosine(f[1], g[0])
        scene_instance = negative_cosine(joined, g[0]) + negative_cosine(joined, g[1])
        instance = instance_loss(o, t, plan)
        loss = scene + scene_instance + instance
        sgd.zero_grad()
        loss.backward()
        gradients = {name: array(tensor.grad) for name, tensor in learned.items()}
        norm = math.sqrt(sum((gradient**2).sum() for gradient in gradients.values()))
        for name, value in (
            ("loss", loss), ("loss_scene", scene), ("loss_scene_instance", scene_instance), ("loss_instance", instance),
            ("feature_std", spread(projections[0])), ("target_std", spread(g[0])),
        ):
            goldens.add("step", f"step{step}/{name}", value.item())
        goldens.add("step", f"step{step}/grad_norm", norm)
        assert left.item() < 1e-4, left
        if step == 0:
            goldens.add("step", "step0/plan", array(plan))
            for name, gradient in gradients.items():
                goldens.add_tensor("step", f"step0/grad/{name}", gradient)
        sgd.step()
        with torch.no_grad():
            for name, tensor in target.items():
                if not cases.is_buffer(name):
                    tensor.mul_(STEP["tau"]).add_(online[name], alpha=1 - STEP["tau"])
    velocity = {name: sgd.state[tensor]["momentum_buffer"] for name, tensor in learned.items()}
    for which, network in (("online", online), ("target", target), ("velocity", velocity)):
        for name, tensor in network.items():
            # The bias before a batch normalisation has a gradient of rounding.
            if not (which == "velocity" and name.endswith("fc1.bias")):
                goldens.add_tensor("step", f"end/{which}/{name}", array(tensor))


def parts(goldens):
    """Each loss with its gradients, and plans for three values of epsilon, converged or not."""
    leaf = lambda name, *shape: torch.from_numpy(cases.inputs(f"univip/{name}", shape)).requires_grad_()
    rows = (PLAN_BATCH, cases.DIM)
    sets = (PLAN_BATCH, COUNT, cases.DIM)
    f, g = [[leaf(f"{which}{n}", *rows) for n in (1, 2)] for which in "fg"]
    o, t, joined = leaf("o", *sets), leaf("t", *sets), leaf("joined", *rows)

    loss = negative_cosine(f[0], g[1])
    loss.backward()
    goldens.add("parts", "scene/value", loss.item())
    goldens.add("parts", "scene/grad", array(f[0].grad))
    loss = negative_cosine(joined, g[0]) + negative_cosine(joined, g[1])
    loss.backward()
    goldens.add("parts", "scene_instance/value", loss.item())
    goldens.add("parts", "scene_instance/grad", array(joined.grad))
    for name, epsilon, iterations in (("usual", 0.1, 50), ("short", 0.1, 2), ("sharp", 0.02, 20), ("wide", 1.0, 50)):
        plan, left = transport(o, t, f, g, epsilon, iterations)
        goldens.add("parts", f"plan/{name}/plan", array(plan))
        goldens.add("parts", f"plan/{name}/residual", left.item())
    plan, _ = transport(o, t, f, g, 0.1)
    loss = instance_loss(o, t, plan)
    loss.backward()
    goldens.add("parts", "instance/value", loss.item())
    goldens.add("parts", "instance/grad", array(o.grad))
    assert t.grad is None and g[0].grad is None


if __name__ == "__main__":
    goldens, single = Goldens(), Goldens()
    steps(goldens)
    steps(single, "float32")
    goldens.assert_conditioned(single, 5e-5)
    parts(goldens)
    if "--write" in sys.argv:
        goldens.write()
    goldens.compare(1e-7)
