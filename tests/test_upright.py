"""Which picture is read: every hand upright at one size, its boxes back where it lies; what is no hand, as it came."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from carpal.inference.upright import bring, read_views, settle
from carpal.inference.views import mirror_boxes, read_both

from carpal.anatomy import FOUND, MEAN_HAND
from carpal.imaging.preprocess import gaussian_blur, preprocess
from carpal.inference import pose, upright
from carpal.inference.engine import Reading

SIDE = 128
SHAPE = (128, 96)


class Finder:
    """Finds hands where it is told, one for each picture and its mirror image; keeps what it was shown and given.

    Boxes are told in pixels of the picture it is shown, which has a margin only where `MARGIN_4` says so.
    """

    long_side = SIDE
    closer = 1.2

    def __init__(self, *hands: tuple[np.ndarray, float]) -> None:
        self.hands, self.shown, self.given = list(hands), [], []  # type: ignore[var-annotated]

    def run(self, image_HW: Any, male: bool, boxes_R4: Any = None) -> Reading:
        told_R4, score = self.hands[min(len(self.shown) // 2, len(self.hands) - 1)]
        if len(self.shown) % 2:
            told_R4 = mirror_boxes(told_R4, image_HW.shape[1])
        self.shown.append(image_HW)
        self.given.append(boxes_R4)
        found_R4 = told_R4 if boxes_R4 is None else boxes_R4
        scores_R = np.full(17, score, np.float32)
        months = 100.0 + len(self.shown)
        return Reading(months, np.zeros(228, np.float32), np.float32(found_R4), scores_R, np.zeros(17, np.float32))


def hand(degrees: float = 0, size: float = pose.USUAL_RADIUS, middle: complex = 48 + 58j) -> np.ndarray:
    """Boxes of a hand turned clockwise by `degrees` from upright, its radius a share of `SIDE`."""
    hand_R = np.array([x + 1j * y for x, y in MEAN_HAND])
    middles_R = size * SIDE * np.exp(1j * np.radians(degrees + pose.USUAL_DEGREES)) * hand_R + middle
    middles_R2 = np.stack([middles_R.real, middles_R.imag], axis=-1)
    return np.concatenate([middles_R2 - 4, middles_R2 + 4], axis=-1).astype(np.float32)


def picture(shape: tuple[int, int] = SHAPE, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, shape).astype(np.float32)


MARGIN_4 = np.array([12, 0, 12, 0])
"""A picture of 128 x 104 is padded to 128 columns."""


@pytest.mark.parametrize(("degrees", "size"), [(0, 0.225), (11, 0.2), (-11, 0.28)])
def test_a_usual_hand_is_read_upright_and_its_boxes_keep_their_sides(degrees: float, size: float) -> None:
    """Six runs: as it came, upright, and closer, each mirrored as well. The age is of the last four."""
    there_R4 = hand(degrees, size)
    upright_R4 = pose.to_reading(pose.fit(there_R4, np.ones(17)), SIDE).inverse().boxes(there_R4, scaled=False)
    engine = Finder((there_R4, 0.9), (upright_R4 + MARGIN_4, 0.9))
    reading, stand = read_views(engine, picture(), True)  # type: ignore[arg-type]
    assert (len(engine.shown), reading.months) == (6, (103 + 104 + 105 + 106) / 4)
    np.testing.assert_array_equal(engine.shown[4][:, 12:116], gaussian_blur(pose.close_up(stand.picture_HW, 1.2)[0]))
    assert stand.usual
    assert reading.boxes_R4 is not None
    np.testing.assert_allclose(reading.boxes_R4, there_R4, atol=1e-3)
    whole = Finder((there_R4, 0.9), (upright_R4 + MARGIN_4, 0.9))
    whole.closer = 1.0
    reading, _ = read_views(whole, picture(), True)  # type: ignore[arg-type]
    assert (len(whole.shown), reading.months) == (4, (103 + 104) / 2), "weights that want no closer picture get none"


@pytest.mark.parametrize(("degrees", "size"), [(20, 0.225), (-40, 0.225), (0, 0.12), (0, 0.32), (30, 0.1)])
def test_a_hand_off_its_usual_pose_is_read_upright_and_its_boxes_come_back(degrees: float, size: float) -> None:
    there_R4 = hand(degrees, size)
    place = pose.to_reading(pose.fit(there_R4, np.ones(17)), SIDE)
    upright_R4 = place.inverse().boxes(there_R4, scaled=size < pose.SMALL)
    engine = Finder((there_R4, 0.6), (upright_R4 + MARGIN_4, 0.9))
    reading, stand = read_views(engine, picture(), False)  # type: ignore[arg-type]
    assert len(engine.shown) == 6
    assert engine.shown[2].shape == engine.shown[4].shape == (128, 128)
    assert stand.found is not None
    assert not stand.usual
    assert stand.found.degrees == pytest.approx(degrees, abs=1e-3)
    assert reading.boxes_R4 is not None
    np.testing.assert_allclose(reading.boxes_R4, there_R4, atol=1e-3)


def test_given_boxes_are_read_where_they_lie_and_come_back() -> None:
    there_R4 = hand(25)
    place = pose.to_reading(pose.fit(there_R4, np.ones(17)), SIDE)
    given_R4 = there_R4.copy()
    given_R4[3] += 5
    given_R4[7] = np.nan
    engine = Finder((there_R4, 0.6), (hand(), 0.9))
    reading, _ = read_views(engine, picture(), False, given_R4)  # type: ignore[arg-type]
    assert [boxes is None for boxes in engine.given] == [True] * 4 + [False] * 4
    assert np.isnan(engine.given[4][7]).all()
    expected_R4 = place.inverse().boxes(given_R4, scaled=False) + MARGIN_4
    np.testing.assert_allclose(engine.given[4], expected_R4, atol=1e-3)
    middle_R2, closer_R2 = (given.reshape(-1, 2, 2).mean(1) - [64, 64] for given in (engine.given[4], engine.given[6]))
    np.testing.assert_allclose(closer_R2, engine.closer * middle_R2, atol=1e-3)
    known = np.arange(17) != 7
    assert reading.boxes_R4 is not None
    np.testing.assert_allclose(reading.boxes_R4[known], given_R4[known], atol=1e-3)


def test_where_no_quarter_turn_is_sure_the_turns_between_are_tried() -> None:
    nothing, tilted = (hand(0), 0.1), (hand(0, 0.18, 64 + 64j), 0.7)
    engine = Finder(nothing, nothing, nothing, nothing, tilted, (hand(), 0.9))
    _, stand = settle(engine, picture(), False)  # type: ignore[arg-type]
    assert len(engine.shown) == 2 * 6
    assert engine.shown[8].shape == (128, 128)
    assert stand.found is not None
    assert stand.found.degrees == pytest.approx(45, abs=1e-3)
    assert stand.found.radius > 0.18 * SIDE  # the tilted picture shows it smaller than it is


def test_what_is_hardly_a_hand_in_any_turn_is_read_as_it_came() -> None:
    engine = Finder((hand(30), 0.2))
    _, stand = settle(engine, picture(), False)  # type: ignore[arg-type]
    assert (len(engine.shown), stand.place, stand.found) == (2 * 8, None, None)


def test_a_pose_that_was_misjudged_is_mended_once_more() -> None:
    engine = Finder((hand(20), 0.6), (hand(-30), 0.6), (hand(30), 0.9))
    settle(engine, picture(), False)  # type: ignore[arg-type]
    assert len(engine.shown) == 2 * (1 + upright.ROUNDS)


def test_what_is_no_hand_is_read_as_it_came() -> None:
    scattered_R4 = np.tile(np.float32([3, 3, 9, 9]), (17, 1))
    engine = Finder((scattered_R4, 0.9))
    _, stand = read_views(engine, picture(), False)  # type: ignore[arg-type]
    assert (len(engine.shown), stand.place) == (2, None)


def test_a_store_holds_the_picture_that_is_read_and_the_points_on_it() -> None:
    original_HW = picture((256, 192))
    prepared = preprocess(original_HW, SIDE)
    there_R4 = hand(5, 0.2)
    points_R3 = np.concatenate([(there_R4[:, :2] + there_R4[:, 2:]) / 2, np.ones((17, 1))], 1).astype(np.float32)
    points_R3[4] = 0  # nobody marked it
    points_R3[6, :2] = (-40, 20)  # beyond the picture's left edge, and so beyond the one that is read
    pixels_HW, moved_R3 = bring(Finder((there_R4, 0.9), (hand(), 0.9)), original_HW, prepared, points_R3)  # type: ignore[arg-type]
    _, stand = settle(Finder((there_R4, 0.9), (hand(), 0.9)), prepared.grey_HW, False, original_HW)  # type: ignore[arg-type]
    np.testing.assert_array_equal(pixels_HW, np.rint(stand.picture_HW))
    assert (pixels_HW.shape, pixels_HW.dtype) == ((128, 104), np.uint8)
    known_R = np.isin(np.arange(17), (4, 6), invert=True)
    assert moved_R3[~known_R].tolist() == [[0, 0, 0]] * 2
    assert stand.place is not None
    middle_R = stand.place.points(moved_R3[known_R, 0] + 1j * moved_R3[known_R, 1])
    wanted_R = points_R3[known_R, 0] + 1j * points_R3[known_R, 1]
    np.testing.assert_allclose(middle_R, wanted_R, atol=1e-3)


def test_sure_regions_that_nobody_annotated_can_be_kept_where_the_network_found_them() -> None:
    original_HW = picture((256, 192))
    prepared = preprocess(original_HW, 2 * SIDE)
    points_R3 = np.zeros((17, 3), np.float32)
    points_R3[4] = (70, 90, 1)
    told = (hand(5, 0.2), 0.9), (hand() + MARGIN_4, 0.9)
    pixels_HW, plain_R3 = bring(Finder(*told), original_HW, prepared, points_R3)  # type: ignore[arg-type]
    same_HW, moved_R3 = bring(Finder(*told), original_HW, prepared, points_R3, pseudo=True)  # type: ignore[arg-type]
    np.testing.assert_array_equal(pixels_HW, same_HW)
    np.testing.assert_array_equal(moved_R3[4], plain_R3[4])
    found_R = np.arange(17) != 4
    assert (plain_R3[found_R] == 0).all()
    assert (moved_R3[found_R, 2] == FOUND).all()
    wanted_R2 = 2 * (hand()[:, :2] + hand()[:, 2:]) / 2  # as the last picture shows them, at the store's size
    np.testing.assert_allclose(moved_R3[found_R, :2], wanted_R2[found_R], atol=1e-3)
    unsure = (hand(5, 0.2), 0.39), (hand() + MARGIN_4, 0.39)
    _, none_R3 = bring(Finder(*unsure), original_HW, prepared, points_R3, pseudo=True)  # type: ignore[arg-type]
    assert (none_R3[found_R] == 0).all()


def test_a_store_may_be_larger_than_what_the_network_reads() -> None:
    """The hand is found at the network's size; the same points lie on a picture twice as large at twice the place."""
    original_HW, points_R3 = picture((256, 192)), np.ones((17, 3), np.float32)
    points_R3[:, :2] = (hand(5, 0.2)[:, :2] + hand(5, 0.2)[:, 2:]) / 2
    told = (hand(5, 0.2), 0.9), (hand(), 0.9)
    _, small_R3 = bring(Finder(*told), original_HW, preprocess(original_HW, SIDE), points_R3)  # type: ignore[arg-type]
    points_R3[:, :2] *= 2
    large_HW, large_R3 = bring(Finder(*told), original_HW, preprocess(original_HW, 2 * SIDE), points_R3)  # type: ignore[arg-type]
    assert large_HW.shape == (256, 208)
    np.testing.assert_allclose(large_R3[:, :2], small_R3[:, :2] * 2, atol=1e-3)
    np.testing.assert_array_equal(large_R3[:, 2], small_R3[:, 2])


