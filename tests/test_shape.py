"""The mean hand under an affine map: exact places fit exactly, one stray region does not spoil the rest."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carpal.anatomy import INDEX, MEAN_HAND, REGIONS
from carpal.quality.hand_shape import SPREAD, fit

SHARED = Path(__file__).parents[2] / "shared" / "data"


@settings(max_examples=30, deadline=None)
@given(st.floats(0, 6.28), st.floats(5, 200), st.floats(0.6, 1.6), st.booleans())
def test_an_affine_hand_fits_exactly(angle: float, size: float, aspect: float, mirrored: bool) -> None:
    turn_22 = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    axes_22 = np.diag([size * (-1 if mirrored else 1), size * aspect])
    centres_R2 = np.array(MEAN_HAND) @ axes_22 @ turn_22 + [300, 200]
    found = fit(centres_R2, np.ones(17))
    assert found.misfit < 1e-6
    assert found.stretch == pytest.approx(max(aspect, 1 / aspect), rel=1e-6)
    assert found.radius == pytest.approx(size * np.sqrt(aspect), rel=1e-6)


def test_one_stray_region_does_not_move_the_others() -> None:
    centres_R2 = np.array(MEAN_HAND) * 50 + 128
    stray_R2 = centres_R2.copy()
    stray_R2[REGIONS.index("DIP2")] += [60, -40]
    found = fit(stray_R2, np.ones(17))
    assert found.misfit < 0.5
    assert np.abs(found.places_R2 - centres_R2).max() < 5


@given(st.floats(0, 6.28), st.floats(5, 200))
def test_the_fingertips_lie_beyond_the_last_joints_in_line_with_them(angle: float, size: float) -> None:
    """The middle phalanx is half as long again as the distal one."""
    turn_22 = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    found = fit(np.array(MEAN_HAND) @ turn_22 * size, np.ones(17))
    for tip_2, digit in zip(found.tips_D2, range(2, 6), strict=True):
        pip_2, dip_2 = (found.places_R2[INDEX[f"{joint}{digit}"]] for joint in ("PIP", "DIP"))
        assert 1.5 * (tip_2 - dip_2) == pytest.approx(dip_2 - pip_2, abs=1e-6 * size)


def test_scattered_and_collapsed_places_are_no_hand() -> None:
    scattered_R2 = np.random.default_rng(0).uniform(0, 256, (17, 2))
    assert fit(scattered_R2, np.ones(17)).misfit > 2
    line_R2 = np.column_stack([np.arange(17.0), np.zeros(17)])
    assert fit(line_R2, np.ones(17)).stretch > 5


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs the project's data folder")
def test_the_spread_is_that_of_the_annotations() -> None:
    """Made again: root mean square distance of every region after an affine fit, hands outside fold 0."""
    from carpal.lab.data import shared

    fold = shared.folds(shared.real(shared.read_train(SHARED)))
    points = [a.points_R3 for name, a in shared.read_regions(SHARED).items() if fold.get(name) != 0]
    points = [points_R3[:, :2] for points_R3 in points if (points_R3[:, 2] > 0).all()]
    hand_R3 = np.column_stack([MEAN_HAND, np.ones(17)])
    errors = []
    for points_R2 in points:
        affine_32, *_ = np.linalg.lstsq(hand_R3, points_R2, rcond=None)
        errors.append((points_R2 - hand_R3 @ affine_32) @ np.linalg.inv(affine_32[:2]))
    spread_R = np.sqrt(np.square(errors).sum(-1).mean(0))
    assert spread_R.round(3) == pytest.approx(SPREAD, abs=0.002)
