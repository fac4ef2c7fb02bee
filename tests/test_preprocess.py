"""The way to the network's input: what makes radiographs the same may not depend on who exported them.

The radiographs are the four of examples/: a raw dark one, one with collimator edges, a young and a usual hand.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from carpal.imaging.intensity import Original
from carpal.imaging.preprocess import (
    BLUR_SIGMA_PX,
    Geometry,
    gaussian_blur,
    is_inverted,
    pad,
    preprocess,
    view_size,
)

EXAMPLES = sorted((Path(__file__).parents[1] / "examples").glob("*.jpg"))
IDS = [path.stem for path in EXAMPLES]
hands = pytest.mark.parametrize("path", EXAMPLES, ids=IDS)


@cache
def grey(path: Path) -> NDArray[np.uint8]:
    with Image.open(path) as image:
        return np.asarray(image)


def difference(one_HW: NDArray[Any], other_HW: NDArray[Any]) -> float:
    """Mean absolute difference in grey levels."""
    return float(np.abs(one_HW.astype(float) - other_HW).mean())


def drawn(height: int = 60, width: int = 40) -> NDArray[np.uint8]:
    noise = np.random.default_rng(2).integers(0, 60, (height, width))
    noise[height // 4 : 3 * height // 4, width // 4 : 3 * width // 4] += 150
    return noise.astype(np.uint8)


def test_all_four_examples_are_there() -> None:
    assert len(EXAMPLES) == 4


@hands
def test_a_stretched_copy_prepares_the_same(path: Path) -> None:
    """What circulates: stretched between the 1st and 99th percentile, clipped, rounded to 8 bit."""
    low, high = np.percentile(grey(path), [1, 99])
    copy_HW = np.rint(np.clip((grey(path) - low) / (high - low), 0, 1) * 255).astype(np.uint8)
    assert difference(preprocess(grey(path)).pixels_HW, preprocess(copy_HW).pixels_HW) < 2


@hands
def test_sixteen_bits_prepare_like_eight(path: Path) -> None:
    prepared_HW = preprocess(grey(path)).pixels_HW
    for copy_HW in (grey(path).astype(np.uint16) * 257, grey(path).astype(np.float32) / 255 - 4):
        assert difference(preprocess(copy_HW).pixels_HW, prepared_HW) < 0.01


@hands
def test_a_negative_is_recognised_and_turned_back(path: Path) -> None:
    positive, negative = preprocess(grey(path)), preprocess(255 - grey(path))
    assert (positive.inverted, negative.inverted) == (False, True)
    assert difference(positive.pixels_HW, negative.pixels_HW) < 2


@hands
@pytest.mark.parametrize("value", [0, 255], ids=["black border", "white frame"])
def test_a_frame_does_not_set_the_scale(path: Path, value: int) -> None:
    """A frame of 8 % on each side: the hand inside keeps its contrast."""
    thickness = round(0.08 * max(grey(path).shape))
    framed_HW = np.pad(grey(path), thickness, constant_values=value)
    inside = np.s_[thickness:-thickness, thickness:-thickness]
    framed, alone = (Original(pixels_HW).stretched(False).whole() for pixels_HW in (framed_HW, grey(path)))
    assert difference(framed[inside], alone) < 12
    assert is_inverted(framed_HW) is False


@hands
def test_turning_does_not_change_grey_or_polarity(path: Path) -> None:
    prepared = preprocess(grey(path))
    turned = preprocess(np.ascontiguousarray(np.rot90(grey(path))))
    assert turned.inverted is False
    assert difference(np.rot90(prepared.pixels_HW), turned.pixels_HW) < 1


@hands
def test_the_hand_uses_the_range_even_where_the_file_is_nearly_black(path: Path) -> None:
    prepared_HW = preprocess(grey(path)).pixels_HW
    assert prepared_HW.dtype == np.uint8
    height, width = prepared_HW.shape
    low, high = np.percentile(prepared_HW[height // 4 : -height // 4, width // 4 : -width // 4], [2, 98])
    assert high - low > 128


@pytest.mark.parametrize("long_side", [64, 512])
@pytest.mark.parametrize(("height", "width"), [(60, 40), (40, 60), (50, 50), (33, 500)])
def test_the_long_side_is_asked_for_and_the_aspect_kept(long_side: int, height: int, width: int) -> None:
    prepared_HW = preprocess(drawn(height, width), long_side).pixels_HW
    assert max(prepared_HW.shape) == long_side
    assert min(prepared_HW.shape) == round(long_side * min(height, width) / max(height, width))


@pytest.mark.parametrize(("aspect", "shape"), [(0.78, (128, 100)), (1.0, (128, 128)), (1.25, (102, 128))])
def test_an_aspect_undoes_a_squash(aspect: float, shape: tuple[int, int]) -> None:
    prepared = preprocess(drawn(100, 100), 128, aspect)
    assert prepared.pixels_HW.shape == shape
    assert (prepared.geometry.scale_x, prepared.geometry.scale_y) == (shape[1] / 100, shape[0] / 100)


@hands
def test_a_bright_spot_lands_where_the_geometry_says(path: Path) -> None:
    """The pixels and the coordinates go the same way, or every box would be off."""
    spotted_HW = grey(path).copy()
    spotted_HW[96:104, 60:68] = 255 if spotted_HW[96:104, 60:68].mean() < 128 else 0
    prepared, spotted = preprocess(grey(path), 400, aspect=0.5), preprocess(spotted_HW, 400, aspect=0.5)
    changed_HW = np.abs(spotted.pixels_HW.astype(float) - prepared.pixels_HW)
    y, x = np.argwhere(changed_HW > changed_HW.max() / 2).mean(axis=0) + 0.5
    (expected,) = spotted.geometry.to_prepared(np.array([[64.0, 100.0]]))
    np.testing.assert_allclose([x, y], expected, atol=0.5)


scales = st.floats(0.05, 20)
coordinates = st.floats(-5000, 5000)


@settings(deadline=None)
@given(scales, scales, st.lists(st.tuples(*[coordinates] * 4), min_size=0, max_size=17))
def test_geometry_there_and_back(scale_x: float, scale_y: float, boxes: list[tuple[float, ...]]) -> None:
    geometry = Geometry(scale_x, scale_y)
    boxes_R4 = np.asarray(boxes, np.float64).reshape(-1, 4)
    prepared_R4 = geometry.to_prepared(boxes_R4)
    np.testing.assert_allclose(geometry.to_original(prepared_R4), boxes_R4, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(prepared_R4[:, 0::2], boxes_R4[:, 0::2] * scale_x)
    np.testing.assert_allclose(prepared_R4[:, 1::2], boxes_R4[:, 1::2] * scale_y)
    np.testing.assert_array_equal(geometry.to_prepared(boxes_R4[:, :2]), prepared_R4[:, :2])


@settings(deadline=None)
@given(st.integers(1, 100), st.integers(1, 100), st.sampled_from([1, 8, 32]))
def test_padding_adds_the_least_black_around_the_picture(height: int, width: int, stride: int) -> None:
    pixels_HW = np.full((height, width), 9, np.uint8)
    padded_HW, (left, top) = pad(pixels_HW, stride)
    assert padded_HW.shape == tuple(-(-side // stride) * stride for side in (height, width))
    np.testing.assert_array_equal(padded_HW[top : top + height, left : left + width], pixels_HW)
    assert padded_HW.sum() == pixels_HW.sum()
    assert 0 <= padded_HW.shape[0] - height - 2 * top <= 1, "as much above as below, but for an odd row"
    assert 0 <= padded_HW.shape[1] - width - 2 * left <= 1


@settings(deadline=None, max_examples=30)
@given(
    st.integers(32, 80), st.integers(32, 80), st.sampled_from([np.uint8, np.uint16, np.float32]), st.integers(0, 2**31)
)
def test_any_picture_gives_a_prepared_one(height: int, width: int, dtype: Any, seed: int) -> None:
    pixels_HW = np.random.default_rng(seed).integers(0, 200, (height, width)).astype(dtype)
    before_HW = pixels_HW.copy()
    prepared = preprocess(pixels_HW, 96)
    assert prepared.pixels_HW.dtype == np.uint8
    assert max(prepared.pixels_HW.shape) == 96
    np.testing.assert_array_equal(pixels_HW, before_HW)


def test_the_blur_is_a_gaussian_that_keeps_the_mean() -> None:
    spot_HW = np.zeros((9, 11), np.float32)
    spot_HW[4, 5] = 100
    soft_HW = gaussian_blur(spot_HW)
    gauss = np.exp(-0.5 * (np.arange(-2, 3) / BLUR_SIGMA_PX) ** 2)
    wanted_HW = np.zeros_like(spot_HW)
    wanted_HW[2:7, 3:8] = 100 * np.outer(gauss, gauss) / gauss.sum() ** 2
    np.testing.assert_allclose(soft_HW, wanted_HW, atol=1e-4)
    np.testing.assert_allclose(gaussian_blur(np.full((5, 7), 9, np.uint8)), 9, rtol=1e-6)
    assert soft_HW.sum() == pytest.approx(100, rel=1e-5)


def test_a_blank_picture_stays_blank_and_finite() -> None:
    for value in (0, 77, 65_535):
        prepared_HW = preprocess(np.full((50, 40), value, np.uint16), 64).pixels_HW
        assert len(np.unique(prepared_HW)) == 1


@pytest.mark.parametrize(("side", "size"), [(128, (128, 112)), (256, (256, 208)), (512, (512, 416))])
def test_a_view_has_the_aspect_of_a_hand(side: int, size: tuple[int, int]) -> None:
    assert view_size(side) == size
