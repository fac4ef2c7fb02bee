"""The pose and the view: a known pose is recovered, boxes make the round trip, pixels lie where the map says."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from align_kit import SIDE, boxes_of, hand, hand_at, middles_of, noise, pose_of, spots, unstretched
from carpal.imaging.intensity import Toned
from carpal.imaging.preprocess import view_size
from carpal.inference import align
from carpal.inference.align import AlignedView, Similarity
from carpal.inference.tta import mirror_boxes

__all__ = ["unstretched"]

DEGREES = st.floats(-179, 179)
RADII = st.floats(5, 500)
PLACES = st.complex_numbers(max_magnitude=1000, allow_nan=False, allow_infinity=False)
MAPS = st.builds(
    lambda radius, degrees, offset: Similarity(radius * complex(np.exp(1j * np.radians(degrees))), offset),
    st.floats(0.1, 10), DEGREES, PLACES,
)  # fmt: skip


@given(radius=RADII, degrees=DEGREES, offset=PLACES, mirrored=st.booleans(), sure=st.floats(0, 1))
def test_a_known_pose_is_recovered(radius: float, degrees: float, offset: complex, mirrored: bool, sure: float) -> None:
    usual = -align.USUAL_DEGREES if mirrored else align.USUAL_DEGREES
    middles_R = hand_at(radius, degrees + usual, offset, mirrored)
    exact_R4 = np.stack([middles_R.real, middles_R.imag] * 2, axis=-1)
    found = align.fit_pose(exact_R4, np.full(17, sure))
    assert found.mirrored is mirrored
    assert found.radius == pytest.approx(radius, rel=1e-6)
    assert abs((found.degrees - degrees + 180) % 360 - 180) < 1e-5
    assert abs(found.map.offset - offset) < 1e-5 * (1 + radius + abs(offset))
    assert found.error < 1e-5


@given(radius=RADII, degrees=DEGREES, offset=PLACES, mirrored=st.booleans(), width=st.integers(1, 500))
def test_the_pose_in_the_mirror_image_is_that_of_the_mirrored_boxes(
    radius: float, degrees: float, offset: complex, mirrored: bool, width: int
) -> None:
    middles_R = hand_at(radius, degrees, offset, mirrored)
    exact_R4 = np.stack([middles_R.real, middles_R.imag] * 2, axis=-1)
    expected = pose_of(mirror_boxes(exact_R4, width))
    found = pose_of(exact_R4).mirror_image(width)
    assert found.mirrored is expected.mirrored is not mirrored
    assert abs((found.degrees - expected.degrees + 180) % 360 - 180) < 1e-5
    np.testing.assert_allclose(found.map, expected.map, atol=1e-6 * (width + radius + abs(offset)))


@given(place=MAPS, corners=st.lists(st.floats(-500, 500), min_size=4, max_size=4))
def test_boxes_make_the_round_trip(place: Similarity, corners: list[float]) -> None:
    x1, x2 = sorted(corners[:2])
    y1, y2 = sorted(corners[2:])
    boxes_R4 = np.array([[x1, y1, x2, y2]])
    back_R4 = place.inverse().boxes(place.boxes(boxes_R4))
    scale = 1 + np.abs(place.boxes(boxes_R4)).max() / abs(place.factor)
    np.testing.assert_allclose(back_R4, boxes_R4, atol=1e-5 * scale)


@given(place=MAPS)
def test_a_box_that_is_left_open_stays_open(place: Similarity) -> None:
    assert np.isnan(place.boxes(np.full((17, 4), np.nan))).all()


def test_sides_may_stay_as_long_as_they_are() -> None:
    assert Similarity(2, 1).boxes(np.array([[0, 0, 4, 2]]), 1.0).tolist() == [[3, 1, 7, 3]]


def test_sides_swap_with_a_quarter_turn() -> None:
    turned = Similarity(2j, 0).boxes(np.array([[0, 0, 4, 2]]))
    assert turned.tolist() == [[-4, 0, 0, 8]]  # 4 wide and 2 high about (2, 1) -> 4 wide and 8 high about (-2, 4)


def test_usual_is_upright_and_of_a_usual_size() -> None:
    def usual(degrees: float, size: float) -> bool:
        return align.is_usual(pose_of(hand(degrees, size)), SIDE)

    low, high = align.SIZES
    assert usual(0, align.USUAL_RADIUS)
    assert usual(align.STEADY - 0.1, low * 1.01)
    assert usual(-align.STEADY + 0.1, high * 0.99)
    assert not usual(align.STEADY + 0.1, align.USUAL_RADIUS)
    assert not usual(-align.STEADY - 0.1, align.USUAL_RADIUS)
    assert not usual(0, low * 0.99)
    assert not usual(0, high * 1.01)
    assert not usual(90, align.USUAL_RADIUS)


def test_what_lies_as_no_hand_is_none() -> None:
    scattered_R4 = boxes_of(np.random.default_rng(0).uniform(0, 200, 34).view(complex))
    assert pose_of(scattered_R4).error > align.STRANGE
    assert not align.is_hand(pose_of(scattered_R4), SIDE)
    assert not align.is_hand(pose_of(np.tile([5.0, 5, 9, 9], (17, 1))), SIDE)
    assert not align.is_hand(pose_of(hand(size=align.LEAST_SIZE * 0.99)), SIDE)


@settings(max_examples=30)
@given(
    radius=st.floats(10, 60),
    degrees=DEGREES,
    x=st.floats(0, 64),
    y=st.floats(0, 64),
    scale=st.floats(1, 1.5),
    mirrored=st.booleans(),
)
def test_every_hand_stands_alike_in_its_view_and_boxes_make_the_round_trip(
    radius: float, degrees: float, x: float, y: float, scale: float, mirrored: bool
) -> None:
    """Also those of a right hand, which is mirrored first, and of a box that is left open."""
    side, shape = 64, (64, 50)
    there_R4 = boxes_of(hand_at(radius, degrees, x + 1j * y, mirrored))
    pose = pose_of(there_R4)
    pose = pose.mirror_image(shape[1]) if mirrored else pose
    black = Toned(np.zeros(shape, np.float32))
    image_HW, to_prepared = align.warp_to_pose(black, shape, pose, side, scale, dark_bones=False)
    view = AlignedView(image_HW, shape, pose, to_prepared, mirrored)
    in_view_R4 = view.boxes_to_view(there_R4)
    in_view = pose_of(in_view_R4)
    height, width = image_HW.shape
    assert (height, width) == (align.aligned_size(side) if scale == 1 else view_size(side))
    assert not in_view.mirrored
    assert in_view.degrees == pytest.approx(0, abs=1e-3)
    assert in_view.radius == pytest.approx(align.RADIUS * scale * side, rel=1e-4)
    middle = complex(width / 2, height / 2 - scale * 0.045 * side)  # 0.455 of the height, about its middle
    assert abs(in_view.map.offset - middle) < 1e-2
    np.testing.assert_allclose(view.boxes_to_prepared(in_view_R4), there_R4, atol=1e-3)
    sides_R2 = in_view_R4[:, 2:] - in_view_R4[:, :2]
    usual = radius if radius < align.SMALL * side else align.USUAL_RADIUS * side
    shown = 8 * align.RADIUS * scale * side / usual  # as large in the view as a hand of the usual size
    np.testing.assert_allclose(sides_R2, shown, rtol=1e-3)
    assert np.isnan(view.boxes_to_view(np.full((17, 4), np.nan))).all()
    upright = degrees - align.USUAL_DEGREES if not mirrored else degrees + align.USUAL_DEGREES
    assert abs((view.degrees - upright + 180) % 360 - 180) < 1e-2


@pytest.mark.usefixtures("unstretched")
@pytest.mark.parametrize("factor", [1, 3])
@pytest.mark.parametrize(
    ("degrees", "radius", "scale"), [(0, 57, 1), (30, 57, 1.2), (-45, 40, 1.5), (100, 30, 1), (180, 66, 1.2)]
)
def test_pixels_lie_where_the_map_says(degrees: float, radius: float, scale: float, factor: int) -> None:
    """Spots drawn on the regions of a turned hand show up where its boxes go, from the prepared image or a larger."""
    side, shape = 256, (256, 240)
    boxes_R4 = boxes_of(hand_at(radius, degrees, 120 + 130j, mirrored=False))
    middles_R = middles_of(boxes_R4)[[6, 8, 16]]  # PIP2, PIP4, Wrist: none near another, all in every view
    source_HW = spots(factor * middles_R, (factor * shape[0], factor * shape[1]), 2.0 * factor)
    pose = pose_of(boxes_R4)
    image_HW, to_prepared = align.warp_to_pose(Toned(source_HW), shape, pose, side, scale, dark_bones=False)
    assert image_HW.shape == (256, 208)
    for middle in to_prepared.inverse().points(middles_R):
        x, y = int(middle.real), int(middle.imag)
        around_HW = image_HW[y - 15 : y + 16, x - 15 : x + 16]
        rows, columns = np.mgrid[-15:16, -15:16] + 0.5
        assert around_HW.max() > 100
        assert abs(x + np.average(columns, weights=around_HW) - middle.real) < 0.2
        assert abs(y + np.average(rows, weights=around_HW) - middle.imag) < 0.2


def test_a_larger_view_has_the_contrast_of_the_whole_aligned_image() -> None:
    """Bright bars lie so near the larger view's edges that contrast measured on it alone would leave them out."""
    grey_HW = np.full((256, 208), 60, np.float32)
    grey_HW[70:180, 40:160] = np.linspace(80, 120, 120)
    grey_HW[40:64] = grey_HW[192:216] = 200
    toned, pose = Toned(grey_HW), pose_of(boxes_of(hand_at(64, align.USUAL_DEGREES, 104 + 116.48j, mirrored=False)))
    whole_HW, _ = align.warp_to_pose(toned, grey_HW.shape, pose, 256, 1.0, dark_bones=False)
    large_HW, _ = align.warp_to_pose(toned, grey_HW.shape, pose, 256, 1.5, dark_bones=False)
    patch_HW, large_patch_HW = whole_HW[118:138, 94:114], large_HW[113:143, 89:119]
    assert patch_HW.mean() == pytest.approx(255 * (grey_HW[118:138, 94:114].mean() - 60) / (200 - 60), abs=0.5)
    assert large_patch_HW.mean() == pytest.approx(patch_HW.mean(), abs=0.5)


