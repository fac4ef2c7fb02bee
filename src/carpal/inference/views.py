"""The views of a picture that the network reads: after quarter turns, and mirrored; and the mean of two readings.

`upright` decides which picture of a radiograph is read, and in which views.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from carpal.imaging.preprocess import pad, soften
from carpal.inference.engine import Engine, Reading

SURE: Final = 0.4
"""Mean score of the regions from which a radiograph counts as upright. On 60 radiographs that alanet 0.2.0 was trained
on, upright hands scored 0.41 to 0.84, the same hands in other quarter turns at most 0.34."""

Boxes = NDArray[Any]


def read_upright(engine: Engine, pixels_HW: NDArray[Any], male: bool) -> tuple[Reading, int]:
    """The reading of the surest quarter turn, and that turn; three of them are only read where the first is unsure."""
    as_it_came = read_both(engine, pixels_HW, male)
    if surety(as_it_came) >= SURE:
        return as_it_came, 0
    readings = [as_it_came, *(read_both(engine, pixels_HW, male, turns) for turns in (1, 2, 3))]
    turns = max(range(4), key=lambda k: surety(readings[k]))
    return readings[turns], turns


def read_both(
    engine: Engine, pixels_HW: NDArray[Any], male: bool, turns: int = 0, boxes_R4: Boxes | None = None
) -> Reading:
    """The mean of a picture and its mirror image; boxes, given and found, are in pixels of `pixels_HW`."""
    soft_HW = soften(pixels_HW)
    first, second = (read_view(engine, soft_HW, male, turns, mirrored, boxes_R4) for mirrored in (False, True))
    return average(first, second)


def read_view(
    engine: Engine,
    soft_HW: NDArray[Any],
    male: bool,
    turns: int = 0,
    mirrored: bool = False,
    boxes_R4: Boxes | None = None,
) -> Reading:
    """Reads `soft_HW` after quarter turns and a mirroring; boxes, given and found, are in pixels of `soft_HW`."""
    upright_HW = np.rot90(soft_HW, turns)
    padded_HW, (left, top) = pad(upright_HW[:, ::-1] if mirrored else upright_HW)
    offset_4 = np.array([left, top, left, top], np.float32)
    height, width = upright_HW.shape
    if boxes_R4 is not None:
        given_R4 = turn_boxes(boxes_R4, -turns, height, width)
        boxes_R4 = (mirror_boxes(given_R4, width) if mirrored else given_R4) + offset_4
    asked = {} if boxes_R4 is None else {"boxes_R4": boxes_R4}
    reading = engine.run(np.ascontiguousarray(padded_HW), male, **asked)
    if reading.boxes_R4 is None:
        return reading
    found_R4 = reading.boxes_R4 - offset_4
    found_R4 = mirror_boxes(found_R4, width) if mirrored else found_R4
    return reading._replace(boxes_R4=turn_boxes(found_R4, turns, *soft_HW.shape))


def surety(reading: Reading) -> float:
    """The regions' mean score; a network without regions is always sure."""
    return 1.0 if reading.scores_R is None else float(np.mean(reading.scores_R))


def average(first: Reading, second: Reading) -> Reading:
    """The mean of two readings of one image. A region that they place apart is taken from the one surer of it."""
    half = np.float32(0.5)
    mean = mean_age(first, second)
    if first.features_F is not None and second.features_F is not None:
        mean = mean._replace(features_F=_blend(first.features_F, second.features_F, half))
    if first.boxes_R4 is None or second.boxes_R4 is None or first.scores_R is None or second.scores_R is None:
        return mean
    if first.region_months_R is None or second.region_months_R is None:
        return mean
    shift_R2 = np.abs(first.boxes_R4 - second.boxes_R4).reshape(-1, 2, 2).mean(1)
    apart_R = (shift_R2 > np.ptp(first.boxes_R4.reshape(-1, 2, 2), axis=1) / 2).any(-1)
    share_R = np.where(apart_R, first.scores_R >= second.scores_R, 0.5).astype(np.float32)
    return mean._replace(
        boxes_R4=_blend(first.boxes_R4, second.boxes_R4, share_R[:, None]),
        scores_R=_blend(first.scores_R, second.scores_R, share_R),
        region_months_R=_blend(first.region_months_R, second.region_months_R, share_R),
    )


def mean_age(first: Reading, second: Reading) -> Reading:
    """The first reading, with the mean of both ages and of both distributions."""
    return first._replace(
        months=(first.months + second.months) / 2,
        probabilities_K=_blend(first.probabilities_K, second.probabilities_K, np.float32(0.5)),
    )


def _blend(first: Boxes, second: Boxes, share: Any) -> NDArray[np.float32]:
    return np.asarray(share * first + (1 - share) * second, np.float32)


def mirror_boxes(boxes_R4: Boxes, width: int) -> Boxes:
    """Boxes of the mirrored image in the image itself, `width` pixels wide, and the other way round."""
    x1, y1, x2, y2 = np.asarray(boxes_R4).T
    return np.stack([width - x2, y1, width - x1, y2], axis=-1)


def turn_boxes(boxes_R4: Boxes, turns: int, height: int, width: int) -> NDArray[np.float32]:
    """Boxes of `np.rot90(image, turns)` in the pixels of the image itself, which is `height` x `width`."""
    x1, y1, x2, y2 = np.asarray(boxes_R4, np.float32).T
    back = {
        0: (x1, y1, x2, y2),
        1: (width - y2, x1, width - y1, x2),
        2: (width - x2, height - y2, width - x1, height - y1),
        3: (y1, height - x2, y2, height - x1),
    }
    return np.stack(back[turns % 4], axis=-1)
