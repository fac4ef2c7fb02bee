"""The one door: content decides, every bad file gives our error by name, and no bytes at all get anything else out."""

from __future__ import annotations

import os
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

import bad_files
import dicom_kit
from carpal.errors import CarpalError, InputError, UnreadableImage, UnsuitableImage
from carpal.imaging.read import RASTER_MAGIC, read_radiograph
from carpal.types import Radiograph

EXAMPLES = Path(__file__).parents[1] / "examples"
RASTERS = ["PNG", "PNG16", "JPEG", "TIFF", "TIFF-LZW", "WEBP"]
DICOMS = ["DICOM", "DICOM-RLE", "DICOM-J2K"]
quick = settings(deadline=None, max_examples=60)


def picture(dtype: Any = np.uint8) -> NDArray[Any]:
    top = np.iinfo(dtype).max
    return np.random.default_rng(5).integers(0, top, (40, 36), dtype)


@cache
def encoded(kind: str) -> bytes:
    """A valid file of the kind."""
    if kind.startswith("DICOM"):
        return dicom(kind)
    special: dict[str, dict[str, Any]] = {"TIFF-LZW": {"compression": "tiff_lzw"}, "WEBP": {"lossless": True}}
    image = Image.fromarray(picture(np.uint16 if kind == "PNG16" else np.uint8))
    buffer = BytesIO()
    image.save(buffer, kind.removesuffix("16").removesuffix("-LZW"), **special.get(kind, {}))
    return buffer.getvalue()


def dicom(kind: str) -> bytes:
    pydicom = pytest.importorskip("pydicom")
    dataset = pydicom.Dataset()
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1"
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.1"
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = "2.25.1"
    dataset.Rows, dataset.Columns, dataset.SamplesPerPixel = 40, 36, 1
    dataset.PhotometricInterpretation, dataset.PixelRepresentation = "MONOCHROME2", 0
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 8, 8, 7
    dataset.RescaleSlope, dataset.RescaleIntercept = "1", "0"
    dataset.PixelData = picture().tobytes()
    if kind != "DICOM":
        syntax = {"DICOM-RLE": "1.2.840.10008.1.2.5", "DICOM-J2K": "1.2.840.10008.1.2.4.90"}[kind]
        dicom_kit.compress(dataset, syntax)
    buffer = BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def read_or_refuse(data: bytes) -> Radiograph | None:
    """A radiograph, or our own error with the name in front; any other exception fails the test."""
    try:
        return read_radiograph(data, name="fuzz.img")
    except CarpalError as error:
        message = str(error)
    assert message.startswith("fuzz.img: ")
    return None


@pytest.mark.parametrize("kind", RASTERS + DICOMS)
@pytest.mark.parametrize("extension", ["jpg", "dcm", "txt"])
def test_the_content_decides_and_not_the_extension(tmp_path: Path, kind: str, extension: str) -> None:
    path = tmp_path / f"hand.{extension}"
    path.write_bytes(encoded(kind))
    radiograph = read_radiograph(path)
    assert radiograph.source == str(path)
    expected_HW = picture(np.uint16 if kind == "PNG16" else np.uint8)
    if kind == "JPEG":
        assert np.abs(radiograph.pixels_HW.astype(int) - expected_HW).mean() < 8
    else:
        np.testing.assert_array_equal(radiograph.pixels_HW, expected_HW)


def test_path_string_and_bytes_read_the_same(tmp_path: Path) -> None:
    path = tmp_path / "hand.png"
    path.write_bytes(encoded("PNG"))
    by_path, by_string, by_bytes = read_radiograph(path), read_radiograph(str(path)), read_radiograph(encoded("PNG"))
    np.testing.assert_array_equal(by_path.pixels_HW, by_bytes.pixels_HW)
    assert by_path.source == by_string.source == str(path)
    assert read_radiograph(encoded("PNG"), name="upload 7").source == "upload 7"


@pytest.mark.parametrize("example", sorted(EXAMPLES.glob("*.jpg")), ids=lambda path: path.stem)
def test_the_examples_read_without_a_warning(example: Path) -> None:
    radiograph = read_radiograph(example)
    assert max(radiograph.pixels_HW.shape) == 640
    assert radiograph.warnings == ()


