"""What `explain` says of the released weights holds end to end: in the radiograph itself, found and read anew."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from carpal.imaging.read import read_radiograph
from carpal.inference.assess import assess
from carpal.inference.engine import Engine, open_engine
from carpal.inference.explain import explain, mask
from carpal.types import Assessment, Radiograph, Region, Sex

pytest.importorskip("onnxruntime")

pytestmark = pytest.mark.slow

EXAMPLES = Path(__file__).parents[1] / "examples"


TWO = (("6456", Sex.FEMALE), ("8435", Sex.MALE))
"""Of the four that docs/trust.md has: each takes some 45 runs of the network."""


def change_without(radiograph: Radiograph, region: Region, explained: Assessment, engine: Engine) -> float:
    """Months by which the age moves when a region's original pixels are covered and all is found anew."""
    box_4 = np.array([region.box.x1, region.box.y1, region.box.x2, region.box.y2], np.float32)
    hidden_HW = mask(radiograph.pixels_HW, box_4)
    assert not np.array_equal(hidden_HW, radiograph.pixels_HW)
    months = assess(Radiograph(hidden_HW, "hidden"), explained.sex, engine, may_refuse=False).months
    assert months is not None
    assert explained.months is not None
    return abs(months - explained.months)


def test_hiding_what_matters_most_changes_the_age_more_than_hiding_what_matters_least() -> None:
    """On average over two examples; docs/trust.md has four. The map masks the prepared picture and keeps boxes."""
    engine = open_engine("alanet")
    changes_N2 = []
    for name, sex in TWO:
        radiograph = read_radiograph(EXAMPLES / f"{name}.jpg")
        explanation = explain(radiograph, sex, engine)
        by_effect = np.argsort(np.abs(explanation.effects))
        pair = [explanation.assessment.regions[by_effect[place]] for place in (0, -1)]
        changes_N2.append([change_without(radiograph, region, explanation.assessment, engine) for region in pair])
    least, most = np.mean(changes_N2, axis=0)
    assert most > least, changes_N2
