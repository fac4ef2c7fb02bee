"""Which view is read: a hand and its mirror image, turned or as a negative, in the same one; no hand as it lies."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from align_kit import (
    MARGIN_4,
    SHAPE,
    SIDE,
    Eye,
    Finder,
    drawn,
    hand,
    in_view,
    look,
    middles_of,
    noise,
    plain,
    unstretched,
)  # fmt: skip
from carpal.imaging.preprocess import gaussian_blur, pad, preprocess, view_size
from carpal.inference import align
from carpal.inference.align import align_hand
from carpal.inference.engine import Reading
from carpal.inference.tta import mirror_boxes, turn_boxes

__all__ = ["unstretched"]


def middles(boxes_R4: Any) -> np.ndarray:
    """Where boxes lie, whatever their sides: those of a view are as large as the eye makes them."""
    return (np.asarray(boxes_R4)[:, :2] + np.asarray(boxes_R4)[:, 2:]) / 2


@pytest.mark.usefixtures("unstretched")
@pytest.mark.parametrize("dark", [None, False, True], ids=["prepared", "bright bones", "dark bones"])
@pytest.mark.parametrize(("view_scale", "flip"), [(1.0, True), (1.2, False), (1.2, True)])
def test_a_mirrored_radiograph_gives_the_same_view_and_age(view_scale: float, flip: bool, dark: bool | None) -> None:
    """Pixel for pixel, from the prepared image or the radiograph's own pixels; boxes come back mirrored, exactly."""
    grey_HW, there_R4 = drawn(degrees=7)
    found = []
    for each_HW in (grey_HW, grey_HW[:, ::-1]):
        source = None if dark is None else 255 - each_HW if dark else each_HW
        engine = Eye(view_scale, flip)
        found.append((look(engine, plain(each_HW, bool(dark)), source=source), len(engine.shown)))
    ((left, left_view), left_runs), ((right, right_view), right_runs) = found
    assert (left_runs, right_runs) == (2 + flip, 3 + flip)
    assert (left_view.mirrored, right_view.mirrored) == (False, True)
    np.testing.assert_array_equal(right_view.image_HW, left_view.image_HW)
    assert right_view.image_HW.max() > 150
    assert right.months == left.months
    np.testing.assert_array_equal(right.boxes_R4, mirror_boxes(left.boxes_R4, SHAPE[1]))  # type: ignore[arg-type]
    np.testing.assert_allclose(middles(left.boxes_R4), middles(there_R4), atol=0.2)
    assert left_view.degrees == pytest.approx(7, abs=0.5)
    assert right_view.degrees == pytest.approx(-7, abs=0.5)


@pytest.mark.usefixtures("unstretched")
@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("turns", [1, 2, 3])
def test_a_quarter_turn_gives_the_same_view(turns: int, mirrored: bool) -> None:
    grey_HW, there_R4 = drawn(degrees=-5)
    as_it_is, upright = look(Eye(1.2), plain(grey_HW))
    if mirrored:
        grey_HW, there_R4 = grey_HW[:, ::-1], mirror_boxes(there_R4, SHAPE[1])
    engine = Eye(1.2)
    reading, view = look(engine, plain(np.rot90(grey_HW, turns)))
    find = 1 + 1 + 7  # as it is, its negative, the other turns: one of them is sure
    assert len(engine.shown) == find * (1 + mirrored) + 2
    np.testing.assert_allclose(view.image_HW, upright.image_HW, atol=4)
    assert reading.months == pytest.approx(as_it_is.months, abs=0.1)
    back_R4 = turn_boxes(reading.boxes_R4, turns, *SHAPE)  # type: ignore[arg-type]
    np.testing.assert_allclose(middles(back_R4), middles(there_R4), atol=0.2)
    assert not view.usual
    clockwise = -90 * turns + (5 if mirrored else -5)
    assert abs((view.degrees - clockwise + 180) % 360 - 180) < 0.5


@pytest.mark.usefixtures("unstretched")
def test_where_no_quarter_turn_is_sure_the_turns_between_are_tried() -> None:
    grey_HW, there_R4 = drawn(degrees=45, size=0.17)
    engine = Eye()
    reading, view = look(engine, plain(grey_HW))
    assert len(engine.shown) == 1 + 1 + 7 + 2
    assert engine.shown[5].shape == (128, 128)
    assert view.degrees == pytest.approx(45, abs=0.5)
    np.testing.assert_allclose(middles(reading.boxes_R4), middles(there_R4), atol=0.2)


