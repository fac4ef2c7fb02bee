"""Flip, scale, rotation, shift, intensity and noise, on the device; the region points move with the pixels.

Letters: B batch, H W the source pictures (padded to a common size), R regions.

One affine map an example takes the source picture straight to the network's canvas, so that a picture is sampled once.
All random numbers of an example come from its own seed: the same example at the same step looks the same whatever the
batch, the process or the machine.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from carpal.training.config import Augment


class Picture(NamedTuple):
    """Sources of one batch: grey values 0..255, zero padded to the right and below, with their true sizes (h, w)."""

    pixels_B1HW: Tensor
    size_B2: Tensor
    points_BR2: Tensor
    known_BR: Tensor


def canvas_size(long_side: int) -> tuple[int, int]:
    """(height, width) that training pictures are placed on: the usual aspect of a hand radiograph, multiples of 16."""
    return long_side, math.ceil(0.8 * long_side / 16) * 16


def apply(
    source: Picture, seeds: list[int], augment: Augment, canvas: tuple[int, int]
) -> tuple[Tensor, Tensor, Tensor]:
    """(image (B, 1, *canvas), points (B, R, 2) on the canvas, known (B, R)); a point that leaves it is unknown."""
    draws = [_draw(seed, augment) for seed in seeds]
    device = source.pixels_B1HW.device
    matrix_B23 = torch.stack(
        [_matrix(size, canvas, draw) for size, draw in zip(source.size_B2.cpu(), draws, strict=True)]
    )
    matrix_B23 = matrix_B23.to(device)
    image_B1HW = _warp(source, matrix_B23, canvas)
    tone_B3 = torch.tensor([draw[-3:] for draw in draws], device=device)
    image_B1HW = _tone(image_B1HW, tone_B3)
    if augment.noise:
        image_B1HW = _noise(image_B1HW, seeds, augment.noise)
    points_BR2 = source.points_BR2 @ matrix_B23[:, :, :2].transpose(1, 2) + matrix_B23[:, None, :, 2]
    limit_2 = torch.tensor([canvas[1], canvas[0]], device=device)
    known_BR = source.known_BR & ((points_BR2 >= 0) & (points_BR2 <= limit_2)).all(-1)
    return image_B1HW, points_BR2, known_BR


def _draw(seed: int, augment: Augment) -> list[float]:
    """One example's (mirror, scale, radians, shift x, shift y, gamma, contrast, brightness)."""
    chance, *u = torch.rand(8, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).tolist()
    u = [2 * value - 1 for value in u]  # -1..1
    mirror = -1.0 if chance < augment.flip else 1.0
    angle = math.radians(augment.rotate) * u[1]
    tone = [2 ** (augment.intensity * u[4]), 1 + augment.intensity * u[5], augment.intensity * u[6] / 2]
    return [mirror, 1 + augment.scale * u[0], angle, augment.shift * u[2], augment.shift * u[3], *tone]


def _matrix(size_2: Tensor, canvas: tuple[int, int], draw: list[float]) -> Tensor:
    """The map (2, 3) from source to canvas pixels: fit, mirror, turn about the middle, shift."""
    mirror, scale, angle, shift_x, shift_y = draw[:5]
    height, width = (float(side) for side in size_2)
    fit = scale * min(canvas[0] / height, canvas[1] / width)
    cos, sin = fit * math.cos(angle), fit * math.sin(angle)
    linear_22 = torch.tensor([[cos * mirror, -sin], [sin * mirror, cos]])
    middle_2 = torch.tensor([width / 2, height / 2])
    target_2 = torch.tensor([canvas[1] * (0.5 + shift_x), canvas[0] * (0.5 + shift_y)])
    return torch.cat([linear_22, (target_2 - linear_22 @ middle_2)[:, None]], 1)


def _warp(source: Picture, matrix_B23: Tensor, canvas: tuple[int, int]) -> Tensor:
    """Samples the sources on the canvas; black outside."""
    batch, _, height, width = source.pixels_B1HW.shape
    inverse_B22 = torch.linalg.inv(matrix_B23[:, :, :2])
    y, x = torch.meshgrid(
        torch.arange(canvas[0], device=matrix_B23.device) + 0.5,
        torch.arange(canvas[1], device=matrix_B23.device) + 0.5,
        indexing="ij",
    )
    canvas_N2 = torch.stack([x, y], -1).reshape(1, -1, 2)
    source_BN2 = (canvas_N2 - matrix_B23[:, None, :, 2]) @ inverse_B22.transpose(1, 2)
    limits_2 = torch.tensor([width, height], device=matrix_B23.device)
    grid_BHW2 = (source_BN2 * (2 / limits_2) - 1).reshape(batch, *canvas, 2)
    return F.grid_sample(source.pixels_B1HW.float(), grid_BHW2, padding_mode="zeros", align_corners=False)


def _tone(image_B1HW: Tensor, tone_B3: Tensor) -> Tensor:
    """Gamma, contrast and brightness on grey values 0..255; an example with neutral draws is left as it is."""
    gamma, contrast, brightness = (t[:, None, None, None] for t in tone_B3.unbind(1))
    if bool(((tone_B3 - torch.tensor([1.0, 1.0, 0.0], device=tone_B3.device)) == 0).all()):
        return image_B1HW
    unit = (image_B1HW / 255).clamp(0, 1) ** gamma
    return ((unit * contrast + brightness * (unit > 0)) * 255).clamp(0, 255)


def _noise(image_B1HW: Tensor, seeds: list[int], largest: float) -> Tensor:
    """Gaussian noise on grey values 0..255, each example with a strength of its own, up to `largest`."""
    noise_B1HW = torch.empty_like(image_B1HW)
    for example_1HW, seed in zip(noise_B1HW, seeds, strict=True):
        generator = torch.Generator(image_B1HW.device).manual_seed(seed ^ 1)  # not the numbers of `_draw`
        strength = largest * torch.rand((), generator=generator, device=image_B1HW.device)
        example_1HW.normal_(generator=generator).mul_(strength)
    return (image_B1HW + noise_B1HW).clamp(0, 255)
