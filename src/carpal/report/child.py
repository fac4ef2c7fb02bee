"""What is known of the child besides the radiograph's pixels, and what a reader signed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

from carpal.errors import ConfigError
from carpal.types import Interval, Radiograph

if TYPE_CHECKING:
    from carpal.growth.reference import Reference

DAYS_A_MONTH = 30.4375
HEIGHT_CM = (40.0, 230.0)


def spelled(person_name: str, between: str) -> str:
    """A DICOM person name to be read: its parts joined by `between`, in each alphabet that it is stated in.

    With ", ": "Doe^Jane" -> "Doe, Jane"; "Yamada^Tarou=山田^太郎" -> "Yamada, Tarou = 山田, 太郎".
    """
    groups = (
        between.join(" ".join(part.split()) for part in group.split("^") if part.strip())
        for group in person_name.split("=")
    )
    return " = ".join(group for group in groups if group)


@dataclass(frozen=True)
class Earlier:
    """An earlier reading of the same child: the ages on that day, months, and the bone age's interval.

    `interval` is None for an age that a reader gave, and for one of weights without a calibration.
    """

    chronological_months: float
    bone_months: float
    interval: Interval | None = None


@dataclass(frozen=True)
class Child:
    """Facts that nobody needs to read a bone age, but to judge it; each may be missing.

    `months` is the chronological age on the day of the radiograph. `name` and `identifier` are shown and never
    interpreted; they may hold anything that a file or a form can hold.
    """

    months: float | None = None
    name: str = ""
    identifier: str = ""
    birth_date: date | None = None
    study_date: date | None = None
    height_cm: float | None = None
    earlier: tuple[Earlier, ...] = ()
    reference: Reference | None = None
    """The children to compare with; None for the default."""

    @classmethod
    def of(cls, radiograph: Radiograph) -> Child:
        """What the file itself states."""
        exam = radiograph.exam
        if exam is None:
            return cls()
        return cls(months=exam.age_months, birth_date=exam.birth_date, study_date=exam.study_date)

    @classmethod
    def with_dates(
        cls,
        months: float | None,
        birth_date: date | None,
        study_date: date | None,
        height_cm: float | None = None,
        name: str = "",
        identifier: str = "",
    ) -> Child:
        """A child whose age follows from both dates, and is `months` where one lacks. Raises ConfigError."""
        if birth_date is not None and study_date is not None:
            if study_date < birth_date:
                raise ConfigError("the day of the radiograph lies before the birth - correct one of the two dates")
            months = (study_date - birth_date).days / DAYS_A_MONTH
        if height_cm is not None and not (math.isfinite(height_cm) and HEIGHT_CM[0] <= height_cm <= HEIGHT_CM[1]):
            raise ConfigError(f"a height of {height_cm:g} cm - it lies between 40 and 230 - correct it")
        return cls(months, name, identifier, birth_date, study_date, height_cm)


@dataclass(frozen=True)
class Signature:
    """A reader's signed decision: "accept", "adjust" or "reject", with her age in months and her reason."""

    reader: str
    signed: str
    decision: str
    months: float | None
    reason: str = ""
    own_months: float | None = None
    """What she committed before she saw the machine's age."""
    machine_months: float | None = None
    machine: str = ""
    """SHA-256 of the weights whose age she saw, and that age before any region was put right."""
    hand: str = ""
    """Which of two hands in a frame: "left", "right", "top" or "bottom" as one looks at it."""