def test_a_tilted_image_holds_all_of_it() -> None:
    source_HW = np.full((100, 60), 90, np.uint8)
    source_HW[20:80, 10:50] = np.random.default_rng(0).integers(100, 255, (60, 40))
    image_HW, place = align.tilt(Toned(source_HW), source_HW.shape, dark_bones=False)
    assert image_HW.shape == (100, 100)
    corners = place.inverse().points(np.array([0, 60, 100j, 60 + 100j]))
    assert (np.abs(corners - (50 + 50j)).max()) <= 50 * np.sqrt(2)
    assert min(corners.real.min(), corners.imag.min()) >= -1e-9
    assert max(corners.real.max(), corners.imag.max()) <= 100 + 1e-9
    assert corners[1].imag < corners[0].imag  # turned anticlockwise: the right end of the upper edge rises


def test_a_view_that_the_radiograph_does_not_reach_stays_black() -> None:
    toned = Toned(np.full((64, 64), 200, np.uint8))
    assert align.resample(toned, (64, 64), Similarity(1, 500), (64, 52), dark_bones=False).max() == 0


def test_dark_bones_become_bright_and_what_lies_beyond_stays_black() -> None:
    toned = Toned(np.float32(255) - noise((64, 64)))
    bright_HW = align.resample(Toned(noise((64, 64))), (64, 64), Similarity(1, -20), (64, 64), dark_bones=False)
    dark_HW = align.resample(toned, (64, 64), Similarity(1, -20), (64, 64), dark_bones=True)
    assert (dark_HW[:, :19] == 0).all()
    np.testing.assert_allclose(dark_HW[:, 21:].mean(), bright_HW[:, 21:].mean(), atol=5)
    assert np.corrcoef(dark_HW[:, 21:].ravel(), bright_HW[:, 21:].ravel())[0, 1] > 0.99
