"""The examination that a DICOM header states: dates, chronological age, side, sex. What is unsure is None, and told."""

from __future__ import annotations

from datetime import date
from typing import Any, Final

from carpal.imaging.header import text, word
from carpal.types import Exam, Sex, Side

SEXES: Final = {"M": Sex.MALE, "F": Sex.FEMALE}
SIDES: Final = {"L": Side.LEFT, "R": Side.RIGHT}
DAYS_A_MONTH: Final = 365.25 / 12
MONTHS: Final = {"D": 1 / DAYS_A_MONTH, "W": 7 / DAYS_A_MONTH, "M": 1.0, "Y": 12.0}
STUDY_DATES: Final = ("StudyDate", "AcquisitionDate", "SeriesDate", "ContentDate")
OLDEST: Final = 130 * 12
CONTRADICTION: Final = 13.0
"""PatientAge in whole years may lie a year below the age that the dates give, and a month of rounding."""


def sex_of(dataset: Any) -> Sex | None:
    """PatientSex where it says M or F. Other, blank and missing give None: sex is never guessed."""
    return SEXES.get(word(dataset, "PatientSex"))


def side_of(dataset: Any, assumed: list[str]) -> Side | None:
    """Which hand: ImageLaterality, else Laterality; None where they are silent, say both hands, or contradict."""
    stated = {keyword: word(dataset, keyword) for keyword in ("ImageLaterality", "Laterality")}
    sides = {SIDES[side] for side in stated.values() if side in SIDES}
    if len(sides) == 2:
        assumed.append("ImageLaterality and Laterality contradict each other; the side counts as unknown")
    elif any(side not in ("", "U", *SIDES) for side in stated.values()):
        assumed.append("the laterality says neither left nor right")
    return sides.pop() if len(sides) == 1 else None


def exam_of(dataset: Any, assumed: list[str]) -> Exam:
    """All that the header states of the examination; malformed values become None with a warning without the value."""
    birth, study = _date(dataset, "PatientBirthDate", assumed), _first_date(dataset, assumed)
    uid = text(dataset, "SOPInstanceUID")
    return Exam(uid or None, study, birth, _age(birth, study, dataset, assumed), side_of(dataset, assumed))


def _first_date(dataset: Any, assumed: list[str]) -> date | None:
    dates = (_date(dataset, keyword, assumed) for keyword in STUDY_DATES)
    return next((found for found in dates if found), None)


def _date(dataset: Any, keyword: str, assumed: list[str]) -> date | None:
    """A DA as a date, also in the ACR-NEMA form 2010.04.01."""
    digits = text(dataset, keyword).replace(".", "").replace("-", "")
    if not digits:
        return None
    try:
        return date(int(digits[:4]), int(digits[4:6]), int(digits[6:8]))
    except ValueError:
        assumed.append(f"{keyword} is malformed and was not used")
        return None


def _age(birth: date | None, study: date | None, dataset: Any, assumed: list[str]) -> float | None:
    """Months on the day of the study: from the two dates, else PatientAge (nnnD, nnnW, nnnM or nnnY)."""
    age = word(dataset, "PatientAge")
    stated = _stated_age(age)
    if age and stated is None:
        assumed.append("PatientAge is malformed and was not used")
    if birth is None or study is None:
        return stated
    months = (study - birth).days / DAYS_A_MONTH
    if not 0 <= months <= OLDEST:
        assumed.append("the birth date lies after the study, or a life before it, and was not used")
        return stated
    if stated is not None and not -1 <= months - stated <= CONTRADICTION:
        assumed.append("PatientAge contradicts the dates of birth and study; the dates were used")
    return months


def _stated_age(age: str) -> float | None:
    if len(age) < 2 or age[-1] not in MONTHS or not age[:-1].isdecimal():
        return None
    months = int(age[:-1]) * MONTHS[age[-1]]
    return months if months <= OLDEST else None
