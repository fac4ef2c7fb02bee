"""DICOM: values, tables, polarity, sex, frames and compressions; and that no message shows the patient."""

from __future__ import annotations

import re
import sys
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import bad_files
from carpal.errors import BackendError, CarpalError, UnreadableImage, UnsuitableImage
from carpal.imaging.dicom import DicomFile
from carpal.types import Sex
from dicom_kit import DEFLATED, HEIGHT, WIDTH, compress, encode, pydicom, ramp, study

JPEG_BASELINE, JPEG_2000, RLE = "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.5"
PATIENT = "Nobody^Known^To^Us"


def decode(dataset: Any) -> Any:
    return DicomFile(encode(dataset), "hand.dcm").decode()


def table(values: list[int], first: int, bits: int) -> Any:
    """A sequence with one lookup table."""
    item = pydicom.Dataset()
    item.add_new("LUTDescriptor", "US", [len(values), first, bits])
    item.add_new("LUTData", "OW", np.asarray(values, "<u2").tobytes())
    return pydicom.Sequence([item])


@pytest.mark.parametrize(
    ("pixels", "bits", "expected"),
    [(ramp(255, np.uint8), 8, np.uint8), (ramp(), 12, np.uint16), (ramp(65_000), 16, np.uint16)],
)
def test_unsigned_values_arrive_unchanged(pixels: NDArray[Any], bits: int, expected: Any) -> None:
    radiograph = decode(study(pixels, bits))
    assert radiograph.pixels_HW.dtype == expected
    np.testing.assert_array_equal(radiograph.pixels_HW, pixels)
    assert radiograph.warnings == ()


def test_signed_values_keep_their_sign() -> None:
    pixels_HW = ramp(4000, np.int16) - 1000
    np.testing.assert_array_equal(decode(study(pixels_HW, 16)).pixels_HW, pixels_HW)


def test_monochrome1_is_inverted() -> None:
    pixels_HW = ramp() + 7
    inverted_HW = decode(study(pixels_HW, PhotometricInterpretation="MONOCHROME1")).pixels_HW.astype(int)
    np.testing.assert_array_equal(inverted_HW + pixels_HW, np.full(pixels_HW.shape, pixels_HW.min() + pixels_HW.max()))


@pytest.mark.parametrize(("slope", "intercept"), [("2", "-1024"), ("0.5", "10"), ("-1", "4095")])
def test_rescale_is_applied(slope: str, intercept: str) -> None:
    radiograph = decode(study(RescaleSlope=slope, RescaleIntercept=intercept))
    np.testing.assert_allclose(radiograph.pixels_HW, ramp() * float(slope) + float(intercept), rtol=1e-6)


