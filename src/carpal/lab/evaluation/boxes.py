"""Errors of found regions: distance of centres, and average precision as in the paper's Table 2.

Letters: N hands, R = 17 regions in the order of `anatomy.REGIONS`, P points or boxes of one hand. Everything is in
pixels of the prepared image (long side 512); a reference box is 64 x 64 around its annotated point, as in the paper's
Fig. 1, and boxes count only as far as they lie inside the image.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from carpal.anatomy import REGIONS
from carpal.errors import BackendError

FRAME: Final = 512.0
"""Long side of the image in which boxes are compared."""
BOX_SIZE: Final = 64.0
PCK_SHARE: Final = 0.05
"""PCK: a centre is right when it is at most this share of the hand's length away from the annotated point."""


class Hand(NamedTuple):
    """One annotated hand and what was found on it, all in the prepared image of `width` x `height`.

    points_R2 is NaN where not annotated. boxes_R4 and scores_R are the network's. `length` is the hand's (see
    `hand_length`), NaN where it cannot be told.
    """

    points_R2: NDArray[np.float64]
    length: float
    boxes_R4: NDArray[np.float64]
    scores_R: NDArray[np.float64]
    width: float
    height: float


class Boxes(NamedTuple):
    """Boxes of one image: xyxy (P, 4), class index (P,), score (P,) (all ones for a reference)."""

    boxes_P4: NDArray[np.float64]
    labels_P: NDArray[np.int64]
    scores_P: NDArray[np.float64]


class AveragePrecision(NamedTuple):
    """COCO's AP over IoU 0.50:0.05:0.95, and at 0.50 and 0.75; shares from 0 to 1."""

    ap: float
    ap50: float
    ap75: float


def hand_length(points_P2: NDArray[np.float64]) -> float:
    """The largest distance between two annotated points of a hand.

    It runs from a fingertip's joint (DIP3) to the wrist, so it is shorter than the hand: errors as a share of it are
    larger than as a share of the true length, never smaller. It needs points at both ends; the caller sees to that.
    """
    return float(np.linalg.norm(points_P2[:, None] - points_P2[None], axis=-1).max())


def score(hands: Sequence[Hand]) -> dict[str, Any]:
    """What report.json says under "regions".

    n hands; mean_centre_error (mean over all annotated points, as a share of the hand's length) and pck over the hands
    whose length is known, with how many points those are; ap, ap50, ap75 over 17 classes; the same without classes
    under `agnostic`; n and mean_centre_error by region. A value that nothing supports is None.
    """
    errors_NR = np.stack([centre_errors(hand) for hand in hands]) if hands else np.empty((0, len(REGIONS)))
    errors = errors_NR[np.isfinite(errors_NR)]
    found, reference = [found_boxes(hand) for hand in hands], [reference_boxes(hand) for hand in hands]
    return {
        "n": len(hands),
        "points": len(errors),
        "mean_centre_error": float(errors.mean()) if len(errors) else None,
        "pck": float((errors <= PCK_SHARE).mean()) if len(errors) else None,
        "pck_share": PCK_SHARE,
        **_as_dict(average_precision(found, reference)),
        "agnostic": _as_dict(average_precision(found, reference, by_class=False)),
        "by_region": {name: _region(errors_NR[:, i]) for i, name in enumerate(REGIONS)},
    }


def centre_errors(hand: Hand) -> NDArray[np.float64]:
    """Distance (R,) of each box's centre from its point as a share of the hand's length; NaN where unknown."""
    centres_R2 = (hand.boxes_R4[:, :2] + hand.boxes_R4[:, 2:]) / 2
    return np.asarray(np.linalg.norm(centres_R2 - hand.points_R2, axis=-1) / hand.length, np.float64)


