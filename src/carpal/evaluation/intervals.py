"""What an evaluation says of the intervals: coverage and width by stratum, and a table of them.

On the very radiographs that the intervals were fitted on, their coverage is not evidence: there the strata are those of
cross-fitting, and the report says so.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from carpal.evaluation.labels import Label
from carpal.trust import coverage
from carpal.trust.intervals import Calibration, Readings
from carpal.types import Assessment


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
        found = coverage.crossfit(readings, calibration.coverage)
    else:
        low_N, high_N = calibration.intervals(readings.male_N, readings.months_N, readings.probabilities_NK)
        covered_N = (low_N <= readings.boneage_N) & (readings.boneage_N <= high_N)
        found = coverage.strata(readings.male_N, readings.boneage_N, covered_N, high_N - low_N)
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
