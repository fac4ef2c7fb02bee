"""Files that are no radiograph, or a broken one: what each is refused as, and the words that the refusal must hold.

One list for every door: `test_read.py` and `test_dicom.py` show them to the reader, `service/test_bad_uploads.py` to
REST and to the page. pydicom is only asked for where a DICOM file is built.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Callable
from functools import cache
from typing import Any, Final

import numpy as np
from PIL import Image

PIXELS: Final = 40 * 36
"""Of `dicom_kit.study`."""
INFLATES_TO: Final = 2**21
"""Bytes of the deflated bomb: tests lower the limit, for it is 512 MiB."""
UNREADABLE, UNSUITABLE = "unreadable-image", "unsuitable-image"
FOREIGN: Final[dict[str, tuple[bytes, str]]] = {
    "empty": (b"", "empty"),
    "gif": (b"GIF89a" + bytes(50), "a GIF"),
    "bmp of nothing": (b"BM" + bytes(50), "no image that we know"),
    "heic": (b"\x00\x00\x00\x18ftypheic" + bytes(50), "a HEIC photograph"),
    "avif": (b"\x00\x00\x00\x20ftypavif" + bytes(50), "an AVIF picture"),
    "film of a telephone": (b"\x00\x00\x00\x20ftypqt  " + bytes(50), "a film"),
    "pgm": (b"P5\n40 36\n255\n" + bytes(1440), "a PGM"),
    "jpeg xl": (b"\xff\x0a" + bytes(50), "a JPEG XL"),
    "pdf": (b"%PDF-1.7", "a PDF"),
    "zip": (b"PK\x03\x04" + bytes(50), "a zip archive"),
    "gzip": (b"\x1f\x8b" + bytes(50), "a gzip archive"),
    "lfs pointer": (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS"),
    "web page": (b"<!doctype html>", "a web page"),
    "table": (b"id,boneage,male\n", "no image that we know"),
    "NUL bytes": (bytes(5000), "no image that we know"),
}
"""Other files: what is in them, and what the refusal calls them. All are unreadable."""
BAD_HEADERS: Final[dict[str, tuple[dict[str, Any], str, str]]] = {
    "dicom too large": ({"Rows": 20_000, "Columns": 20_000}, UNSUITABLE, "too large - 20000 x 20000"),
    "dicom too small": ({"Rows": 1, "Columns": 1}, UNSUITABLE, "too small - 1 x 1"),
    "dicom of four samples": ({"SamplesPerPixel": 4, "PixelData": bytes(8 * PIXELS)}, UNSUITABLE, "4 samples"),
    "dicom of 32 bits": (
        {"BitsAllocated": 32, "PixelData": bytes(4 * PIXELS)}, UNSUITABLE, "32 bits a sample"
    ),
    "dicom with a palette": (
        {"PhotometricInterpretation": "PALETTE COLOR", "RedPaletteColorLookupTableData": bytes(512)},
        UNSUITABLE,
        "PALETTE COLOR",
    ),
    "dicom with cut pixels": ({"PixelData": bytes(900)}, UNREADABLE, "damaged or incomplete"),
    "dicom without a size": ({"Rows": None, "Columns": None}, UNSUITABLE, "too small"),
    "dicom without pixels": ({"PixelData": None}, UNREADABLE, "holds no picture (no PixelData)"),
}  # fmt: skip
"""Tags of `dicom_kit.study` that make it a bad one, with the code and the words of its refusal."""


def zipped() -> bytes:
    """A radiograph in an archive, which nobody unpacks."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("hand.png", png(64, 64))
    return buffer.getvalue()


def png(width: int, height: int, grey: bool = False) -> bytes:
    """A picture of one grey, or of a ramp."""
    pixels_HW = np.zeros((height, width), np.uint8)
    if grey:
        pixels_HW[:] = np.arange(width)
    buffer = io.BytesIO()
    Image.fromarray(pixels_HW).save(buffer, format="PNG")
    return buffer.getvalue()


def not_a_number() -> bytes:
    """A TIFF whose values are no grey values."""
    buffer = io.BytesIO()
    Image.fromarray(np.full((40, 40), np.nan, np.float32)).save(buffer, "TIFF")
    return buffer.getvalue()


def deflated(length: int) -> bytes:
    """A DICOM file whose deflated part has so many bytes of zeros."""
    from dicom_kit import DEFLATED, encode, study

    compressor = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    whole = encode(study(syntax=DEFLATED))
    meta_length = int.from_bytes(whole[140:144], "little")
    body = b"".join(compressor.compress(bytes(min(2**20, length - done))) for done in range(0, length, 2**20))
    return whole[: 144 + meta_length] + body + compressor.flush()


def film() -> bytes:
    """A DICOM file in a transfer syntax that nobody decodes here."""
    from dicom_kit import encode, pydicom, study

    dataset = study()
    dataset.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.102"  # MPEG-4
    dataset.PixelData = pydicom.encaps.encapsulate([bytes(100)])
    dataset["PixelData"].VR = "OB"
    return encode(dataset)


def whole_dicom(**tags: Any) -> bytes:
    from dicom_kit import encode, study

    return encode(study(**tags))


def half(data: bytes) -> bytes:
    return data[: len(data) // 2]


BROKEN: Final[dict[str, tuple[Callable[[], bytes], str, str]]] = {
    "zip with a radiograph": (zipped, UNREADABLE, "zip archive"),
    "png cut in half": (lambda: half(png(256, 200, grey=True)), UNREADABLE, "damaged"),
    "dicom cut in half": (lambda: half(whole_dicom()), UNREADABLE, "damaged"),
    "dicom of a preamble": (lambda: bytes(128) + b"DICM\x08\x00", UNREADABLE, "the radiograph"),
    "decompression bomb": (lambda: png(9000, 8000), UNSUITABLE, "too large"),
    "deflated bomb": (lambda: deflated(INFLATES_TO), UNSUITABLE, "inflates to more"),
    "icon": (lambda: png(16, 16), UNSUITABLE, "too small"),
    "blank": (lambda: png(64, 64), UNSUITABLE, "blank"),
    "tiff of NaN": (not_a_number, UNSUITABLE, "NaN or infinite"),
    "film": (film, UNREADABLE, "no codec"),
    "jpeg 2000 of nothing": (lambda: b"\x00\x00\x00\x0cjP  \r\n\x87\n", UNREADABLE, "damaged"),
    "jpeg 2000 codestream of nothing": (lambda: b"\xff\x4f\xff\x51" + bytes(50), UNREADABLE, "damaged"),
}
"""Files that are built when they are asked for, with the code and the words of their refusal."""
NAMES: Final = (*FOREIGN, *BAD_HEADERS, *BROKEN)


@cache
def bad_file(name: str) -> tuple[bytes, str, str]:
    """The bytes, the code and the words of one of `NAMES`."""
    if name in FOREIGN:
        data, words = FOREIGN[name]
        return data, UNREADABLE, words
    if name in BAD_HEADERS:
        tags, code, words = BAD_HEADERS[name]
        return whole_dicom(**tags), code, words
    build, code, words = BROKEN[name]
    return build(), code, words
