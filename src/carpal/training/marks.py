"""What lies on a radiograph besides the hand: a collimator's frame, a lead marker, the other polarity.

Letters: B batch, H W the canvas, N random numbers. Grey values are 0..255. Each is there by chance, from the example's
own seed; the hand's regions stay where they are.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import torch
from torch import Tensor

from carpal.model import chance
from carpal.training.config import Augment

BAND: Final = 0.06
"""Largest width of each of a frame's four bands, as a share of the canvas: fingertips mostly stay in view."""
HALF: Final = (0.025, 0.05)
"""Half a marker's sides, as shares of the canvas."""
TILT: Final = 5.0
"""Largest angle of a frame, in degrees, either way."""
RING: Final = (0.75, 0.95)
"""Where a marker's middle lies between the canvas's middle and its border: hands seldom reach so far."""
BRIGHT: Final = 160.0
"""Least grey of a marker: lead is brighter than bone."""


class Marks(NamedTuple):
    """What chance decides of each example (B each, but bands: B 4), as shares and angles in radians."""

    framed_B: Tensor
    band_B4: Tensor
    tilt_B: Tensor
    frame_grey_B: Tensor
    marked_B: Tensor
    angle_B: Tensor
    ring_B: Tensor
    half_B2: Tensor
    marker_grey_B: Tensor
    inverted_B: Tensor


def draw(seeds: list[int], augment: Augment, first: int) -> Marks:
    """What chance decides of the examples of these seeds; their first `first` numbers are somebody else's."""
    unit_BN = chance.uniform(torch.tensor(seeds), first + 14)[:, first:].float()
    grey_B = unit_BN[:, 6]  # a third of the frames black, a third white, the others between
    return Marks(
        framed_B=unit_BN[:, 0] < augment.marks,
        band_B4=BAND * unit_BN[:, 1:5],
        tilt_B=math.radians(TILT) * (2 * unit_BN[:, 5] - 1),
        frame_grey_B=255 * (3 * grey_B - 1).clamp(0, 1),
        marked_B=unit_BN[:, 7] < augment.marks,
        angle_B=2 * math.pi * unit_BN[:, 8],
        ring_B=RING[0] + (RING[1] - RING[0]) * unit_BN[:, 9],
        half_B2=HALF[0] + (HALF[1] - HALF[0]) * unit_BN[:, 10:12],
        marker_grey_B=BRIGHT + (255 - BRIGHT) * unit_BN[:, 12],
        inverted_B=unit_BN[:, 13] < augment.invert,
    )


def add(image_B1HW: Tensor, marks: Marks) -> Tensor:
    """The pictures with what chance put on them."""
    marks = Marks(*(t.to(image_B1HW.device, non_blocking=True) for t in marks))
    x_HW, y_HW = _places(image_B1HW)
    for there_BHW, grey_B in (
        (_frame(x_HW, y_HW, marks), marks.frame_grey_B),
        (_marker(x_HW, y_HW, marks), marks.marker_grey_B),
    ):
        image_B1HW = torch.where(there_BHW[:, None], grey_B[:, None, None, None], image_B1HW)
    return torch.where(marks.inverted_B[:, None, None, None], 255 - image_B1HW, image_B1HW)


def _places(image_B1HW: Tensor) -> tuple[Tensor, Tensor]:
    """x and y of the pixels' middles, from -1 to 1 across the canvas."""
    height, width = image_B1HW.shape[2:]
    y_HW, x_HW = torch.meshgrid(
        (torch.arange(height, device=image_B1HW.device) + 0.5) * 2 / height - 1,
        (torch.arange(width, device=image_B1HW.device) + 0.5) * 2 / width - 1,
        indexing="ij",
    )
    return x_HW, y_HW


def _frame(x_HW: Tensor, y_HW: Tensor, marks: Marks) -> Tensor:
    """Where the frame is (B, H, W): outside a rectangle that is tilted about the middle."""
    cos_B, sin_B = (t_B[:, None, None] for t_B in (torch.cos(marks.tilt_B), torch.sin(marks.tilt_B)))
    along_BHW, across_BHW = cos_B * x_HW + sin_B * y_HW, cos_B * y_HW - sin_B * x_HW
    left_B, right_B, top_B, bottom_B = (1 - 2 * band_B[:, None, None] for band_B in marks.band_B4.unbind(1))
    inside_BHW = (along_BHW >= -left_B) & (along_BHW <= right_B) & (across_BHW >= -top_B) & (across_BHW <= bottom_B)
    return marks.framed_B[:, None, None] & ~inside_BHW


def _marker(x_HW: Tensor, y_HW: Tensor, marks: Marks) -> Tensor:
    """Where the marker is (B, H, W): a rectangle whose middle lies near the border."""
    cos_B, sin_B = torch.cos(marks.angle_B), torch.sin(marks.angle_B)
    reach_B = marks.ring_B / torch.maximum(cos_B.abs(), sin_B.abs())
    middle_x_B, middle_y_B = ((reach_B * t_B)[:, None, None] for t_B in (cos_B, sin_B))
    half_x_B, half_y_B = (2 * half_B[:, None, None] for half_B in marks.half_B2.unbind(1))
    on_BHW = ((x_HW - middle_x_B).abs() <= half_x_B) & ((y_HW - middle_y_B).abs() <= half_y_B)
    return marks.marked_B[:, None, None] & on_BHW
