"""De-identification: nothing planted survives, the pixels do, UIDs stay consistent, and the result is valid DICOM."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from carpal.cli import main
from carpal.errors import UnreadableImage, UnsuitableImage
from carpal.imaging.deidentify import deidentify
from carpal.imaging.read import read_radiograph
from carpal.types import Sex
from dicom_kit import CHILD, child_file, compress, encode, errors_of, pydicom, ramp, study

pytest.importorskip("dicomanonymizer")
KEY, OTHER_KEY = b"k" * 32, b"o" * 32
PLANTED = "ZYXQWERT"
TEXTS = {"LO": 64, "SH": 16, "PN": 64, "LT": 100, "ST": 100, "UT": 100, "UC": 100, "AE": 16}
pytestmark = pytest.mark.filterwarnings("ignore:Invalid value for VR", "ignore:The value length")


def read(content: bytes) -> Any:
    return pydicom.dcmread(BytesIO(content))


def identifying_tags() -> list[Any]:
    """The text tags of table E.1-1, and every person's name of the dictionary."""
    from dicomanonymizer.dicomfields_selector import dicom_anonymization_database_selector
    from pydicom.datadict import DicomDictionary, dictionary_has_tag, dictionary_VR

    table = dicom_anonymization_database_selector("dicomfields_2026c")["ALL_TAGS"]
    tags = {pydicom.tag.Tag(*tag) for tag in table if len(tag) == 2 and tag[0] > 8}
    names = {pydicom.tag.Tag(tag) for tag, entry in DicomDictionary.items() if entry[0] == "PN" and tag >> 16 > 8}
    return sorted(tag for tag in tags | names if dictionary_has_tag(tag) and dictionary_VR(tag) in TEXTS)


def planted_file() -> bytes:
    """The planted word in every such tag, at three depths; private, in an overlay, in preamble and meta header."""
    dataset = study(ramp(), **CHILD, BurnedInAnnotation="NO")
    inner, innermost = pydicom.Dataset(), pydicom.Dataset()
    for level in (dataset, inner, innermost):
        for tag in identifying_tags():
            level.add_new(tag, pydicom.datadict.dictionary_VR(tag), PLANTED)
        level.private_block(0x0011, PLANTED, create=True).add_new(1, "LO", PLANTED)
    inner.ReferencedSOPInstanceUID = innermost.ReferencedSOPInstanceUID = "1.2.3.4.5"
    inner.ReferencedImageSequence = [innermost]
    dataset.ReferencedImageSequence = [inner]
    dataset.ModalityLUTSequence = [inner]
    dataset.add_new(0x60024000, "LT", PLANTED)
    dataset.add_new(0x60023000, "OW", PLANTED.encode())
    dataset.add_new(0x00081234, "LO", PLANTED)  # of no dictionary
    dataset.file_meta.SourceApplicationEntityTitle = PLANTED
    dataset.preamble = PLANTED.encode() * 16
    data = encode(dataset)
    assert data.count(PLANTED.encode()) > 3 * 300
    return data


def test_nothing_planted_survives() -> None:
    made = deidentify(planted_file(), "hand.dcm", KEY)
    assert PLANTED.encode() not in made.content
    for value in ("Zyx", "PID-4711", "ACC-99", "House", "20140105", "20240105", "1.2.3.4"):
        assert value.encode() not in made.content
    assert made.warnings == ()


def test_the_pixels_stay_and_the_record_says_what_was_done(tmp_path: Path) -> None:
    made = deidentify(child_file(), "hand.dcm", KEY)
    np.testing.assert_array_equal(read(made.content).pixel_array, ramp(height=256, width=200))
    before, after = tmp_path / "before.dcm", tmp_path / "after.dcm"
    before.write_bytes(child_file())
    after.write_bytes(made.content)
    assert set(errors_of(after)) <= set(errors_of(before))
    written = read(made.content)
    assert written.PatientIdentityRemoved == "YES"
    assert [item.CodeValue for item in written.DeidentificationMethodCodeSequence] == ["113100"]
    assert (written.PatientSex, written.get("PatientAge"), written.StudyDate) == ("", None, "")
    exam = read_radiograph(made.content).exam
    assert exam is not None
    assert exam.age_months is None


