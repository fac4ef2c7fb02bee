"""The same pixels through every encoding that DCMTK and pydicom write: bit for bit where it is lossless."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import tools
from carpal.imaging.dicom import DicomFile
from dicom_kit import encode, pydicom, study

HEIGHT, WIDTH = 61, 47
"""Odd, so that padding counts."""
JPEG = "1.2.840.10008.1.2.4."
LOSSLESS = {
    "dcmcjpeg +el": f"{JPEG}57",
    "dcmcjpeg +e1": f"{JPEG}70",
    "dcmcjpls +el": f"{JPEG}80",
    "dcmcrle": "1.2.840.10008.1.2.5",
    "dcmconv +td": "1.2.840.10008.1.2.1.99",
    "dcmconv +tb": "1.2.840.10008.1.2.2",
    "dcmconv +ti": "1.2.840.10008.1.2",
}
"""DCMTK's command, and the transfer syntax that it writes."""
LOSSY = {"dcmcjpeg +q 98 +ee": f"{JPEG}51", "dcmcjpeg +q 98 +es": f"{JPEG}53", "dcmcjpeg +q 98 +ep": f"{JPEG}55"}
"""JPEG extended, and two retired ones, which pydicom has no decoder for: spectral selection and full progression."""
BITS = {"8": (8, False), "12": (12, False), "16": (16, False), "12 signed": (12, True), "16 signed": (16, True)}


def pixels(bits: int, signed: bool = False) -> NDArray[Any]:
    """A ramp with noise that has the least and the greatest value."""
    top = 2**bits - 1
    ramp_HW = np.add.outer(np.arange(HEIGHT), np.arange(WIDTH)) * top // (HEIGHT + WIDTH - 2)
    noise_HW = np.random.default_rng(bits).integers(-top // 64, top // 64, (HEIGHT, WIDTH))
    values_HW = np.clip(ramp_HW + noise_HW, 0, top)
    values_HW[0, 0], values_HW[-1, -1] = 0, top
    if signed:
        return (values_HW - (top + 1) // 2).astype(np.int16)
    return values_HW.astype(np.uint8 if bits == 8 else np.uint16)


def by_dcmtk(folder: Path, command: str, values_HW: NDArray[Any], bits: int) -> bytes:
    """A file that DCMTK has encoded anew."""
    (folder / "in.dcm").write_bytes(encode(study(values_HW, bits)))
    name, *words = command.split()
    done = tools.run(name, *words, folder / "in.dcm", folder / "out.dcm")
    assert done.returncode == 0, done.stderr
    return (folder / "out.dcm").read_bytes()


def check_syntax(data: bytes, syntax: str, folder: Path) -> None:
    """The file is what the test takes it for."""
    (folder / "seen.dcm").write_bytes(data)
    assert pydicom.dcmread(folder / "seen.dcm").file_meta.TransferSyntaxUID == syntax


@pytest.mark.parametrize("kind", BITS)
@pytest.mark.parametrize("command", LOSSLESS)
def test_what_dcmtk_encodes_without_loss_arrives_bit_for_bit(tmp_path: Path, command: str, kind: str) -> None:
    bits, signed = BITS[kind]
    values_HW = pixels(bits, signed)
    data = by_dcmtk(tmp_path, command, values_HW, bits)
    check_syntax(data, LOSSLESS[command], tmp_path)
    radiograph = DicomFile(data, command).decode()
    np.testing.assert_array_equal(radiograph.pixels_HW, values_HW)
    assert radiograph.warnings == ()


@pytest.mark.parametrize("kind", BITS)
@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.5", f"{JPEG}80", f"{JPEG}90"])
def test_what_pydicom_encodes_without_loss_arrives_bit_for_bit(syntax: str, kind: str) -> None:
    bits, signed = BITS[kind]
    values_HW = pixels(bits, signed)
    dataset = study(values_HW, bits)
    dataset.compress(syntax, generate_instance_uid=False)
    np.testing.assert_array_equal(DicomFile(encode(dataset), syntax).decode().pixels_HW, values_HW)


@pytest.mark.parametrize("bits", [8, 12])
@pytest.mark.parametrize("command", LOSSY)
def test_lossy_jpeg_arrives_within_three_grey_values(tmp_path: Path, command: str, bits: int) -> None:
    """Of 256 and of 4,096, at quality 98. One decoder reads them all, so they are also equal to each other."""
    values_HW = pixels(bits)
    data = by_dcmtk(tmp_path, command, values_HW, bits)
    check_syntax(data, LOSSY[command], tmp_path)
    difference_HW = np.abs(DicomFile(data, command).decode().pixels_HW.astype(int) - values_HW)
    assert difference_HW.max() <= 3, f"max {difference_HW.max()}, mean {difference_HW.mean():.2f}"
    extended = by_dcmtk(tmp_path, "dcmcjpeg +q 98 +ee", values_HW, bits)
    np.testing.assert_array_equal(
        DicomFile(data, command).decode().pixels_HW, DicomFile(extended, "x").decode().pixels_HW
    )