@pytest.mark.usefixtures("unstretched")
@pytest.mark.parametrize("degrees", [4, 90])
@pytest.mark.parametrize("dark", [None, False, True], ids=["prepared", "bright bones", "dark bones"])
@pytest.mark.parametrize("mirrored", [False, True])
def test_a_misjudged_polarity_is_put_right(degrees: float, dark: bool | None, mirrored: bool) -> None:
    """The texture rule took the one for the other, so the prepared image is a negative: the view is that of no mistake.

    A turned hand is hardly found in either polarity, whichever scores higher by chance.
    """
    grey_HW, _ = drawn(degrees)
    grey_HW = grey_HW[:, ::-1] if mirrored else grey_HW
    right, right_view = look(Eye(1.2), plain(grey_HW))
    source = None if dark is None else 255 - grey_HW if dark else grey_HW
    engine = Eye(1.2)
    reading, view = look(engine, plain(255 - grey_HW, dark is False), source=source)
    find = 2 if degrees == 4 else 2 + 7 + 7
    assert len(engine.shown) == find * (1 + mirrored) + 2
    assert (view.negative, right_view.negative) == (True, False)
    np.testing.assert_allclose(view.image_HW, right_view.image_HW, atol=1e-3)
    assert reading.months == pytest.approx(right.months, abs=1e-3)
    np.testing.assert_allclose(reading.boxes_R4, right.boxes_R4, atol=1e-2)  # type: ignore[arg-type]


@pytest.mark.usefixtures("unstretched")
def test_a_negative_that_scores_higher_by_chance_is_not_read_where_a_turn_is_sure() -> None:
    grey_HW, _ = drawn(degrees=90)
    _, view = look(Eye(chance=0.2), plain(grey_HW))
    assert view.pose is not None
    assert not view.negative


@pytest.mark.parametrize(("degrees", "size"), [(0, 0.225), (11, 0.2), (-11, 0.28)])
def test_a_usual_hand_is_looked_at_once_and_read_in_one_view(degrees: float, size: float) -> None:
    """The age is of the view and, where the weights ask for it, its mirror image; of nothing else."""
    there_R4 = hand(degrees, size)
    engine = Finder((there_R4, 0.9), (in_view(there_R4), 0.9))
    reading, view = look(engine, plain(noise()))
    assert (len(engine.shown), reading.months) == (3, (102 + 103) / 2)
    np.testing.assert_array_equal(engine.shown[1], pad(gaussian_blur(view.image_HW))[0])
    np.testing.assert_array_equal(engine.shown[2], engine.shown[1][:, ::-1])
    assert view.usual
    np.testing.assert_allclose(reading.boxes_R4, there_R4, atol=1e-3)  # type: ignore[arg-type]
    alone = Finder((there_R4, 0.9), (in_view(there_R4), 0.9), flip=False)
    reading, _ = look(alone, plain(noise()))
    assert (len(alone.shown), reading.months) == (2, 102)
    np.testing.assert_allclose(reading.boxes_R4, there_R4, atol=1e-3)  # type: ignore[arg-type]


@pytest.mark.parametrize(("degrees", "size"), [(20, 0.225), (-40, 0.225), (0, 0.12), (0, 0.32), (30, 0.1)])
def test_a_hand_off_its_usual_pose_is_aligned_and_its_boxes_come_back(degrees: float, size: float) -> None:
    there_R4 = hand(degrees, size)
    engine = Finder((there_R4, 0.6), (in_view(there_R4), 0.9))
    reading, view = look(engine, plain(noise()))
    assert len(engine.shown) == 3
    assert view.image_HW.shape == view_size(SIDE) == (128, 112)
    assert not view.usual
    assert view.degrees == pytest.approx(degrees, abs=1e-3)
    np.testing.assert_allclose(reading.boxes_R4, there_R4, atol=1e-3)  # type: ignore[arg-type]


