"""References of bone age: the printed rows come back exactly, the z-score is centred on the mean bone age."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carpal.errors import ConfigError, GrowthError
from carpal.growth.reference import (
    DEFAULT,
    REFERENCES,
    TABLES,
    Reference,
    Row,
    classify,
    interpolate,
    read_reference,
    read_rows,
    reference,
)
from carpal.types import Sex
from growth_kit import COLLECTED as COLLECTED_IN
from growth_kit import SEX, frozen, is_collected

ROWS = [(sex, row) for sex in Sex for row in REFERENCES[DEFAULT].curve(sex)]
COLLECTED = "gp_brush_variability.csv"
FROZEN = frozen("greulich_pyle_brush.csv", "3e01b3f5bb019873f7c794588b3fd09d1857012e8773fee1bc0da6808d0ff83e")


@pytest.mark.parametrize(("sex", "row"), ROWS, ids=lambda value: str(value[0]) if isinstance(value, Row) else value)
def test_every_brush_row_is_reproduced_exactly(sex: Sex, row: Row) -> None:
    brush = reference()
    assert brush.expected(sex, row.age) == (row.mean, row.sd)
    assert brush.z_score(sex, row.age, row.mean) == 0
    assert brush.z_score(sex, row.age, row.mean + 2 * row.sd) == pytest.approx(2)


@pytest.mark.parametrize("row", range(47))
def test_every_row_is_the_frozen_one(row: int) -> None:
    """Age, mean and SD, in the frozen order: none is missing, added, or changed by a digit."""
    table, line = read_rows(TABLES / "greulich_pyle_brush.csv", ()), FROZEN[row]
    assert len(table) == len(FROZEN) == 47
    numbers = [float(line[name]) for name in ("chronological_age_months", "mean_skeletal_age_months", "sd_months")]
    assert table[row]["sex"] == SEX[line["sex"]]
    assert ROWS.count((SEX[line["sex"]], Row(*numbers))) == 1
    assert reference().expected(SEX[line["sex"]], numbers[0]) == tuple(numbers[1:])


@pytest.mark.skipif(not (COLLECTED_IN / COLLECTED).is_file(), reason="the project's data folder is not there")
def test_the_frozen_table_is_the_collected_one() -> None:
    assert is_collected(COLLECTED, FROZEN)


@pytest.mark.parametrize(
    ("sex", "age", "mean", "sd"),
    [
        (Sex.MALE, 3, 3.01, 0.69),
        (Sex.MALE, 120, 125.68, 9.79),
        (Sex.MALE, 204, 206.21, 13.05),
        (Sex.FEMALE, 60, 66.21, 11.65),
        (Sex.FEMALE, 192, 189.44, 7.31),
    ],
)
def test_spot_values_typed_by_hand(sex: Sex, age: float, mean: float, sd: float) -> None:
    assert reference().expected(sex, age) == (mean, sd)


def test_the_table_has_the_printed_ages_and_no_slip_of_a_digit() -> None:
    """24 boys' and 23 girls' rows; means rise, stay near the age, and bend smoothly; SDs are a plausible share."""
    infancy = [3, 6, 9, 12, 18, 24, 30, 36, 42, 48, 54, 60]
    for sex, oldest in ((Sex.MALE, 204), (Sex.FEMALE, 192)):
        rows = reference().curve(sex)
        assert [row.age for row in rows] == [*infancy, *range(72, oldest + 1, 12)]
        for left, row, right in zip(rows, rows[1:], rows[2:], strict=False):
            assert left.mean < row.mean < right.mean
            straight = interpolate(row.age, (left.age, right.age), (left.mean, right.mean))
            assert row.mean == pytest.approx(straight, abs=3.5)
        assert all(abs(row.mean - row.age) < 8 and 0.03 < row.sd / row.age < 0.25 for row in rows)


@given(st.sampled_from(Sex), st.floats(3, 192))
def test_between_rows_lies_the_straight_line(sex: Sex, age: float) -> None:
    """Against numpy's own interpolation."""
    import numpy as np

    ages, means, sds = np.array(reference().curve(sex)).T
    assert reference().expected(sex, age) == pytest.approx((np.interp(age, ages, means), np.interp(age, ages, sds)))