def reference_boxes(hand: Hand, size: float = BOX_SIZE) -> Boxes:
    """The 64 x 64 boxes around the annotated points."""
    (labels_P,) = np.nonzero(np.isfinite(hand.points_R2).all(-1))
    points_P2 = hand.points_R2[labels_P]
    boxes_P4 = np.concatenate([points_P2 - size / 2, points_P2 + size / 2], axis=-1)
    return Boxes(_clip(boxes_P4, hand), labels_P, np.ones(len(labels_P)))


def found_boxes(hand: Hand) -> Boxes:
    """The network's boxes of the annotated regions; what nobody annotated is neither right nor wrong."""
    (labels_P,) = np.nonzero(np.isfinite(hand.points_R2).all(-1))
    return Boxes(_clip(hand.boxes_R4[labels_P], hand), labels_P, hand.scores_R[labels_P])


def average_precision(
    found: Sequence[Boxes], reference: Sequence[Boxes], by_class: bool = True
) -> AveragePrecision | None:
    """COCO's average precision by pycocotools, one item of each list for an image; None without reference boxes.

    `by_class` is the mean over the 17 regions. Without it a box counts wherever it meets any region of the hand, which
    is what the anonymous proposals of the paper's Table 2 can be asked for. Raises BackendError without pycocotools.
    """
    assert len(found) == len(reference), "one item for each image on both sides"
    if not any(len(boxes.boxes_P4) for boxes in reference):
        return None
    try:
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval
    except ImportError:
        raise BackendError(
            "Average precision needs pycocotools, which is not installed - pip install 'carpal[eval]'."
        ) from None
    truth = COCO()
    images = [{"id": i} for i in range(1, len(reference) + 1)]
    categories = [{"id": i, "name": name} for i, name in enumerate(REGIONS)]
    truth.dataset = {"info": {}, "images": images, "categories": categories, "annotations": _annotations(reference)}
    detections = _annotations(found)
    with contextlib.redirect_stdout(io.StringIO()):  # it prints its progress
        truth.createIndex()
        if not detections:
            return AveragePrecision(0.0, 0.0, 0.0)
        evaluation = COCOeval(truth, truth.loadRes(detections), "bbox")
        evaluation.params.useCats = int(by_class)
        evaluation.evaluate()
        evaluation.accumulate()
    precision_TK = evaluation.eval["precision"][:, :, :, 0, -1].mean(1)  # threshold x recall x class x area x count
    precision_TK = precision_TK[:, precision_TK[0] >= 0]  # -1: a class without reference boxes
    by_threshold = dict(zip(np.round(evaluation.params.iouThrs, 2), precision_TK.mean(1), strict=True))
    return AveragePrecision(float(precision_TK.mean()), float(by_threshold[0.5]), float(by_threshold[0.75]))


def _annotations(images: Sequence[Boxes]) -> list[dict[str, Any]]:
    rows = [(image, *row) for image, boxes in enumerate(images, 1) for row in zip(*boxes, strict=True)]
    return [
        {
            "id": i,
            "image_id": image,
            "category_id": int(label),
            "bbox": [float(box[0]), float(box[1]), float(box[2] - box[0]), float(box[3] - box[1])],
            "area": float((box[2] - box[0]) * (box[3] - box[1])),
            "iscrowd": 0,
            "score": float(score),
        }
        for i, (image, box, label, score) in enumerate(rows, 1)
    ]


def _clip(boxes_P4: NDArray[np.float64], hand: Hand) -> NDArray[np.float64]:
    return np.clip(boxes_P4, 0.0, [hand.width, hand.height, hand.width, hand.height])


def _region(errors_N: NDArray[np.float64]) -> dict[str, Any]:
    errors = errors_N[np.isfinite(errors_N)]
    return {"n": len(errors), "mean_centre_error": float(errors.mean()) if len(errors) else None}


def _as_dict(precision: AveragePrecision | None) -> dict[str, float | None]:
    return dict.fromkeys(AveragePrecision._fields) if precision is None else dict(precision._asdict())


def percent(share: float | None) -> str:
    """A share for people: 0.055 -> "5.5 %", "-" where there is none."""
    return "-" if share is None else f"{100 * share:.1f} %"