def test_given_boxes_are_read_where_they_lie_and_come_back() -> None:
    there_R4 = hand(25)
    given_R4 = there_R4.copy()
    given_R4[3] += 5
    given_R4[7] = np.nan
    engine = Finder((there_R4, 0.6), (in_view(there_R4), 0.9))
    reading, view = look(engine, plain(noise()), boxes_R4=given_R4)
    assert [boxes is None for boxes in engine.given] == [True, True, False, False]
    assert np.isnan(engine.given[2][7]).all()
    np.testing.assert_allclose(engine.given[2], view.boxes_to_view(given_R4) + MARGIN_4, atol=1e-4)
    middle_R2 = np.stack([middles_of(engine.given[2]).real, middles_of(engine.given[2]).imag], -1)
    expected_R2 = (in_view(there_R4)[:, :2] + in_view(there_R4)[:, 2:]) / 2
    untouched_R = ~np.isin(np.arange(17), (3, 7))
    np.testing.assert_allclose(middle_R2[untouched_R], expected_R2[untouched_R], atol=1e-3)
    np.testing.assert_allclose(engine.given[3], mirror_boxes(engine.given[2], 128), atol=1e-4)
    known_R = np.arange(17) != 7
    assert reading.boxes_R4 is not None
    np.testing.assert_allclose(reading.boxes_R4[known_R], given_R4[known_R], atol=1e-3)


def test_given_boxes_of_a_right_hand_lie_on_the_mirrored_view() -> None:
    there_R4 = hand(10)
    right_R4 = mirror_boxes(there_R4, SHAPE[1])
    left, right = (Finder(*told, (in_view(there_R4), 0.9)) for told in ([(there_R4, 0.9)], [(right_R4, 0.9)]))
    look(left, plain(noise()), boxes_R4=there_R4)
    reading, _ = look(right, plain(noise()[:, ::-1]), boxes_R4=right_R4)
    np.testing.assert_allclose(right.given[-2], left.given[-2], atol=1e-4)
    np.testing.assert_allclose(right.shown[-2], left.shown[-2], atol=1e-3)  # boxes are float32
    np.testing.assert_allclose(reading.boxes_R4, right_R4, atol=1e-3)  # type: ignore[arg-type]


def test_what_is_hardly_a_hand_in_any_turn_is_read_as_it_lies() -> None:
    """As it is, its negative, seven turns of each, and at last the mirror image, whatever the weights ask for."""
    image_HW = noise()
    engine = Finder((hand(30), 0.2), flip=False)
    reading, view = look(engine, plain(image_HW))
    assert len(engine.shown) == 1 + 1 + 7 + 7 + 1
    assert view[1:] == (SHAPE, None, None, False, False)
    assert view.image_HW is image_HW
    assert (view.usual, view.degrees) == (True, 0)
    assert reading.months == (101 + 117) / 2
    np.testing.assert_array_equal(engine.shown[-1], engine.shown[0][:, ::-1])


def test_what_is_no_hand_is_read_as_it_lies() -> None:
    scattered_R4 = np.tile(np.float32([3, 3, 9, 9]), (17, 1))
    engine = Finder((scattered_R4, 0.9), flip=False)
    reading, view = look(engine, plain(noise()))
    assert (len(engine.shown), view.pose, view.to_prepared) == (2, None, None)
    np.testing.assert_allclose(reading.boxes_R4, scattered_R4, atol=1e-4)  # type: ignore[arg-type]


class Sided(Finder):
    """Is told what to find in `noise()`, in its mirror image, and in all else."""

    def run(self, image_HW: Any, male: bool, boxes_R4: Any = None) -> Reading:
        whole = image_HW.shape == SHAPE
        told = 2 if not whole else 0 if np.array_equal(image_HW, gaussian_blur(noise())) else 1
        found_R4, score = self.told[told]
        return Reading(0, np.zeros(228), found_R4, np.full(17, score), np.zeros(17))


def test_a_right_hand_that_its_mirror_image_does_not_show_is_read_as_it_lies() -> None:
    """As that mirror image itself is: both are read as the mean of the same two images."""
    right_R4, nothing = mirror_boxes(hand(), SHAPE[1]), (hand(), 0.1)
    for told, image_HW in (((right_R4, 0.9), noise()), (nothing, noise())):
        _, view = look(Sided(told, nothing, nothing), plain(image_HW))
        assert view[1:] == (SHAPE, None, None, False, False)
        np.testing.assert_array_equal(view.image_HW, image_HW)


