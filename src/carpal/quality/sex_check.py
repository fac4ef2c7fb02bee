"""Whether an age fits the stated sex: a warning where the age read for the other sex would fit a child far better.

One image does not tell the sex, and none is guessed here. But where the chronological age is known, a bone age beyond
the reference's 2 SD for the stated sex that would lie within 1 SD, read for the other one, is what a mistyped sex
looks like. It is also what a child with a growth disorder may look like: so the age stays and somebody looks.
"""

from __future__ import annotations

from typing import Final

from carpal.errors import GrowthError
from carpal.growth.reference import LIMIT, reference
from carpal.types import Sex

NEAR: Final = 1.0
"""SD from the mean within which the other sex counts as fitting."""


def z_score(sex: Sex, age_months: float, bone_months: float) -> float | None:
    """SD from the mean of the package's reference; None for an age that its table does not hold."""
    try:
        return reference().z_score(sex, age_months, bone_months)
    except GrowthError:
        return None


def is_unusual(sex: Sex, age_months: float, bone_months: float) -> bool:
    """Whether it is worth reading for the other sex: the bone age is far from the mean of the stated one."""
    z = z_score(sex, age_months, bone_months)
    return z is not None and abs(z) > LIMIT


def warn(sex: Sex, age_months: float, bone_months: float, other_months: float) -> list[str]:
    """The warning, or nothing. `other_months` is the bone age of the same image read for the other sex."""
    other = Sex.FEMALE if sex is Sex.MALE else Sex.MALE
    stated_z, other_z = z_score(sex, age_months, bone_months), z_score(other, age_months, other_months)
    if stated_z is None or other_z is None or abs(stated_z) <= LIMIT or abs(other_z) > NEAR:
        return []
    return [
        f"for the stated age the bone age lies {stated_z:+.1f} SD from the mean of {sex} children, read for {other} it "
        f"would lie {other_z:+.1f} SD: check that the sex is right; the age was read for {sex}, as stated"
    ]
