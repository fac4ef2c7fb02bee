"""Boxes as (x1, y1, x2, y2): area, overlap, clipping, and the offsets that a region proposal network regresses.

Letters: N boxes, M other boxes, 4 coordinates; leading dimensions are free where the shape says `...`.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

MAX_LOG_SCALE = math.log(4.0)
"""A decoded box is at most four times larger or smaller than its anchor: keeps exp() finite early in training."""


def centred(points_N2: Tensor, size: float) -> Tensor:
    """Square boxes (..., 4) of side `size` around points (..., 2): the paper's figure 1 (c)."""
    return torch.cat([points_N2 - size / 2, points_N2 + size / 2], dim=-1)


def centres(boxes_N4: Tensor) -> Tensor:
    """The middles (..., 2) of boxes (..., 4)."""
    return (boxes_N4[..., :2] + boxes_N4[..., 2:]) / 2


def area(boxes_N4: Tensor) -> Tensor:
    """Width times height, zero for an empty box."""
    sides = (boxes_N4[..., 2:] - boxes_N4[..., :2]).clamp(min=0)
    return sides[..., 0] * sides[..., 1]


def iou(boxes_N4: Tensor, others_M4: Tensor) -> Tensor:
    """Intersection over union of every pair: (..., N, 4) and (..., M, 4) give (..., N, M)."""
    left_top = torch.maximum(boxes_N4[..., :, None, :2], others_M4[..., None, :, :2])
    right_bottom = torch.minimum(boxes_N4[..., :, None, 2:], others_M4[..., None, :, 2:])
    sides = (right_bottom - left_top).clamp(min=0)
    intersection = sides[..., 0] * sides[..., 1]
    union = area(boxes_N4)[..., :, None] + area(others_M4)[..., None, :] - intersection
    return intersection / union.clamp(min=1e-9)


def clip(boxes_N4: Tensor, height: int, width: int) -> Tensor:
    """Boxes cut to the image 0..width, 0..height."""
    x1, y1, x2, y2 = boxes_N4.unbind(-1)
    return torch.stack(
        [x1.clamp(0, width), y1.clamp(0, height), x2.clamp(0, width), y2.clamp(0, height)],
        dim=-1,
    )


def encode(boxes_N4: Tensor, anchors_N4: Tensor) -> Tensor:
    """Offsets (dx, dy, log dw, log dh) that turn anchors into boxes (Faster R-CNN, eq. 2)."""
    sides, anchor_sides = (b[..., 2:] - b[..., :2] for b in (boxes_N4, anchors_N4))
    shift = (centres(boxes_N4) - centres(anchors_N4)) / anchor_sides
    return torch.cat([shift, torch.log(sides / anchor_sides)], dim=-1)


def decode(deltas_N4: Tensor, anchors_N4: Tensor) -> Tensor:
    """The inverse of `encode`; the change of size is limited to a factor of four."""
    anchor_sides = anchors_N4[..., 2:] - anchors_N4[..., :2]
    middle = centres(anchors_N4) + deltas_N4[..., :2] * anchor_sides
    half = anchor_sides * torch.exp(deltas_N4[..., 2:].clamp(-MAX_LOG_SCALE, MAX_LOG_SCALE)) / 2
    return torch.cat([middle - half, middle + half], dim=-1)