def test_there_are_examples_with_labels() -> None:
    labelled = {line.split(",")[0] for line in (EXAMPLES / "labels.csv").read_text().splitlines()[1:]}
    assert labelled == {path.stem for path in EXAMPLES.glob("*.jpg")}
    assert 2 <= len(labelled) <= 4


@pytest.mark.parametrize(("content", "message"), bad_files.FOREIGN.values(), ids=bad_files.FOREIGN)
def test_other_files_are_named_with_what_they_are(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "hand.png"
    path.write_bytes(content)
    with pytest.raises(UnreadableImage, match=message) as caught:
        read_radiograph(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "xport it" in str(caught.value)


def test_a_file_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_bytes", refuse)
    (tmp_path / "hand.png").write_bytes(encoded("PNG"))
    with pytest.raises(UnreadableImage, match=r"hand\.png: the file cannot be opened \(Permission denied\)"):
        read_radiograph(tmp_path / "hand.png")


def test_paths_that_are_no_file(tmp_path: Path) -> None:
    with pytest.raises(UnreadableImage, match=r"there is no such file\. Check the path"):
        read_radiograph(tmp_path / "none.png")
    with pytest.raises(UnreadableImage, match="not a file"):
        read_radiograph(tmp_path)
    with pytest.raises(UnreadableImage, match=r"no such file|cannot be opened"):
        read_radiograph("null\0byte.png")
    with pytest.raises(UnreadableImage, match=r"no such file|cannot be opened"):
        read_radiograph("long" * 2000)
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(UnreadableImage, match="not a file"):  # opening it would wait for ever
        read_radiograph(tmp_path / "pipe.png")


def test_a_giant_file_is_refused_unopened(tmp_path: Path) -> None:
    path = tmp_path / "giant.tif"
    with path.open("wb") as file:
        file.truncate(3 * 2**30)  # sparse: takes no room
    with pytest.raises(UnsuitableImage, match=r"giant\.tif: the file has 3072 MiB"):
        read_radiograph(path)


@pytest.mark.parametrize(
    ("pixels_HW", "message"),
    [
        (np.full((40, 40), 7, np.uint8), "blank - every pixel is 7"),
        (np.full((40, 40), np.nan, np.float32), "NaN or infinite"),
        (np.where(np.eye(40) > 0, np.inf, 1.0).astype(np.float32), "NaN or infinite"),
    ],
)
def test_grey_values_without_a_picture_are_refused(pixels_HW: NDArray[Any], message: str) -> None:
    buffer = BytesIO()
    Image.fromarray(pixels_HW).save(buffer, "TIFF")
    with pytest.raises(UnsuitableImage, match=f"^scan: .*{message}"):
        read_radiograph(buffer.getvalue(), name="scan")


@pytest.mark.parametrize("kind", RASTERS + DICOMS)
@quick
@given(share=st.floats(0, 1, exclude_max=True))
def test_a_file_cut_anywhere_gives_our_error(kind: str, share: float) -> None:
    data = encoded(kind)
    read_or_refuse(data[: int(share * len(data))])


@pytest.mark.parametrize("kind", RASTERS + DICOMS)
def test_a_file_without_its_second_half_is_refused(kind: str) -> None:
    data = encoded(kind)
    with pytest.raises(InputError):
        read_radiograph(data[: len(data) // 2])


@pytest.mark.parametrize("kind", RASTERS + DICOMS)
@quick
@given(data=st.data())
def test_damaged_bytes_give_a_picture_or_our_error(kind: str, data: st.DataObject) -> None:
    damaged = bytearray(encoded(kind))
    early = st.integers(0, min(len(damaged), 400) - 1)  # headers are where damage is interesting
    for position in data.draw(st.lists(early | st.integers(0, len(damaged) - 1), min_size=1, max_size=4)):
        damaged[position] = data.draw(st.integers(0, 255))
    read_or_refuse(bytes(damaged))


@quick
@given(
    magic=st.sampled_from([*RASTER_MAGIC, b"RIFF\x10\x00\x00\x00WEBP", bytes(128) + b"DICM", b"\x08\x00\x05\x00", b""]),
    tail=st.binary(max_size=600),
)
def test_random_bytes_give_our_error(magic: bytes, tail: bytes) -> None:
    assert read_or_refuse(magic + tail) is None
