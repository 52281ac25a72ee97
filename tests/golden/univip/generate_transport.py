"""Optimal transport between small sets by an exact solver, and with an entropy term by scaling, in float64.

    pip install numpy scipy
    python -B generate_transport.py            # compares with the file on disk
    python -B generate_transport.py --write    # writes it instead

The exact plan is the solution of the linear program min <C, Y> with both marginals, by SciPy's HiGHS.
"""

import pathlib
import sys

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "byol"))

import numpy as np  # noqa: E402
from scipy.optimize import linprog  # noqa: E402

import cases  # noqa: E402
import container  # noqa: E402
from container import Goldens  # noqa: E402

container.HERE = HERE
# Rows, columns: the sides of the plans.
SIZES = [(2, 2), (3, 3), (4, 4), (4, 4), (4, 4), (3, 5), (6, 2), (8, 8)]
SHARP, MANY = 0.004, 20_000


def exact(cost, rows, columns):
    """The optimal plan, and its cost."""
    m, n = cost.shape
    constraints = np.zeros((m + n, m * n))
    for i in range(m):
        constraints[i, i * n : (i + 1) * n] = 1
    for j in range(n):
        constraints[m + j, j::n] = 1
    found = linprog(cost.ravel(), A_eq=constraints, b_eq=np.concatenate([rows, columns]), method="highs")
    assert found.status == 0, found.message
    return found.x.reshape(m, n), found.fun


def scaled(cost, rows, columns, epsilon, iterations):
    kernel, v = np.exp(-cost / epsilon), np.ones(len(columns))
    for _ in range(iterations):
        u = rows / (kernel @ v)
        v = columns / (kernel.T @ u)
    return u[:, None] * kernel * v


def main():
    goldens = Goldens()
    for number, (m, n) in enumerate(SIZES):
        name = f"transport/{number}"
        cost = 1 + cases.inputs(f"{name}/cost", (m, n))
        weights = [1e-3 + np.maximum(cases.inputs(f"{name}/{side}", (k,)), 0) for side, k in (("rows", m), ("columns", n))]
        rows, columns = [w / w.sum() for w in weights]
        plan, optimum = exact(cost, rows, columns)
        goldens.add("transport", f"{number}/optimum", optimum)
        goldens.add("transport", f"{number}/exact", plan)
        goldens.add("transport", f"{number}/usual", scaled(cost, rows, columns, 0.1, MANY))
        sharp = scaled(cost, rows, columns, SHARP, MANY)
        goldens.add("transport", f"{number}/sharp", sharp)
        print(f"{m} x {n}: exact {optimum:.5f}, eps {SHARP} {(cost * sharp).sum():.5f}, plans within {abs(plan - sharp).max():.1e}")
    if "--write" in sys.argv:
        goldens.write()
    goldens.compare(1e-7)


main()
