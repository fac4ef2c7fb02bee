"""Inception-v3 (Szegedy et al. 2016), without the auxiliary classifier, in the parts that Ren's and BoNet's use.

Letters: B batch, C channels, H W cells. Channels, kernels and the order of the blocks are those of torchvision's
`inception_v3`. Our change: convolutions and pools that halve the map are padded, so that every size of image works.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from carpal.lab.baselines.protocol import scaled

STEM_CHANNELS = 192


class Conv(nn.Sequential):
    """Convolution, batch norm (epsilon 0.001), ReLU; keeps the size at stride 1."""

    def __init__(self, channels_in: int, channels_out: int, kernel: int | tuple[int, int], stride: int = 1) -> None:
        height, width = (kernel, kernel) if isinstance(kernel, int) else kernel
        convolution = nn.Conv2d(
            channels_in, channels_out, (height, width), stride, (height // 2, width // 2), bias=False
        )
        super().__init__(convolution, nn.BatchNorm2d(channels_out, eps=0.001), nn.ReLU())


class Stem(nn.Sequential):
    """The image to 192 channels at stride 4, up to Conv2d_4a; BoNet has two of them."""

    def __init__(self, channels_in: int, width: int) -> None:
        a, b, c, d = (scaled(channels, width) for channels in (32, 64, 80, STEM_CHANNELS))
        super().__init__(
            *(Conv(channels_in, a, 3, 2), Conv(a, a, 3), Conv(a, b, 3)),
            *(nn.MaxPool2d(3, 2, 1), Conv(b, c, 1), Conv(c, d, 3)),
        )


class Body(nn.Sequential):
    """From the stem's map to the last one, at stride 32: three blocks A, one B, four C, one D, two E."""

    def __init__(self, width: int) -> None:
        def s(channels: int) -> int:
            return scaled(channels, width)

        a1, a2 = 2 * s(64) + s(96) + s(32), 3 * s(64) + s(96)  # 256, 288
        b, c = s(384) + s(96) + a2, 4 * s(192)  # 768 both
        d, e = s(320) + s(192) + c, s(320) + 4 * s(384) + s(192)  # 1280, 2048
        super().__init__(
            nn.MaxPool2d(3, 2, 1),
            *(_A(s(STEM_CHANNELS), 32, width), _A(a1, 64, width), _A(a2, 64, width), _B(a2, width)),
            *(_C(b, 128, width), _C(c, 160, width), _C(c, 160, width), _C(c, 192, width)),
            *(_D(c, width), _E(d, width), _E(e, width)),
        )
        self.channels = e


class _Branches(nn.Module):
    """Branches side by side, joined along the channels."""

    def __init__(self, *branches: nn.Module) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return torch.cat([branch(x_BCHW) for branch in self.branches], 1)


class _Pool(nn.Module):
    """The branch of an average pool, 3x3, and a 1x1 convolution."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.conv = Conv(channels_in, channels_out, 1)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        pooled: Tensor = self.conv(F.avg_pool2d(x_BCHW, 3, 1, 1))
        return pooled


def _chain(channels_in: int, *steps: tuple[int, int | tuple[int, int], int]) -> nn.Sequential:
    """Convolutions one after the other: (channels, kernel, stride) each."""
    layers = []
    for channels, kernel, stride in steps:
        layers.append(Conv(channels_in, channels, kernel, stride))
        channels_in = channels
    return nn.Sequential(*layers)


def _A(channels_in: int, pool: int, width: int) -> _Branches:
    a, b, c, p = (scaled(channels, width) for channels in (64, 48, 96, pool))
    return _Branches(
        Conv(channels_in, a, 1),
        _chain(channels_in, (b, 1, 1), (a, 5, 1)),
        _chain(channels_in, (a, 1, 1), (c, 3, 1), (c, 3, 1)),
        _Pool(channels_in, p),
    )


def _B(channels_in: int, width: int) -> _Branches:
    a, b, c = (scaled(channels, width) for channels in (384, 64, 96))
    return _Branches(
        Conv(channels_in, a, 3, 2), _chain(channels_in, (b, 1, 1), (c, 3, 1), (c, 3, 2)), nn.MaxPool2d(3, 2, 1)
    )


def _C(channels_in: int, inner: int, width: int) -> _Branches:
    o, i = scaled(192, width), scaled(inner, width)
    wide, high = (1, 7), (7, 1)
    return _Branches(
        Conv(channels_in, o, 1),
        _chain(channels_in, (i, 1, 1), (i, wide, 1), (o, high, 1)),
        _chain(channels_in, (i, 1, 1), (i, high, 1), (i, wide, 1), (i, high, 1), (o, wide, 1)),
        _Pool(channels_in, o),
    )


def _D(channels_in: int, width: int) -> _Branches:
    a, b = (scaled(channels, width) for channels in (192, 320))
    return _Branches(
        _chain(channels_in, (a, 1, 1), (b, 3, 2)),
        _chain(channels_in, (a, 1, 1), (a, (1, 7), 1), (a, (7, 1), 1), (a, 3, 2)),
        nn.MaxPool2d(3, 2, 1),
    )


def _E(channels_in: int, width: int) -> _Branches:
    a, b, c, p = (scaled(channels, width) for channels in (320, 384, 448, 192))

    def split() -> _Branches:
        return _Branches(Conv(b, b, (1, 3)), Conv(b, b, (3, 1)))

    return _Branches(
        Conv(channels_in, a, 1),
        nn.Sequential(Conv(channels_in, b, 1), split()),
        nn.Sequential(Conv(channels_in, c, 1), Conv(c, b, 3), split()),
        _Pool(channels_in, p),
    )
