"""The figures of docs/trust.md about the labels' own scatter follow from what was published."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from bench_kit import bench_script

ROOT = Path(__file__).parents[1]
PUBLISHED = {
    "label_noise_OOF_vs_test": {"OOF_RMSE_single_reports": 8.52, "test_RMSE_six_rater": 6.03},
    "single_rater_sd_6.96_months": {"sd_of_mean_of_6": 2.84},
}
"""The part of shared/data/reference/noise_floor_estimate.json that is used."""


@pytest.fixture(scope="module")
def bench() -> ModuleType:
    return bench_script("label_noise")


def test_scatter_adds_to_the_error_as_the_formula_takes_it_away(bench: ModuleType) -> None:
    rng = np.random.default_rng(0)
    truth_N = rng.uniform(60, 180, 200_000)
    network_N, label_N = truth_N + rng.normal(0, 5, truth_N.size), truth_N + rng.normal(0, 6, truth_N.size)
    single, several = (float(np.sqrt(np.mean((network_N - each_N) ** 2))) for each_N in (label_N, truth_N))
    assert bench.label_sd(single, several) == pytest.approx(6, abs=0.05)
    assert bench.share(6, single) == pytest.approx(36 / 61, abs=0.01)
    held = np.abs(label_N - truth_N) <= bench.width(6) / 2
    assert held.mean() == pytest.approx(0.9, abs=0.003)


def test_the_page_states_the_figures(bench: ModuleType) -> None:
    sd, predicted, single, six = bench.figures(PUBLISHED).values()
    text = " ".join((ROOT / "docs" / "trust.md").read_text(encoding="utf-8").split())
    assert f"√(8.52² - 6.03²) = {sd:.1f} months. A single reader's SD of 0.58 years would give {predicted:.1f}" in text
    assert f"2 x 1.645 x 6.0 = {single:.1f} months" in text
    assert f"it needs {six:.1f}." in text
    assert "share of the labels" in list(bench.figures(PUBLISHED, 10.1))[-1]
