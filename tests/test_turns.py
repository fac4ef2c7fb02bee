"""Quarter turns: boxes come back to where they were drawn, and a sure reading is left alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from carpal.inference.engine import Reading
from carpal.inference.turns import read_upright, turn_boxes


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


class Finder:
    """Finds the bright pixel, and is the surer the nearer it lies to the upper left."""

    def __init__(self) -> None:
        self.calls = 0

    def run(self, image_HW: np.ndarray[Any, Any], male: bool) -> Reading:
        self.calls += 1
        y, x = (int(v) for v in np.unravel_index(image_HW.argmax(), image_HW.shape))
        score = 0.9 if x < 16 and y < 16 else 0.1
        boxes_R4 = np.tile(np.float32([x, y, x + 1, y + 1]), (17, 1))
        return Reading(100.0 + x, np.zeros(228, np.float32), boxes_R4, np.full(17, score, np.float32), np.zeros(17))


@pytest.mark.parametrize("spot", [(3, 5), (3, 90), (60, 5), (60, 90)])
def test_the_surest_turn_is_read_and_its_boxes_come_back(spot: tuple[int, int]) -> None:
    image_HW = np.zeros((64, 96), np.uint8)
    image_HW[spot] = 255
    engine = Finder()
    reading, turns = read_upright(engine, image_HW, male=False)  # type: ignore[arg-type]
    assert reading.boxes_R4 is not None
    assert reading.boxes_R4[0].tolist() == [spot[1], spot[0], spot[1] + 1, spot[0] + 1]
    assert (turns, engine.calls) == ((0, 1) if spot == (3, 5) else (turns, 4))


def test_a_network_without_regions_is_read_once() -> None:
    engine = Finder()
    plain = Reading(90.0, np.zeros(228, np.float32))
    engine.run = lambda image_HW, male: plain  # type: ignore[method-assign]
    assert read_upright(engine, np.zeros((64, 96), np.uint8), male=True) == (plain, 0)  # type: ignore[arg-type]
