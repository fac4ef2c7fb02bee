"""A hospital's calibration: its gain on a shifted site, its refusal on an unshifted one, and the raw age kept."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from carpal.errors import CalibrationRefused, ConfigError
from carpal.quality import site
from carpal.quality.site import Line, Site, cross_validate, fit_line, fit_site, read_site
from carpal.types import Assessment, Interval, ModelId, Refusal, Sex

MODEL = ModelId("alanet", "1", "ab" * 32)
Arrays = tuple[np.ndarray, np.ndarray, np.ndarray]


def hospital(seed: int, n: int, female: float = 0.0, male: float = 0.0, slope: float = 0.0) -> Arrays:
    """Half girls; the readers differ from the network by a shift for each sex, a slope, and 8 months of noise."""
    generator = np.random.default_rng(seed)
    male_N, months_N = np.arange(n) % 2 == 1, generator.uniform(30, 200, n)
    difference_N = np.where(male_N, male, female) + slope * (months_N - 115)
    return male_N, months_N + difference_N + 8 * generator.standard_normal(n), months_N


def fitted(arrays: Arrays, name: str = "ours") -> Site:
    return fit_site(*arrays, name=name, date="2026-11-24", model=MODEL)


@pytest.fixture(autouse=True)
def _fewer_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(site, "RESAMPLES", 1000)


def mae(calibration: Site | None, arrays: Arrays) -> float:
    errors = []
    for male, reader, months in zip(*arrays, strict=True):
        sex = Sex.MALE if male else Sex.FEMALE
        errors.append(abs((months if calibration is None else calibration.lines[sex].apply(months)) - reader))
    return float(np.mean(errors))


@pytest.mark.parametrize("seed", range(4))
def test_a_shifted_site_gains_on_children_it_has_not_seen(seed: int) -> None:
    """The shift of Deeplasia-GE's hospital (+2.9 and +5.4 months) doubled, from 100 readings, on 2,000 others."""
    calibration, others = fitted(hospital(seed, 100, 5.8, 10.8)), hospital(seed + 100, 2000, 5.8, 10.8)
    assert mae(calibration, others) < mae(None, others) - 1.5
    assert calibration.check.gain_ci95[0] > 0
    assert calibration.check.mae_calibrated == pytest.approx(mae(calibration, others), abs=1.5)


@pytest.mark.parametrize("n", [50, 150])
def test_an_unshifted_site_is_refused(n: int) -> None:
    """In none of ten hospitals: the penalty of fitting noise shows on the readings left out."""
    for seed in range(10):
        with pytest.raises(CalibrationRefused, match="no gain on readings left out"):
            fitted(hospital(seed, n))


def test_each_sex_has_its_own_line() -> None:
    lines = fitted(hospital(1, 150, female=12, male=-9)).lines
    assert (lines[Sex.FEMALE].shift, lines[Sex.MALE].shift) == pytest.approx((12 * 0.88, -9 * 0.88), abs=2.5)


def test_a_slope_is_found() -> None:
    assert fitted(hospital(1, 150, slope=0.2)).lines[Sex.FEMALE].slope == pytest.approx(0.2, abs=0.05)


def test_shrinkage_is_ridge_regression() -> None:
    """Against the normal equations: 10 imagined readings without difference in mean and in slope."""
    _, reader_N, months_N = hospital(5, 60, female=7, male=7, slope=0.1)
    standard_N = (months_N - months_N.mean()) / months_N.std()
    design = np.stack([np.ones(60), standard_N], axis=-1)
    shift, steepness = np.linalg.solve(design.T @ design + 10 * np.eye(2), design.T @ (reader_N - months_N))
    line = fit_line(reader_N, months_N)
    assert (line.shift, line.slope) == pytest.approx((shift, steepness / months_N.std()), abs=1e-5)


def test_cross_validation_leaves_the_judged_reading_out() -> None:
    """One reader's slip of 150 months pulls its own line towards itself only if it is in the fit."""
    male_N, reader_N, months_N = hospital(2, 50)
    reader_N[0] = months_N[0] + 150
    inside = fit_line(reader_N[male_N == male_N[0]], months_N[male_N == male_N[0]]).apply(float(months_N[0]))
    errors = np.abs(reader_N - months_N)
    check = cross_validate(male_N, reader_N, months_N)
    assert check.mae_raw == pytest.approx(errors.mean(), abs=1e-4)
    assert inside > months_N[0] + 3
    assert check.mae_calibrated > check.mae_raw


line_strategy = st.builds(
    lambda shift, slope, centre, low, span: Line(shift, slope, centre, low, low + span, 50),
    st.floats(-60, 60), st.floats(-0.5, 0.5), st.floats(0, 228), st.floats(0, 200), st.floats(0, 200),
)  # fmt: skip


