"""The pose: a known one is recovered, boxes make the round trip, and the picture turns with them."""

from __future__ import annotations

import numpy as np
import pytest
from carpal.inference.pose import Similarity
from hypothesis import given
from hypothesis import strategies as st

from carpal.anatomy import MEAN_HAND
from carpal.imaging.intensity import Original, Toned
from carpal.inference import pose

SIDE = 256
DEGREES = st.floats(-179, 179)
RADII = st.floats(5, 500)
PLACES = st.complex_numbers(max_magnitude=1000, allow_nan=False, allow_infinity=False)
MAPS = st.builds(
    lambda radius, degrees, offset: Similarity(radius * complex(np.exp(1j * np.radians(degrees))), offset),
    st.floats(0.1, 10), DEGREES, PLACES,
)  # fmt: skip


def boxes_of(middles_R: np.ndarray, side: float = 8) -> np.ndarray:
    middles_R2 = np.stack([middles_R.real, middles_R.imag], axis=-1)
    return np.concatenate([middles_R2 - side / 2, middles_R2 + side / 2], axis=-1)


def hand(radius: float, degrees: float, offset: complex, mirrored: bool) -> np.ndarray:
    """Region boxes of the mean hand, mirrored first if asked, then turned clockwise by `degrees`."""
    mirror = -1 if mirrored else 1
    hand_R = np.array([mirror * x + 1j * y for x, y in MEAN_HAND])
    return boxes_of(radius * np.exp(1j * np.radians(degrees)) * hand_R + offset)


@given(radius=RADII, degrees=DEGREES, offset=PLACES, mirrored=st.booleans(), sure=st.floats(0, 1))
def test_a_known_pose_is_recovered(radius: float, degrees: float, offset: complex, mirrored: bool, sure: float) -> None:
    usual = -pose.USUAL_DEGREES if mirrored else pose.USUAL_DEGREES
    found = pose.fit(hand(radius, degrees + usual, offset, mirrored), np.full(17, sure))
    assert found.mirrored is mirrored
    assert found.radius == pytest.approx(radius, rel=1e-6)
    assert abs((found.degrees - degrees + 180) % 360 - 180) < 1e-5
    assert abs(found.map.offset - offset) < 1e-5 * (1 + radius + abs(offset))
    assert found.error < 1e-5


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
    assert Similarity(2, 1).boxes(np.array([[0, 0, 4, 2]]), scaled=False).tolist() == [[3, 1, 7, 3]]


def test_sides_swap_with_a_quarter_turn() -> None:
    turned = Similarity(2j, 0).boxes(np.array([[0, 0, 4, 2]]))
    assert turned.tolist() == [[-4, 0, 0, 8]]  # 4 wide and 2 high about (2, 1) -> 4 wide and 8 high about (-2, 4)


@given(radius=st.floats(20, 120), degrees=DEGREES, x=st.floats(0, SIDE), y=st.floats(0, SIDE), mirrored=st.booleans())
def test_the_re_sampled_picture_shows_the_usual_pose(
    radius: float, degrees: float, x: float, y: float, mirrored: bool
) -> None:
    boxes_R4 = hand(radius, degrees, x + 1j * y, mirrored)
    place = pose.to_reading(pose.fit(boxes_R4, np.ones(17)), SIDE)
    upright = pose.fit(place.inverse().boxes(boxes_R4), np.ones(17))
    height, width = pose.canvas(SIDE)
    assert upright.degrees == pytest.approx(0, abs=1e-3)
    assert upright.radius == pytest.approx(pose.RADIUS * SIDE, rel=1e-4)
    assert abs(upright.map.offset - complex(0.5 * width, 0.455 * height)) < 1e-2
    assert upright.mirrored is mirrored
    assert pose.is_usual(upright, SIDE)


def spots(middles_R: np.ndarray, shape: tuple[int, int], sigma: float) -> np.ndarray:
    """A soft bright spot at each middle."""
    y_HW, x_HW = np.mgrid[0 : shape[0], 0 : shape[1]] + 0.5
    picture_HW = np.zeros(shape, np.float32)
    for middle in middles_R:
        picture_HW += 200 * np.exp(-((x_HW - middle.real) ** 2 + (y_HW - middle.imag) ** 2) / (2 * sigma**2))
    return picture_HW


@pytest.mark.parametrize("closer", [1.0, 1.2, 1.5])
def test_the_close_up_shows_what_its_map_says(closer: float) -> None:
    """A spot of the picture lies in the close-up where the inverse map puts it, and is so much larger."""
    spot = 90 + 150j
    near_HW, place = pose.close_up(spots(np.array([spot]), (256, 208), 3.0), closer)
    there = complex(place.inverse().points(np.array([spot]))[0])
    y_HW, x_HW = np.mgrid[0:256, 0:208] + 0.5
    assert near_HW.shape == (256, 208)
    assert complex(place.points(np.array([104 + 128j]))[0]) == pytest.approx(104 + 128j)  # the middle stays
    assert abs(np.average(x_HW, weights=near_HW) - there.real) < 0.05
    assert abs(np.average(y_HW, weights=near_HW) - there.imag) < 0.05
    variance = np.average((x_HW - there.real) ** 2, weights=near_HW)
    assert variance == pytest.approx((3.0 * closer) ** 2, rel=0.02)


