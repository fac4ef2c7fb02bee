"""Size and bits inside a compressed picture, held against what encoders of each kind write."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from carpal.imaging.codestream import describe


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
