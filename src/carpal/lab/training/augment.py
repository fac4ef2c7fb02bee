"""Flip, scale, rotation, shift and what cameras and files do to grey values; the region points move with the pixels.

One affine map an example takes the source image straight to the network's canvas, so that an image is sampled once.
Then it loses what cameras and files take: resolution, sharpness, exact values. All random numbers of an example come
from its own seed: the same example at the same step looks the same whatever the batch, the process or the machine.
Everything is done for a whole batch at once, on the device. Grey values are 0..255.

Letters: B batch, H W the source images (padded to a common size) or the canvas, R regions, K bins of a blur, N random
numbers.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Final, NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from carpal.lab.model import chance
from carpal.lab.training.config import Augment

DRAWS: Final = 16
"""Random numbers an example: those of `Draws`, and one to spare."""


class Picture(NamedTuple):
    """Sources of one batch: grey values 0..255, zero padded to the right and below, with their true sizes (h, w).

    The sizes stay on the CPU, where the maps are made.
    """

    pixels_B1HW: Tensor
    size_B2: Tensor
    points_BR2: Tensor
    known_BR: Tensor


class Draws(NamedTuple):
    """What chance decides of each example (B each), as numbers that `Augment` has scaled; float64 on the CPU."""

    mirror_B: Tensor
    scale_B: Tensor
    radians_B: Tensor
    shift_x_B: Tensor
    shift_y_B: Tensor
    gamma_B: Tensor
    contrast_B: Tensor
    brightness_B: Tensor
    coarse_B: Tensor
    blur_B: Tensor
    jpeg_B: Tensor
    noise_B: Tensor
    where_B: Tensor


def apply(
    source: Picture, seeds: list[int], augment: Augment, canvas: tuple[int, int]
) -> tuple[Tensor, Tensor, Tensor]:
    """(image (B, 1, *canvas), points (B, R, 2) on the canvas, known (B, R)); a point that leaves it is unknown."""
    draws = draw(seeds, augment)
    device = source.pixels_B1HW.device
    matrix_B23 = _matrices(source.size_B2, canvas, draws).float().to(device, non_blocking=True)
    image_B1HW = _warp(source, matrix_B23, canvas)
    image_B1HW = _change_greys(image_B1HW, draws, augment)
    points_BR2 = source.points_BR2 @ matrix_B23[:, :, :2].transpose(1, 2) + matrix_B23[:, None, :, 2]
    limit_2 = torch.tensor([canvas[1], canvas[0]], device=device)
    known_BR = source.known_BR & ((points_BR2 >= 0) & (points_BR2 <= limit_2)).all(-1)
    return image_B1HW, points_BR2, known_BR


def draw(seeds: list[int], augment: Augment) -> Draws:
    """What chance decides of the examples of these seeds."""
    unit_DB = chance.uniform(torch.tensor(seeds), DRAWS).T
    mirror_B, scale_B, angle_B, x_B, y_B, gamma_B, contrast_B, brightness_B, *rest = unit_DB.unbind()
    coarse_B, how_coarse_B, blur_B, jpeg_B, quality_B, noise_B, where_B, _ = rest
    low, high = QUALITIES
    return Draws(
        mirror_B=torch.where(mirror_B < augment.flip, -1.0, 1.0),
        scale_B=augment.zoom * (1 + augment.scale * (2 * scale_B - 1)),
        radians_B=math.radians(augment.rotate) * (2 * angle_B - 1),
        shift_x_B=augment.shift * (2 * x_B - 1),
        shift_y_B=augment.shift * (2 * y_B - 1),
        gamma_B=2 ** (augment.intensity * (2 * gamma_B - 1)),
        contrast_B=1 + augment.intensity * (2 * contrast_B - 1),
        brightness_B=augment.intensity * (2 * brightness_B - 1) / 2,
        coarse_B=torch.where(coarse_B < augment.coarse, 1 + (COARSEST - 1) * how_coarse_B, 1.0),
        blur_B=augment.blur * blur_B,
        jpeg_B=torch.where(jpeg_B < augment.jpeg, low + (high - low) * quality_B, 100.0),
        noise_B=augment.noise * noise_B,
        where_B=where_B,
    )


def _matrices(size_B2: Tensor, canvas: tuple[int, int], draws: Draws) -> Tensor:
    """The maps (B, 2, 3) from source to canvas pixels: fit, mirror, turn about the middle, shift."""
    height_B, width_B = size_B2.double().unbind(1)
    fit_B = draws.scale_B * torch.minimum(canvas[0] / height_B, canvas[1] / width_B)
    cos_B, sin_B = fit_B * torch.cos(draws.radians_B), fit_B * torch.sin(draws.radians_B)
    linear_B22 = torch.stack([cos_B * draws.mirror_B, -sin_B, sin_B * draws.mirror_B, cos_B], 1).reshape(-1, 2, 2)
    middle_B2 = torch.stack([width_B / 2, height_B / 2], 1)
    target_B2 = torch.stack([canvas[1] * (0.5 + draws.shift_x_B), canvas[0] * (0.5 + draws.shift_y_B)], 1)
    return torch.cat([linear_B22, target_B2[..., None] - linear_B22 @ middle_B2[..., None]], 2)


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


def _change_greys(image_B1HW: Tensor, draws: Draws, augment: Augment) -> Tensor:
    """What happens to grey values 0..255, in the order in which it happens to a radiograph."""
    on_device = Draws(*torch.stack(draws).float().to(image_B1HW.device, non_blocking=True))
    if augment.coarse:
        image_B1HW = coarsen(image_B1HW, on_device.coarse_B)
    if augment.blur:
        image_B1HW = blur(image_B1HW, on_device.blur_B, augment.blur)
    if augment.intensity:
        image_B1HW = _tone(image_B1HW, on_device)
    if augment.jpeg:
        image_B1HW = compress(image_B1HW, on_device.jpeg_B)
    if augment.noise:
        image_B1HW = add_noise(image_B1HW, on_device.noise_B, on_device.where_B)
    return image_B1HW


def _tone(image_B1HW: Tensor, draws: Draws) -> Tensor:
    """Gamma, contrast and brightness; black stays black."""
    gamma, contrast, brightness = (
        t_B[:, None, None, None] for t_B in (draws.gamma_B, draws.contrast_B, draws.brightness_B)
    )
    unit = (image_B1HW / 255).clamp(0, 1) ** gamma
    return ((unit * contrast + brightness * (unit > 0)) * 255).clamp(0, 255)


COARSEST: Final = 3.0
"""Largest factor by which a picture is sampled down: a radiograph at 256 pixels to about a thumbnail's detail."""
QUALITIES: Final = (15.0, 95.0)
"""Of JPEG. At 100 a picture is left as it is."""
BLOCK: Final = 8
NOISES: Final = 1 << 20
"""Gaussian numbers that noise is cut from: more than a picture has pixels."""
LUMINANCE: Final = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)
"""JPEG's quantisation of grey values at quality 50 (ITU-T T.81, table K.1)."""


