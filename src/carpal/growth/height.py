"""Adult height from height and bone age, after Bayley and Pinneau (1952), as a range.

Adult height = height / share of mature height reached at the bone age. The share depends on sex and on a group:
children whose bone age is within one year of their chronological age are average, the others accelerated or delayed
(the article's "retarded"). The range is that of the bone age's interval: every bone age in it, each in its own group.
It does not hold the method's own error, which the tables do not give.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import Final, Literal, NamedTuple, get_args

from carpal.errors import GrowthError
from carpal.growth.reference import TABLES, interpolate, number, read_rows, sex_of
from carpal.types import Interval, Sex

CITATION: Final = (
    "Bayley N, Pinneau SR. Tables for predicting adult height from skeletal age: revised for use with the "
    "Greulich-Pyle hand standards. J Pediatr 1952;40(4):423-441"
)
WITHIN: Final = 12.0
"""Months between bone age and chronological age up to which, this included, a child is in the average group."""
HEIGHTS: Final = (40.0, 230.0)
"""Centimetres that a height must lie between: it catches metres, inches and slips of the pen."""

Group = Literal["average", "accelerated", "delayed"]
GROUPS: Final[tuple[Group, ...]] = get_args(Group)


class Factor(NamedTuple):
    """A printed cell: at this bone age (months) a child has this percentage of the mature height."""

    bone_months: float
    percent: float


@dataclass(frozen=True)
class AdultHeight:
    """The predicted adult height in cm, and from `low` to `high` what it is for every bone age in the interval.

    `group` and `factor` (percent of mature height) belong to the bone age itself, `groups` are all that the interval
    touches. `rule` says in a sentence why the child is in its group; `notes` what the range leaves out.
    """

    cm: float
    low: float
    high: float
    group: Group
    factor: float
    citation: str
    rule: str
    groups: tuple[Group, ...]
    notes: tuple[str, ...] = ()


def adult_height(
    sex: Sex, height_cm: float, age_months: float, bone_months: float, interval: Interval | None = None
) -> AdultHeight:
    """The adult height of a child of this height, chronological age and bone age; without interval a single number.

    Raises GrowthError where the bone age is outside the table of the child's group, or the height is none.
    """
    if not HEIGHTS[0] <= height_cm <= HEIGHTS[1]:
        raise GrowthError(
            f"An adult height needs a height from {HEIGHTS[0]:g} to {HEIGHTS[1]:g} cm - got {height_cm:g}"
            " - give it in centimetres"
        )
    group = group_of(age_months, bone_months)
    factor = percent(sex, group, bone_months)
    ends = (bone_months,) if interval is None else (bone_months, interval.low, interval.high)
    others, groups, notes = _shares(sex, age_months, group, min(ends), max(ends))
    shares = [factor, *others]
    return AdultHeight(
        cm=100 * height_cm / factor,
        low=100 * height_cm / max(shares),
        high=100 * height_cm / min(shares),
        group=group,
        factor=factor,
        citation=CITATION,
        rule=_rule(age_months, bone_months, group),
        groups=groups,
        notes=notes,
    )


def group_of(age_months: float, bone_months: float) -> Group:
    """average within 12 months of the chronological age, else accelerated or delayed. Raises GrowthError for NaN."""
    difference = bone_months - age_months
    if not math.isfinite(difference):
        raise GrowthError(f"A growth group needs two ages in months - got {age_months} and {bone_months} - give both")
    if abs(difference) <= WITHIN:
        return "average"
    return "accelerated" if difference > 0 else "delayed"


def percent(sex: Sex, group: Group, bone_months: float) -> float:
    """Percent of mature height at a bone age, linear between rows. Raises GrowthError outside the group's table."""
    ages, percents = zip(*factors(sex, group), strict=True)
    if not ages[0] <= bone_months <= ages[-1]:
        raise GrowthError(
            f"The adult height table of {group} {sex} children holds bone ages of {ages[0]:g} to {ages[-1]:g} months"
            f" - got {bone_months:.1f} - it gives no adult height here"
        )
    return interpolate(bone_months, ages, percents)


def factors(sex: Sex, group: Group) -> tuple[Factor, ...]:
    """The printed factors of a group, youngest bone age first."""
    return _table()[sex, group]


@cache
def _table() -> dict[tuple[Sex, Group], tuple[Factor, ...]]:
    path = TABLES / "bayley_pinneau.csv"
    lines = read_rows(path, ("sex", "group", "bone_months", "percent"))
    return {
        (sex, group): tuple(
            Factor(number(path, line, "bone_months"), number(path, line, "percent"))
            for line in lines
            if sex_of(path, line) is sex and line["group"] == group
        )
        for sex in Sex
        for group in GROUPS
    }


def _shares(
    sex: Sex, age_months: float, group: Group, low: float, high: float
) -> tuple[list[float], tuple[Group, ...], tuple[str, ...]]:
    """The extreme percentages of bone ages from low to high, the groups they fall into, and what the tables cut off.

    `group` is that of the bone age itself, which lies between the two.
    Within a group the percentage never falls as the bone age rises, so each group's extremes are at its ends.
    """
    parts: dict[Group, tuple[float, float]] = {
        "delayed": (low, min(high, age_months - WITHIN)),
        "average": (max(low, age_months - WITHIN), min(high, age_months + WITHIN)),
        "accelerated": (max(low, age_months + WITHIN), high),
    }
    touched = tuple(name for name in GROUPS if name == group or parts[name][0] < parts[name][1])
    shares, notes = [], []
    for name in touched:
        first, last = factors(sex, name)[0].bone_months, factors(sex, name)[-1].bone_months
        start, end = parts[name]
        inside = max(start, first), min(end, last)
        if inside[0] <= inside[1]:
            shares += [percent(sex, name, age) for age in inside]
        if inside != (start, end):
            notes.append(
                f"the table of {name} {sex} children holds bone ages of {first:g} to {last:g} months: the range "
                f"leaves out the rest of {start:.0f} to {end:.0f}"
            )
    return shares, touched, tuple(notes)


def _rule(age_months: float, bone_months: float, group: Group) -> str:
    difference = bone_months - age_months
    where = "within" if group == "average" else "more than"
    side = "" if group == "average" else (" above" if difference > 0 else " below")
    return (
        f"bone age {bone_months:.1f} is {where} {WITHIN:g} months{side or ' of'} the chronological age "
        f"{age_months:.1f}: {group}"
    )
