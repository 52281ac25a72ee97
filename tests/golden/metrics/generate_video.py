"""Golden data of video masks: J and F by the definition of the DAVIS 2017 evaluation, and label propagation by that of
DINO's eval_video_segmentation.py. Both are written anew here, with NumPy and SciPy, after the published programs' formulas.
"""

import json

import numpy as np
from scipy.ndimage import binary_dilation, gaussian_filter


def region(truth, found, void):
    inter = (truth & found & ~void).sum()
    union = ((truth | found) & ~void).sum()
    return 1.0 if union == 0 else inter / union


def edges(mask):
    """seg2bmap at the mask's own size."""
    mask = mask.astype(bool)
    east, south, south_east = (np.zeros_like(mask) for _ in range(3))
    east[:, :-1] = mask[:, 1:]
    south[:-1, :] = mask[1:, :]
    south_east[:-1, :-1] = mask[1:, 1:]
    b = mask ^ east | mask ^ south | mask ^ south_east
    b[-1, :] = mask[-1, :] ^ east[-1, :]
    b[:, -1] = mask[:, -1] ^ south[:, -1]
    b[-1, -1] = 0
    return b


def boundary(truth, found, void, bound=0.008):
    radius = int(np.ceil(bound * np.linalg.norm(truth.shape)))
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    disk = x**2 + y**2 <= radius**2
    b_found, b_truth = edges(found & ~void), edges(truth & ~void)
    n_found, n_truth = b_found.sum(), b_truth.sum()
    if n_found == 0 and n_truth > 0:
        precision, recall = 1, 0
    elif n_found > 0 and n_truth == 0:
        precision, recall = 0, 1
    elif n_found == 0 and n_truth == 0:
        precision, recall = 1, 1
    else:
        precision = (b_found & binary_dilation(b_truth, disk)).sum() / n_found
        recall = (b_truth & binary_dilation(b_found, disk)).sum() / n_truth
    return 0 if precision + recall == 0 else 2 * precision * recall / (precision + recall)


def blob(rng, size, smooth, share):
    field = gaussian_filter(rng.normal(size=size), smooth)
    return field > np.quantile(field, 1 - share)


def packed(mask):
    """Lengths of the runs of equal pixels, row by row; the first run is of zeros and may be empty."""
    flat = np.concatenate([[False], mask.ravel()])
    ends = np.flatnonzero(flat[1:] != flat[:-1])
    return np.diff(np.concatenate([[0], ends, [mask.size]])).tolist()


def masks(rng):
    cases = []
    for size, smooth in [((30, 40), 3), ((64, 96), 6), ((90, 160), 9), ((200, 150), 12)]:
        truth = blob(rng, size, smooth, 0.3)
        field = gaussian_filter(truth.astype(float), 1.5) + gaussian_filter(rng.normal(size=size), smooth) * 0.8 * smooth
        near = field > np.quantile(field, 0.7)
        none = np.zeros(size, bool)
        voids = blob(rng, size, 2, 0.1)
        for found, void in [(near, none), (near, voids), (blob(rng, size, smooth, 0.2), none), (none, none), (truth, none)]:
            cases.append({
                "width": size[1], "height": size[0],
                "truth": packed(truth), "found": packed(found), "ignored": packed(void),
                "j": region(truth, found, void), "f": boundary(truth, found, void),
            })
    return cases


def propagate(features, first, grid, context, k, radius, temperature):
    """The labels of every frame after the first, [cells, classes]."""
    rows, columns = grid
    y, x = np.divmod(np.arange(rows * columns), columns)
    near = (abs(y[:, None] - y) <= radius) & (abs(x[:, None] - x) <= radius)
    queue, out = [], []
    for target in features[1:]:
        sources = [(features[0], first)] + queue
        # [context, source, target]
        affinity = np.stack([np.exp(source @ target.T / temperature) * near.T for source, _ in sources])
        affinity = affinity.reshape(-1, rows * columns)
        least = np.sort(affinity, axis=0)[-k]
        affinity[affinity < least] = 0
        affinity /= affinity.sum(axis=0, keepdims=True)
        labels = np.concatenate([labels for _, labels in sources])
        found = affinity.T @ labels
        out.append(found)
        queue = (queue + [(target, found)])[-context:]
    return out


def videos(rng):
    cases = []
    for grid, frames, context, k, radius in [((5, 7), 6, 2, 3, 2), ((4, 6), 5, 7, 5, 12)]:
        cells, channels, classes = grid[0] * grid[1], 6, 3
        base = rng.normal(size=(cells, channels))
        features = [base + 0.7 * rng.normal(size=base.shape) for _ in range(frames)]
        # Six digits, so that the file and the computation have the same numbers.
        features = [np.round(f / np.linalg.norm(f, axis=1, keepdims=True), 6) for f in features]
        first = np.eye(classes)[rng.integers(0, classes, cells)]
        found = propagate(features, first, grid, context, k, radius, 0.1)
        cases.append({
            "rows": grid[0], "columns": grid[1], "classes": classes,
            "context": context, "k": k, "radius": radius, "temperature": 0.1,
            "features": [f.ravel().tolist() for f in features], "first": first.ravel().tolist(),
            "found": [np.round(f, 9).ravel().tolist() for f in found],
        })
    return cases


rng = np.random.default_rng(17)
with open("video.json", "w") as file:
    json.dump({"masks": masks(rng), "propagation": videos(rng)}, file)
    file.write("\n")