def test_characteristics_stay_where_asked_and_the_age_is_in_months() -> None:
    written = deidentify(child_file(PatientSize="1.4"), "hand.dcm", KEY, keep_characteristics=True).content
    assert [item.CodeValue for item in read(written).DeidentificationMethodCodeSequence] == ["113100", "113108"]
    assert read(written).PatientSize == 1.4
    radiograph = read_radiograph(written)
    assert radiograph.sex is Sex.FEMALE
    assert radiograph.exam is not None
    assert radiograph.exam.age_months == 120


def test_uids_and_pseudonym_are_consistent_and_follow_the_key() -> None:
    first, second = (child_file(SOPInstanceUID=f"1.2.3.4.{end}") for end in (5, 6))
    a, b, again = (read(deidentify(data, "hand.dcm", KEY).content) for data in (first, second, first))
    assert a == again
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "PatientID"):
        assert a[keyword] == b[keyword]
    assert a.SOPInstanceUID != b.SOPInstanceUID
    assert a.SOPInstanceUID == a.file_meta.MediaStorageSOPInstanceUID
    assert a.SOPClassUID == read(first).SOPClassUID
    other = read(deidentify(first, "hand.dcm", OTHER_KEY).content)
    assert not {a.StudyInstanceUID, a.PatientID} & {other.StudyInstanceUID, other.PatientID}
    assert read(deidentify(child_file(PatientID=None), "hand.dcm", KEY).content).PatientID == ""


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.5", "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.80"])
def test_compressed_pixels_stay_compressed(syntax: str) -> None:
    dataset = study(**CHILD)
    compress(dataset, syntax)
    written = deidentify(encode(dataset), "hand.dcm", KEY).content
    assert read(written).file_meta.TransferSyntaxUID == syntax
    np.testing.assert_array_equal(read_radiograph(written).pixels_HW, ramp())


def test_burnt_in_text_is_refused_accepted_or_warned_of() -> None:
    with pytest.raises(UnsuitableImage, match=r"hand\.dcm: .*burnt into the picture.*--accept-burned-in"):
        deidentify(child_file(BurnedInAnnotation="YES"), "hand.dcm", KEY)
    accepted = deidentify(child_file(BurnedInAnnotation="YES"), "hand.dcm", KEY, accept_burned_in=True)
    assert "burnt" in accepted.warnings[0]
    capture = child_file(SOPClassUID="1.2.840.10008.5.1.4.1.1.7", Modality="OT")
    assert "secondary capture" in deidentify(capture, "hand.dcm", KEY).warnings[0]


def test_other_objects_are_refused() -> None:
    report = study(**CHILD)
    del report.PixelData
    with pytest.raises(UnreadableImage, match="no picture"):
        deidentify(encode(report), "report.dcm", KEY)
    with pytest.raises(UnsuitableImage, match="not a radiograph"):
        deidentify(child_file(SOPClassUID="1.2.840.10008.5.1.4.1.1.2", Modality="CT"), "ct.dcm", KEY)


def test_the_command_copies_folders_and_keeps_the_key(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, out, key = tmp_path / "in", tmp_path / "out", tmp_path / "secret.key"
    (folder / "deep").mkdir(parents=True)
    (folder / "Zyx.dcm").write_bytes(child_file())
    (folder / "deep" / "b.dcm").write_bytes(child_file(SOPInstanceUID="1.2.3.4.6"))
    words = ["deidentify", str(folder), "--out", str(out), "--key", str(key), "--keep-characteristics"]
    assert main(words) == 0
    captured = capsys.readouterr()
    assert "2 of 2 files written" in captured.out
    assert "look at it" in captured.err
    first = {path.name: path.read_bytes() for path in out.iterdir()}
    assert main(words) == 0
    assert {path.name: path.read_bytes() for path in out.iterdir()} == first
    assert key.stat().st_mode & 0o077 == 0
    (folder / "notes.txt").write_text("Zyx was here")
    assert main(words) == 3
    assert "2 of 3 files written" in capsys.readouterr().out


@pytest.mark.parametrize("content", ["", "abcd", "no hex"])
def test_a_wrong_key_is_refused(content: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "key").write_text(content)
    assert main(["deidentify", str(tmp_path), "--out", str(tmp_path / "o"), "--key", str(tmp_path / "key")]) == 2
    assert "is no key" in capsys.readouterr().err
