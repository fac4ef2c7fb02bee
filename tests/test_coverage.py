"""Whether intervals keep their promise, by stratum, without having seen the radiographs they are judged on."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from carpal.errors import DataError
from carpal.lab.evaluation import coverage
from carpal.lab.evaluation.coverage import crossfit, strata, wilson
from carpal.quality.intervals import Readings, fit


def readings(n: int = 300, seed: int = 3) -> Readings:
    """Ages of 5 to 15 years, read with a logistic error of 6 months by a network that states 3."""
    generator = np.random.default_rng(seed)
    boneage_N = generator.uniform(60, 180, n)
    months_N = boneage_N + 6 * generator.logistic(size=n)
    probabilities_NK = 1 / (1 + np.exp((np.arange(228) - months_N[:, None]) / 3))
    return Readings(generator.random(n) < 0.5, boneage_N, probabilities_NK.sum(1), probabilities_NK)


def test_strata_count_each_reading_once_for_its_sex_and_reference_age() -> None:
    male_N = np.array([True, True, False, False, False])
    boneage_N = np.array([24.0, 23.9, 168.0, 228.0, 100.0])
    found = strata(male_N, boneage_N, np.array([1, 0, 1, 0, 1]), np.array([10.0, 20, 30, 50, 70]))
    assert (found["n"], found["coverage"], found["mean_width"]) == (5, 0.6, 36.0)
    assert found["by_sex"]["male"]["coverage"] == 0.5
    assert found["by_stratum"]["male 0-2"]["coverage"] == 0
    assert found["by_stratum"]["male 2-5"]["coverage"] == 1
    assert found["by_stratum"]["female 14-19"]["mean_width"] == 40
    assert found["by_stratum"]["female 0-2"] == {"n": 0, "coverage": None, "coverage_ci95": None, "mean_width": None}
    assert sum(part["n"] for part in found["by_stratum"].values()) == 5


def test_crossfitted_intervals_hold_nine_in_ten_and_repeat_exactly() -> None:
    found = crossfit(readings(), 0.9, repeats=3)
    assert found["coverage"] == pytest.approx(0.9, abs=0.02)
    assert found == crossfit(readings(), 0.9, repeats=3)


def test_crossfitting_does_not_see_what_it_judges(monkeypatch: pytest.MonkeyPatch) -> None:
    judged: list[float] = []

    def spy(known: Readings, share: float) -> SimpleNamespace:
        def intervals(male_N: Any, months_N: np.ndarray, probabilities_NK: Any) -> tuple[np.ndarray, np.ndarray]:
            assert not set(months_N) & set(known.months_N)
            assert len(months_N) + len(known.months_N) == 300
            judged.extend(months_N)
            return months_N - 1, months_N + 1

        return SimpleNamespace(intervals=intervals)

    monkeypatch.setattr(coverage, "fit", spy)
    found = coverage.crossfit(readings(), 0.9, repeats=2)
    assert sorted(judged) == sorted([*readings().months_N] * 2)
    assert found["mean_width"] == 2


def test_too_few_to_check_are_refused() -> None:
    many = readings()
    few = many.where(many.male_N | (np.cumsum(~many.male_N) <= 49))
    with pytest.raises(DataError, match=r"need 50 labelled radiographs of each sex.* got 49"):
        coverage.crossfit(few, 0.9)


def test_intervals_are_wider_where_more_is_promised() -> None:
    widths = [crossfit(readings(), share, repeats=1)["mean_width"] for share in (0.8, 0.9, 0.95)]
    assert widths == sorted(widths)
    assert fit(readings(), 0.8).coverage == 0.8


def test_wilson_is_the_textbook_one() -> None:
    """Newcombe 1998, table I: 81 of 263, and 0 of 20 (method 3)."""
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=1e-4)
    assert wilson(0, 20) == pytest.approx((0, 0.1611), abs=1e-4)


@given(st.integers(1, 500), st.floats(0, 1))
def test_wilson_holds_the_share(n: int, share: float) -> None:
    low, high = wilson(share * n, n)
    assert 0 <= low <= share + 1e-9
    assert share - 1e-9 <= high <= 1