def test_a_re_sampled_picture_comes_from_the_original_pixels() -> None:
    """Stripes of eight pixels, which the prepared picture, four times smaller, cannot show."""
    original_HW = np.zeros((512, 384), np.float32)
    original_HW[:, 192:] = np.tile(np.repeat([50.0, 250.0], 4), 24)
    image_HW = np.float32(original_HW[::4, ::4] > 0) * 150
    fine, coarse = Finder((hand(0, 0.1), 0.6), (hand(), 0.9)), Finder((hand(0, 0.1), 0.6), (hand(), 0.9))
    read_views(fine, image_HW, False, original_HW=original_HW)  # type: ignore[arg-type]
    read_views(coarse, image_HW, False)  # type: ignore[arg-type]
    fine_HW, coarse_HW = (engine.shown[2][40:80, 70:110] for engine in (fine, coarse))
    assert coarse_HW.std() < 1
    assert fine_HW.std() > 20


def test_a_stretched_copy_is_read_from_the_same_picture() -> None:
    """A viewer's export: cut at two percentiles, in 8 bits. The hand's own brightest pixels lie beyond them."""
    original_HW = np.random.default_rng(3).normal(300, 40, (512, 384))
    original_HW[100:400, 100:300] += np.linspace(0, 3000, 200)
    low, high = np.percentile(original_HW, (1, 99))
    copy_HW = np.rint(np.clip((original_HW - low) / (high - low), 0, 1) * 255).astype(np.uint8)
    shown = []
    for each_HW in (original_HW, copy_HW):
        engine = Finder((hand(0, 0.15), 0.9), (hand(), 0.9))
        settle(engine, preprocess(each_HW, SIDE).grey_HW, False, each_HW)  # type: ignore[arg-type]
        shown.append(engine.shown[2])
    assert shown[0].std() > 50
    np.testing.assert_allclose(*shown, atol=1)


