"""Calibrated intervals: quantiles of rank distributions, conformal ranks, merging of cells, the promise of coverage."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from carpal.errors import ConfigError, DataError, WeightsError
from carpal.quality.intervals import (
    BANDS,
    SMALLEST,
    Calibration,
    Cell,
    Readings,
    conformal_quantile,
    fit,
    in_band,
    merged,
    rank_quantile,
)
from carpal.types import RANKS, Sex

K = RANKS - 1


def survival(months: np.ndarray, spread: np.ndarray) -> np.ndarray:
    """P(age > k) of logistic distributions (N, K)."""
    return 1 / (1 + np.exp((np.arange(K) - months[:, None]) / spread[:, None]))


def simulate(n: int, seed: int = 0, truth: float = 1.0) -> Readings:
    """A network that states a logistic spread and errs by `truth` times as much; infants' errors are smaller."""
    generator = np.random.default_rng(seed)
    boneage_N = generator.uniform(6, 216, n)
    spread_N = 1.0 + boneage_N / 40
    centre_N = np.clip(boneage_N + truth * spread_N * generator.logistic(size=n), 1, 226)
    probabilities_NK = survival(centre_N, spread_N)
    return Readings(generator.random(n) < 0.5, boneage_N, probabilities_NK.sum(1), probabilities_NK)


def share_covered(calibration: Calibration, readings: Readings) -> np.ndarray:
    low_N, high_N = calibration.intervals(readings.male_N, readings.months_N, readings.probabilities_NK)
    return (low_N <= readings.boneage_N) & (readings.boneage_N <= high_N)


@pytest.mark.parametrize("truth", [0.5, 1.0, 2.0])
def test_the_promise_holds_for_a_network_of_false_confidence_in_every_cell(truth: float) -> None:
    """Fitted on 600, held against 3,000 others: 90 % is within the error of both, overall and by cell."""
    calibration, new = fit(simulate(600, 1, truth)), simulate(3000, 2, truth)
    covered_N = share_covered(calibration, new)
    assert covered_N.mean() == pytest.approx(0.9, abs=0.03)
    for cell in calibration.cells:
        mine_N = (new.male_N == (cell.sex is Sex.MALE)) & in_band(new.months_N, cell.low, cell.high)
        assert covered_N[mine_N].mean() > 0.9 - 3.5 * math.sqrt(0.09 / cell.n + 0.09 / mine_N.sum())


def test_overconfidence_moves_quantiles_out_and_modesty_in() -> None:
    assert all(cell.offset > 0 for cell in fit(simulate(600, 1, truth=2.0)).cells)
    assert all(cell.offset < 0 for cell in fit(simulate(600, 1, truth=0.5)).cells)


def quantile_by_definition(probabilities_K: np.ndarray, q: float) -> float:
    """The slow twin: walks up the months until the share below is reached."""
    below = [1 - p for p in sorted(probabilities_K, reverse=True)] + [1.0]
    for k, share in enumerate(below):
        if share >= q:
            return 0.0 if k == 0 else k - 1 + (q - below[k - 1]) / (share - below[k - 1])
    raise AssertionError("the last share is 1")


@given(st.integers(0, 2**32 - 1), st.sampled_from([0.05, 0.25, 0.5, 0.95]))
def test_a_rank_quantile_is_that_of_its_definition(seed: int, q: float) -> None:
    generator = np.random.default_rng(seed)
    smooth_K = survival(generator.uniform(0, K, 1), generator.uniform(0.5, 20, 1))[0]
    noisy_K = np.clip(smooth_K + generator.normal(0, 0.05, K), 0, 1)
    for probabilities_K in (smooth_K, noisy_K):
        assert rank_quantile(probabilities_K[None], q)[0] == pytest.approx(
            quantile_by_definition(probabilities_K, q), abs=1e-9
        )


def test_quantiles_rise_with_their_share_and_the_median_is_in_the_middle() -> None:
    probabilities_NK = survival(np.array([100.0]), np.array([6.0]))
    found = [rank_quantile(probabilities_NK, q)[0] for q in (0.05, 0.25, 0.5, 0.75, 0.95)]
    assert found == sorted(found)
    assert found[2] == pytest.approx(100, abs=0.1)
    assert found[4] - found[0] == pytest.approx(2 * 6 * math.log(19), abs=0.3)  # the logistic distribution's own


@pytest.mark.parametrize(("value", "age"), [(0.0, 0.0), (1.0, K)])
def test_a_certain_network_has_a_certain_quantile(value: float, age: float) -> None:
    """P(age > k) = 0 for every k means birth, 1 for every k the end of the scale (within its last month)."""
    assert rank_quantile(np.full((1, K), value), 0.5)[0] == pytest.approx(age, abs=1)


