"""The same pixels through every encoding that DCMTK and pydicom write: bit for bit where it is lossless."""

from __future__ import annotations

import contextlib
import struct
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom.encaps import encapsulate, get_frame

import tools
from carpal.errors import UnreadableImage, UnsuitableImage
from carpal.imaging.dicom import DicomFile
from dicom_kit import compress, encode, pydicom, study

pytestmark = pytest.mark.slow

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
    compress(dataset, syntax)
    np.testing.assert_array_equal(DicomFile(encode(dataset), syntax).decode().pixels_HW, values_HW)


AS_DCMTK = {
    "dcmcjpeg +q 90 +eb": f"{JPEG}50",
    "dcmcjpeg +q 90 +ee": f"{JPEG}51",
    "dcmcjpeg +q 90 +es": f"{JPEG}53",
    "dcmcjpeg +q 90 +ep": f"{JPEG}55",
    **{f"dcmcjpeg +el +sv {predictor}": f"{JPEG}57" for predictor in range(1, 8)},
    "dcmcjpls +en +md 3": f"{JPEG}81",
}
"""The lossy ones, two of them retired, which pydicom has no decoder for; lossless JPEG's seven predictors."""
DECODES = {"dcmcjpeg": "dcmdjpeg", "dcmcjpls": "dcmdjpls"}


def dcmtk_reads(folder: Path, data: bytes, decoder: str) -> NDArray[Any]:
    """The stored values as DCMTK's decoder finds them."""
    (folder / "packed.dcm").write_bytes(data)
    done = tools.run(decoder, folder / "packed.dcm", folder / "plain.dcm")
    assert done.returncode == 0, done.stderr
    return np.asarray(pydicom.dcmread(folder / "plain.dcm").pixel_array)


@pytest.mark.parametrize("bits", [8, 12, 16])
@pytest.mark.parametrize("command", AS_DCMTK)
def test_every_jpeg_is_decoded_as_dcmtk_does_bit_for_bit(tmp_path: Path, command: str, bits: int) -> None:
    values_HW = pixels(bits)
    data = by_dcmtk(tmp_path, command, values_HW, bits)
    check_syntax(data, AS_DCMTK[command], tmp_path)
    np.testing.assert_array_equal(
        DicomFile(data, command).decode().pixels_HW, dcmtk_reads(tmp_path, data, DECODES[command.split()[0]])
    )


@pytest.mark.parametrize("bits", [8, 12])
@pytest.mark.parametrize("command", ["dcmcjpeg +q 98 +ee", "dcmcjpeg +q 98 +es", "dcmcjpeg +q 98 +ep"])
def test_lossy_jpeg_arrives_within_three_grey_values(tmp_path: Path, command: str, bits: int) -> None:
    """Of 256 and of 4,096, at quality 98: DCMTK's decoder alone would not show a fault of DCMTK's encoder."""
    values_HW = pixels(bits)
    data = by_dcmtk(tmp_path, command, values_HW, bits)
    difference_HW = np.abs(DicomFile(data, command).decode().pixels_HW.astype(int) - values_HW)
    assert difference_HW.max() <= 3, f"max {difference_HW.max()}, mean {difference_HW.mean():.2f}"


