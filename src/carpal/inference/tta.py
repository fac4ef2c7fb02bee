"""What the network says of an image after quarter turns, mirrored, or as the mean of both: test-time augmentation."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from carpal.imaging.preprocess import gaussian_blur, pad
from carpal.inference.engine import Engine, Reading

Boxes = NDArray[Any]


def predict(
    engine: Engine,
    image_HW: NDArray[Any],
    male: bool,
    turns: int = 0,
    mirrored: bool = False,
    boxes_R4: Boxes | None = None,
) -> Reading:
    """The network's answer to an image (grey 0..255, bones bright) after quarter turns and a mirroring.

    Boxes, given and found, are in pixels of `image_HW` as it is.
    """
    turned_HW = np.rot90(gaussian_blur(image_HW), turns)
    padded_HW, (left, top) = pad(turned_HW[:, ::-1] if mirrored else turned_HW)
    offset_4 = np.array([left, top, left, top], np.float32)
    height, width = turned_HW.shape
    if boxes_R4 is not None:
        given_R4 = turn_boxes(boxes_R4, -turns, height, width)
        boxes_R4 = (mirror_boxes(given_R4, width) if mirrored else given_R4) + offset_4
    asked = {} if boxes_R4 is None else {"boxes_R4": boxes_R4}
    reading = engine.run(np.ascontiguousarray(padded_HW), male, **asked)
    if reading.boxes_R4 is None:
        return reading
    found_R4 = reading.boxes_R4 - offset_4
    found_R4 = mirror_boxes(found_R4, width) if mirrored else found_R4
    return reading._replace(boxes_R4=turn_boxes(found_R4, turns, *image_HW.shape))


def mean_confidence(reading: Reading) -> float:
    """The regions' mean score; a network without regions is always sure."""
    return 1.0 if reading.scores_R is None else float(np.mean(reading.scores_R))


def average(first: Reading, second: Reading) -> Reading:
    """The mean of two readings of one image. A region that they place apart is taken from the one surer of it."""
    half = np.float32(0.5)
    mean = first._replace(
        months=(first.months + second.months) / 2,
        probabilities_K=_blend(first.probabilities_K, second.probabilities_K, half),
    )
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
