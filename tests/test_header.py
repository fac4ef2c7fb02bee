"""One mistake in a header never loses the study: each is repaired to the same pixels, and told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from carpal.errors import UnsuitableImage
from carpal.imaging.dicom import DicomFile
from dicom_kit import HEIGHT, WIDTH, compress, encode, pydicom, ramp, study

RLE, JPEG_LS, JPEG_2000 = "1.2.840.10008.1.2.5", "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.90"
CT_IMAGE, CAPTURE, DX_IMAGE = (f"1.2.840.10008.5.1.4.1.1.{end}" for end in ("2", "7", "1.1"))
TABLE = pydicom.Dataset()


def decode(dataset: Any) -> Any:
    return DicomFile(encode(dataset), "hand.dcm").decode()


def compressed(syntax: str = JPEG_2000, **tags: Any) -> Any:
    dataset = study()
    compress(dataset, syntax)
    for keyword, value in tags.items():
        setattr(dataset, keyword, value)
    return dataset


def with_syntax(dataset: Any, syntax: str) -> Any:
    dataset.file_meta.TransferSyntaxUID = syntax
    return dataset


def restated(dataset: Any, syntax: str) -> bytes:
    """The file with another transfer syntax of the same length written over its own."""
    own = str(dataset.file_meta.TransferSyntaxUID).encode()
    data = encode(dataset)
    assert len(own) == len(syntax)
    return data.replace(own, syntax.encode(), 1)


@pytest.mark.parametrize(
    ("tags", "told"),
    [
        ({"Rows": None}, "Rows or Columns is missing"),
        ({"Columns": 0}, "Rows or Columns is missing"),
        ({"BitsAllocated": None}, "bits of a sample"),
        ({"BitsAllocated": 32}, "bits of a sample"),
        ({"BitsStored": None, "HighBit": None}, "stored bits"),
        ({"BitsStored": 99}, "stored bits"),
        ({"BitsStored": 8, "HighBit": 7}, "says 8 bits, the pixel data hold 12"),
        ({"HighBit": 3}, None),
        ({"SamplesPerPixel": None}, "samples of a pixel"),
        ({"SamplesPerPixel": 3}, "hold one"),
        ({"SamplesPerPixel": 4096}, "samples of a pixel"),
        ({"PixelRepresentation": None}, "sign"),
        ({"PhotometricInterpretation": None}, "photometric interpretation"),
        ({"PhotometricInterpretation": "MONOCHROME9"}, "photometric interpretation"),
        ({"PhotometricInterpretation": "RGB"}, "photometric interpretation"),
        ({"NumberOfFrames": -1}, "frames"),
        ({"NumberOfFrames": 2_000_000}, "frames"),
        ({"RescaleSlope": "0", "RescaleIntercept": "7"}, "slope is 0"),
        ({"RescaleSlope": "1"}, "slope or the intercept is missing"),
        ({"RescaleSlope": "", "RescaleIntercept": ""}, "empty or malformed"),
        ({"ModalityLUTSequence": [TABLE]}, "modality lookup table is damaged"),
        ({"VOILUTSequence": [TABLE]}, "VOI lookup table is damaged"),
        ({"WindowCenter": "2000", "WindowWidth": "0"}, "window"),
        ({"SOPClassUID": None}, "SOP class"),
        ({"SOPClassUID": CT_IMAGE}, "disagree"),
        ({"Modality": "MR"}, "disagree"),
        ({"PatientBirthDate": "20991231", "StudyDate": "20200101"}, "birth date"),
        ({"StudyDate": "20209999"}, "StudyDate is malformed"),
        ({"PatientAge": "tenY"}, "PatientAge is malformed"),
        ({"ImageLaterality": "L", "Laterality": "R"}, "contradict"),
        ({"SpecificCharacterSet": "ISO 2022 KLINGON"}, None),
    ],
    ids=str,
)
@pytest.mark.filterwarnings("ignore")
def test_a_mistake_is_repaired_and_told(tags: dict[str, Any], told: str | None) -> None:
    dataset = study()
    for keyword, value in tags.items():
        if value is None:
            delattr(dataset, keyword)
        else:
            setattr(dataset, keyword, value)
    dataset.file_meta.MediaStorageSOPClassUID = CT_IMAGE  # encode wants one where the data set has none
    radiograph = decode(dataset)
    np.testing.assert_array_equal(radiograph.pixels_HW, ramp())
    assert len(radiograph.warnings) == (told is not None)
    assert told is None or told in radiograph.warnings[0]


def test_pixels_in_the_wrong_vr_are_pixels() -> None:
    data = encode(study())
    assert data.count(b"\xe0\x7f\x10\x00OW") == 1
    radiograph = DicomFile(data.replace(b"\xe0\x7f\x10\x00OW", b"\xe0\x7f\x10\x00OF"), "hand.dcm").decode()
    np.testing.assert_array_equal(radiograph.pixels_HW, ramp())


@pytest.mark.parametrize(
    ("keyword", "text"), [("Rows", str(HEIGHT)), ("BitsStored", "12 "), ("RescaleSlope", "1.0"), ("WindowWidth", "x")]
)
def test_numbers_in_the_wrong_vr_are_numbers(keyword: str, text: str) -> None:
    dataset = study(RescaleIntercept="0") if keyword == "RescaleSlope" else study()
    dataset.add_new(keyword, "LO", text)
    np.testing.assert_array_equal(decode(dataset).pixels_HW, ramp())


@pytest.mark.parametrize(
    ("build", "told"),
    [
        (lambda: restated(compressed(JPEG_2000), JPEG_LS), "own kind was used"),
        (lambda: restated(compressed(JPEG_LS), "1.2.840.10008.1.2.4.57"), "own kind was used"),
        (lambda: restated(compressed(RLE), "1.2.840.10008.1.2.1"), "own kind was used"),
        (lambda: restated(study(), RLE), "does not fit; its pixels were taken as uncompressed"),
        (lambda: encode(compressed(Rows=7, Columns=5)), "header says 5 x 7 pixels"),
        (lambda: encode(compressed(BitsAllocated=0)), "compressed picture has 12"),
        (lambda: encode(compressed(JPEG_LS, BitsStored=0)), "12 were assumed"),
        (lambda: encode(compressed(NumberOfFrames=0)), "frames"),
        (lambda: encode(compressed(NumberOfFrames=3)), "frames"),
    ],
)
def test_compressed_pixels_know_better_than_the_header(build: Callable[[], bytes], told: str) -> None:
    radiograph = DicomFile(build(), "hand.dcm").decode()
    np.testing.assert_array_equal(radiograph.pixels_HW, ramp())
    assert told in radiograph.warnings[0]


@pytest.mark.parametrize(
    ("sop_class", "modality", "is_read"),
    [
        (DX_IMAGE, "DX", True),
        (CAPTURE, "OT", True),
        (CAPTURE, "CR", True),
        (CAPTURE, "MR", False),
        (CT_IMAGE, "CT", False),
        (CT_IMAGE, "", False),
        ("1.2.840.10008.5.1.4.1.1.12.2", "RF", True),
        ("1.2.840.10008.5.1.4.1.1.6.1", "US", False),
    ],
)
def test_only_radiographs_are_read(sop_class: str, modality: str, is_read: bool) -> None:
    dataset = study(SOPClassUID=sop_class, Modality=modality)
    if is_read:
        assert decode(dataset).warnings == ()
    else:
        with pytest.raises(UnsuitableImage, match="not a radiograph"):
            decode(dataset)


def test_what_else_the_file_holds_is_told_without_its_content() -> None:
    dataset = study(BurnedInAnnotation="YES", BodyPartExamined="CHEST")
    dataset.add_new(0x60000102, "US", 0)
    dataset.add_new(0x60003000, "OW", bytes(HEIGHT * WIDTH // 8 + 2))
    dataset.private_block(0x0011, "VENDOR", create=True).add_new(1, "LO", "SECRET")
    told = " / ".join(decode(dataset).warnings)
    assert all(word in told for word in ("burnt into", "1 overlay plane", "2 private elements", "another body part"))
    assert "SECRET" not in told
    assert decode(study(BodyPartExamined="HAND", BurnedInAnnotation="NO")).warnings == ()


def test_an_overlay_in_the_unused_bits_is_masked_and_not_taken_for_values() -> None:
    pixels_HW = ramp() | np.uint16(0x8000) * (ramp() % 2 == 0)
    dataset = study(pixels_HW)
    dataset.add_new(0x60000102, "US", 15)
    assert decode(dataset).pixels_HW.max() < 4096