def test_no_reading_at_the_edge_falls_out_by_rounding() -> None:
    """In every cell as many readings are held as the conformal rank counts."""
    readings = simulate(300, 4)
    calibration = fit(readings)
    covered_N = share_covered(calibration, readings)
    for cell in calibration.cells:
        mine_N = (readings.male_N == (cell.sex is Sex.MALE)) & in_band(readings.months_N, cell.low, cell.high)
        assert covered_N[mine_N].sum() >= math.ceil(0.9 * (cell.n + 1) - 1e-9)


def test_the_conformal_rank_is_the_next_above() -> None:
    """9 scores, 90 %: the 9th; 19 scores: the 18th; 99 scores: the 90th (Romano et al., eq. 8)."""
    assert conformal_quantile(np.arange(1.0, 10), 0.9) == 9
    assert conformal_quantile(np.arange(1.0, 20), 0.9) == 18
    assert conformal_quantile(np.arange(1.0, 100), 0.9) == 90


@given(st.lists(st.floats(0, K), min_size=0, max_size=400))
def test_merged_bands_cover_the_scale_and_none_is_small(ages: list[float]) -> None:
    months_N = np.array(ages, float)
    bands = merged(months_N)
    assert [low for low, _ in bands] == [0, *(high for _, high in bands[:-1])]
    assert bands[-1][1] == K
    counts = [int(in_band(months_N, *band).sum()) for band in bands]
    assert sum(counts) == len(ages)
    assert len(bands) == 1 or min(counts) >= SMALLEST
    assert {low for low, _ in bands} <= {low for low, _ in BANDS}


def test_the_smallest_band_joins_the_smaller_neighbour() -> None:
    months_N = np.repeat([12.0, 40, 90, 150, 200], [60, 5, 50, 70, 80])
    assert merged(months_N) == [(0, 24), (24, 120), (120, 168), (168, K)]


@given(st.integers(0, 10_000), st.sampled_from(Sex))
def test_an_interval_holds_the_age_and_stays_on_the_scale(seed: int, sex: Sex) -> None:
    generator = np.random.default_rng(seed)
    offset = float(generator.uniform(-40, 40))
    calibration = Calibration(0.9, tuple(Cell(s, 0, K, offset, 50) for s in Sex))
    probabilities_K = generator.random(K)
    months = float(probabilities_K.sum())
    interval = calibration.interval(sex, months, probabilities_K.tolist())
    assert 0 <= interval.low <= months <= interval.high <= K
    assert interval.coverage == 0.9


def test_each_sex_and_band_has_its_own_offset() -> None:
    cells = (Cell(Sex.FEMALE, 0, K, 0, 50), Cell(Sex.MALE, 0, 60, 5, 50), Cell(Sex.MALE, 60, K, 9, 50))
    calibration, widths = Calibration(0.9, cells), []
    for sex, age in ((Sex.FEMALE, 59.0), (Sex.MALE, 59.0), (Sex.MALE, 60.0)):
        interval = calibration.interval(sex, age, survival(np.array([age]), np.array([3.0]))[0])
        widths.append(interval.high - interval.low)
    assert np.diff(widths) == pytest.approx([10, 8], abs=0.01)


def test_a_calibration_survives_its_sidecar() -> None:
    calibration = fit(simulate(300), data="drawn", date="2026-11-24", ids="ab", check={"n": 300})
    assert Calibration.from_dict(json.loads(json.dumps(calibration.as_dict()))) == calibration


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"method": "bayes"}, "its method is 'bayes'"),
        ({"coverage": 1.5}, "coverage lies from"),
        ({"cells": {}}, "must cover 0 to 228"),
        ({"cells": [1]}, "cannot be used"),
        ({"date": None, "cells": {"x": {"sex": "both"}}}, "both"),
    ],
)
def test_a_broken_calibration_is_refused(change: dict[str, object], complaint: str) -> None:
    with pytest.raises(WeightsError, match=complaint):
        Calibration.from_dict(fit(simulate(300)).as_dict() | change)


def test_too_few_of_a_sex_are_refused() -> None:
    readings = simulate(300)
    few = readings.where(readings.male_N | (np.cumsum(~readings.male_N) <= SMALLEST - 1))
    with pytest.raises(DataError, match="got 39 female"):
        fit(few)


def test_a_high_coverage_needs_more() -> None:
    with pytest.raises(DataError, match="needs 99 labelled radiographs of each sex"):
        fit(simulate(150), coverage=0.99)


@pytest.mark.parametrize("coverage", [0.0, 0.49, 1.0, math.nan])
def test_a_coverage_that_is_none_is_refused(coverage: float) -> None:
    with pytest.raises(ConfigError, match="coverage lies from"):
        Calibration(coverage, ())
