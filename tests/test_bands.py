"""A picture toned and made smaller in bands is what Pillow makes of it at once, to the byte."""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from carpal.imaging import intensity
from carpal.imaging.intensity import Toned, thumbnail_size

SIDES = st.integers(1, 400)
KINDS = st.sampled_from([np.uint8, np.uint16, np.float32])


def noise(height: int, width: int, kind: Any) -> NDArray[Any]:
    return (np.random.default_rng(height + 401 * width).random((height, width)) * 250).astype(kind)


def tone(pixels_HW: NDArray[Any]) -> NDArray[np.float32]:
    return np.sqrt(pixels_HW.astype(np.float32)) - 3


@settings(deadline=None, max_examples=60)
@given(SIDES, SIDES, KINDS, st.integers(1, 300), st.integers(1, 300), st.integers(1, 20_000))
def test_resized_is_as_at_once(height: int, width: int, kind: Any, wide: int, high: int, band: int) -> None:
    pixels_HW = noise(height, width, kind)
    with patch.object(intensity, "BAND", band):
        found_HW = Toned(pixels_HW, tone).resize((wide, high))
    whole = Image.fromarray(tone(pixels_HW))
    at_once = whole.resize((wide, height), Image.Resampling.BILINEAR).resize((wide, high), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(found_HW, np.asarray(at_once))
    whichever_first_HW = np.asarray(whole.resize((wide, high), Image.Resampling.BILINEAR))
    np.testing.assert_allclose(found_HW, whichever_first_HW, rtol=0, atol=1e-4)


@settings(deadline=None, max_examples=60)
@given(
    SIDES,
    SIDES,
    KINDS,
    st.integers(4, 200),
    st.sampled_from([Image.Resampling.BOX, Image.Resampling.BILINEAR]),
    st.integers(1, 20_000),
)
def test_a_thumbnail_is_as_pillow_s(
    height: int, width: int, kind: Any, side: int, method: Image.Resampling, band: int
) -> None:
    pixels_HW = noise(height, width, kind)
    with patch.object(intensity, "BAND", band):
        found_HW = Toned(pixels_HW, tone).thumbnail(side, method)
    at_once = Image.fromarray(tone(pixels_HW))
    at_once.thumbnail((side, side), method)
    np.testing.assert_array_equal(found_HW, np.asarray(at_once))


@settings(deadline=None)
@given(st.integers(1, 3000), st.integers(1, 3000), st.sampled_from([32, 128, 160]))
def test_a_thumbnail_s_size_is_pillow_s(width: int, height: int, side: int) -> None:
    picture = Image.new("1", (width, height))
    picture.thumbnail((side, side), Image.Resampling.NEAREST)
    assert thumbnail_size(width, height, side) == picture.size


def test_no_band_is_larger_than_a_cache() -> None:
    seen: list[int] = []

    def watched(pixels_HW: NDArray[Any]) -> NDArray[np.float32]:
        seen.append(pixels_HW.size)
        return tone(pixels_HW)

    pixels_HW = np.zeros((2500, 2000), np.uint16)
    Toned(pixels_HW, watched).resize((205, 256))
    assert sum(seen) == pixels_HW.size
    assert max(seen) <= intensity.BAND < pixels_HW.size / 10