@given(line_strategy, st.floats(0, 228), st.floats(0, 228))
def test_an_older_hand_is_never_read_as_a_younger_one(line: Line, first: float, second: float) -> None:
    low, high = line.apply(min(first, second)), line.apply(max(first, second))
    assert 0 <= low <= high + 1e-9
    assert high <= 228


def test_beyond_the_labelled_ages_the_difference_stays() -> None:
    line = Line(shift=2, slope=0.1, centre=100, low=60, high=140, n=50)
    assert line.apply(140) - 140 == line.apply(200) - 200 == pytest.approx(6)
    assert line.apply(60) - 60 == line.apply(30) - 30 == pytest.approx(-2)


@pytest.mark.parametrize(("n", "got"), [(49, "49|2[0-9]"), (0, "0 female")])
def test_too_few_readings_are_refused(n: int, got: str) -> None:
    with pytest.raises(CalibrationRefused, match="50 readings or more"):
        fitted(hospital(1, n, 20, 20))


def test_too_few_of_one_sex_are_refused() -> None:
    male_N, reader_N, months_N = hospital(1, 100, 20, 20)
    male_N[:] = np.arange(100) >= 19
    with pytest.raises(CalibrationRefused, match="got 19 female, 81 male"):
        fitted((male_N, reader_N, months_N))


def assessment(months: float | None = 100.0, **more: Any) -> Assessment:
    refused = None if months is not None else Refusal("no-hand", "no hand")
    return Assessment("x.png", Sex.MALE, months, (), MODEL, refused=refused, **more)


CALIBRATION = Site(
    "ours", "2026-11-24", MODEL, dict.fromkeys(Sex, Line(5, 0, 100, 50, 150, 30)), site.Check(8, 6, 2, (1, 3))
)


def test_the_raw_age_is_kept_and_the_calibration_named() -> None:
    done = CALIBRATION.apply(assessment(interval=Interval(90, 226, 0.9), warnings=("small",)))
    assert (done.months, done.raw_months, done.site) == (105, 100, CALIBRATION.label)
    assert done.interval == Interval(95, 228, 0.9)
    assert done.warnings == (
        "small",
        f"calibrated by {CALIBRATION.label}: the network read 100.0 months, 105.0 are given",
    )


def test_two_calibrations_of_one_day_have_two_names_and_the_file_s_hash_is_in_them(tmp_path: Path) -> None:
    first, second = (fitted(hospital(seed, 100, 10, 10), name="ours") for seed in (1, 2))
    assert first.date == second.date
    assert re.fullmatch(r"ours \(2026-11-24, n = 100, [0-9a-f]{8}\)", first.label)
    assert first.label != second.label
    path = tmp_path / "site.json"
    by_openvino = replace(first, model=replace(first.model, backend="openvino"))
    for each in (first, by_openvino):
        path.write_text(each.as_text(), encoding="utf-8")
        assert hashlib.sha256(path.read_bytes()).hexdigest()[:8] in each.label
        assert read_site(path) == each
        assert read_site(path).label == each.label


def test_a_refusal_passes_through() -> None:
    assert CALIBRATION.apply(assessment(None)) == assessment(None)


def test_nothing_is_calibrated_twice() -> None:
    with pytest.raises(ConfigError, match=r"calibrated by ours .* already"):
        CALIBRATION.apply(CALIBRATION.apply(assessment()))


def test_other_weights_are_refused() -> None:
    with pytest.raises(ConfigError, match="belongs to alanet 1"):
        CALIBRATION.for_model(ModelId("alanet", "2", "cd" * 32))


@pytest.mark.parametrize("name", ["", "x" * 41, "two\nlines"])
def test_a_name_that_reports_cannot_hold_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="1 to 40 printable characters"):
        replace(CALIBRATION, name=name)


def test_a_file_is_read_as_it_was_written(tmp_path: Path) -> None:
    calibration = fitted(hospital(1, 100, 10, 10), name="Spital Zürich")
    path = tmp_path / "site.json"
    path.write_text(calibration.as_text(), encoding="utf-8")
    assert read_site(path) == calibration


@pytest.mark.parametrize(
    "change",
    [
        {"format": 2},
        {"kind": "x"},
        {"lines": {}},
        {"lines": {s: {"shift": float("nan")} for s in ("male", "female")}},
        {"lines": {s: CALIBRATION.lines[Sex.MALE]._replace(slope=0.6)._asdict() for s in ("male", "female")}},
        {"check": None},
        {"name": ""},
        {"weights": "alanet"},
    ],
)
def test_a_broken_file_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    path = tmp_path / "site.json"
    path.write_text(json.dumps(json.loads(CALIBRATION.as_text()) | change))
    with pytest.raises(ConfigError, match="is no site calibration"):
        read_site(path)


@pytest.mark.parametrize("content", ["", "[]", "{", '"text"'])
def test_any_other_file_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "site.json"
    path.write_text(content)
    with pytest.raises(ConfigError, match="is no site calibration"):
        read_site(path)
