"""A result with what its bone age means among children of the same age: computed once, so that no two outputs differ.

The z-score is that of the age in tenths of a month, as every report prints it, and has two decimals.
"""

from __future__ import annotations

from dataclasses import replace

from carpal.errors import GrowthError
from carpal.growth.reference import Reference
from carpal.types import Assessment, BothSexes, Growth, Result, Sex


def compare(sex: Sex, bone_months: float, age_months: float, table: Reference) -> Growth:
    """The bone age of a child of this chronological age against a reference; without numbers outside the table."""
    try:
        expected = table.expected(sex, age_months)
        z = table.z_score(sex, age_months, round(bone_months, 1))
    except GrowthError as error:
        return Growth(table.name, table.citation, round(age_months, 1), note=str(error))
    mean, sd = round(expected.mean, 2), round(expected.sd, 2)
    return Growth(table.name, table.citation, round(age_months, 1), mean, sd, round(z, 2))


def compared(result: Result, age_months: float | None, table: Reference) -> Result:
    """A hand's result with its comparison, for either sex; as it is where the chronological age is not known."""
    if isinstance(result, BothSexes):
        return BothSexes(_with_growth(result.female, age_months, table), _with_growth(result.male, age_months, table))
    return _with_growth(result, age_months, table)


def _with_growth(one: Assessment, age_months: float | None, table: Reference) -> Assessment:
    if one.months is None or age_months is None:
        return one
    return replace(one, growth=compare(one.sex, one.months, age_months, table))
