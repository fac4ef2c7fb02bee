"""Where an age comes from: each region is masked in turn, and all is read again that the age is read from.

The boxes stay those of the unmasked image, so that the change is due to what the region shows and not to boxes that
move. A masked region takes the grey of its own rim, as if nothing but soft tissue lay there.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from carpal.inference.align import predict_view
from carpal.inference.assess import examine
from carpal.inference.engine import Engine
from carpal.inference.nearest import Cases, nearest
from carpal.types import Explanation, Radiograph, Sex


def explain(radiograph: Radiograph, sex: Sex, engine: Engine, cases: Cases | None = None) -> Explanation:
    """The assessment and the effect of masking each region, in months; 18 readings of the view more than `assess`.

    `cases` are the training cases to look for the nearest in (`nearest.open_cases`). Raises CarpalError. A refused
    image, or a network without regions, has no effects.
    """
    assessment, reading, view = examine(radiograph, sex, engine)
    if not assessment.regions:
        return Explanation(assessment, ())
    assert reading is not None
    assert view is not None
    assert reading.boxes_R4 is not None, "an assessment with regions comes from a reading with boxes"
    male, boxes_R4 = sex is Sex.MALE, view.boxes_to_view(reading.boxes_R4)
    unmasked = predict_view(engine, view, male, boxes_R4).months
    effects = []
    for box_4 in boxes_R4:
        masked = view._replace(image_HW=mask(view.image_HW, box_4))
        effects.append(unmasked - predict_view(engine, masked, male, boxes_R4).months)
    return Explanation(assessment, tuple(effects), nearest(cases, reading, sex))


def mask(pixels_HW: NDArray[Any], box_4: NDArray[np.float32]) -> NDArray[Any]:
    """A copy in which a box (x1, y1, x2, y2) holds the median of its own rim; a box outside the image changes nothing.

    Coordinates are rounded outwards and cut to the image.
    """
    height, width = pixels_HW.shape
    left, top = (max(0, int(np.floor(side))) for side in box_4[:2])
    right, bottom = min(width, int(np.ceil(box_4[2]))), min(height, int(np.ceil(box_4[3])))
    masked_HW = pixels_HW.copy()
    inside = masked_HW[top:bottom, left:right]
    if inside.size:
        rim = np.concatenate([inside[0], inside[-1], inside[:, 0], inside[:, -1]])
        inside[:] = np.median(rim)
    return masked_HW
