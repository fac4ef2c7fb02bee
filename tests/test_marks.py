"""Frames, markers and inverted polarity: how often, where, and that the hand's middle stays as it was."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from carpal.training import augment, marks
from carpal.training.config import Augment

CANVAS = (64, 48)
MANY = list(range(2000))
SEEDS = st.integers(0, 2**63 - 1)


def drawn(seed: int, setting: Augment) -> tuple[torch.Tensor, marks.Marks]:
    """What becomes of one uniform grey canvas, and the numbers behind it."""
    chosen = marks.draw([seed], setting, augment.DRAWS)
    return marks.add(torch.full((1, 1, *CANVAS), 100.0), chosen)[0, 0], chosen


@settings(deadline=None, max_examples=40)
@given(SEEDS)
def test_marks_equal_their_slow_twin(seed: int) -> None:
    image_HW, chosen = drawn(seed, Augment(marks=0.7, invert=0.3))
    framed, bands, tilt, frame, marked, angle, ring, half, marker, inverted = (t[0].numpy() for t in chosen)
    height, width = CANVAS
    left, right, top, bottom = bands
    reach = ring / max(abs(math.cos(angle)), abs(math.sin(angle)))
    expected_HW = np.full(CANVAS, 100.0)
    close_HW = np.zeros(CANVAS, bool)  # on an edge, float32 and float64 may differ
    for row in range(height):
        for column in range(width):
            x, y = (column + 0.5) * 2 / width - 1, (row + 0.5) * 2 / height - 1
            along, across = x * math.cos(tilt) + y * math.sin(tilt), y * math.cos(tilt) - x * math.sin(tilt)
            inside = [along + 1 - 2 * left, 1 - 2 * right - along, across + 1 - 2 * top, 1 - 2 * bottom - across]
            over = [
                2 * half[0] - abs(x - reach * math.cos(angle)),
                2 * half[1] - abs(y - reach * math.sin(angle)),
            ]
            close_HW[row, column] = min(map(abs, inside + over)) < 1e-5
            if framed and min(inside) < 0:
                expected_HW[row, column] = frame
            if marked and min(over) >= 0:
                expected_HW[row, column] = marker
    if inverted:
        expected_HW = 255 - expected_HW
    np.testing.assert_allclose(image_HW.numpy()[~close_HW], expected_HW[~close_HW], atol=1e-3)


@settings(deadline=None)
@given(SEEDS)
def test_the_middle_of_the_canvas_stays_visible(seed: int) -> None:
    image_HW, _ = drawn(seed, Augment(marks=1.0))
    assert bool((image_HW[14:-14, 11:-11] == 100).all())


@pytest.mark.parametrize("chance", [0.0, 0.25, 1.0])
def test_each_is_there_as_often_as_asked(chance: float) -> None:
    chosen = marks.draw(MANY, Augment(marks=chance, invert=chance), augment.DRAWS)
    for there_B in (chosen.framed_B, chosen.marked_B, chosen.inverted_B):
        assert float(there_B.float().mean()) == pytest.approx(chance, abs=0.04)
    assert chance in (0, 1) or bool((chosen.framed_B != chosen.marked_B).any()), "each by itself"


def test_greys_are_greys_and_a_marker_is_bright() -> None:
    chosen = marks.draw(MANY, Augment(marks=1.0), augment.DRAWS)
    assert 0 <= float(chosen.frame_grey_B.min()) < float(chosen.frame_grey_B.max()) <= 255
    assert float((chosen.frame_grey_B == 0).float().mean()) == pytest.approx(1 / 3, abs=0.04)
    assert float(chosen.marker_grey_B.min()) >= marks.BRIGHT


def test_training_shows_them_and_moves_no_point() -> None:
    source = augment.Picture(
        torch.full((1, 1, *CANVAS), 100.0),
        torch.tensor([CANVAS]),
        torch.tensor([[[24.0, 32.0]]]),
        torch.ones(1, 1, dtype=torch.bool),
    )
    plain = Augment(flip=0.0, scale=0.0)
    image, points, known = augment.apply(source, [3], plain, CANVAS)
    marked, same, still = augment.apply(source, [3], Augment(flip=0.0, scale=0.0, marks=1.0, invert=1.0), CANVAS)
    assert torch.equal(points, same)
    assert torch.equal(known, still)
    assert bool((image.round() == 100).all())
    assert float(marked[0, 0, 32, 24]) == pytest.approx(155, abs=0.01)
    assert len(marked.round().unique()) == 3, "the canvas, a frame and a marker"
