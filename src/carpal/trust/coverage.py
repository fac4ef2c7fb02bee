"""Whether intervals keep their promise: how often they hold the reference age, and how wide they are, by stratum.

Strata are sex and band of the *reference* age, although the calibration goes by the predicted age: who knows only the
reference wants to know about her own patients. Letters: N readings, R repeats.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from carpal.errors import DataError
from carpal.trust.intervals import BANDS, Array, Readings, fit, in_band, smallest_cell
from carpal.types import Sex

FOLDS, REPEATS, SEED = 5, 20, 0
NORMAL_95: Final = 1.959964


def crossfit(readings: Readings, coverage: float, repeats: int = REPEATS) -> dict[str, Any]:
    """The strata of intervals that were fitted without the readings they are judged on: 5 folds, dealt 20 times.

    A reading counts with the share of the deals in which its interval held the reference age. Raises DataError where
    four fifths of the readings are too few to fit.
    """
    fewest, needed = _fewest(readings), math.ceil(smallest_cell(coverage) * FOLDS / (FOLDS - 1))
    if fewest < needed:
        raise DataError(
            f"Intervals of {coverage:.0%} coverage need {needed} labelled radiographs of each sex, to fit on four "
            f"fifths and check on the rest - got {fewest} of one sex - label more"
        )
    generator = np.random.default_rng(SEED)
    covered_RN, width_RN = np.empty((repeats, len(readings.months_N))), np.empty((repeats, len(readings.months_N)))
    for deal in range(repeats):
        fold_N = _deal(readings, generator)
        for fold in range(FOLDS):
            held_N = fold_N == fold
            calibration = fit(readings.where(~held_N), coverage)
            held = readings.where(held_N)
            low_N, high_N = calibration.intervals(held.male_N, held.months_N, held.probabilities_NK)
            covered_RN[deal, held_N] = (low_N <= held.boneage_N) & (held.boneage_N <= high_N)
            width_RN[deal, held_N] = high_N - low_N
    return strata(readings.male_N, readings.boneage_N, covered_RN.mean(0), width_RN.mean(0))


def strata(male_N: NDArray[np.bool_], boneage_N: Array, covered_N: NDArray[Any], width_N: Array) -> dict[str, Any]:
    """n, coverage with its 95 % binomial interval and mean width: of all, by sex, by sex and band of reference age."""
    by_sex = {str(sex): male_N == (sex is Sex.MALE) for sex in Sex}
    by_stratum = {
        f"{sex} {low // 12}-{high // 12}": mine_N & in_band(boneage_N, low, high)
        for sex, mine_N in by_sex.items()
        for low, high in BANDS
    }
    return {
        **_part(covered_N, width_N),
        "by_sex": {sex: _part(covered_N[mine_N], width_N[mine_N]) for sex, mine_N in by_sex.items()},
        "by_stratum": {name: _part(covered_N[mine_N], width_N[mine_N]) for name, mine_N in by_stratum.items()},
    }


def wilson(hits: float, n: int) -> tuple[float, float]:
    """The 95 % interval of a share (Wilson, JASA 1927); hits may be fractional."""
    share, z2 = hits / n, NORMAL_95**2
    middle = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = NORMAL_95 / (1 + z2 / n) * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    return max(0.0, middle - half), min(1.0, middle + half)


def _part(covered_N: NDArray[Any], width_N: Array) -> dict[str, Any]:
    n = len(covered_N)
    if not n:
        return {"n": 0, "coverage": None, "coverage_ci95": None, "mean_width": None}
    share = float(np.mean(covered_N))
    return {
        "n": n,
        "coverage": round(share, 4),
        "coverage_ci95": [round(end, 4) for end in wilson(share * n, n)],
        "mean_width": round(float(np.mean(width_N)), 2),
    }


def _deal(readings: Readings, generator: np.random.Generator) -> NDArray[np.int64]:
    """A fold (N,) for each reading: five neighbours in predicted age, of one sex, go to the five folds."""
    fold_N = np.empty(len(readings.male_N), np.int64)
    for male in (False, True):
        (mine,) = np.nonzero(readings.male_N == male)
        order = mine[np.argsort(readings.months_N[mine], kind="stable")]
        for start in range(0, len(order), FOLDS):
            block = order[start : start + FOLDS]
            fold_N[block] = generator.permutation(FOLDS)[: len(block)]
    return fold_N


def _fewest(readings: Readings) -> int:
    return int(min(readings.male_N.sum(), (~readings.male_N).sum()))
