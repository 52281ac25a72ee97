"""Cases of the dense loss with true positives and of the in-view loss, from the geometry of pairs of views."""

import torch
import torch.nn.functional as F
from torch import Tensor

import geometry
import reference as ref
from inputs import MARGIN, assert_top1_decided, unit, values
from recorder import Recorder

FILE = "in_view"
CELLS = 0.01  # least distance of a point from the edge of a cell or of the key view, in cells
RADIUS = 1e-3  # least gap between a distance and the radius, as a share of the radius
DIM, QUEUE, TAU = 8, 24, 0.2

# One view: left, top, width and height of its crop in source pixels, mirrored, side in pixels.
# case: (grid, temperature of the in-view loss, [(query view, key view) of each picture])
CASES = {
    # Overlapping views of one picture, of which none, the query, the key, or both are mirrored.
    "overlap": (
        4,
        0.1,
        [
            ((10, 5, 90, 80, 0, 64), (30, 21, 100, 75, 0, 64)),
            ((0, 0, 70, 70, 1, 64), (20, 11, 61, 64, 0, 64)),
            ((41, 30, 52, 43, 0, 64), (2, 9, 80, 75, 1, 64)),
            ((15, 25, 64, 57, 1, 64), (22, 28, 71, 60, 1, 64)),
        ],
    ),
    # Both views are the same square: with true cells and with near cells, a cell's only positive is itself.
    "same": (
        5,
        0.07,
        [((7, 3, 50, 50, 0, 64), (7, 3, 50, 50, 0, 64)), ((0, 9, 33, 33, 1, 64), (0, 9, 33, 33, 1, 64))],
    ),
    # No picture's views overlap, not even within the radius.
    "apart": (
        4,
        0.1,
        [
            ((0, 0, 40, 40, 0, 64), (100, 70, 50, 45, 0, 64)),
            ((90, 10, 30, 36, 1, 64), (10, 80, 48, 40, 0, 64)),
        ],
    ),
    # The second picture's views do not overlap, those of the others do.
    "one_apart": (
        6,
        0.1,
        [
            ((1, 9, 78, 89, 1, 64), (22, 1, 86, 83, 0, 64)),
            ((0, 0, 40, 40, 0, 64), (100, 70, 50, 45, 0, 64)),
            ((31, 31, 59, 49, 0, 64), (44, 40, 60, 62, 1, 64)),
        ],
    ),
    # Crops of very different sizes, and views of different sizes in pixels: many key cells are within the
    # radius of a query cell, or one key cell contains many query cells. In the last pair, which is not
    # square, the cells above and below are within the radius, too.
    "sizes": (
        7,
        0.3,
        [
            ((0, 1, 152, 112, 0, 64), (62, 21, 38, 49, 1, 96)),
            ((59, 24, 39, 44, 1, 96), (1, 0, 159, 120, 0, 64)),
            ((50, 10, 96, 64, 0, 64), (50, 10, 96, 64, 0, 64)),
        ],
    ),
}

# Views of the eight pictures of the training steps.
TRAIN_VIEWS = [
    ((10, 5, 90, 80, 0, 64), (30, 21, 100, 75, 0, 64)),
    ((0, 0, 70, 69, 1, 64), (18, 12, 62, 66, 0, 64)),
    ((41, 30, 50, 40, 0, 64), (0, 0, 158, 119, 1, 64)),
    ((1, 2, 151, 110, 0, 64), (61, 21, 41, 47, 1, 64)),
    ((0, 0, 40, 40, 0, 64), (100, 70, 50, 45, 0, 64)),
    ((15, 25, 64, 57, 1, 64), (22, 28, 71, 60, 1, 64)),
    ((50, 10, 96, 64, 0, 64), (50, 10, 96, 64, 0, 64)),
    ((80, 39, 62, 58, 0, 64), (33, 8, 62, 73, 1, 64)),
]


def split(pairs: list) -> tuple[Tensor, Tensor]:
    """Geometry [N, 6] of the query views and of the key views."""
    return torch.tensor(pairs).unbind(1)


