"""The examination that a DICOM header states: dates, chronological age, side, sex. What is unsure is None, and told."""

from __future__ import annotations

import re
from datetime import date
from typing import Any, Final

from carpal.imaging.header import region_modifiers, square_scale, text, value, word
from carpal.types import Exam, Sex, Side

SEXES: Final = {
    **dict.fromkeys(("M", "MALE", "MÄNNLICH", "MAENNLICH", "MASCULIN", "MASCULINO"), Sex.MALE),
    **dict.fromkeys(("F", "FEMALE", "W", "WEIBLICH", "FÉMININ", "FEMININ", "FEMENINO", "FEMMINILE"), Sex.FEMALE),
}
"""What real files write besides the standard's M and F, none of it ambiguous."""
SIDES: Final = {"L": Side.LEFT, "R": Side.RIGHT}
SIDE_MODIFIERS: Final = {
    **dict.fromkeys(("7771000", "G-A101", "LEFT"), Side.LEFT),
    **dict.fromkeys(("24028007", "G-A100", "RIGHT"), Side.RIGHT),
}
"""Of an anatomic region: code in SNOMED CT, in its older form of letters, and meaning."""
DAYS_A_MONTH: Final = 365.25 / 12
MONTHS: Final = {"D": 1 / DAYS_A_MONTH, "W": 7 / DAYS_A_MONTH, "M": 1.0, "Y": 12.0}
STUDY_DATES: Final = ("StudyDate", "AcquisitionDate", "SeriesDate", "ContentDate")
OLDEST: Final = 130 * 12
PLACEHOLDERS: Final = {
    *(date(1, 1, 1), date(1600, 1, 1), date(1601, 1, 1), date(1753, 1, 1), date(1800, 1, 1), date(1858, 11, 17)),
    *(date(1899, 12, 30), date(1899, 12, 31), date(1900, 1, 1), date(1901, 1, 1), date(1904, 1, 1), date(1970, 1, 1)),
    *(date(1111, 11, 11), date(9999, 12, 31)),
}
"""The first days of calendars and clocks, and what a form is filled with where nobody knows the birth date."""
ADULT: Final = 20 * 12
"""Months from which a reading is refused: a placeholder is only told from a birth date where it makes an adult."""
CONTRADICTION: Final = 13.0
"""PatientAge in whole years may lie a year below the age that the dates give, and a month of rounding."""


def sex_of(dataset: Any) -> Sex | None:
    """PatientSex where it says one sex (`SEXES`); other, blank, missing or two at once are None: never a guess."""
    sexes = {SEXES.get(each) for each in _words(dataset, "PatientSex")}
    return sexes.pop() if len(sexes) == 1 else None


def _words(dataset: Any, keyword: str) -> set[str]:
    """All values of an element, in capitals."""
    found = value(dataset, keyword)
    several = found if type(found).__name__ == "MultiValue" else [found]
    return {str(each).strip(" \0").upper() for each in several if each is not None} - {""}


def side_of(dataset: Any, assumed: list[str]) -> Side | None:
    """Which hand: ImageLaterality, Laterality, or what modifies the anatomic region.

    None where they are silent, say both hands, or contradict each other.
    """
    stated = _words(dataset, "ImageLaterality") | _words(dataset, "Laterality")
    sides = {SIDES[side] for side in stated if side in SIDES}
    if len(sides) == 2:
        assumed.append("ImageLaterality and Laterality contradict each other; the side counts as unknown")
        return None
    modified = {SIDE_MODIFIERS[modifier] for modifier in region_modifiers(dataset) if modifier in SIDE_MODIFIERS}
    if len(sides) == len(modified) == 1 and sides != modified:
        assumed.append("the laterality and the anatomic region contradict each other; the side counts as unknown")
        return None
    if stated - {"U", *SIDES}:
        assumed.append("the laterality says neither left nor right")
        return sides.pop() if len(sides) == 1 else None
    both = sides | modified
    return both.pop() if len(both) == 1 else None


def exam_of(dataset: Any, assumed: list[str]) -> Exam:
    """All that the header states of the examination; malformed values become None with a warning without the value."""
    birth, study = _date(dataset, "PatientBirthDate", assumed), _first_date(dataset, assumed)
    uid = text(dataset, "SOPInstanceUID")
    age, believed = _age(birth, study, dataset, assumed)
    birth = birth if believed else None  # nobody shall compute an age from it after all
    return Exam(uid or None, study, birth, age, side_of(dataset, assumed), square_scale(dataset, []))


def _first_date(dataset: Any, assumed: list[str]) -> date | None:
    dates = (_date(dataset, keyword, assumed) for keyword in STUDY_DATES)
    return next((found for found in dates if found), None)


def _date(dataset: Any, keyword: str, assumed: list[str]) -> date | None:
    """A DA as a date, also written 2010.04.01, 2010-04-01 or 2010/4/1; of a DT the day."""
    stated = text(dataset, keyword)
    if not stated:
        return None
    found = re.match(r"(\d{4})([./ -]?)(\d{1,2})\2(\d{1,2})", stated)
    try:
        if found is None or (not found[2] and not re.match(r"\d{8}", stated)):
            raise ValueError
        return date(int(found[1]), int(found[3]), int(found[4]))
    except ValueError:
        assumed.append(f"{keyword} is malformed and was not used")
        return None


def _age(birth: date | None, study: date | None, dataset: Any, assumed: list[str]) -> tuple[float | None, bool]:
    """Months on the day of the study: from the two dates, else PatientAge (nnnD, nnnW, nnnM or nnnY).

    With it whether the birth date is believed.

    Where the two disagree nobody knows which is wrong, so the age is unknown: a placeholder for a birth date makes an
    adult of every child. Without PatientAge, a known placeholder that would make an adult counts as none.
    """
    age = word(dataset, "PatientAge")
    stated = _stated_age(age)
    if age and stated is None:
        assumed.append("PatientAge is malformed and was not used")
    if birth is None or study is None:
        return stated, True
    months = (study - birth).days / DAYS_A_MONTH
    if stated is not None and not -1 <= months - stated <= CONTRADICTION:
        assumed.append("PatientAge contradicts the dates of birth and study; the age counts as unknown")
        return None, False
    if not 0 <= months <= OLDEST:
        assumed.append("the birth date lies after the study, or a life before it, and was not used")
        return stated, False
    if stated is None and birth in PLACEHOLDERS and months >= ADULT:
        assumed.append("the birth date is a usual placeholder and was not used; the age counts as unknown")
        return None, False
    return months, True


def _stated_age(age: str) -> float | None:
    if len(age) < 2 or age[-1] not in MONTHS or not age[:-1].isdecimal():
        return None
    months = int(age[:-1]) * MONTHS[age[-1]]
    return months if months <= OLDEST else None
