"""What cameras and files take from a picture: resolution, sharpness, exact values; each for a whole batch at once.

Letters: B batch, H W the canvas, K bins of a blur, N random numbers. Grey values are 0..255.
"""

from __future__ import annotations

from functools import cache
from typing import Final

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

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