def test_an_image_and_its_mirror_image_are_read_alike() -> None:
    class Bright:
        def run(self, image_HW: Any, male: bool, boxes_R4: Any = None) -> Reading:
            x = float(image_HW.argmax() % image_HW.shape[1])
            return Reading(100 + x, np.zeros(228, np.float32))

    image_HW = np.zeros((64, 96), np.float32)
    image_HW[3, 5] = 255
    months = [read_views(Bright(), each_HW, True)[0].months for each_HW in (image_HW, image_HW[:, ::-1])]  # type: ignore
    assert months == [100 + (5 + 90) / 2] * 2


def test_a_network_without_regions_is_read_twice() -> None:
    class Regionless:
        calls = 0

        def run(self, image_HW: Any, male: bool) -> Reading:
            self.calls += 1
            return Reading(80.0 + 10 * self.calls, np.zeros(228, np.float32))

    reading, stand = read_views(Regionless(), np.zeros((64, 96), np.uint8), male=True)  # type: ignore[arg-type]
    assert (reading.months, stand.turns, reading.boxes_R4) == (95, 0, None)


def test_both_views_read_the_same_picture() -> None:
    engine = Finder((hand(), 0.9))
    read_both(engine, picture(), False, 2)  # type: ignore[arg-type]
    np.testing.assert_array_equal(engine.shown[1], engine.shown[0][:, ::-1])


