"""Size and bits inside a compressed picture, held against what encoders of each kind write."""

from __future__ import annotations

import struct
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from carpal.imaging.codestream import checked_jpeg, describe


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("JPEG", {}),
        ("JPEG", {"progressive": True, "comment": b"\xff\xc0 in a comment", "exif": b"Exif\x00\x00" + bytes(300)}),
        ("JPEG2000", {"no_jp2": True}),
        ("JPEG2000", {"no_jp2": False}),
    ],
)
@pytest.mark.parametrize("size", [(7, 5), (300, 20), (257, 513)])
def test_size_and_bits_are_the_encoder_s(kind: str, options: dict[str, Any], size: tuple[int, int]) -> None:
    buffer = BytesIO()
    Image.fromarray(np.zeros(size[::-1], np.uint8)).save(buffer, kind, **options)
    found = describe(buffer.getvalue())
    assert found is not None
    assert (*found[:3], found.samples) == (*size, 8, 1)


@settings(deadline=None)
@given(st.binary(max_size=64), st.sampled_from([b"", b"\xff\xd8", b"\xff\xd8\xff\xe0", b"\xff\x4f\xff\x51"]))
def test_any_bytes_give_a_description_or_none(tail: bytes, head: bytes) -> None:
    found = describe(head + tail)
    assert found is None or len(found) == 5


def segments(*parts: tuple[int, bytes]) -> bytes:
    """A JPEG of these segments, without its end."""
    return b"\xff\xd8" + b"".join(
        bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body for marker, body in parts
    )


def frame_header(bits: int = 12, height: int = 5, width: int = 7, components: int = 1) -> bytes:
    return struct.pack(">BHHB", bits, height, width, components) + b"\1\x11\0" * components


TABLE, SCAN = (0xDB, bytes(65)), (0xDA, b"\1\1\0\0\x3f\0")


def test_a_checked_jpeg_keeps_tables_frame_and_scan_as_they_came() -> None:
    """And loses what GDCM stumbles over: a JFIF of version 2, comments, an Exif."""
    frame = (0xC1, frame_header())
    odd = segments((0xE0, b"JFIF\0\2\0" + bytes(7)), (0xFE, b"\xff\xc0"), TABLE, (0xE1, b"Exif"), frame, SCAN)
    rest = b"scan\xff\xd9"
    assert checked_jpeg(odd + rest, 7, 5, 16) == segments(TABLE, frame, SCAN) + rest


@pytest.mark.parametrize(
    "frame",
    [
        segments(TABLE, (0xC1, frame_header(bits=125)), SCAN),
        segments(TABLE, (0xC1, frame_header(bits=10)), SCAN),
        segments(TABLE, (0xC3, frame_header(bits=17)), SCAN),
        segments(TABLE, (0xC1, frame_header(bits=8)), SCAN),
        segments(TABLE, (0xC1, frame_header(width=8)), SCAN),
        segments(TABLE, (0xC1, frame_header(components=4)), SCAN),
        segments(TABLE, (0xC9, frame_header()), SCAN),
        segments(TABLE, (0xC1, frame_header()), (0xC1, frame_header()), SCAN),
        segments(TABLE, SCAN),
        segments(TABLE, (0xC1, frame_header())),
        segments(TABLE, (0xC1, b"\x0c\0")),
        segments(TABLE) + b"\0" + segments((0xC1, frame_header()), SCAN)[2:],
        segments((0xD8, b"")),
        b"\xff\xd8",
    ],
)
def test_a_jpeg_header_that_gdcm_dies_of_is_refused(frame: bytes) -> None:
    with pytest.raises((ValueError, struct.error)):
        checked_jpeg(frame, 7, 5, 16)