@pytest.mark.parametrize("factor", [1, 3])
@pytest.mark.parametrize(("degrees", "radius"), [(0, 57), (30, 57), (-45, 40), (100, 30), (180, 66)])
def test_pixels_lie_where_the_map_says(
    degrees: float, radius: float, factor: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Spots drawn on the regions of a turned hand show up where its boxes go, from the prepared picture or a larger."""
    monkeypatch.setattr(Original, "bright", property(lambda picture: Toned(picture.pixels_HW)))
    shape = (256, 240)
    boxes_R4 = hand(radius, degrees, 120 + 130j, mirrored=False)
    middles_R = (boxes_R4[:, 0] + boxes_R4[:, 2] + 1j * (boxes_R4[:, 1] + boxes_R4[:, 3])) / 2
    middles_R = middles_R[[5, 8, 16]]  # PIP1, PIP4, Wrist: none near another
    source_HW = spots(factor * middles_R, (factor * shape[0], factor * shape[1]), 3.0 * factor)
    place = pose.to_reading(pose.fit(boxes_R4, np.ones(17)), SIDE)
    picture_HW = pose.resample(Toned(source_HW), shape, place)
    assert picture_HW.shape == (256, 208)
    for middle in place.inverse().points(middles_R):
        x, y = int(middle.real), int(middle.imag)
        around_HW = picture_HW[y - 15 : y + 16, x - 15 : x + 16]
        rows, columns = np.mgrid[-15:16, -15:16] + 0.5
        assert around_HW.max() > 100
        assert abs(x + np.average(columns, weights=around_HW) - middle.real) < 0.2
        assert abs(y + np.average(rows, weights=around_HW) - middle.imag) < 0.2


def test_usual_is_upright_and_of_a_usual_size() -> None:
    def usual(degrees: float, size: float) -> bool:
        boxes_R4 = hand(size * SIDE, degrees + pose.USUAL_DEGREES, 100 + 120j, mirrored=False)
        return pose.is_usual(pose.fit(boxes_R4, np.ones(17)), SIDE)

    low, high = pose.SIZES
    assert usual(0, pose.USUAL_RADIUS)
    assert usual(pose.STEADY - 0.1, low * 1.01)
    assert usual(-pose.STEADY + 0.1, high * 0.99)
    assert not usual(pose.STEADY + 0.1, pose.USUAL_RADIUS)
    assert not usual(-pose.STEADY - 0.1, pose.USUAL_RADIUS)
    assert not usual(0, low * 0.99)
    assert not usual(0, high * 1.01)
    assert not usual(90, pose.USUAL_RADIUS)


def test_what_lies_as_no_hand_is_none() -> None:
    scattered_R4 = boxes_of(np.random.default_rng(0).uniform(0, 200, 34).view(complex))
    found = pose.fit(scattered_R4, np.ones(17))
    assert found.error > pose.STRANGE
    assert not pose.is_hand(found, SIDE)
    assert not pose.is_hand(pose.fit(np.tile([5.0, 5, 9, 9], (17, 1)), np.ones(17)), SIDE)
    tiny_R4 = hand(pose.LEAST_SIZE * 0.99 * SIDE, 0, 100 + 120j, mirrored=False)
    assert not pose.is_hand(pose.fit(tiny_R4, np.ones(17)), SIDE)


def test_a_tilted_picture_holds_all_of_it() -> None:
    source_HW = np.full((100, 60), 90, np.uint8)
    source_HW[20:80, 10:50] = np.random.default_rng(0).integers(100, 255, (60, 40))
    picture_HW, place = pose.tilt(Toned(source_HW), source_HW.shape)
    assert picture_HW.shape == (100, 100)
    corners = place.inverse().points(np.array([0, 60, 100j, 60 + 100j]))
    assert (np.abs(corners - (50 + 50j)).max()) <= 50 * np.sqrt(2)
    assert min(corners.real.min(), corners.imag.min()) >= -1e-9
    assert max(corners.real.max(), corners.imag.max()) <= 100 + 1e-9
    assert corners[1].imag < corners[0].imag  # turned anticlockwise: the right end of the upper edge rises


def test_a_picture_that_the_radiograph_does_not_reach_stays_black() -> None:
    picture_HW = pose.resample(Toned(np.full((64, 64), 200, np.uint8)), (64, 64), Similarity(1, 500))
    assert picture_HW.max() == 0
