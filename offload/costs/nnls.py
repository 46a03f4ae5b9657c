"""Least squares without negative coefficients: the active set method of Lawson and Hanson.

Lawson and Hanson, Solving Least Squares Problems, 1974, chapter 23, algorithm NNLS.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

MAX_ROUNDS = 30  # for each column


def nonnegative_least_squares(a: Floats, b: Floats) -> Floats:
    """x >= 0 [n] with the least ||a x - b||, for a [m, n] and b [m]."""
    import numpy as np

    columns = a.shape[1]
    scale = np.linalg.norm(a, axis=0)
    scale[scale == 0] = 1.0
    a = a / scale
    x = np.zeros(columns)
    free = np.zeros(columns, dtype=bool)
    tolerance = 1e-12 * max(1.0, float(np.abs(a.T @ b).max(initial=0.0)))
    for _ in range(MAX_ROUNDS * columns):
        gradient = a.T @ (b - a @ x)
        gradient[free] = -np.inf
        if free.all() or gradient.max() <= tolerance:
            break
        free[int(gradient.argmax())] = True
        x = _feasible(a, b, x, free)
    found: Floats = x / scale
    return found


def _feasible(a: Floats, b: Floats, x: Floats, free: NDArray[np.bool_]) -> Floats:
    """The best x on the free columns; those that would be negative are taken out of ``free`` on the way."""
    import numpy as np

    while free.any():
        trial = np.zeros_like(x)
        trial[free] = np.linalg.lstsq(a[:, free], b, rcond=None)[0]
        if (trial[free] > 0).all():
            return trial
        blocked = free & (trial <= 0)
        steps = x[blocked] / np.maximum(x[blocked] - trial[blocked], 1e-300)
        x = x + float(steps.min(initial=1.0)) * (trial - x)
        free &= x > 1e-15
        x[~free] = 0.0
    return np.zeros_like(x)
