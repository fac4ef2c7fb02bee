"""Ages: numbers worked out by hand, the bootstrap against a slow twin, tables that are refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from carpal.errors import DataError
from carpal.lab.evaluation import age
from carpal.lab.evaluation.age import BANDS, Predictions


def table(boneage: list[float], predicted: list[float], male: list[bool] | None = None) -> Predictions:
    ids = tuple(f"hand{i}" for i in range(len(boneage)))
    sexes = np.array(male or [False] * len(boneage), bool)
    return Predictions(ids, sexes, np.array(boneage, float), np.array(predicted, float))


def random_table(count: int, spread: float, seed: int = 3) -> Predictions:
    generator = np.random.default_rng(seed)
    boneage = generator.integers(6, 200, count).astype(float)
    return table(boneage.tolist(), (boneage + generator.normal(0, spread, count)).clip(0, 228).tolist())


def test_summary_by_hand() -> None:
    summary = age.summary(table([100, 100, 100, 100], [104, 97, 100, 95]))
    assert summary["n"] == 4
    assert summary["mae"] == pytest.approx(3.0)
    assert summary["bias"] == pytest.approx(-1.0)
    assert summary["rmse"] == pytest.approx((50 / 4) ** 0.5)
    low, high = summary["mae_ci95"]
    assert 0 <= low < 3 < high <= 5


def test_an_empty_table_has_no_numbers() -> None:
    assert age.summary(table([], [])) == {"n": 0, "mae": None, "mae_ci95": None, "rmse": None, "bias": None}


def test_by_sex_takes_each_hand_once() -> None:
    parts = age.by_sex(table([50, 60, 70], [51, 62, 66], male=[True, False, True]))
    assert (parts["female"]["n"], parts["female"]["mae"]) == (1, 2.0)
    assert (parts["male"]["n"], parts["male"]["mae"]) == (2, 2.5)


@given(st.floats(0, 228))
def test_band_of_follows_the_definition(months: float) -> None:
    expected = [i for i, (low, high) in enumerate(BANDS) if 12 * low <= months < 12 * high]
    assert age.band_of(np.array([months])).tolist() == (expected or [len(BANDS) - 1])


@pytest.mark.parametrize(("months", "band"), [(0, "0-2"), (23.9, "0-2"), (24, "2-5"), (168, "14-19"), (228, "14-19")])
def test_by_age_at_the_borders(months: float, band: str) -> None:
    parts = age.by_age(table([months], [months]))
    assert {name: part["n"] for name, part in parts.items()} == {name: int(name == band) for name in parts}


@pytest.mark.parametrize("chunk", [1, 40, 10**6])
def test_bootstrap_equals_its_slow_twin(monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    monkeypatch.setattr(age, "_CHUNK", chunk)
    values = np.random.default_rng(0).gamma(2.0, 4.0, 13)
    generator = np.random.default_rng(5)
    slow = []
    for _ in range(50):
        total = 0.0
        for place in generator.integers(0, len(values), len(values)):
            total += values[place]
        slow.append(total / len(values))
    np.testing.assert_allclose(age.bootstrap_means(values, 50, seed=5), slow, rtol=1e-12)


def test_the_interval_is_as_wide_as_theory_says() -> None:
    values = np.random.default_rng(1).normal(8.0, 3.0, 400)
    low, high = age.interval(age.bootstrap_means(values))
    assert (high - low) / 2 == pytest.approx(1.96 * values.std() / 20, rel=0.05)
    assert (low + high) / 2 == pytest.approx(values.mean(), abs=0.02)
    assert age.interval(age.bootstrap_means(values)) == (low, high)


def test_paired_difference_finds_what_two_intervals_hide() -> None:
    second = random_table(200, 10)
    closer = second.boneage_N + 0.9 * second.error_N
    first = Predictions(second.ids, second.male_N, second.boneage_N, closer)
    assert age.summary(first)["mae_ci95"][1] > age.summary(second)["mae_ci95"][0]  # the two intervals overlap
    result = age.paired_difference(first, second)
    assert result.difference == pytest.approx(-0.1 * result.mae_second)
    assert result.ci95[0] < result.difference < result.ci95[1] < 0
    assert result.n == 200


def test_paired_difference_matches_by_id_not_by_place() -> None:
    first, second = random_table(30, 5), random_table(30, 9)
    order = np.random.default_rng(0).permutation(30)
    shuffled = Predictions(
        tuple(second.ids[i] for i in order), second.male_N[order], second.boneage_N[order], second.predicted_N[order]
    )
    assert age.paired_difference(first, shuffled) == age.paired_difference(first, second)
    swapped = age.paired_difference(second, first)
    assert swapped.difference == pytest.approx(-age.paired_difference(first, second).difference)


def test_paired_difference_refuses_other_hands_and_other_ages() -> None:
    full = random_table(5, 5)
    with pytest.raises(DataError, match="1: hand4"):
        age.paired_difference(full, full.where(np.arange(5) < 4))
    older = Predictions(full.ids, full.male_N, full.boneage_N + (np.arange(5) == 2), full.predicted_N)
    with pytest.raises(DataError, match=r"ages.*1: hand2"):
        age.paired_difference(full, older)
    with pytest.raises(DataError, match="nothing to compare"):
        age.paired_difference(table([], []), table([], []))


def test_a_written_table_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "predictions.csv"
    table([100, 22.5], [104.12345, 21], male=[True, False]).write(path)
    assert path.read_text() == "id,male,boneage,predicted\nhand0,True,100,104.1235\nhand1,False,22.5,21.0000\n"
    again = age.read_predictions(path)
    assert again.ids == ("hand0", "hand1")
    assert again.male_N.tolist() == [True, False]
    np.testing.assert_allclose(again.predicted_N, [104.1235, 21])


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("id,male,boneage\n1,True,5\n", "line 1.*predicted"),
        ("id,male,boneage,predicted\n1,True,5,nan\n", "line 2.*predicted.*'nan'"),
        ("id,male,boneage,predicted\n1,True,5,6\n1,False,5,6\n", "more than once.*1"),
    ],
)
def test_a_broken_table_is_refused(tmp_path: Path, text: str, complaint: str) -> None:
    path = tmp_path / "predictions.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=complaint):
        age.read_predictions(path)


def test_predictions_are_valid_once_constructed() -> None:
    with pytest.raises(ValueError, match="finite"):
        table([5], [float("nan")])
    with pytest.raises(ValueError, match="once"):
        Predictions(("a", "a"), np.zeros(2, bool), np.ones(2), np.ones(2))
    with pytest.raises(ValueError, match="one length"):
        Predictions(("a", "b"), np.zeros(1, bool), np.ones(2), np.ones(2))