def modulo_jpeg(values_HW: NDArray[Any], bits: int) -> bytes:
    """Lossless JPEG with differences modulo 2**bits, from the left: T.81 H.1.2.1 adds modulo 2**16, so both are legal.

    The code of a category is its number in five bits: the seventeenth code, 16, is the longest.
    """
    height, width = values_HW.shape
    left_HW = np.zeros_like(values_HW, dtype=int)
    left_HW[:, 1:] = values_HW[:, :-1]
    left_HW[1:, 0], left_HW[0, 0] = values_HW[:-1, 0], 2 ** (bits - 1)
    half = 2 ** (bits - 1)
    stream = ""
    for each in ((values_HW.astype(int) - left_HW + half) % (2 * half) - half).ravel().tolist():
        category = abs(each).bit_length()
        extra = each if each > 0 else each + 2**category - 1
        stream += f"{category:05b}" + (f"{extra:0{category}b}" if category and category < 16 else "")
    stream += "1" * (-len(stream) % 8)
    scan = int(stream, 2).to_bytes(len(stream) // 8, "big").replace(b"\xff", b"\xff\x00")
    frame = struct.pack(">BHHBBBB", bits, height, width, 1, 1, 0x11, 0)
    table = bytes([0, 0, 0, 0, 0, 17, *[0] * 11, *range(17)])
    parts = {0xC3: frame, 0xC4: table, 0xDA: bytes([1, 1, 0, 1, 0, 0])}
    header = b"".join(bytes([0xFF, marker]) + struct.pack(">H", len(part) + 2) + part for marker, part in parts.items())
    return b"\xff\xd8" + header + scan + b"\xff\xd9"


@pytest.mark.parametrize("bits", [8, 12, 16])
def test_lossless_jpeg_with_differences_modulo_is_decoded_as_dcmtk_does(tmp_path: Path, bits: int) -> None:
    """Noise over the whole range, so that differences wrap. pylibjpeg-libjpeg had 72 % of the pixels wrong (8 bits)."""
    values_HW = np.random.default_rng(bits).integers(0, 2**bits, (HEIGHT, WIDTH))
    values_HW = values_HW.astype(np.uint8 if bits == 8 else np.uint16)
    data = packed(values_HW, modulo_jpeg(values_HW, bits), bits)
    np.testing.assert_array_equal(dcmtk_reads(tmp_path, data, "dcmdjpeg"), values_HW)
    np.testing.assert_array_equal(DicomFile(data, "modulo.dcm").decode().pixels_HW, values_HW)


def packed(values_HW: NDArray[Any], frame: bytes, bits: int, syntax: str = f"{JPEG}70") -> bytes:
    """The frame in a file whose header describes `values_HW`."""
    dataset = study(values_HW, bits, syntax)
    dataset.PixelData = encapsulate([frame])
    dataset["PixelData"].is_undefined_length = True
    return encode(dataset)


JPEGS = [
    "dcmcjpeg +q 90 +eb",
    "dcmcjpeg +q 90 +ee",
    "dcmcjpeg +q 90 +ep",
    "dcmcjpeg +el",
    "dcmcjpeg +e1",
    "dcmcjpls +el",
]


def damaged(frame: bytes, scan: int, random: np.random.Generator, number: int) -> bytes:
    """Cut short, or with bytes changed or gone: anywhere, or in the header, which ends at `scan`."""
    made = bytearray(frame)
    within = scan if number % 2 else len(made)
    at = int(random.integers(2, within - 1))
    if number % 6 < 2:
        del made[int(random.integers(2, len(made) - 3)) :]
    elif number % 6 < 4:
        for place in random.integers(2, within, random.integers(1, 5)):
            made[place] = random.integers(256)
    else:
        del made[at : at + int(random.integers(1, 40))]
    return bytes(made)


@pytest.mark.parametrize("command", JPEGS)
def test_a_damaged_jpeg_never_ends_the_process_and_one_cut_short_is_refused(tmp_path: Path, command: str) -> None:
    """GDCM by itself ends the process at some 1 in 150 of these; pyjpegls hangs at every JPEG-LS that is cut short."""
    bits = 8 if "+eb" in command else 12
    values_HW = pixels(bits)
    whole = pydicom.dcmread(BytesIO(by_dcmtk(tmp_path, command, values_HW, bits)))
    frame = get_frame(whole.PixelData, 0, number_of_frames=1)
    scan, random = frame.index(b"\xff\xda") + 10, np.random.default_rng(1)
    for number in range(120):
        data = packed(values_HW, damaged(frame, scan, random, number), bits, whole.file_meta.TransferSyntaxUID)
        with contextlib.suppress(UnreadableImage, UnsuitableImage):
            DicomFile(data, "damaged.dcm").decode()
            assert number % 6 >= 2, "a frame that was cut short gave pixels"


def test_a_lossless_jpeg_of_other_bits_than_its_header_is_read_by_its_own() -> None:
    """8 bits in a header of 16, and the other way round: the picture counts, and that is told."""
    values_HW = pixels(8)
    for header_HW, bits in ((values_HW.astype(np.uint16), 16), (values_HW, 8)):
        frame = modulo_jpeg(values_HW, 24 - bits)
        radiograph = DicomFile(packed(header_HW, frame, bits), "bits.dcm").decode()
        np.testing.assert_array_equal(radiograph.pixels_HW, values_HW)
        assert "the picture counts" in radiograph.warnings[0]
