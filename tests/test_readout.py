"""The median against a slow twin, and what tells it from the sum: labels that stand on plates."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from carpal.lab.evaluation import age, coverage
from carpal.types import RANKS, Assessment, ModelId, Sex

MODEL = ModelId("m", "1", "ab" * 32)


def survival(weight_by_age: dict[int, float]) -> list[float]:
    """P(age > k) of a distribution over whole months."""
    total = sum(weight_by_age.values())
    return [sum(w for months, w in weight_by_age.items() if months > k) / total for k in range(RANKS - 1)]


@given(st.dictionaries(st.integers(0, RANKS - 1), st.floats(0.1, 1), min_size=1, max_size=4))
def test_the_median_is_the_age_that_halves_the_distribution(weight_by_age: dict[int, float]) -> None:
    """Slow twin: count up until half is reached; between two months it may lie anywhere."""
    found = float(coverage.medians(np.array([survival(weight_by_age)]))[0])
    half, below = sum(weight_by_age.values()) / 2, 0.0
    for months in sorted(weight_by_age):
        below += weight_by_age[months]
        if below >= half - 1e-9:
            break
    assert found == pytest.approx(months, abs=0.5 + 1e-6)


def test_of_a_certain_age_median_and_sum_are_that_age() -> None:
    assert coverage.medians(np.array([survival({120: 1})])) == pytest.approx([120])
    assert sum(survival({120: 1})) == 120


def test_a_median_that_stands_on_a_plate_meets_the_label_and_the_sum_does_not() -> None:
    ids, labels_N = ("1", "2"), np.array([120.0, 132.0])
    distributions = [survival({120: 6, 132: 4}), survival({120: 4, 132: 6})]
    summed = age.Predictions(ids, np.array([True, False]), labels_N, np.sum(distributions, axis=1))
    read = [Assessment(name, Sex.MALE, 1.0, (), MODEL, tuple(p)) for name, p in zip(ids, distributions, strict=True)]
    report = coverage.readout_report(summed, read)
    assert report is not None
    assert report["meets"] == {"sum": 0.0, "median": 1.0}
    assert report["mae"] < 0.5
    assert report["difference"] == pytest.approx(report["mae"] - 4.8)
    low, high = report["difference_ci95"]
    assert low <= report["difference"] <= high


def test_without_a_distribution_there_is_no_median() -> None:
    nothing = age.Predictions(("1",), np.array([True]), np.array([120.0]), np.array([121.0]))
    assert coverage.readout_report(nothing, [Assessment("1", Sex.MALE, 121.0, (), MODEL)]) is None
    assert coverage.readout_report(age.Predictions((), *(np.array([]),) * 3), []) is None
