"""What a stretch did to 8-bit grey levels is undone, and nothing else is changed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from carpal.imaging.intensity import Original, percentiles, unround
from carpal.imaging.preprocess import preprocess
from carpal.imaging.read import read_radiograph

EXAMPLES = sorted((Path(__file__).parents[1] / "examples").glob("[0-9]*.jpg"))


def bell(middle: float, spread: float, seed: int) -> NDArray[np.uint8]:
    """Grey values about a middle, none of them missing between the percentiles."""
    grey_HW = np.random.default_rng(seed).normal(middle, spread, (200, 150))
    return np.clip(np.rint(grey_HW), 0, 255).astype(np.uint8)


def stretched(pixels_HW: NDArray[Any], rounded: bool = True) -> NDArray[np.uint8]:
    low, high = np.percentile(pixels_HW, [1, 99], method="nearest")
    spread_HW = np.clip((pixels_HW.astype(float) - low) / (high - low), 0, 1) * 255
    return (np.rint(spread_HW) if rounded else spread_HW).astype(np.uint8)


@given(st.floats(60, 190), st.floats(4, 20), st.integers(0, 99), st.booleans())
def test_a_stretched_copy_holds_the_radiographs_values_again(
    middle: float, spread: float, seed: int, rounded: bool
) -> None:
    pixels_HW = bell(middle, spread, seed)
    low, high = percentiles(pixels_HW, (1, 99))
    np.testing.assert_array_equal(unround(pixels_HW), np.clip(pixels_HW, low, high) - low)
    copy_HW = unround(stretched(pixels_HW, rounded))
    between_HW = (pixels_HW > low + 1) & (pixels_HW < high - 1)  # the two may be cut one level apart
    assert len(np.unique(copy_HW[between_HW].astype(int) - pixels_HW[between_HW])) == 1


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
@pytest.mark.parametrize("rounded", [True, False])
def test_a_radiograph_and_its_stretched_copy_prepare_to_the_same_numbers(path: Path, rounded: bool) -> None:
    pixels_HW = read_radiograph(path).pixels_HW
    copy_HW = stretched(pixels_HW, rounded)
    assert copy_HW.std() > pixels_HW.std()
    np.testing.assert_array_equal(preprocess(copy_HW).grey_HW, preprocess(pixels_HW).grey_HW)
    copy_L, own_L = (np.unique(Original(each_HW).cut.whole()) for each_HW in (copy_HW, pixels_HW))
    np.testing.assert_array_equal(np.diff(copy_L), np.diff(own_L))


def test_levels_that_are_not_evenly_spaced_keep_their_spacing() -> None:
    """A gamma curve spreads dark levels and merges bright ones; numbering them would undo half of it."""
    table_256 = np.rint(255 * (np.arange(256) / 255) ** 0.4).astype(np.uint8)
    curved_HW = table_256[bell(60, 25, 0)]
    low, high = percentiles(curved_HW, (1, 99))
    np.testing.assert_array_equal(unround(curved_HW), np.clip(curved_HW, low, high) - low)


@pytest.mark.parametrize("kind", [np.uint16, np.float32])
def test_more_than_eight_bits_are_left_as_they_are(kind: Any) -> None:
    pixels_HW = bell(90, 9, 1).astype(kind) * 3
    assert unround(pixels_HW) is pixels_HW


@pytest.mark.parametrize("levels", [(7,), (3, 200), (0, 1, 255)])
def test_pictures_of_few_levels_survive(levels: tuple[int, ...]) -> None:
    pixels_HW = np.resize(np.uint8(levels), (20, 20))
    even_HW = unround(pixels_HW)
    assert len(np.unique(even_HW)) == len(levels)
    assert ((np.argsort(np.unique(pixels_HW))) == np.argsort(np.unique(even_HW))).all()
    assert np.isfinite(preprocess(pixels_HW, 64).grey_HW).all()
