"""Quarter turns and mirror images: boxes come back to where they were drawn; two readings become their mean."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from carpal.imaging.preprocess import gaussian_blur, pad
from carpal.inference.engine import Reading
from carpal.inference.tta import average, mean_confidence, mirror_boxes, predict, turn_boxes


@given(
    turns=st.integers(0, 3),
    height=st.integers(8, 40),
    width=st.integers(8, 40),
    corner=st.tuples(st.integers(0, 4), st.integers(0, 4)),
    size=st.tuples(st.integers(1, 4), st.integers(1, 4)),
)
def test_a_box_follows_the_pixels(
    turns: int, height: int, width: int, corner: tuple[int, int], size: tuple[int, int]
) -> None:
    x1, y1 = corner
    image = np.zeros((height, width), np.uint8)
    image[y1 : y1 + size[1], x1 : x1 + size[0]] = 1
    rows, columns = np.nonzero(np.rot90(image, turns))
    box_turned = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    back = turn_boxes(np.array([box_turned]), turns, height, width)
    assert back.tolist() == [[x1, y1, x1 + size[0], y1 + size[1]]]


@given(width=st.integers(8, 40), x1=st.integers(0, 4), size=st.integers(1, 4))
def test_a_box_follows_the_mirrored_pixels(width: int, x1: int, size: int) -> None:
    image = np.zeros((8, width), np.uint8)
    image[2:5, x1 : x1 + size] = 1
    rows, columns = np.nonzero(image[:, ::-1])
    mirrored = np.array([[columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]])
    assert mirror_boxes(mirrored, width).tolist() == [[x1, 2, x1 + size, 5]]


class Finder:
    """Finds the bright pixel; keeps what it was shown and the boxes it was given."""

    def __init__(self) -> None:
        self.shown: list[Any] = []
        self.given: list[Any] = []

    def run(self, image_HW: np.ndarray[Any, Any], male: bool, boxes_R4: Any = None) -> Reading:
        self.shown.append(image_HW)
        self.given.append(boxes_R4)
        y, x = (int(v) for v in np.unravel_index(image_HW.argmax(), image_HW.shape))
        found_R4 = np.tile(np.float32([x, y, x + 1, y + 1]), (17, 1)) if boxes_R4 is None else boxes_R4
        return Reading(100.0 + x, np.zeros(228, np.float32), found_R4, np.full(17, 0.9, np.float32), np.zeros(17))


def spotted(spot: tuple[int, int], shape: tuple[int, int] = (64, 96)) -> np.ndarray[Any, Any]:
    image_HW = np.zeros(shape, np.uint8)
    image_HW[spot] = 255
    return image_HW


@pytest.mark.parametrize("turns", range(4))
@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("shape", [(64, 96), (50, 71)])
def test_boxes_of_every_view_are_in_the_pixels_of_the_image(turns: int, mirrored: bool, shape: tuple[int, int]) -> None:
    engine, image_HW = Finder(), spotted((11, 30), shape)
    reading = predict(engine, image_HW, False, turns, mirrored)  # type: ignore[arg-type]
    assert reading.boxes_R4 is not None
    assert reading.boxes_R4[0].tolist() == [30, 11, 31, 12]
    given_R4 = np.tile(np.float32([30, 11, 31, 12]), (17, 1))
    reading = predict(engine, image_HW, False, turns, mirrored, given_R4)  # type: ignore[arg-type]
    assert reading.boxes_R4 is not None
    np.testing.assert_array_equal(reading.boxes_R4, given_R4)
    x1, y1, x2, y2 = engine.given[-1][0]
    assert (x2 - x1, y2 - y1) == (1, 1)
    found = Finder().run(_seen(image_HW, turns, mirrored), False).boxes_R4
    np.testing.assert_array_equal(engine.given[-1], found)
    np.testing.assert_allclose(engine.shown[-1], _seen(gaussian_blur(image_HW), turns, mirrored), atol=1e-4)


def _seen(image_HW: np.ndarray[Any, Any], turns: int, mirrored: bool) -> np.ndarray[Any, Any]:
    """What the network is shown in a view."""
    upright_HW = np.rot90(image_HW, turns)
    return pad(upright_HW[:, ::-1] if mirrored else upright_HW)[0]


def test_a_network_without_regions_is_sure_and_has_no_boxes() -> None:
    class Regionless:
        def run(self, image_HW: Any, male: bool) -> Reading:
            return Reading(80.0, np.zeros(228, np.float32))

    reading = predict(Regionless(), spotted((3, 5)), False, 1, mirrored=True)  # type: ignore[arg-type]
    assert (mean_confidence(reading), reading.boxes_R4) == (1.0, None)
    assert mean_confidence(reading._replace(scores_R=np.float32([0.2, 0.4]))) == pytest.approx(0.3)


def two_readings() -> tuple[Reading, Reading]:
    boxes_R4 = np.tile(np.float32([10, 10, 30, 30]), (17, 1))
    first = Reading(100.0, np.full(228, 0.2), boxes_R4, np.full(17, 0.9), np.full(17, 90.0))
    second = Reading(110.0, np.full(228, 0.4), boxes_R4 + 4, np.full(17, 0.5), np.full(17, 100.0))
    return first, second


def test_two_readings_are_averaged() -> None:
    mean = average(*two_readings())
    assert mean.months == 105
    assert mean.probabilities_K[0] == pytest.approx(0.3)
    assert mean.boxes_R4 is not None
    assert mean.boxes_R4[0].tolist() == [12, 12, 32, 32]
    assert mean.scores_R is not None
    assert mean.scores_R[0] == pytest.approx(0.7)
    assert mean.region_months_R is not None
    assert mean.region_months_R[0] == 95


@pytest.mark.parametrize("surer", [0, 1])
def test_a_region_placed_apart_is_taken_from_the_surer_reading(surer: int) -> None:
    first, second = two_readings()
    assert second.boxes_R4 is not None
    second.boxes_R4[3] += 50
    scores_R = np.full(17, 0.2)
    readings = (
        [first, second._replace(scores_R=scores_R)] if surer == 0 else [first._replace(scores_R=scores_R), second]
    )
    mean = average(*readings)
    assert mean.boxes_R4 is not None
    assert mean.boxes_R4[3].tolist() == ([10, 10, 30, 30] if surer == 0 else [64, 64, 84, 84])
    assert mean.boxes_R4[4].tolist() == [12, 12, 32, 32]
    assert mean.region_months_R is not None
    assert mean.region_months_R[3] == [90, 100][surer]