def test_tables_follow_each_other_and_inversion_is_last() -> None:
    """Modality: v -> 2v. VOI: entries from 100 on, an 8-bit table, so that 12-bit values must not wrap."""
    modality = table([2 * value for value in range(4096)], first=0, bits=16)
    voi = table([entry // 32 for entry in range(8000)], first=100, bits=8)
    tags = {"ModalityLUTSequence": modality, "VOILUTSequence": voi, "PhotometricInterpretation": "MONOCHROME1"}
    expected_HW = np.clip(ramp().astype(int) * 2 - 100, 0, 7999) // 32
    expected_HW = expected_HW.max() + expected_HW.min() - expected_HW
    np.testing.assert_array_equal(decode(study(**tags)).pixels_HW, expected_HW)


def test_a_window_clips_before_the_inversion() -> None:
    """LINEAR of PS3.3 C.11.2.1.2.1: black and white lie (width - 1) / 2 below and above centre - 0.5."""
    tags = {"WindowCenter": ["2048", "9"], "WindowWidth": ["2000", "9"], "PhotometricInterpretation": "MONOCHROME1"}
    expected_HW = np.clip(ramp(), 1048, 3047)
    np.testing.assert_array_equal(decode(study(**tags)).pixels_HW, 3047 + 1048 - expected_HW.astype(int))


def test_a_sigmoid_window_bends_the_grey_values() -> None:
    tags = {"WindowCenter": "2048", "WindowWidth": "2000", "VOILUTFunction": "SIGMOID"}
    expected_HW = 65535 / (1 + np.exp(-4 * (ramp().astype(float) - 2048) / 2000))
    np.testing.assert_allclose(decode(study(**tags)).pixels_HW, expected_HW, atol=0.5)


def test_a_window_that_hides_the_picture_is_not_used() -> None:
    radiograph = decode(study(WindowCenter="300", WindowWidth="20"))
    np.testing.assert_array_equal(radiograph.pixels_HW, ramp())
    assert "window" in radiograph.warnings[0]


@pytest.mark.parametrize(
    ("stated", "sex"),
    [
        *(("M", Sex.MALE), ("F", Sex.FEMALE), ("O", None), ("", None), (None, None)),
        *(("MALE", Sex.MALE), ("FEMALE", Sex.FEMALE), ("W", Sex.FEMALE), ("weiblich", Sex.FEMALE), ("m ", Sex.MALE)),
        *(("F\\M", None), ("M\\F", None), ("F\\F", Sex.FEMALE), ("F\\O", None), ("U", None), ("FM", None)),
    ],
)
@pytest.mark.filterwarnings("ignore:Invalid value for VR")
def test_sex_is_what_the_file_states_and_never_guessed(stated: str | None, sex: Sex | None) -> None:
    dataset = study()
    if stated is not None:
        dataset.PatientSex = stated
    assert decode(dataset).sex is sex


def test_of_several_frames_the_first_is_read_and_the_count_told() -> None:
    radiograph = decode(study(np.stack([ramp(), ramp()[::-1], ramp() // 2]), NumberOfFrames=3))
    np.testing.assert_array_equal(radiograph.pixels_HW, ramp())
    assert "3 frames" in radiograph.warnings[0]


def test_colour_becomes_grey_with_a_warning() -> None:
    grey_HW = ramp(255, np.uint8)
    tags: dict[str, Any] = {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "PlanarConfiguration": 0}
    same = decode(study(np.stack([grey_HW] * 3, axis=2), 8, **tags))
    np.testing.assert_array_equal(same.pixels_HW, grey_HW)
    assert same.warnings == ()
    coloured = decode(study(np.stack([grey_HW, 255 - grey_HW, grey_HW], axis=2), 8, **tags))
    assert "coloured" in coloured.warnings[0]


def test_uncompressed_colour_of_half_the_width_is_turned_to_grey() -> None:
    """YBR_FULL_422: Y, Y, Cb, Cr for two pixels; with Cb and Cr at 128 the picture is grey, and so is Y."""
    grey_HW = ramp(255, np.uint8)
    pairs = np.full((HEIGHT, WIDTH // 2, 4), 128, np.uint8)
    pairs[..., 0], pairs[..., 1] = grey_HW[:, ::2], grey_HW[:, 1::2]
    tags: dict[str, Any] = {"SamplesPerPixel": 3, "PhotometricInterpretation": "YBR_FULL_422", "PlanarConfiguration": 0}
    radiograph = decode(study(grey_HW, 8, **tags, PixelData=pairs.tobytes()))
    np.testing.assert_array_equal(radiograph.pixels_HW, grey_HW)
    assert radiograph.warnings == ()


@pytest.mark.parametrize("syntax", [RLE, JPEG_2000])
def test_lossless_compression_arrives_unchanged(syntax: str) -> None:
    dataset = study()
    compress(dataset, syntax)
    np.testing.assert_array_equal(decode(dataset).pixels_HW, ramp())


def jpeg_study(coded_HW: NDArray[np.uint8]) -> Any:
    """A header of HEIGHT x WIDTH around a JPEG of any size."""
    buffer = BytesIO()
    Image.fromarray(coded_HW).save(buffer, "JPEG", quality=98)
    dataset = study(ramp(255, np.uint8), 8)
    dataset.file_meta.TransferSyntaxUID = JPEG_BASELINE
    dataset.PixelData = pydicom.encaps.encapsulate([buffer.getvalue()])
    dataset["PixelData"].VR = "OB"
    return dataset


def test_jpeg_arrives_almost_unchanged() -> None:
    difference_HW = decode(jpeg_study(ramp(255, np.uint8))).pixels_HW - ramp(255, np.float32)
    assert np.abs(difference_HW).max() <= 3


def test_a_jpeg_larger_than_its_header_counts_within_the_limits() -> None:
    radiograph = decode(jpeg_study(ramp(255, np.uint8).repeat(2, axis=0)))
    assert radiograph.pixels_HW.shape == (2 * HEIGHT, WIDTH)
    assert f"the header says {WIDTH} x {HEIGHT} pixels" in radiograph.warnings[0]


def test_a_jpeg_beyond_the_limits_is_refused_before_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("carpal.imaging.raster.MAX_PIXELS", 100_000)
    with pytest.raises(UnsuitableImage, match="too large - 500 x 300"):
        decode(jpeg_study(np.zeros((300, 500), np.uint8)))


def test_deflated_files_are_read() -> None:
    np.testing.assert_array_equal(decode(study(syntax=DEFLATED)).pixels_HW, ramp())


def test_a_deflated_bomb_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("carpal.imaging.dicom.MAX_BYTES", 10_000)
    with pytest.raises(UnsuitableImage, match=r"hand\.dcm: inflates to more"):
        DicomFile(bad_files.deflated(1_000_000), "hand.dcm").decode()


def test_a_file_without_preamble_or_meta_is_read_with_a_warning() -> None:
    dataset = study(PatientSex="F")
    del dataset.file_meta
    buffer = BytesIO()
    dataset.save_as(buffer, implicit_vr=True, little_endian=True)
    radiograph = DicomFile(buffer.getvalue(), "old.dcm").decode()
    np.testing.assert_array_equal(radiograph.pixels_HW, ramp())
    assert radiograph.sex is Sex.FEMALE
    assert "transfer syntax" in radiograph.warnings[0]


@pytest.mark.parametrize(("tags", "code", "message"), bad_files.BAD_HEADERS.values(), ids=bad_files.BAD_HEADERS)
def test_a_bad_header_is_refused_by_name(tags: dict[str, Any], code: str, message: str) -> None:
    with pytest.raises(CarpalError, match=re.escape(message)) as caught:
        decode(study(**tags))
    assert caught.value.code == code
    assert str(caught.value).startswith("hand.dcm: ")


def test_a_missing_codec_is_named_with_the_mend() -> None:
    dataset = study()
    dataset.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.102"  # MPEG-4, which nobody decodes here
    dataset.PixelData = pydicom.encaps.encapsulate([bytes(100)])
    dataset["PixelData"].VR = "OB"
    with pytest.raises(UnreadableImage, match=r"no codec .*MPEG-4.* pip install 'carpal\[dicom\]'"):
        decode(dataset)


def test_without_pydicom_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    data = encode(study())
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(BackendError, match=r"hand\.dcm: reading DICOM needs .* pip install 'carpal\[dicom\]'"):
        DicomFile(data, "hand.dcm").decode()


@pytest.mark.parametrize(
    "keyword", ["Rows", "RescaleSlope", "NumberOfFrames", "PhotometricInterpretation", "PatientAge"]
)
def test_no_message_shows_the_patient(keyword: str) -> None:
    """A value in the wrong place is one assumption more; pydicom's message, which would quote it, never shows."""
    dataset = study(RescaleIntercept="0")
    dataset.add_new(keyword, "LO", PATIENT)
    radiograph = decode(dataset)
    np.testing.assert_array_equal(radiograph.pixels_HW, ramp())
    assert radiograph.warnings
    assert PATIENT not in " ".join(radiograph.warnings)


def test_no_error_shows_the_patient() -> None:
    dataset = study(PixelData=b"", PatientComments=PATIENT)
    dataset.add_new("Rows", "LO", PATIENT)
    with pytest.raises(CarpalError) as caught:
        decode(dataset)
    assert PATIENT not in str(caught.value)
    assert caught.value.__cause__ is None
