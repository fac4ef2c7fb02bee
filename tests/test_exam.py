"""What a header states of the examination: dates, age, side; and None rather than a guess."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carpal.imaging.dicom import DicomFile
from carpal.imaging.exam import exam_of
from carpal.types import Exam, Side
from dicom_kit import encode, study

pytestmark = pytest.mark.filterwarnings("ignore:Invalid value for VR")  # pydicom, as the test writes such values


def exam(**tags: Any) -> tuple[Exam, list[str]]:
    assumed: list[str] = []
    return exam_of(study(**tags), assumed), assumed


def test_the_radiograph_carries_its_exam() -> None:
    tags = {"PatientBirthDate": "20140105", "StudyDate": "20240105", "ImageLaterality": "L"}
    found = DicomFile(encode(study(**tags)), "hand.dcm").decode().exam
    assert found is not None
    assert found.age_months == pytest.approx(120, abs=0.05)
    assert (found.study_date, found.birth_date) == (date(2024, 1, 5), date(2014, 1, 5))
    assert (found.sop_instance_uid, found.side) == ("1.2.3.4.5", Side.LEFT)


def test_a_silent_file_states_nothing() -> None:
    found, assumed = exam(SOPInstanceUID=None)
    assert found == Exam()
    assert assumed == []


@pytest.mark.parametrize(
    ("age", "months"),
    [
        ("010Y", 120),
        ("009M", 9),
        ("026W", 5.98),
        ("365D", 11.99),
        ("10Y", 120),
        ("000M", 0),
        ("Y", None),
        ("999Y", None),
    ],
)
def test_an_age_string_counts_without_dates(age: str, months: float | None) -> None:
    found, assumed = exam(PatientAge=age)
    assert found.age_months == (None if months is None else pytest.approx(months, abs=0.01))
    assert bool(assumed) == (months is None)


@settings(deadline=None, max_examples=50)
@given(st.dates(date(1950, 1, 1), date(2030, 1, 1)), st.integers(0, 19 * 365))
def test_dates_give_the_age_in_mean_months(birth: date, days: int) -> None:
    later = birth + timedelta(days)
    found, assumed = exam(PatientBirthDate=f"{birth:%Y%m%d}", StudyDate=f"{later:%Y%m%d}")
    assert found.age_months == pytest.approx(days / 365.25 * 12)
    assert assumed == []


def test_dates_win_over_an_age_that_contradicts_them() -> None:
    dates = {"PatientBirthDate": "20140105", "StudyDate": "20240105"}
    found, assumed = exam(**dates, PatientAge="003Y")
    assert found.age_months == pytest.approx(120, abs=0.05)
    assert "contradicts" in assumed[0]
    assert exam(**dates, PatientAge="009Y")[1] == []  # a whole year that is nearly over


def test_other_dates_stand_in_for_the_study_s() -> None:
    assert exam(StudyDate="", AcquisitionDate="2020.03.01")[0].study_date == date(2020, 3, 1)


@pytest.mark.parametrize(
    ("image", "series", "side"),
    [
        ("L", None, Side.LEFT),
        (None, "R", Side.RIGHT),
        ("r ", "", Side.RIGHT),
        ("L", "L", Side.LEFT),
        ("L", "R", None),
        ("B", None, None),
        ("U", None, None),
        ("left", None, None),
        (None, None, None),
    ],
)
def test_the_side_is_stated_or_unknown(image: str | None, series: str | None, side: Side | None) -> None:
    tags = {"ImageLaterality": image, "Laterality": series}
    assert exam(**{keyword: text for keyword, text in tags.items() if text is not None})[0].side is side