def test_the_pose_comes_from_both_views() -> None:
    """A network that finds every hand a pixel too far left: its mirror image is found as far right."""

    class Leaning(Finder):
        def run(self, image_HW: Any, male: bool, boxes_R4: Any = None) -> Reading:
            reading = super().run(image_HW, male, boxes_R4)
            return reading._replace(boxes_R4=np.float32(reading.boxes_R4 - [1, 0, 1, 0]))

    exact, leaning = (kind((hand(), 0.9)) for kind in (Finder, Leaning))
    for engine in (exact, leaning):
        settle(engine, picture(), False)  # type: ignore[arg-type]
    np.testing.assert_allclose(leaning.shown[2], exact.shown[2], atol=0.02)


def test_as_it_came_no_hand_is_brought_upright() -> None:
    """Two runs, the picture and its mirror image, and the boxes stay where they were found, however the hand lies."""
    there_R4 = hand(40, 0.1)
    engine = Finder((there_R4, 0.2))
    reading, stand = read_views(engine, picture(), True, as_it_came=True)  # type: ignore[arg-type]
    assert (len(engine.shown), reading.months, stand.place) == (2, (101 + 102) / 2, None)
    assert reading.boxes_R4 is not None
    np.testing.assert_allclose(reading.boxes_R4, there_R4, atol=1e-3)
