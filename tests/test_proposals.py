"""Regions without names and given regions: which boxes count, and where annotated regions come to lie."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from numpy.typing import NDArray

from carpal.anatomy import INDEX, MEAN_HAND
from carpal.errors import ConfigError
from carpal.lab.data.annotations import Annotation
from carpal.lab.evaluation import boxes, labels, proposals

WRIST = [INDEX[name] for name in ("Radius", "Ulna", "Wrist")]


def hand(known: NDArray[np.bool_], order: NDArray[np.int64], shift: float = 0.0) -> boxes.Hand:
    """The mean hand in a frame of 512, found at every region in any order, `shift` pixels off."""
    points_R2 = np.array(MEAN_HAND) * 120 + [240, 230]
    centres_R2 = points_R2[order] + shift
    boxes_R4 = np.concatenate([centres_R2 - 32, centres_R2 + 32], axis=-1)
    return boxes.Hand(
        np.where(known[:, None], points_R2, np.nan), 400.0, boxes_R4, np.linspace(0.9, 0.5, 17), 512.0, 512.0
    )


def test_the_order_of_unnamed_boxes_means_nothing() -> None:
    known, order = np.ones(17, bool), np.random.default_rng(0).permutation(17)
    assert proposals.score([hand(known, order)]) == {"ap": 1.0, "ap50": 1.0, "ap75": 1.0}
    moved = proposals.score([hand(known, order, shift=9.0)])
    assert moved["ap50"] == 1.0
    assert moved["ap75"] is not None
    assert moved["ap75"] < 0.5


def test_boxes_at_regions_that_nobody_annotated_count_for_nothing() -> None:
    known = np.ones(17, bool)
    known[WRIST] = False
    found = hand(known, np.arange(17)[::-1])
    assert proposals.score([found])["ap"] == 1.0, "the wrist's boxes score best here and are left out"
    lost = found._replace(boxes_R4=np.where(np.arange(17)[:, None] >= 14, found.boxes_R4 + 60, found.boxes_R4))
    missed = proposals.score([lost])["ap50"]
    assert missed is not None
    assert missed < 1.0, "other misplaced boxes count"


def test_nothing_annotated_is_no_score() -> None:
    assert proposals.score([]) == {"ap": None, "ap50": None, "ap75": None}


def test_annotated_boxes_are_in_the_images_own_pixels() -> None:
    points_R3 = np.zeros((17, 3))
    points_R3[3] = (500, 250, 1)
    reference = labels.Reference(Annotation("a", "drawn", 1000, 1000, points_R3), 1.0)
    boxes_R4 = proposals.annotated_boxes(reference, (512, 400))
    assert boxes_R4[3].tolist() == [200 - 32, 128 - 32, 200 + 32, 128 + 32]
    assert np.isnan(boxes_R4[[0, 16]]).all()


def test_given_regions_need_some_and_a_network_that_takes_them() -> None:
    rows = [labels.Label("a", 100, True, 2), labels.Label("b", 100, True, 3)]
    reference = labels.Reference(Annotation("a", "drawn", 10, 10, np.zeros((17, 3))), 1.0)
    takes = SimpleNamespace(takes_regions=True)
    assert proposals.need_given(rows, {"a": reference}, takes) == rows[:1]
    with pytest.raises(ConfigError, match="none were given"):
        proposals.need_given(rows, {}, takes)
    with pytest.raises(ConfigError, match="takes no regions"):
        proposals.need_given(rows, {"a": reference}, SimpleNamespace(model=SimpleNamespace(name="larson")))
