"""DICOM files and results for tests: a study with every pixel description, a child with and without its tags."""

from __future__ import annotations

import os
import shutil
import subprocess
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from carpal.anatomy import REGIONS
from carpal.imaging.read import open_image
from carpal.types import Assessment, Box, Header, Interval, ModelId, Region, Sex

pydicom = pytest.importorskip("pydicom")

HEIGHT, WIDTH = 40, 36
EXPLICIT_LITTLE, DEFLATED = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99"
CR_IMAGE = "1.2.840.10008.5.1.4.1.1.1"
CHILD = {
    "PatientName": "Zyx^Qwert",
    "PatientID": "PID-4711",
    "PatientBirthDate": "20140105",
    "PatientSex": "F",
    "StudyDate": "20240105",
    "StudyTime": "101112.5",
    "StudyID": "17",
    "AccessionNumber": "ACC-99",
    "ReferringPhysicianName": "House^Greg",
    "StudyInstanceUID": "1.2.3",
    "SeriesInstanceUID": "1.2.3.4",
    "Laterality": "L",
}


def ramp(top: int = 4095, dtype: Any = np.uint16, height: int = HEIGHT, width: int = WIDTH) -> NDArray[Any]:
    """Grey values from 0 to just below `top`, each row and column different."""
    y, x = np.mgrid[:height, :width]
    return np.asarray((y * 0.7 + x * 0.3) / (height * 0.7 + width * 0.3) * top).astype(dtype)


def study(pixels: NDArray[Any] | None = None, bits: int = 12, syntax: str = EXPLICIT_LITTLE, **tags: Any) -> Any:
    """A computed radiograph: rows and columns from `pixels`, MONOCHROME2 unless `tags` say otherwise; None removes."""
    pixels = ramp() if pixels is None else pixels
    dataset = pydicom.Dataset()
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.SOPClassUID, dataset.SOPInstanceUID, dataset.Modality = CR_IMAGE, "1.2.3.4.5", "CR"
    dataset.Rows, dataset.Columns = pixels.shape[:2] if pixels.shape[-1] == 3 else pixels.shape[-2:]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 8 * pixels.itemsize, bits, bits - 1
    dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
    dataset.PixelData = pixels.tobytes()
    dataset["PixelData"].VR = "OW"
    for keyword, value in tags.items():
        if value is None:
            delattr(dataset, keyword)
        else:
            setattr(dataset, keyword, value)
    return dataset


ENCODERS = {
    "1.2.840.10008.1.2.5": "pydicom",
    "1.2.840.10008.1.2.4.80": "pyjpegls",
    "1.2.840.10008.1.2.4.90": "pylibjpeg",
}
"""Named, because pydicom would take GDCM's encoder for RLE, which ends the process."""


def compress(dataset: Any, syntax: str) -> None:
    """Compresses the pixel data where they lie, without loss: RLE, JPEG-LS or JPEG 2000."""
    dataset.compress(syntax, encoding_plugin=ENCODERS[syntax], generate_instance_uid=False)


def encode(dataset: Any) -> bytes:
    """The data set as a file."""
    buffer = BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def child_file(**tags: Any) -> bytes:
    """The file of a study of a girl of ten years, 256 x 200 pixels; a tag that is None is left out."""
    known = {keyword: value for keyword, value in (CHILD | tags).items() if value is not None}
    return encode(study(ramp(height=256, width=200), **known))


def header_of(data: bytes) -> Header:
    """The header of a file, as every reader of it gets it."""
    header = open_image(data).header
    assert header is not None
    return header


def assessment(sex: Sex = Sex.FEMALE, months: float = 126.04) -> Assessment:
    """A result with an interval, a warning and all regions."""
    regions = tuple(
        Region(name, Box(4 * i, 3 * i, 4 * i + 16.5, 3 * i + 16), 0.9, 100.0 + i) for i, name in enumerate(REGIONS)
    )
    return Assessment(
        image="hand.dcm",
        sex=sex,
        months=months,
        regions=regions,
        model=ModelId("alanet", "0.1", "ab" * 32),
        warnings=("the image is small",),
        interval=Interval(115.0, 140.5, 0.9),
    )


def run_tool(name: str, *words: str | Path) -> str:
    """What an independent tool says of a file, both outputs together. Where it is missing CI fails, others skip."""
    if shutil.which(name) is None:
        if os.environ.get("CARPAL_CI_TOOLS"):
            pytest.fail(f"{name} is not installed: apt-get install dcmtk dicom3tools")
        pytest.skip(f"{name} is not installed (Debian: dcmtk, dicom3tools)")
    run = subprocess.run([name, *map(str, words)], capture_output=True, text=True, timeout=60, check=False)
    return run.stdout + run.stderr


def errors_of(path: Path) -> list[str]:
    """The errors that dciodvfy, the validator of dicom3tools, finds in a DICOM file."""
    lines = run_tool("dciodvfy", path).splitlines()
    return [line for line in lines if line.startswith(("Error", "Abort"))]