def assert_geometry_decided(query: Tensor, key: Tensor, grid: int) -> None:
    """Asserts that rounding changes neither which key cell contains a point nor which cells are near."""
    points = geometry.in_cells(geometry.cell_centers(query, grid), key, grid)
    # For points outside the view only the distance to the view matters.
    shown = ((points > -1) & (points < grid + 1)).all(dim=2)
    gap = (points - points.round()).abs()[shown]
    assert (gap > CELLS).all(), f"a point is {gap.min():.1e} cells from an edge"
    distance, radius = geometry.distances(query, key, grid)
    gap = ((distance - radius) / radius).abs().min().item()
    assert gap > RADIUS, f"a distance is {gap:.1e} of the radius away from it"


def assert_hits_decided(similarity: Tensor, positives: Tensor) -> None:
    """Asserts that the best positive and the best other cell differ by MARGIN, beyond rounding."""
    valid = positives.any(dim=2)
    best = [similarity.masked_fill(mask, -2).amax(dim=2)[valid] for mask in (positives, ~positives)]
    gap = (best[0] - best[1]).abs()
    assert (gap > MARGIN).all(), f"an in-view hit is decided by {gap.min().item():.1e} only"


def in_view_cases(out: Recorder) -> None:
    queue = unit("input/in_view/queue", QUEUE, DIM)
    out.add(FILE, "queue", queue, "unit rows [24, 8], the negatives of the dense loss")
    for case, (grid, tau, pairs) in CASES.items():
        query, key = split(pairs)
        assert_geometry_decided(query, key, grid)
        true, near = geometry.true_cells(query, key, grid), geometry.near_cells(query, key, grid)
        if case == "same":
            assert (true == torch.arange(grid * grid)).all()
            assert torch.equal(near, ref.one_positive(true))
        if case == "apart":
            assert (true < 0).all() and not near.any()
        if case == "one_apart":
            assert ((true >= 0).any(dim=1) == torch.tensor([True, False, True])).all()
        if case == "sizes":
            assert (near.sum(dim=2).amax(dim=1) > 1).all()

        # Query cells are made similar to their true key cells, so that some of them are hits.
        shape = (len(pairs), DIM, grid * grid)
        k_cells = unit(f"input/in_view/{case}/key", *shape)
        index = true.clamp(min=0)[:, None, :].expand(shape)
        noise = values(f"input/in_view/{case}/query", *shape)
        q_cells = F.normalize(noise + k_cells.gather(2, index), dim=1)
        q_cells.requires_grad_()

        loss_dense, accuracy_dense, logits = ref.masked_dense(q_cells, k_cells, true, queue, TAU)
        sim = ref.similarity(q_cells, k_cells).detach()
        terms = {"dense": (loss_dense, accuracy_dense)}
        assert_top1_decided(logits)
        for name, positives in (("single", ref.one_positive(true)), ("near", near)):
            assert_hits_decided(sim, positives)
            terms[name] = ref.in_view(q_cells, k_cells, positives, tau)

        add = lambda name, value, meaning: out.add(FILE, f"{case}/{name}", value, meaning)
        add("geometry", torch.stack([query, key], dim=1), "[N, query and key view, 6]")
        add("query", q_cells, "unit query cells [N, 8, M]")
        add("key", k_cells, "unit key cells [N, 8, M]")
        add("true_cells", true, "key cell of each query cell [N, M]; -1 outside the key view")
        add("near", near, "1 where a key cell is within the radius [N, query cell, key cell]")
        add("temperature", [tau], "of the in-view loss")
        for name, (loss, accuracy) in terms.items():
            (gradient,) = torch.autograd.grad(loss, q_cells)
            add(f"loss_{name}", loss[None], "mean over the query cells that have a positive")
            add(f"accuracy_{name}", accuracy[None], "share of them whose best cell is a positive")
            add(f"query/grad_{name}", gradient, f"gradient of loss_{name}")
