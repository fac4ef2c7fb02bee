"""The radiograph that results refer to: copied where the file is right, emptied or derived where it is not."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from carpal.errors import BadIdentity, UnreadableImage
from carpal.imaging.header import stated
from carpal.imaging.read import open_image
from carpal.report import forms
from carpal.report.content import findings
from carpal.types import Side
from dicom_kit import CHILD, assessment, child_file, encode, header_of, pydicom, ramp, study


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
        ("PatientSex", "F\\M", ""),
        ("PatientBirthDate", "20140105\\20150105", ""),
        ("PatientName", "Doe^Jane\\Roe^Jane", ""),
        ("StudyID", "  7 ", "7"),
    ],
)
def test_what_no_object_can_carry_is_empty_and_told_without_being_quoted(keyword: str, value: str, kept: str) -> None:
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


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("AccessionNumber", "ACC-2020-04-01-000123456"),
        ("PatientID", "P" * 65),
        ("PatientID", "A1\\B2"),
        ("PatientID", "a\x07b\nc"),
        ("PatientName", "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645^Zahra"),
        ("PatientName", "=".join(f"{group}" * 40 for group in ("Yamada^", "\u5c71", "\u3084"))),
        ("StudyInstanceUID", "1.2.010.3"),
        ("SeriesInstanceUID", "1.2.010.4"),
        ("SOPInstanceUID", "1.2.010.5"),
    ],
)
def test_what_identifies_the_child_and_the_study_passes_as_it_stands(keyword: str, value: str) -> None:
    """Byte for byte, in every object, although it breaks a rule of its VR."""
    pytest.importorskip("highdicom")
    data = child_file(**{"SpecificCharacterSet": "ISO_IR 192", keyword: value})
    header = header_of(data)
    assert header.text(keyword) == value
    found = findings(assessment(), header)
    made = forms.make(("sr", "gsps", "fhir", "hl7"), found, header)
    for kind in ("sr", "gsps"):
        written = pydicom.dcmread(BytesIO(made[kind].content))
        if keyword in ("PatientID", "PatientName", "AccessionNumber", "StudyInstanceUID"):
            assert stated(written, keyword) == value
        assert value.encode() in made[kind].content
    if keyword == "AccessionNumber":
        assert value.encode() in made["hl7"].content
        assert value.encode() in made["fhir"].content


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("keyword", ["StudyInstanceUID", "SeriesInstanceUID"])
@pytest.mark.parametrize("value", ["x", "1.2." + "3" * 62, "1.2.3\\1.2.4"])
def test_nothing_refers_to_a_radiograph_whose_uid_nothing_can_carry(keyword: str, value: str) -> None:
    header = header_of(child_file(**{keyword: value}))
    assert header.unfit == keyword
    for kind in ("sr", "fhir", "hl7"):
        with pytest.raises(BadIdentity, match=f"{keyword} is no UID"):
            forms.make((kind,), findings(assessment(), header), header)


@pytest.mark.parametrize("charset", [None, "ISO_IR 6"])
def test_a_name_in_no_declared_character_set_is_utf_8_where_it_can_be(charset: str | None) -> None:
    """Otherwise its bytes pass as they are: no letter is dropped."""
    for raw, name in ((b"\xc3\x89mile^M\xc3\xbcller", "\u00c9mile^M\u00fcller"), (b"\xc9mile\x89^M\xfcller!!", None)):
        plain = b"Plain^Plainname!"
        data = child_file(SpecificCharacterSet=charset, PatientName=plain.decode())
        changed = data.replace(plain, raw.ljust(len(plain)))
        assert changed != data
        header = header_of(changed)
        assert header.text("PatientName") == (name or raw.decode("latin-1").strip())
        if name is None:
            assert header.text("PatientName").encode("latin-1") == raw.strip()
            assert header.text("SpecificCharacterSet") == "ISO_IR 100"


def test_both_sexes_are_no_sex() -> None:
    file = open_image(child_file(PatientSex="F\\M"))
    assert file.decode().sex is None
