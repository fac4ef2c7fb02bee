"""What training learns from: the aligned image that views are taken from, and the points on it."""

from __future__ import annotations

from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from align_kit import MARGIN_4, SHAPE, SIDE, Finder, hand, in_view, middles_of, noise, plain
from carpal.anatomy import FOUND
from carpal.imaging.preprocess import preprocess
from carpal.inference import align
from carpal.inference.align import align_for_training, align_hand
from carpal.inference.engine import Reading
from carpal.inference.tta import mirror_boxes
from carpal.lab.data.prepare import Sample, open_store, prepare
from carpal.lab.data.synthetic import draw_hand
from carpal.types import Sex


def points_of(boxes_R4: np.ndarray) -> np.ndarray:
    """Region middles (x, y, v), each annotated."""
    return np.concatenate([(boxes_R4[:, :2] + boxes_R4[:, 2:]) / 2, np.ones((17, 1))], 1).astype(np.float32)


def test_a_store_holds_the_image_that_views_are_taken_from_and_the_points_on_it() -> None:
    source_HW = noise((256, 192))
    prepared = preprocess(source_HW, SIDE)
    there_R4 = hand(5, 0.2)
    points_R3 = points_of(there_R4)
    points_R3[4] = 0  # nobody marked it
    points_R3[6, :2] = (-40, 20)  # beyond the image's left edge, and so beyond the aligned one
    told = (there_R4, 0.9), (in_view(there_R4, 1.0), 0.9)
    pixels_HW, moved_R3 = align_for_training(Finder(*told), source_HW, prepared, points_R3)  # type: ignore[arg-type]
    view, _ = align_hand(Finder(*told, view_scale=1.0), prepared, False, source_HW)  # type: ignore[arg-type]
    np.testing.assert_array_equal(pixels_HW, np.rint(view.image_HW))
    assert (pixels_HW.shape, pixels_HW.dtype) == (align.aligned_size(SIDE), np.uint8) == ((128, 104), np.uint8)
    known_R = np.isin(np.arange(17), (4, 6), invert=True)
    assert moved_R3[~known_R].tolist() == [[0, 0, 0]] * 2
    assert view.to_prepared is not None
    middle_R = view.to_prepared.points(moved_R3[known_R, 0] + 1j * moved_R3[known_R, 1])
    wanted_R = points_R3[known_R, 0] + 1j * points_R3[known_R, 1]
    np.testing.assert_allclose(middle_R, wanted_R, atol=1e-3)


def test_a_view_is_the_middle_of_the_stored_image() -> None:
    """Spots of the store lie in the view `view_scale` times as far from its middle."""
    there_R4 = hand(5, 0.2)
    _, stored_R3 = align_for_training(
        Finder((there_R4, 0.9), (in_view(there_R4), 0.9)),  # type: ignore[arg-type]
        noise(), plain(noise()), points_of(there_R4),
    )  # fmt: skip
    view, _ = align_hand(Finder((there_R4, 0.9), (in_view(there_R4), 0.9)), plain(noise()), False)  # type: ignore[arg-type]
    view_R = middles_of(view.boxes_to_view(there_R4)) - complex(112 / 2, 128 / 2)
    stored_R = stored_R3[:, 0] + 1j * stored_R3[:, 1] - complex(104 / 2, 128 / 2)
    np.testing.assert_allclose(view_R, 1.2 * stored_R, atol=1e-3)


@pytest.mark.parametrize("side", [SIDE, 2 * SIDE])
def test_a_right_hand_is_stored_as_its_mirror_image_is(side: int) -> None:
    source_HW = noise((256, 192))
    left_R4 = hand(5, 0.2)
    points_R3 = points_of(left_R4) * [side / SIDE, side / SIDE, 1]
    points_R3[4] = 0
    mirrored_R3 = np.where(points_R3[:, 2:] > 0, points_R3 * [-1, 1, 1] + [side * 3 / 4, 0, 0], 0)
    left = Finder((left_R4, 0.9), (in_view(left_R4), 0.9))
    right = Finder((mirror_boxes(left_R4, SHAPE[1]), 0.9), (in_view(left_R4), 0.9))
    left_HW, left_R3 = align_for_training(left, source_HW, preprocess(source_HW, side), points_R3)  # type: ignore[arg-type]
    right_HW, right_R3 = align_for_training(
        right, source_HW[:, ::-1], preprocess(source_HW[:, ::-1], side), mirrored_R3  # type: ignore[arg-type]
    )  # fmt: skip
    np.testing.assert_array_equal(left_HW, right_HW)
    np.testing.assert_allclose(left_R3, right_R3, atol=1e-3)
    assert (left_R3[:, 2] == points_R3[:, 2]).all()


