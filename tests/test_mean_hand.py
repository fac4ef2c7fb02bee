"""The mean hand against what it is the mean of: the annotated hands of the shared data, and the drawn hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from carpal.anatomy import MEAN_HAND

SHARED = Path(__file__).parents[2] / "shared" / "data"


def aligned(points_R2: NDArray[Any], known_R: NDArray[np.bool_], mean_R2: NDArray[Any]) -> NDArray[Any]:
    """The points in the mean's frame, by the similarity or mirror image that fits best (orthogonal Procrustes)."""
    middle_2, mean_middle_2 = points_R2[known_R].mean(0), mean_R2[known_R].mean(0)
    source_R2, target_R2 = points_R2 - middle_2, mean_R2 - mean_middle_2
    left_22, values_2, right_22 = np.linalg.svd(source_R2[known_R].T @ target_R2[known_R])
    scale = values_2.sum() / (source_R2[known_R] ** 2).sum()
    return source_R2 @ left_22 @ right_22 * scale + mean_middle_2


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs the shared data beside the checkout")
def test_the_mean_hand_is_the_mean_of_the_annotated_hands() -> None:
    from carpal.lab.data import shared

    fold = shared.folds(shared.real(shared.read_train(SHARED)))
    hands = [hand for name, hand in shared.read_regions(SHARED).items() if fold.get(name) != 0]
    points_NR2 = np.stack([hand.points_R3[:, :2] for hand in hands]).astype(float)
    known_NR = np.stack([hand.points_R3[:, 2] > 0 for hand in hands])
    mean_R2 = np.array(MEAN_HAND)
    for _ in range(3):
        moved_NR2 = np.stack([aligned(p, k, mean_R2) for p, k in zip(points_NR2, known_NR, strict=True)])
        mean_R2 = (moved_NR2 * known_NR[..., None]).sum(0) / known_NR.sum(0)[:, None]
        mean_R2 -= mean_R2.mean(0)
        mean_R2 /= np.sqrt((mean_R2**2).sum(1).mean())
    assert np.abs(mean_R2 - np.array(MEAN_HAND)).max() < 0.02


def test_a_drawn_hand_has_its_regions_in_the_same_order() -> None:
    from carpal.lab.data.synthetic import draw_hand
    from carpal.types import Sex

    points_R2 = np.asarray(draw_hand(120, Sex.FEMALE, seed=1).points_R2, float)
    apart_R = np.linalg.norm(aligned(points_R2, np.ones(17, bool), np.array(MEAN_HAND)) - np.array(MEAN_HAND), axis=1)
    assert apart_R.max() < 0.35, "half of the distance between neighbouring joints"