def coarsen(image_B1HW: Tensor, factor_B: Tensor) -> Tensor:
    """Every `factor_B`-th pixel, and between them straight lines: how the thumbnails were made, shown at this size."""
    for axis in (2, 3):
        places_N = torch.arange(image_B1HW.shape[axis], device=image_B1HW.device)
        cell_BN = (places_N / factor_B[:, None]).floor()
        share_BN = places_N / factor_B[:, None] - cell_BN
        first, second = (
            _take(image_B1HW, ((cell_BN + more) * factor_B[:, None]).round().long(), axis) for more in (0, 1)
        )
        share = share_BN[:, None, :, None] if axis == 2 else share_BN[:, None, None, :]
        image_B1HW = first + (second - first) * share
    return image_B1HW


def _take(image_B1HW: Tensor, index_BN: Tensor, axis: int) -> Tensor:
    """Rows (axis 2) or columns (3) of each picture, its last one beyond the border."""
    index_BN = index_BN.clamp(max=image_B1HW.shape[axis] - 1)
    index = index_BN[:, None, :, None] if axis == 2 else index_BN[:, None, None, :]
    return image_B1HW.gather(axis, index.expand_as(image_B1HW))


def blur(image_B1HW: Tensor, sigma_B: Tensor, largest: float) -> Tensor:
    """A Gaussian of `sigma_B` pixels, none of them above `largest`; the border's values go on beyond it."""
    reach = max(1, round(3 * largest))
    steps_K = torch.arange(-reach, reach + 1, device=image_B1HW.device)
    weight_BK = torch.softmax(-0.5 * (steps_K / sigma_B[:, None].clamp(min=1e-3)) ** 2, 1)
    wide_1BHW = F.pad(image_B1HW.transpose(0, 1), (reach,) * 4, mode="replicate")
    rows_1BHW = F.conv2d(wide_1BHW, weight_BK[:, None, :, None], groups=len(weight_BK))  # each with a filter of its own
    return F.conv2d(rows_1BHW, weight_BK[:, None, None], groups=len(weight_BK)).transpose(0, 1)


def compress(image_B1HW: Tensor, quality_B: Tensor) -> Tensor:
    """As JPEG at this quality leaves a picture: cosines of 8 x 8 pixels, rounded. Sides must be multiples of 8."""
    rows, columns = (side // BLOCK for side in image_B1HW.shape[2:])
    blocks = image_B1HW.reshape(-1, rows, BLOCK, columns, BLOCK).transpose(2, 3)
    cosines = _cosines(image_B1HW.device)
    strength_B = torch.where(quality_B < 50, 50 / quality_B, 2 - quality_B / 50)
    table = torch.tensor(LUMINANCE, device=image_B1HW.device)
    step = torch.round(table * strength_B[:, None, None, None, None]).clamp(1, 255)
    rounded = torch.round(cosines @ (blocks - 128) @ cosines.T / step) * step
    back = (cosines.T @ rounded @ cosines + 128).round().clamp(0, 255).transpose(2, 3).reshape(image_B1HW.shape)
    return torch.where((quality_B < 100)[:, None, None, None], back, image_B1HW)


@cache
def _cosines(device: torch.device) -> Tensor:
    """The orthonormal cosine transform of 8 numbers (8, 8)."""
    n = torch.arange(BLOCK)
    matrix: Tensor = torch.cos(torch.pi / BLOCK * (n + 0.5) * n[:, None]) * (2 / BLOCK) ** 0.5
    return torch.cat([matrix[:1] / 2**0.5, matrix[1:]]).to(device)


def add_noise(image_B1HW: Tensor, sigma_B: Tensor, where_B: Tensor) -> Tensor:
    """Gaussian noise of `sigma_B` grey levels; `where_B` (0 to 1) says which of the numbers an example takes."""
    pixels = image_B1HW[0].numel()
    noise_N = _noise(image_B1HW.device)
    first_B = (where_B * NOISES).long()
    index_BN = (first_B[:, None] + torch.arange(pixels, device=image_B1HW.device)) % NOISES
    noise_B1HW = noise_N[index_BN].reshape(image_B1HW.shape) * sigma_B[:, None, None, None]
    return (image_B1HW + noise_B1HW).clamp(0, 255)


@cache
def _noise(device: torch.device) -> Tensor:
    return torch.randn(NOISES, generator=torch.Generator().manual_seed(0)).to(device)
