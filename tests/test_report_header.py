"""The radiograph that results refer to: copied where the file is right, emptied or derived where it is not."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from carpal.errors import UnreadableImage
from carpal.imaging.read import open_image
from carpal.types import Side
from dicom_kit import CHILD, child_file, encode, header_of, pydicom, ramp, study


def test_patient_and_study_are_copied() -> None:
    source = header_of(child_file())
    for keyword in ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyID", "AccessionNumber"):
        assert source.text(keyword) == CHILD[keyword]
    assert (source.study_uid, source.series_uid, source.sop_instance_uid) == ("1.2.3", "1.2.3.4", "1.2.3.4.5")
    assert (source.date, source.time, source.exam.side, source.assumed) == ("20240105", "101112.5", Side.LEFT, ())
    assert "PixelData" not in source.dataset


def test_tags_of_type_2_are_there_even_where_the_file_has_none() -> None:
    source = header_of(encode(study()))
    for keyword in ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "AccessionNumber"):
        assert source.text(keyword) == ""
        assert keyword in source.dataset
    told = " / ".join(source.assumed)
    assert all(word in told for word in ("StudyInstanceUID", "SeriesInstanceUID", "no date"))
    assert source == header_of(encode(study()))


def test_derived_uids_follow_the_content() -> None:
    first, second = (header_of(encode(study(ramp(top)))) for top in (4095, 4000))
    assert first.study_uid != second.study_uid
    assert pydicom.uid.UID(first.study_uid).is_valid


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("keyword", "value", "kept"),
    [
        ("PatientSex", "female", ""),
        ("PatientBirthDate", "20140231", ""),
        ("StudyTime", "99:99", ""),
        ("AccessionNumber", "A" * 40, "A" * 16),
        ("PatientID", "a\x07b\nc", "abc"),
        ("StudyID", "  7 ", "7"),
    ],
)
def test_malformed_values_are_cleaned_and_told_without_being_quoted(keyword: str, value: str, kept: str) -> None:
    source = header_of(child_file(**{keyword: value}))
    assert source.text(keyword) == kept
    if kept != value.strip():
        assert keyword in source.assumed[0]
        assert value not in source.assumed[0]


@pytest.mark.parametrize(
    ("name", "charset", "expected"),
    [
        ("Muller^Jorg", "ISO_IR 100", "ISO_IR 100"),
        ("Müller^Jörg", "ISO_IR 100", "ISO_IR 100"),
        ("王^小東", "GB18030", "ISO_IR 192"),
    ],
)
def test_names_of_any_script_survive(name: str, charset: str, expected: str) -> None:
    source = header_of(child_file(SpecificCharacterSet=charset, PatientName=name))
    assert source.text("PatientName") == name
    assert source.text("SpecificCharacterSet") == expected


def test_a_plain_image_has_no_header(tmp_path: Path) -> None:
    buffer = BytesIO()
    Image.fromarray(ramp(255, np.uint8)).save(buffer, "PNG")
    file = open_image(buffer.getvalue(), "hand.png")
    assert file.header is None
    assert file.decode().header is None
    with pytest.raises(UnreadableImage, match="there is no such file"):
        open_image(tmp_path / "none.dcm")


@pytest.mark.parametrize("tags", [{"Rows": 0, "Columns": 0}, {"PixelData": b""}])
def test_a_header_whose_pixels_are_lost_is_still_one(tags: dict[str, Any]) -> None:
    source = header_of(child_file(**tags))
    assert source.text("PatientID") == CHILD["PatientID"]
    assert source.dataset.Rows == 0