def test_sure_regions_that_nobody_annotated_can_be_kept_where_the_network_found_them() -> None:
    source_HW = noise((256, 192))
    prepared = preprocess(source_HW, 2 * SIDE)
    points_R3 = np.zeros((17, 3), np.float32)
    points_R3[4] = (70, 90, 1)
    seen_R4 = in_view(hand(4, middle=50 + 60j), 1.0) + 2  # as the view shows them, not where the pose put them
    told = (hand(5, 0.2), 0.9), (seen_R4, 0.9)
    pixels_HW, plain_R3 = align_for_training(Finder(*told), source_HW, prepared, points_R3)  # type: ignore[arg-type]
    same_HW, moved_R3 = align_for_training(Finder(*told), source_HW, prepared, points_R3, pseudo=True)  # type: ignore[arg-type]
    np.testing.assert_array_equal(pixels_HW, same_HW)
    np.testing.assert_array_equal(moved_R3[4], plain_R3[4])
    found_R = np.arange(17) != 4
    assert (plain_R3[found_R] == 0).all()
    inside_R = found_R & (moved_R3[:, 2] > 0)
    assert inside_R.sum() >= 14
    assert (moved_R3[inside_R, 2] == FOUND).all()
    in_view_R = middles_of(seen_R4 - MARGIN_4) - complex(112 / 2, 128 / 2)
    wanted_R = 2 * (in_view_R / 1.2 + complex(104 / 2, 128 / 2))  # at the store's size
    np.testing.assert_allclose((moved_R3[:, 0] + 1j * moved_R3[:, 1])[inside_R], wanted_R[inside_R], atol=1e-3)
    unsure = (hand(5, 0.2), 0.39), (seen_R4, 0.39)
    _, none_R3 = align_for_training(Finder(*unsure), source_HW, prepared, points_R3, pseudo=True)  # type: ignore[arg-type]
    assert (none_R3[found_R] == 0).all()


def test_a_store_may_be_larger_than_what_the_network_reads() -> None:
    """The hand is found at the network's size; the same points lie on an image twice as large at twice the place."""
    source_HW, points_R3 = noise((256, 192)), points_of(hand(5, 0.2))
    told = (hand(5, 0.2), 0.9), (in_view(hand()), 0.9)
    _, small_R3 = align_for_training(Finder(*told), source_HW, preprocess(source_HW, SIDE), points_R3)  # type: ignore[arg-type]
    points_R3[:, :2] *= 2
    large_HW, large_R3 = align_for_training(
        Finder(*told), source_HW, preprocess(source_HW, 2 * SIDE), points_R3  # type: ignore[arg-type]
    )  # fmt: skip
    assert large_HW.shape == (256, 208)
    np.testing.assert_allclose(large_R3[:, :2], small_R3[:, :2] * 2, atol=1e-3)
    np.testing.assert_array_equal(large_R3[:, 2], small_R3[:, 2])


def test_what_shows_no_hand_is_stored_as_it_is() -> None:
    points_R3 = points_of(hand())
    prepared = plain(noise())
    pixels_HW, same_R3 = align_for_training(Finder((hand(), 0.1)), noise(), prepared, points_R3)  # type: ignore[arg-type]
    np.testing.assert_array_equal(pixels_HW, prepared.pixels_HW)
    np.testing.assert_array_equal(same_R3, points_R3)


def test_a_squashed_radiograph_is_stored_at_its_aspect_and_a_negative_like_it(tmp_path: Path) -> None:
    """From its own pixels; bones are bright in the store whether they were dark in the file or not."""
    square_HW = np.asarray(Image.fromarray(draw_hand(120, Sex.FEMALE, seed=1).pixels_HW).resize((160, 160)))

    def sample(name: str, pixels_HW: np.ndarray) -> Sample:
        file = BytesIO()
        Image.fromarray(pixels_HW).save(file, "PNG")
        return Sample(name, f"{name}.png", file.getvalue, 120, False, aspect=200 / 256)

    hand_R4 = hand(0, 0.2, 50 + 58j)

    class Still(Finder):
        def run(self, image_HW: Any, male: bool, boxes_R4: Any = None) -> Reading:
            self.looks = 0 if image_HW.shape[1] < 128 else 1  # two radiographs are aligned at the same time
            return Reading(0, np.zeros(228), self.told[self.looks][0], np.full(17, 0.9), np.zeros(17))

    aligner = partial(align_for_training, Still((hand_R4 + np.array([14, 0, 14, 0]), 0.9), (in_view(hand_R4), 0.9)))  # type: ignore[arg-type]
    prepare([sample("1", square_HW), sample("2", 255 - square_HW)], tmp_path / "store", SIDE, align=aligner)
    store = open_store(tmp_path / "store")
    assert store.pixels(0).shape == (128, 104)
    difference_HW = np.abs(np.float32(store.pixels(0)) - store.pixels(1))
    assert difference_HW.mean() < 2
    assert store.pixels(0)[:, 40:60].mean() > 60
