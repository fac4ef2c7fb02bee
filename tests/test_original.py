"""What is measured once on a radiograph equals what was measured each time: the slow twins are the formulas of 0.4."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from carpal.imaging import intensity
from carpal.imaging.intensity import MIDDLE, POLARITY_SIDE, Original
from carpal.imaging.preprocess import is_inverted, preprocess
from carpal.inference.align import Similarity, resample
from carpal.lab.data.synthetic import draw_hand
from carpal.quality.ood import measure
from carpal.quality.two_hands import split
from carpal.types import Sex

ENDS = (1.0, 99.0)


@st.composite
def pictures(draw: st.DrawFn) -> NDArray[Any]:
    """Pictures of any depth and of few or many levels, whole, or a part of a larger one."""
    height, width = draw(st.tuples(st.integers(4, 400), st.integers(4, 400)))
    kind = draw(st.sampled_from([np.uint8, np.uint16, np.float32]))
    largest = {np.uint8: 255, np.uint16: 65535, np.float32: 3e4}[kind]
    top = draw(st.sampled_from([3, 40, 255, largest]))
    shape = draw(st.floats(0.2, 4))
    grey_HW = np.random.default_rng(draw(st.integers(0, 999))).random((height, width)) ** shape * min(top, largest)
    pixels_HW = (np.rint(grey_HW) * draw(st.sampled_from([1, 2])) % (largest + 1)).astype(kind)
    return pixels_HW[:, width // 3 :] if draw(st.booleans()) else pixels_HW


def slow_percentiles(pixels_HW: NDArray[Any]) -> tuple[float, float]:
    if pixels_HW.dtype == np.float32:
        low, high = np.percentile(pixels_HW, ENDS, method="lower")
    else:
        cumulative = np.cumsum(np.bincount(pixels_HW.ravel()))
        low, high = (np.searchsorted(cumulative, cumulative[-1] * q / 100) for q in ENDS)
    return float(low), float(high)


def slow_middle(pixels_HW: NDArray[Any]) -> NDArray[Any]:
    height, width = pixels_HW.shape
    top, left = int(MIDDLE * height), int(MIDDLE * width)
    return pixels_HW[top : height - top, left : width - left]


def slow_stretch(pixels_HW: NDArray[Any], inverted: bool) -> NDArray[Any]:
    low_all, high_all = slow_percentiles(pixels_HW)
    low_middle, high_middle = slow_percentiles(slow_middle(pixels_HW))
    low, high = max(low_all, low_middle), min(high_all, high_middle)
    if high <= low:
        low, high = low_all, high_all
    scaled_HW = (pixels_HW.astype(np.float32) - np.float32(low)) * np.float32(255.0 / max(high - low, 1e-6))
    grey_HW = np.clip(scaled_HW, 0.0, 255.0)
    return 255 - grey_HW if inverted else grey_HW


def slow_is_inverted(pixels_HW: NDArray[Any]) -> bool:
    small = Image.fromarray(pixels_HW.astype(np.float32))
    small.thumbnail((POLARITY_SIDE, POLARITY_SIDE), Image.Resampling.BILINEAR)
    middle_HW = slow_middle(np.asarray(small))
    if min(middle_HW.shape) < 4:
        return False
    low, high = np.percentile(middle_HW, ENDS, method="lower")
    middle_HW = np.clip(middle_HW, float(low), float(high))
    slope_y, slope_x = np.gradient(middle_HW)
    slope_HW = np.hypot(slope_x, slope_y)
    dark, bright = np.percentile(middle_HW, [30, 70])
    return bool(np.median(slope_HW[middle_HW >= bright]) < np.median(slope_HW[middle_HW <= dark]))


def slow_unround(pixels_HW: NDArray[Any]) -> NDArray[Any]:
    if pixels_HW.dtype != np.uint8:
        return pixels_HW
    low, high = (int(value) for value in slow_percentiles(pixels_HW))
    cut_HW = np.clip(pixels_HW, low, high)
    occurs_L = np.flatnonzero(np.bincount(cut_HW.ravel()))
    number: NDArray[np.uint8] = np.zeros(256, np.uint8)
    number[occurs_L] = intensity._numbers(occurs_L - low)
    return np.asarray(number[cut_HW])


def slow_cut(pixels_HW: NDArray[Any]) -> NDArray[np.float32]:
    even_HW = slow_unround(pixels_HW)
    return np.asarray(np.clip(even_HW, *slow_percentiles(even_HW)), np.float32)


def slow_preprocess(pixels_HW: NDArray[Any], long_side: int) -> NDArray[np.float32]:
    height, width = pixels_HW.shape
    even_HW = slow_unround(pixels_HW)
    grey = Image.fromarray(slow_stretch(even_HW, slow_is_inverted(even_HW)))
    sides = (max(1, round(long_side * min(1.0, aspect))) for aspect in (width / height, height / width))
    wide, high = sides
    rows = grey.resize((wide, height), Image.Resampling.BILINEAR)
    return np.clip(np.asarray(rows.resize((wide, high), Image.Resampling.BILINEAR), np.float32), 0, 255)


@settings(deadline=None, max_examples=80)
@given(pictures())
def test_each_measure_is_that_of_its_slow_twin(pixels_HW: NDArray[Any]) -> None:
    before_HW = pixels_HW.copy()
    once = Original(pixels_HW)
    assert once.inverted is slow_is_inverted(pixels_HW) is is_inverted(pixels_HW)
    for inverted in (False, True):
        np.testing.assert_array_equal(once.stretched(inverted).whole(), slow_stretch(pixels_HW, inverted))
        fresh = Original(pixels_HW).stretched(inverted)
        np.testing.assert_array_equal(fresh.whole(), slow_stretch(pixels_HW, inverted))
    np.testing.assert_array_equal(once.even.pixels_HW, slow_unround(pixels_HW))
    np.testing.assert_array_equal(once.cut.whole(), slow_cut(pixels_HW))
    np.testing.assert_array_equal(preprocess(once, 96).grey_HW, slow_preprocess(pixels_HW, 96))
    np.testing.assert_array_equal(pixels_HW, before_HW)


@settings(deadline=None, max_examples=80)
@given(pictures())
def test_levels_are_counted_between_numpy_s_percentiles(pixels_HW: NDArray[Any]) -> None:
    low, high = np.percentile(pixels_HW, [1, 99])
    inside = pixels_HW[(pixels_HW >= low) & (pixels_HW <= high)]
    assert intensity.different(pixels_HW) == len(np.unique(inside))


@settings(deadline=None)
@given(pictures())
def test_counts_of_even_levels_are_those_of_the_even_picture(pixels_HW: NDArray[Any]) -> None:
    even = Original(pixels_HW).even
    counts_L, middle_L = intensity.count(even.pixels_HW), intensity.count(intensity.middle(even.pixels_HW))
    for known_L, counted_L in ((even.counts_L, counts_L), (even.middle_L, middle_L)):
        if known_L is None or counted_L is None:
            assert known_L is counted_L is None
        else:
            np.testing.assert_array_equal(np.trim_zeros(known_L, "b"), counted_L)


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.float32])
def test_the_checks_of_a_picture_measure_it_once(kind: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    hand_HW = draw_hand(120, Sex.FEMALE, seed=1).pixels_HW.astype(kind)
    frame_HW = np.concatenate([hand_HW, hand_HW[:, ::-1]], 1)
    asked: list[int] = []
    real = intensity.count
    monkeypatch.setattr(intensity, "count", lambda pixels_HW: asked.append(pixels_HW.size) or real(pixels_HW))
    once = Original(frame_HW)
    assert (split(once), measure(once)) == (split(frame_HW), measure(frame_HW))
    asked.clear()
    measure(once), preprocess(once, 96), once.cut.resize((50, 50))
    assert not asked, "the counts were there already"


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("offset", [0, 20 + 10j, -60j], ids=["inside", "over the edge", "far over"])
@pytest.mark.parametrize("dark_bones", [False, True])
def test_a_re_sampled_image_is_its_slow_twin_s(dark_bones: bool, offset: complex, kind: type) -> None:
    pixels_HW = (np.random.default_rng(4).random((420, 330)) ** 2 * 250).astype(kind)
    place = Similarity(0.6 * np.exp(0.2j), 30 + 20j + offset)
    whole = Image.fromarray(slow_cut(pixels_HW))
    height, width = (round(side / 0.6) for side in (128, 101))
    resized = whole.resize((width, 420), Image.Resampling.BILINEAR).resize((width, height), Image.Resampling.BILINEAR)
    a, b = (part * height / 128 for part in (place.factor.real, place.factor.imag))
    grow = width / 101
    across = (grow * place.factor.real, -grow * place.factor.imag, grow * place.offset.real)
    turned = resized.transform(
        (104, 128),
        Image.Transform.AFFINE,
        (*across, b, a, place.offset.imag * height / 128),
        Image.Resampling.BICUBIC,
        fillcolor=np.nan,
    )
    turned_HW = np.asarray(turned)
    inside_HW = np.isfinite(turned_HW)
    whole_HW = np.where(inside_HW, turned_HW, np.median(turned_HW[inside_HW]))
    wanted_HW = np.where(inside_HW, slow_stretch(whole_HW, dark_bones), np.float32(0))
    found_HW = resample(Original(pixels_HW).cut, (128, 101), place, (128, 104), dark_bones)
    np.testing.assert_array_equal(found_HW, wanted_HW)
    assert inside_HW.all() == (offset == 0)
