"""The numbers that an age depends on, written out once more: whoever changes one changes every age, and says so here.

A value of the paper or of a cited publication is named as such; the others were chosen or measured where they stand.
"""

from __future__ import annotations

import math
from importlib import import_module
from typing import Any

import pytest

pytest.importorskip("torch")

PINNED: list[tuple[str, str, Any]] = [
    ("types", "RANKS", 229),  # the paper's K
    ("model.ordinal", "RANKS", 229),
    ("model.ordinal", "LOGITS", 228),
    ("model.alanet", "REGION_COUNT", 17),  # the paper, figure 1
    ("model.alanet", "GREY_MEAN", 0.449),  # the means over the colours of ImageNet's, rounded
    ("model.alanet", "GREY_STD", 0.226),
    ("model.weights", "IMAGENET_MEAN", (0.485, 0.456, 0.406)),
    ("model.weights", "IMAGENET_STD", (0.229, 0.224, 0.225)),
    ("model.resnet", "BATCH_NORM_EPS", 1.001e-5),  # Keras's
    ("model.resnet", "STAGE_BLOCKS", (3, 4, 6, 3)),  # He et al. 2016
    ("model.resnet", "EXPANSION", 4),
    ("model.boxes", "MAX_LOG_SCALE", math.log(4.0)),
    ("model.rpn", "STRIDE", 16),
    ("model.rpn", "POSITIVE_IOU", 0.5),
    ("model.rpn", "NEGATIVE_IOU", 0.3),  # Faster R-CNN
    ("model.rpn", "SAMPLES", 256),  # Faster R-CNN
    ("model.rpn", "POSITIVE_SHARE", 0.5),  # Faster R-CNN
    ("model.rpn", "SMOOTH_L1_BETA", 1 / 9),  # Faster R-CNN's sigma of 3
    ("model.roi", "SAMPLES_PER_BIN", 2),
    ("model.naming", "CANDIDATES", 24),
    ("model.naming", "SIZES", (0.12, 0.155, 0.20, 0.25)),
    ("model.naming", "ANGLES", (-60, -40, -20, 0, 20, 40, 60)),
    ("model.naming", "FLOOR", 0.02),
    ("model.naming", "WORST", -8.0),
    ("model.naming", "POSE_SPREAD", 0.25),
    ("model.naming", "SPREADS", (0.2, 0.15, 0.12, 0.12)),
    ("model.naming", "RIDGE", 0.05),
    ("training.augment", "DRAWS", 16),
    ("training.degrade", "COARSEST", 3.0),
    ("training.degrade", "QUALITIES", (15.0, 95.0)),
    ("imaging.levels", "LOW_PERCENTILE", 1.0),
    ("imaging.levels", "HIGH_PERCENTILE", 99.0),
    ("imaging.preprocess", "LONG_SIDE", 512),
    ("imaging.preprocess", "STRIDE", 32),
    ("imaging.preprocess", "BLUR_SIGMA_PX", 0.6),
    ("imaging.original", "MIDDLE", 0.15),
    ("imaging.exam", "DAYS_A_MONTH", 30.4375),  # a Julian year's twelfth
    ("inference.align", "SURE", 0.4),
    ("inference.align", "SURE_OF_POLARITY", 0.5),
    ("inference.align", "DOUBTFUL", 0.25),
    ("inference.assess", "LOW_SCORE", 0.3),
    ("inference.align", "USUAL_RADIUS", 0.225),
    ("inference.align", "RADIUS", 0.25),
    ("inference.align", "MIDDLE", 0.5 + 0.455j),
    ("inference.align", "ASPECT", 13 / 16),
    ("growth.height", "WITHIN", 12.0),  # Bayley and Pinneau 1952: average within a year
    ("growth.reference", "LIMIT", 2.0),
    ("trust.refusal", "ADULT_MONTHS", 240),
    ("trust.intervals", "COVERAGE", 0.9),
]


@pytest.mark.parametrize(("module", "name", "value"), PINNED, ids=[f"{module}.{name}" for module, name, _ in PINNED])
def test_a_constant_has_the_value_that_was_trained_and_measured_with(module: str, name: str, value: Any) -> None:
    found = getattr(import_module(f"carpal.{module}"), name)
    assert found == (pytest.approx(value, rel=1e-12) if isinstance(value, float) else value)
