"""The median of the rank distribution beside its sum, the age that every output gives (paper, "Ordinal Regression").

References are readings against the plates of an atlas, so they stand on few ages. A median tends to stand on one of
them, too, and then meets the label; against a mean of several readers it cannot. So both are reported, and how
often each meets its label.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from carpal.evaluation import age
from carpal.trust.intervals import rank_quantile
from carpal.types import Assessment

MEETS: Final = 1.0
"""Months from its label within which an age meets it."""


def report(summed: age.Predictions, assessments: Sequence[Assessment]) -> dict[str, Any] | None:
    """The median's `age.summary` beside that of `summed`, or None where an assessment has no distribution.

    `difference` is its MAE minus that of the sum (paired, 95 % interval), `meets` the share of either within `MEETS` of
    the label.
    """
    if not assessments or not all(assessment.probabilities for assessment in assessments):
        return None
    probabilities_NK = np.array([assessment.probabilities for assessment in assessments])
    median = replace(summed, predicted_N=medians(probabilities_NK))
    apart = age.paired_difference(median, summed)
    return age.summary(median) | {
        "difference": apart.difference,
        "difference_ci95": list(apart.ci95),
        "meets": {name: _share(ages) for name, ages in (("sum", summed), ("median", median))},
    }


def medians(probabilities_NK: NDArray[Any]) -> NDArray[np.float64]:
    """The median age (N,) of distributions P(age > k): that age, where one is certain of it, as the sum is."""
    return np.asarray(rank_quantile(probabilities_NK, 0.5) + 0.5)


def _share(ages: age.Predictions) -> float:
    return float((np.abs(ages.error_N) < MEETS).mean())
