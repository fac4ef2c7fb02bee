"""Adult height: all 251 factors, the group rule, and a range that holds what every bone age of the interval gives."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from carpal.errors import GrowthError
from carpal.growth.height import GROUPS, Factor, Group, adult_height, factors, group_of, percent
from carpal.growth.reference import TABLES, read_rows
from carpal.types import Interval, Sex
from growth_kit import COLLECTED as COLLECTED_IN
from growth_kit import SEX, frozen, is_collected

CELLS = [(sex, group, cell) for sex in Sex for group in GROUPS for cell in factors(sex, group)]
CHRONOLOGICAL = {"average": 0.0, "accelerated": -24.0, "delayed": 24.0}
"""What to add to the bone age to get a chronological age of a child in that group."""
COLLECTED = "bayley_pinneau_percent_mature_height.csv"
FROZEN = frozen("bayley_pinneau.csv", "058e6797df6c93687745ee275827e860806cf1b5e81ff2dd7ec8c856cc50dbf9")
ENDS = {
    (Sex.MALE, "average"): (47, 84, 69.5, 222, 100.0),
    (Sex.MALE, "accelerated"): (41, 84, 67.0, 204, 99.0),
    (Sex.MALE, "delayed"): (29, 72, 68.0, 156, 88.0),
    (Sex.FEMALE, "average"): (47, 72, 72.0, 216, 100.0),
    (Sex.FEMALE, "accelerated"): (42, 84, 71.2, 210, 99.95),
    (Sex.FEMALE, "delayed"): (45, 72, 73.3, 204, 100.0),
}


def test_there_are_251_factors() -> None:
    assert len(CELLS) == 251


@pytest.mark.parametrize(("sex", "group", "cell"), CELLS, ids=lambda v: f"{v[0]:g}" if isinstance(v, Factor) else v)
def test_every_factor_is_applied_as_printed(sex: Sex, group: Group, cell: Factor) -> None:
    """A child who has reached the printed share of 170 cm is predicted to reach 170 cm."""
    child = adult_height(
        sex, 1.70 * cell.percent, cell.bone_months + CHRONOLOGICAL[group], cell.bone_months
    )  # fmt: skip
    assert (child.group, child.factor) == (group, cell.percent)
    assert child.cm == child.low == child.high == pytest.approx(170)


@pytest.mark.parametrize("row", range(251))
def test_every_row_is_the_frozen_one(row: int) -> None:
    """Label, group, bone age and percentage, in the frozen order: none is missing, added, or changed by a digit."""
    table, line = read_rows(TABLES / "bayley_pinneau.csv", ()), FROZEN[row]
    assert len(table) == len(FROZEN) == 251
    sex, group = SEX[line["sex"]], line["maturity_group"]
    cell = Factor(float(line["skeletal_age_months"]), float(line["percent_of_mature_height"]))
    assert (table[row]["sex"], table[row]["group"], table[row]["label"]) == (sex, group, line["skeletal_age_label"])
    assert CELLS.count((sex, group, cell)) == 1


@pytest.mark.skipif(not (COLLECTED_IN / COLLECTED).is_file(), reason="the project's data folder is not there")
def test_the_frozen_table_is_the_collected_one() -> None:
    assert is_collected(COLLECTED, FROZEN)


@pytest.mark.parametrize(("sex", "group"), ENDS)
def test_each_group_has_its_ends_and_never_falls(sex: Sex, group: Group) -> None:
    cells = factors(sex, group)
    assert (len(cells), *cells[0], *cells[-1]) == ENDS[sex, group]
    ages, percents = np.array(cells).T
    assert (np.diff(ages) > 0).all()
    assert (np.diff(percents) >= 0).all()
    assert (np.diff(percents) / np.diff(ages) <= 0.55).all()  # a slip of a digit would jump


def test_the_printed_labels_are_the_months() -> None:
    for line in read_rows(TABLES / "bayley_pinneau.csv", ("label", "bone_months")):
        years, months = map(int, line["label"].split("-"))
        assert 12 * years + months == float(line["bone_months"])


@pytest.mark.parametrize("sex", Sex)
def test_the_more_delayed_a_child_the_more_of_its_height_it_has_at_one_bone_age(sex: Sex) -> None:
    for age in range(84, 157, 3):
        assert percent(sex, "accelerated", age) < percent(sex, "average", age) < percent(sex, "delayed", age)


def test_girls_are_ahead_of_boys() -> None:
    for age in range(84, 205, 3):
        assert percent(Sex.FEMALE, "average", age) > percent(Sex.MALE, "average", age)


@given(st.sampled_from(Sex), st.sampled_from(GROUPS), st.floats(84, 156))
def test_between_cells_lies_the_straight_line(sex: Sex, group: Group, bone: float) -> None:
    ages, percents = np.array(factors(sex, group)).T
    assert percent(sex, group, bone) == pytest.approx(np.interp(bone, ages, percents))


@pytest.mark.parametrize(
    ("difference", "group"),
    [(0, "average"), (12, "average"), (-12, "average"), (12.1, "accelerated"), (-12.1, "delayed")],
)
def test_one_year_from_the_chronological_age_is_still_average(difference: float, group: str) -> None:
    assert group_of(120, 120 + difference) == group


def test_the_rule_is_said_in_the_result() -> None:
    child = adult_height(Sex.MALE, 140, 150, 130)
    assert child.rule == "bone age 130.0 is more than 12 months below the chronological age 150.0: delayed"
    assert adult_height(Sex.MALE, 140, 130, 130).rule.startswith("bone age 130.0 is within 12 months of")
    assert "Bayley" in child.citation


@given(
    st.sampled_from(Sex), st.floats(96, 150), st.floats(-20, 20), st.floats(0, 20), st.floats(0, 20), st.floats(0, 1)
)
def test_the_range_holds_what_every_bone_age_of_the_interval_gives(
    sex: Sex, bone: float, ahead: float, below: float, above: float, share: float
) -> None:
    age = bone - ahead
    interval = Interval(bone - below, bone + above, 0.9)
    child = adult_height(sex, 140, age, bone, interval)
    assert child.low <= child.cm <= child.high
    other = interval.low + share * (interval.high - interval.low)
    table = factors(sex, group_of(age, other))
    assume(table[0].bone_months <= other <= table[-1].bone_months)
    assert child.low - 1e-9 <= adult_height(sex, 140, age, other).cm <= child.high + 1e-9
    assert group_of(age, other) in child.groups


def test_the_range_is_computed_by_hand() -> None:
    """Boy of 11 years, bone age 11-0, 9-9 to 12-0 all average: 77.7 to 83.4 %."""
    child = adult_height(Sex.MALE, 140, 129, 132, Interval(117, 141, 0.9))
    assert (child.low, child.cm, child.high) == pytest.approx((14000 / 82.7, 14000 / 80.4, 14000 / 77.7))
    assert child.groups == ("average",)


def test_an_interval_over_the_group_boundary_counts_both_groups() -> None:
    child = adult_height(Sex.MALE, 140, 120, 129, Interval(126, 141, 0.9))
    assert child.groups == ("average", "accelerated")
    assert child.low == pytest.approx(14000 / 80.4)  # average, 132 months
    assert child.high == pytest.approx(14000 / 76.7)  # accelerated, 132 months


def test_what_the_table_cuts_off_is_said() -> None:
    child = adult_height(Sex.MALE, 170, 215, 215, Interval(205, 226, 0.9))
    assert child.low == pytest.approx(170)
    assert any("84 to 222 months" in note for note in child.notes)


@pytest.mark.parametrize("bone", [83.9, 60, 222.1])
def test_outside_the_table_there_is_no_height(bone: float) -> None:
    with pytest.raises(GrowthError, match="84 to 222 months"):
        adult_height(Sex.MALE, 120, bone, bone)


@pytest.mark.parametrize("height", [1.4, 0, -140, 55_000, float("nan")])
def test_a_height_that_is_none_is_refused(height: float) -> None:
    with pytest.raises(GrowthError, match="centimetres"):
        adult_height(Sex.MALE, height, 120, 120)


def test_ages_that_are_none_are_refused() -> None:
    with pytest.raises(GrowthError, match="two ages"):
        adult_height(Sex.MALE, 140, float("nan"), 120)