@pytest.mark.parametrize("surer", [False, True])
def test_where_image_and_mirror_image_both_show_a_right_hand_the_surer_one_decides(surer: bool) -> None:
    """And so, whichever of the two is given, the same one is read, as a left hand."""
    sure, unsure = ((mirror_boxes(hand(degrees), SHAPE[1]), score) for degrees, score in ((3, 0.9), (-3, 0.6)))
    told = (sure, unsure) if surer else (unsure, sure)
    views = [
        align_hand(Sided(*told, (in_view(hand()), 0.9)), plain(each_HW), True)[0]  # type: ignore[arg-type]
        for each_HW in (noise(), noise()[:, ::-1])
    ]
    np.testing.assert_array_equal(views[0].image_HW, views[1].image_HW)
    assert [view.mirrored for view in views] == [surer, not surer]
    for view in views:
        assert view.pose is not None
        assert not view.pose.mirrored
        assert view.pose.degrees == pytest.approx(3, abs=1e-3)


def test_a_pose_that_was_misjudged_is_mended_once_more() -> None:
    engine = Finder((hand(20), 0.6), (hand(-30), 0.6), (hand(30), 0.9))
    align_hand(engine, plain(noise()), False)  # type: ignore[arg-type]
    assert len(engine.shown) == 1 + align.ROUNDS


def test_a_side_that_was_misjudged_is_mended_with_the_pose() -> None:
    """The view shows a right hand, and turned: it is mirrored when it is aligned again."""
    engine = Finder((hand(20), 0.6), (mirror_boxes(hand(-30), 128), 0.9), (in_view(hand()), 0.9))
    view, _ = align_hand(engine, plain(noise()), False)  # type: ignore[arg-type]
    assert view.mirrored
    assert view.pose is not None
    assert not view.pose.mirrored


def test_a_view_comes_from_the_radiograph_s_own_pixels() -> None:
    """Stripes of eight pixels, which the prepared image, four times smaller, cannot show."""
    source_HW = np.zeros((512, 384), np.float32)
    source_HW[:, 192:] = np.tile(np.repeat([50.0, 250.0], 4), 24)
    image_HW = np.float32(source_HW[::4, ::4] > 0) * 150
    there_R4 = hand(0, 0.1)
    views = [
        look(Finder((there_R4, 0.6), (in_view(there_R4), 0.9)), plain(image_HW), source=source)[1].image_HW
        for source in (source_HW, None)
    ]
    fine_HW, coarse_HW = (view_HW[40:80, 70:100] for view_HW in views)
    assert coarse_HW.std() < 1
    assert fine_HW.std() > 20


def test_a_stretched_copy_is_read_in_the_same_view() -> None:
    """A viewer's export: cut at two percentiles, in 8 bits. The hand's own brightest pixels lie beyond them."""
    original_HW = np.random.default_rng(3).normal(300, 40, (512, 384))
    original_HW[100:400, 100:300] += np.linspace(0, 3000, 200)
    low, high = np.percentile(original_HW, (1, 99))
    copy_HW = np.rint(np.clip((original_HW - low) / (high - low), 0, 1) * 255).astype(np.uint8)
    there_R4 = hand(0, 0.15)
    views = []
    for each_HW in (original_HW, copy_HW):
        engine = Finder((there_R4, 0.9), (in_view(there_R4), 0.9))
        views.append(align_hand(engine, preprocess(each_HW, SIDE), False, each_HW)[0].image_HW)  # type: ignore[arg-type]
    assert views[0].std() > 50
    np.testing.assert_allclose(*views, atol=1)


def test_a_network_without_regions_reads_the_image_and_its_mirror_image() -> None:
    class Regionless:
        calls = 0

        def run(self, image_HW: Any, male: bool) -> Reading:
            self.calls += 1
            return Reading(80.0 + 10 * self.calls, np.zeros(228, np.float32))

    reading, view = look(Regionless(), plain(np.zeros((64, 96), np.float32)))
    assert (reading.months, view.pose, reading.boxes_R4) == (95, None, None)


def test_unaligned_the_prepared_image_is_read() -> None:
    """Two runs, the image and its mirror image, and the boxes stay where they were found, however the hand lies."""
    there_R4 = hand(40, 0.1)
    engine = Finder((there_R4, 0.2), flip=False)
    reading, view = look(engine, plain(noise()), align=False)
    assert (len(engine.shown), reading.months, view.pose) == (2, (101 + 102) / 2, None)
    np.testing.assert_allclose(reading.boxes_R4, there_R4, atol=1e-3)  # type: ignore[arg-type]
