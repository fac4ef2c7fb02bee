"""What a header states of the examination: dates, age, side; and None rather than a guess."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carpal.imaging.dicom import DicomFile
from carpal.imaging.exam import exam_of
from carpal.imaging.header import notices
from carpal.types import Exam, Side
from dicom_kit import encode, pydicom, study

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


def test_an_age_that_contradicts_the_dates_is_unknown() -> None:
    dates = {"PatientBirthDate": "20140105", "StudyDate": "20240105"}
    found, assumed = exam(**dates, PatientAge="003Y")
    assert (found.age_months, found.birth_date) == (None, None)
    assert len(assumed) == 1
    assert "contradicts" in assumed[0]
    assert exam(**dates, PatientAge="009Y")[1] == []  # a whole year that is nearly over


@pytest.mark.parametrize(
    "birth", ["19000101", "18991231", "18991230", "19700101", "00010101", "11111111", "19010101", "99991231"]
)
def test_a_placeholder_for_a_birth_date_makes_no_adult(birth: str) -> None:
    """Beside an age, which contradicts it, and alone; nobody gets the date, who might compute an age from it."""
    for age in ({"PatientAge": "008Y"}, {}):
        found, assumed = exam(PatientBirthDate=birth, StudyDate="20200401", **age)
        assert (found.age_months, found.birth_date) == (None, None)
        assert len(assumed) == 1


def test_a_birth_date_that_fits_is_believed_whatever_day_it_is() -> None:
    assert exam(PatientBirthDate="19700101", StudyDate="19780101")[0].age_months == pytest.approx(96, abs=0.1)
    adult = exam(PatientBirthDate="19700101", StudyDate="20200401", PatientAge="050Y")[0]
    assert adult.age_months == pytest.approx(603, abs=0.1)


@pytest.mark.parametrize(
    "written", ["20120315", "2012/03/15", "2012-03-15", "2012.03.15", "2012/3/15", "20120315101112"]
)
@pytest.mark.filterwarnings("ignore")
def test_a_date_is_read_as_real_files_write_it(written: str) -> None:
    dataset = study()
    dataset.add_new("PatientBirthDate", "LO", written)
    dataset.StudyDate = "20200315"
    assumed: list[str] = []
    found = exam_of(dataset, assumed)
    assert (found.birth_date, assumed) == (date(2012, 3, 15), [])
    assert found.age_months == pytest.approx(96, abs=0.1)


@pytest.mark.parametrize("written", ["15.03.2012", "2012", "201203", "2012/13/15", "2012-0315", "unknown"])
@pytest.mark.filterwarnings("ignore")
def test_what_is_no_date_is_none_and_told(written: str) -> None:
    dataset = study()
    dataset.add_new("PatientBirthDate", "LO", written)
    assumed: list[str] = []
    assert exam_of(dataset, assumed).birth_date is None
    assert assumed == ["PatientBirthDate is malformed and was not used"]


def region(code: str, meaning: str, side: str | None = None) -> Any:
    """An AnatomicRegionSequence, as Digital X-Ray requires it."""
    items = [pydicom.Dataset(), pydicom.Dataset()]
    for item, said in zip(items, ((code, meaning), (side or "", side or "")), strict=True):
        item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = said[0], "SCT", said[1]
    if side is not None:
        items[0].AnatomicRegionModifierSequence = [items[1]]
    return [items[0]]


@pytest.mark.parametrize(
    ("tags", "side"),
    [
        ({"AnatomicRegionSequence": region("85562004", "Hand", "7771000")}, Side.LEFT),
        ({"AnatomicRegionSequence": region("85562004", "Hand", "Right")}, Side.RIGHT),
        ({"AnatomicRegionSequence": region("85562004", "Hand")}, None),
        ({"AnatomicRegionSequence": region("85562004", "Hand", "7771000"), "Laterality": "L"}, Side.LEFT),
        ({"AnatomicRegionSequence": region("85562004", "Hand", "7771000"), "Laterality": "R"}, None),
        ({"AnatomicRegionSequence": region("85562004", "Hand", "51440002")}, None),
        ({"AnatomicRegionSequence": []}, None),
        ({"Laterality": ["L", "R"]}, None),
    ],
    ids=str,
)
def test_the_anatomic_region_names_the_side(tags: dict[str, Any], side: Side | None) -> None:
    found, assumed = exam(**tags)
    assert found.side is side
    assert bool(assumed) == (tags.get("Laterality") in ("R", ["L", "R"]))


@pytest.mark.parametrize(
    "part",
    [
        *(
            "HAND",
            "LHAND",
            "L HAND",
            "HAND_LEFT",
            "HAND AP",
            "HAND AND WRIST",
            "FINGERS",
            "RHAND",
            "HAND R",
            "Left Hand",
        ),
        *("WRIST/HAND", "HANDPA", "LT HAND", "HAND-RT", "UPPER EXTREMITY", "BONE AGE", "THUMB", "FOREARM", ""),
    ],
)
def test_every_way_to_write_hand_is_a_hand(part: str) -> None:
    assert notices(study(BodyPartExamined=part)) == []


@pytest.mark.parametrize("part", ["CHEST", "HANDLE", "FOOT", "LOWER EXTREMITY", "KNEE L", "ABDOMEN", "LEG"])
def test_another_body_part_is_told(part: str) -> None:
    assert notices(study(BodyPartExamined=part)) == ["the file names another body part than a hand"]


def test_the_anatomic_region_is_a_body_part_too() -> None:
    assert notices(study(AnatomicRegionSequence=region("85562004", "Main gauche"))) == []
    assert notices(study(AnatomicRegionSequence=region("T-D8700", "Hand"))) == []
    assert len(notices(study(AnatomicRegionSequence=region("51185008", "Chest")))) == 1


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
