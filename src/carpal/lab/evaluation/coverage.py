"""What an evaluation says of the intervals: how often they hold the reference age, how wide they are, by stratum.

Strata are sex and band of the *reference* age, although the calibration goes by the predicted age: who knows only the
reference wants to know about her own patients. On the very radiographs that the intervals were fitted on, their
coverage is not evidence: there the strata are those of cross-fitting, and the report says so. intervals.csv lists every
interval.

Beside the sum of the rank distribution, the age that every output gives (paper, "Ordinal Regression"), stands its
median. References are readings against the plates of an atlas, so they stand on few ages. A median tends to stand on
one of them, too, and then meets the label; against a mean of several readers it cannot. So both are reported, and how
often each meets its label.

Letters: N readings, R repeats.
"""

from __future__ import annotations

import csv
import hashlib
import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from carpal.errors import DataError
from carpal.lab.evaluation import age
from carpal.lab.evaluation.labels import Label
from carpal.quality.intervals import BANDS, Array, Calibration, Readings, fit, in_band, rank_quantile, smallest_cell
from carpal.types import Assessment, Sex

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


def to_readings(labels: Sequence[Label], assessments: Sequence[Assessment]) -> Readings:
    """The labelled assessments as arrays; those of a network without probabilities make none."""
    return Readings(
        np.array([label.male for label in labels], bool),
        np.array([label.boneage for label in labels], float),
        np.array([assessment.months for assessment in assessments], float),
        np.array([assessment.probabilities for assessment in assessments], float),
    )


def hash_ids(ids: Iterable[str]) -> str:
    """The SHA-256 of the sorted ids: tells whether two sets of radiographs are the same without naming any."""
    return hashlib.sha256("\n".join(sorted(ids)).encode()).hexdigest()


def report(
    calibration: Calibration | None, labels: Sequence[Label], assessments: Sequence[Assessment]
) -> dict[str, Any] | None:
    """What report.json says under "interval"; None for weights without a calibration, or without a reading.

    `nominal` is the promised coverage; `crossfitted` whether the calibration was fitted on these radiographs, so that
    the strata come from cross-fitting.
    """
    if calibration is None or not labels:
        return None
    readings = to_readings(labels, assessments)
    same = hash_ids(label.id for label in labels) == calibration.readings
    if same:
        found = crossfit(readings, calibration.coverage)
    else:
        low_N, high_N = calibration.intervals(readings.male_N, readings.months_N, readings.probabilities_NK)
        covered_N = (low_N <= readings.boneage_N) & (readings.boneage_N <= high_N)
        found = strata(readings.male_N, readings.boneage_N, covered_N, high_N - low_N)
    return {"nominal": calibration.coverage, "crossfitted": same, **found}


def write(path: Path, labels: Sequence[Label], assessments: Sequence[Assessment]) -> None:
    """Writes the CSV id,low,high, ends to a ten-thousandth of a month."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("id", "low", "high"))
        for label, assessment in zip(labels, assessments, strict=True):
            assert assessment.interval is not None, "a calibrated network gives every age its interval"
            writer.writerow((label.id, f"{assessment.interval.low:.4f}", f"{assessment.interval.high:.4f}"))


def lines(found: dict[str, Any]) -> list[str]:
    """The report's part in lines for people: all, by sex, and the strata that have radiographs."""
    how = ", cross-fitted" if found["crossfitted"] else ""
    title = f"{found['nominal']:.0%} intervals{how}".replace("%", " %")
    rows = {"all": found, **found["by_sex"], **found["by_stratum"]}
    return [title, *(f"  {name:<14}{_line(part)}" for name, part in rows.items() if part["n"])]


def _line(part: dict[str, Any]) -> str:
    low, high = (100 * end for end in part["coverage_ci95"])
    return (
        f"n {part['n']}, coverage {100 * part['coverage']:.1f} % (95 % interval {low:.1f} to {high:.1f}), "
        f"mean width {part['mean_width']:.1f} months"
    )


MEETS: Final = 1.0
"""Months from its label within which an age meets it."""


def readout_report(summed: age.Predictions, assessments: Sequence[Assessment]) -> dict[str, Any] | None:
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
