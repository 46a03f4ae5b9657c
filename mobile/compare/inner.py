"""How far the figure of one run would move if its inferences were drawn again: the inner level of the bootstrap.

The resampled p-th percentile of n independent inferences is the order statistic at a place that has the Beta
distribution (H. A. David and H. N. Nagaraja, Order Statistics, 2003, 2.3): that draws it without drawing n values, also
for a million. Inferences depend on their neighbours; the number of independent ones that say as much is estimated by
batch means of "above the percentile or not" (as in M. Alexopoulos and A. Seila, Handbook of Simulation, 1998, ch. 7).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

DRAWS = 200
FEWEST = 8  # inferences: of fewer, the run is taken as one number


def effective_count(values: Floats, share: float) -> float:
    """How many independent values tell as much of the percentile at ``share`` as these, 2 to their number."""
    import numpy as np

    count = len(values)
    size = max(1, round(math.sqrt(count)))
    batches = count // size
    if batches < 2:
        return float(count)
    above = (values > np.quantile(values, share))[: batches * size].astype(np.float64)
    own = float(above.var())
    between = float(above.reshape(batches, size).mean(axis=1).var(ddof=1))
    if own <= 0 or between <= 0:
        return float(count)
    return min(float(count), max(2.0, count * own / (size * between)))


def percentile_draws(values: Floats, share: float, rng: np.random.Generator) -> Floats:
    """DRAWS logarithms of a resampled percentile (``share`` 0 to 1) minus that of its own; [0.0] for too few values.

    ``values`` > 0, in the order in which they were measured.
    """
    import numpy as np

    if len(values) < FEWEST:
        return np.zeros(1)
    count = effective_count(values, share)
    places = rng.beta((count + 1) * share, (count + 1) * (1 - share), size=DRAWS)
    return np.log(np.quantile(values, places)) - math.log(float(np.quantile(values, share)))


def mean_draws(values: Floats, rng: np.random.Generator) -> Floats:
    """DRAWS logarithms of a resampled mean minus that of its own; [0.0] for too few values."""
    import numpy as np

    if len(values) < FEWEST:
        return np.zeros(1)
    error = float(values.std(ddof=1)) / math.sqrt(effective_count(values, 0.5)) / float(values.mean())
    return np.log1p(np.clip(rng.normal(0.0, error, size=DRAWS), -0.9, None))