@given(st.sampled_from(Sex), st.floats(3, 192), st.floats(0, 228), st.floats(0.1, 50))
def test_the_z_score_rises_with_the_bone_age_and_inverts(sex: Sex, age: float, bone: float, more: float) -> None:
    mean, sd = reference().expected(sex, age)
    z = reference().z_score(sex, age, bone)
    assert mean + z * sd == pytest.approx(bone)
    assert reference().z_score(sex, age, bone + more) > z


def test_the_z_score_is_centred_on_the_mean_bone_age_and_not_on_the_chronological_age() -> None:
    assert reference().z_score(Sex.MALE, 120, 120) == pytest.approx((120 - 125.68) / 9.79)
    assert classify(reference().z_score(Sex.MALE, 120, 105)) == "delayed"  # 1.5 SD below 120, 2.1 below the mean
    assert classify(reference().z_score(Sex.MALE, 120, 140)) == "normal"  # 2.04 SD above 120, 1.5 above the mean


@pytest.mark.parametrize("age", [2.9, 0, -1, 204.1, math.nan, math.inf])
def test_outside_the_table_there_is_no_z_score(age: float) -> None:
    with pytest.raises(GrowthError, match="3 to 204 months"):
        reference().z_score(Sex.MALE, age, 100)


def test_girls_end_a_year_before_boys() -> None:
    assert (reference().span(Sex.FEMALE), reference().span(Sex.MALE)) == ((3, 192), (3, 204))
    with pytest.raises(GrowthError, match="female children of 3 to 192"):
        reference().expected(Sex.FEMALE, 193)


@pytest.mark.parametrize(
    ("z", "meaning"),
    [(-2.01, "delayed"), (-2, "normal"), (0, "normal"), (2, "normal"), (2.01, "advanced")],
)
def test_two_sd_divide(z: float, meaning: str) -> None:
    assert classify(z) == meaning


def test_no_number_has_no_class() -> None:
    with pytest.raises(ConfigError, match="finite"):
        classify(math.nan)


def test_an_unknown_reference_names_the_known() -> None:
    with pytest.raises(ConfigError, match=DEFAULT):
        reference("greulich")


def test_a_reference_says_whose_numbers_it_holds() -> None:
    for name, known in REFERENCES.items():
        assert known.name == name
        assert "Brush" in known.citation
    assert "mie429" in (TABLES / "greulich_pyle_brush.csv").read_text(encoding="utf-8")


def test_a_local_reference_can_be_read(tmp_path: Path) -> None:
    path = tmp_path / "ours.csv"
    path.write_text(
        "# 2026\nsex,age_months,mean_months,sd_months\n"
        "male,60,62,8\nmale,72,75,9\nfemale,60,61,7\nfemale,72,74,8\n",
        encoding="utf-8",
    )  # fmt: skip
    ours = read_reference(path, "ours", "our hospital, 2026")
    assert ours.expected(Sex.MALE, 66) == (68.5, 8.5)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("sex,age_months,mean_months\nmale,1,1\n", "lacks the columns sd_months"),
        ("sex,age_months,mean_months,sd_months\nboth,1,1,1\n", "female or male"),
        ("sex,age_months,mean_months,sd_months\nmale,1,one,1\n", "a number as mean_months"),
        ("sex,age_months,mean_months,sd_months\nmale,1,1\n", "a number as sd_months"),
        ("sex,age_months,mean_months,sd_months\nmale,2,1,1\nmale,1,1,1\n", "by rising age"),
        ("sex,age_months,mean_months,sd_months\nmale,1,1,1\nmale,2,1,0\n", "SD above 0"),
        ("", "lacks the columns"),
    ],
)
def test_a_broken_reference_is_refused(tmp_path: Path, text: str, complaint: str) -> None:
    path = tmp_path / "broken.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=complaint):
        read_reference(path, "broken", "nobody")


def test_a_missing_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        read_rows(tmp_path / "none.csv", ())


def test_a_reference_needs_both_sexes() -> None:
    with pytest.raises(ConfigError, match="two or more female rows"):
        Reference("half", "nobody", {Sex.MALE: (Row(1, 1, 1), Row(2, 2, 1))})
