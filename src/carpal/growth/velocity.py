"""How fast the bones mature: the change of bone age over the change of chronological age, with its standard error.

Both readings err, and the error of a change is larger than that of either: two readings a few months apart often say
nothing, and the result says so. The errors of the two readings are taken as independent; where the same network reads
the same child too old both times, the true error of the change is smaller than stated here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Final, Literal, NamedTuple

from carpal.errors import GrowthError
from carpal.types import Interval

NORMAL_95: Final = NormalDist().inv_cdf(0.975)

Pace = Literal["slower", "faster", "not distinguishable"]


class Study(NamedTuple):
    """One examination: chronological age, bone age and the bone age's standard error, months."""

    age_months: float
    bone_months: float
    se_months: float


@dataclass(frozen=True)
class Velocity:
    """Months of bone age per month of life (the same as years per year), its standard error and 95 % interval.

    `inside_noise`: the change of the bone age is smaller than 1.96 of its own standard errors, so it is not told from
    no change. `pace` holds the interval against 1, the pace of the calendar.
    """

    rate: float
    se: float
    low: float
    high: float
    delta_bone: float
    delta_age: float
    inside_noise: bool
    pace: Pace

    @property
    def label(self) -> str:
        """A sentence for people."""
        numbers = f"{self.rate:.2f} years of bone age a year (95 % interval {self.low:.2f} to {self.high:.2f})"
        measured = numbers.replace("-", "\N{MINUS SIGN}")
        if self.inside_noise:
            return f"{measured}: the change lies inside the noise of the two readings"
        if self.pace == "not distinguishable":
            return f"{measured}: not distinguishable from one year a year"
        return f"{measured}: {self.pace} than one year a year"


def velocity(earlier: Study, later: Study) -> Velocity:
    """The velocity between two examinations. Raises GrowthError where the second is not later or a value is none."""
    if not all(map(math.isfinite, (*earlier, *later))):
        raise GrowthError("A velocity needs ages that are numbers - one is not - give both examinations whole")
    delta_age = later.age_months - earlier.age_months
    if delta_age <= 0:
        raise GrowthError(
            f"A velocity needs an earlier and a later examination - the second is {-delta_age:g} months before the "
            "first, or on the same day - swap them, or choose another"
        )
    if earlier.se_months <= 0 or later.se_months <= 0:
        raise GrowthError(
            f"A velocity needs each bone age's standard error, above 0 - got {earlier.se_months:g} and "
            f"{later.se_months:g} - take it from the interval"
        )
    delta_bone = later.bone_months - earlier.bone_months
    noise = math.hypot(earlier.se_months, later.se_months)
    rate, se = delta_bone / delta_age, noise / delta_age
    low, high = rate - NORMAL_95 * se, rate + NORMAL_95 * se
    return Velocity(
        rate=rate,
        se=se,
        low=low,
        high=high,
        delta_bone=delta_bone,
        delta_age=delta_age,
        inside_noise=abs(delta_bone) <= NORMAL_95 * noise,
        pace="faster" if low > 1 else "slower" if high < 1 else "not distinguishable",
    )


def standard_error(interval: Interval) -> float:
    """The standard error of a normal distribution whose central interval is as wide as this one."""
    return (interval.high - interval.low) / 2 / NormalDist().inv_cdf(0.5 + interval.coverage / 2)
