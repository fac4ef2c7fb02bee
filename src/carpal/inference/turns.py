"""Radiographs that lie on their side or stand on their head: read as they came, and turned where that finds no hand.

The network is trained on hands turned by up to 30 degrees. Where its regions are unsure, the three quarter turns are
tried too, and the one whose regions are surest wins.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from carpal.imaging.preprocess import pad
from carpal.inference.engine import Engine, Reading

SURE: Final = 0.4
"""Mean score of the regions from which a radiograph counts as upright. On 60 radiographs that alanet 0.1.0 was trained
on, upright hands scored 0.25 to 0.69 (one in twenty below 0.44), the same hands turned at most 0.25."""


def read_upright(engine: Engine, pixels_HW: NDArray[np.uint8], male: bool) -> tuple[Reading, int]:
    """Reads a prepared image; boxes are in its own pixels. The number is how many quarter turns (0-3) it took."""
    as_it_came = engine.run(pad(pixels_HW), male)
    if _surety(as_it_came) >= SURE:
        return as_it_came, 0
    readings = [as_it_came, *(engine.run(pad(np.rot90(pixels_HW, turns)), male) for turns in (1, 2, 3))]
    turns = max(range(4), key=lambda k: _surety(readings[k]))
    return _turned_back(readings[turns], turns, pixels_HW.shape), turns


def _surety(reading: Reading) -> float:
    """The regions' mean score; a network without regions is always sure."""
    return 1.0 if reading.scores_R is None else float(np.mean(reading.scores_R))


def _turned_back(reading: Reading, turns: int, shape: tuple[int, ...]) -> Reading:
    if turns == 0 or reading.boxes_R4 is None:
        return reading
    return reading._replace(boxes_R4=turn_boxes(reading.boxes_R4, turns, *shape))


def turn_boxes(boxes_R4: NDArray[Any], turns: int, height: int, width: int) -> NDArray[np.float32]:
    """Boxes of `np.rot90(image, turns)` in the pixels of the image itself, which is `height` x `width`."""
    x1, y1, x2, y2 = np.asarray(boxes_R4, np.float32).T
    back = {
        0: (x1, y1, x2, y2),
        1: (width - y2, x1, width - y1, x2),
        2: (width - x2, height - y2, width - x1, height - y1),
        3: (y1, height - x2, y2, height - x1),
    }
    return np.stack(back[turns % 4], axis=-1)
