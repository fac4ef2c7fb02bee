"""A hand's 17 points to the upright mean hand: what key-point registration cuts, and heat maps of the points.

Letters: B batch, R regions (17), S side of a cut, H W the image.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from carpal.anatomy import MEAN_HAND


class Window(NamedTuple):
    """A rectangle of the mean hand, in its units: the middle and half the sides."""

    x: float
    y: float
    half_width: float
    half_height: float


WINDOWS: Final = {
    "hand": Window(0.10, 0.17, 1.45, 1.90),
    "carpals": Window(0.05, 1.05, 0.70, 0.70),
    "fingers": Window(0.10, 0.10, 1.10, 0.95),
}
"""The whole hand, the carpals, and the metacarpals with the proximal phalanges."""


def similarity(points_BR2: Tensor) -> tuple[Tensor, Tensor]:
    """The map (B, 2, 2), (B, 2) that takes the mean hand to the points: turn, size, shift, and a mirror where better.

    Least squares in closed form (Umeyama 1991, in the plane): of both mirror images the one that needs to shrink less
    leaves the smaller residual.
    """
    hand_R2 = points_BR2.new_tensor(MEAN_HAND)
    middle_2, centre_B2 = hand_R2.mean(0), points_BR2.mean(1)
    x_R, y_R = (hand_R2 - middle_2).unbind(-1)
    u_BR, v_BR = (points_BR2 - centre_B2[:, None]).unbind(-1)
    size = (x_R.square() + y_R.square()).sum()
    upright = ((x_R * u_BR + y_R * v_BR).sum(1) / size, (x_R * v_BR - y_R * u_BR).sum(1) / size)
    mirrored = ((y_R * v_BR - x_R * u_BR).sum(1) / size, (-x_R * v_BR - y_R * u_BR).sum(1) / size)
    better_B = mirrored[0].square() + mirrored[1].square() > upright[0].square() + upright[1].square()
    cos_B, sin_B = (torch.where(better_B, m_B, u_B) for m_B, u_B in zip(mirrored, upright, strict=True))
    flip_B = torch.where(better_B, -1.0, 1.0).to(cos_B.dtype)
    linear_B22 = torch.stack([torch.stack([flip_B * cos_B, -sin_B], -1), torch.stack([flip_B * sin_B, cos_B], -1)], -2)
    shift_B2 = centre_B2 - (linear_B22 * middle_2).sum(-1)
    return linear_B22, shift_B2


def cut(image_B1HW: Tensor, points_BR2: Tensor, window: Window, side: int) -> Tensor:
    """A window of the mean hand as an upright picture (B, 1, side, side); black outside the image."""
    height, width = image_B1HW.shape[-2:]
    linear_B22, shift_B2 = similarity(points_BR2)
    steps_S = (torch.arange(side, device=image_B1HW.device, dtype=points_BR2.dtype) + 0.5) * (2.0 / side) - 1.0
    x_SS = (window.x + window.half_width * steps_S)[None, :].expand(side, side)
    y_SS = (window.y + window.half_height * steps_S)[:, None].expand(side, side)
    place_SS2 = torch.stack([x_SS, y_SS], -1)
    place_BSS2 = (linear_B22[:, None, None] * place_SS2[None, :, :, None]).sum(-1) + shift_B2[:, None, None]
    scale_2 = torch.stack([place_BSS2[..., 0] * (2.0 / width), place_BSS2[..., 1] * (2.0 / height)], -1)
    return F.grid_sample(image_B1HW.to(points_BR2.dtype), scale_2 - 1.0, padding_mode="zeros", align_corners=False)


def heat_map(points_BR2: Tensor, like_B1HW: Tensor, sigma: float) -> Tensor:
    """One channel (B, 1, H, W) with a Gaussian of height 1 at every point: the joints are not told apart."""
    height, width = like_B1HW.shape[-2:]
    y_H = torch.arange(height, device=like_B1HW.device, dtype=points_BR2.dtype) + 0.5
    x_W = torch.arange(width, device=like_B1HW.device, dtype=points_BR2.dtype) + 0.5
    across_BRW = torch.exp(-(x_W - points_BR2[..., :1]).square() / (2 * sigma**2))
    down_BRH = torch.exp(-(y_H - points_BR2[..., 1:]).square() / (2 * sigma**2))
    return (down_BRH[..., None] * across_BRW[..., None, :]).amax(1, keepdim=True)
