"""Regions without names, and regions that are given: what the paper's Table 2 and a system with key points need.

Letters: R = 17 regions in the order of `anatomy.REGIONS`, or 17 boxes in no order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from carpal.anatomy import MEAN_HAND
from carpal.errors import ConfigError
from carpal.imaging.preprocess import gaussian_blur, pad, preprocess
from carpal.imaging.read import read_radiograph
from carpal.lab.evaluation import boxes, labels

SHARE = boxes.BOX_SIZE / boxes.FRAME
"""Side of a region as a share of the radiograph's long side."""


class Found(NamedTuple):
    """17 boxes in original pixels, in no order, and their scores."""

    boxes_R4: NDArray[np.float64]
    scores_R: NDArray[np.float64]


def find(engine: Any, path: Path) -> Found | None:
    """What a network without names proposes on a radiograph; None for an engine that proposes nothing.

    The PyTorch engine answers for every network with proposals; an exported file holds none that have no names.
    """
    propose = getattr(engine, "propose", None)
    if propose is None:
        return None
    prepared = preprocess(read_radiograph(path).pixels_HW, engine.long_side)
    padded_HW, (left, top) = pad(gaussian_blur(prepared.grey_HW))
    answer = propose(np.ascontiguousarray(padded_HW))
    if answer is None:
        return None
    boxes_R4, scores_R = answer
    offset_4 = np.array([left, top, left, top], np.float64)
    return Found(prepared.geometry.to_original(boxes_R4 - offset_4), np.asarray(scores_R, np.float64))


def score(hands: Sequence[boxes.Hand]) -> dict[str, float | None]:
    """COCO's average precision without names: a box counts wherever it meets an annotated region.

    A box nearer to where an unannotated region must lie than to any annotated point is left out: nobody knows whether
    it is right.
    """
    kept = [_asked(hand) for hand in hands]
    found = [
        boxes.Boxes(np.clip(h.boxes_R4[k], 0, [h.width, h.height] * 2), np.zeros(int(k.sum()), np.int64), h.scores_R[k])
        for h, k in zip(hands, kept, strict=True)
    ]
    precision = boxes.average_precision(found, [boxes.reference_boxes(hand) for hand in hands], by_class=False)
    return dict.fromkeys(boxes.AveragePrecision._fields) if precision is None else dict(precision._asdict())


def _asked(hand: boxes.Hand) -> NDArray[np.bool_]:
    """Which of the boxes (R,) lie at annotated regions: by the mean hand, fitted affinely to the annotated points."""
    known_R: NDArray[np.bool_] = np.all(np.isfinite(hand.points_R2), axis=-1)
    if known_R.all() or known_R.sum() < 3:
        return np.ones(len(hand.boxes_R4), bool)
    mean_R3 = np.column_stack([np.array(MEAN_HAND), np.ones(len(MEAN_HAND))])
    affine_32, *_ = np.linalg.lstsq(mean_R3[known_R], hand.points_R2[known_R], rcond=None)
    places_R2 = np.where(known_R[:, None], hand.points_R2, mean_R3 @ affine_32)
    centres_R2 = (hand.boxes_R4[:, :2] + hand.boxes_R4[:, 2:]) / 2
    nearest_R = np.linalg.norm(centres_R2[:, None] - places_R2[None], axis=-1).argmin(1)
    asked_R: NDArray[np.bool_] = known_R[nearest_R]
    return asked_R


def need_given(
    rows: Sequence[labels.Label], references: Mapping[str, labels.Reference], engine: Any
) -> list[labels.Label]:
    """The hands with annotated regions. Raises ConfigError without any, or where the network takes no regions."""
    if not references:
        raise ConfigError("--given-regions needs annotated regions - none were given - add --regions points.csv.")
    if not getattr(engine, "takes_regions", False):
        raise ConfigError(
            f"{engine.model.name} takes no regions with this backend - --given-regions needs weights that do - BoNet "
            "and Iglovikov do with --backend torch and a .safetensors file."
        )
    return [row for row in rows if row.id in references]


def annotated_boxes(reference: labels.Reference, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """The annotated regions as boxes (R, 4) in original pixels; NaN where nobody annotated."""
    height, width = shape
    annotation = reference.annotation
    scale_2 = np.array([width / (annotation.width or width), height / (annotation.height or height)])
    points_R2 = np.where(annotation.points_R3[:, 2:] > 0, annotation.points_R3[:, :2] * scale_2, np.nan)
    half = SHARE * max(height, width) / 2
    return np.concatenate([points_R2 - half, points_R2 + half], axis=-1)
