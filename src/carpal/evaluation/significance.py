"""Two statistics of comparisons: the bootstrap's p-value of a difference, and Holm's correction of several of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def p_value(means_S: NDArray[np.float64]) -> float:
    """The two-sided p-value that a mean difference is zero, from its bootstrap means (S,).

    Twice the smaller share of means on either side of zero, by the percentile bootstrap: below 0.05 exactly where the
    95 % percentile interval leaves out zero, but for ties. Never smaller than 2 / (S + 1), which S resamples can show.
    """
    low, high = int((means_S <= 0).sum()), int((means_S >= 0).sum())
    return min(1.0, 2 * (min(low, high) + 1) / (len(means_S) + 1))


def holm(p_M: Sequence[float]) -> list[float]:
    """Adjusted p-values in the same order (Holm 1979): at most a chance of alpha that any true zero is called a
    difference, however the comparisons depend on each other.
    """
    order = np.argsort(p_M, kind="stable")
    adjusted, largest = [0.0] * len(p_M), 0.0
    for place, i in enumerate(order.tolist()):
        largest = max(largest, min(1.0, (len(p_M) - place) * p_M[i]))
        adjusted[i] = largest
    return adjusted
