"""ConvNeXt-Tiny as a global model of the bone age.

Liu et al., CVPR 2022, "A ConvNet for the 2020s". Not in the paper's Table 3; ConvNeXts lead today (Bram et al. 2025
report 3.68 months with five networks averaged).

As published: stem of 4x4 patches, 96 to 768 channels, 3, 3, 9 and 3 blocks of a 7x7 depthwise convolution, layer norm,
an inner layer four times as wide with GELU, and a layer scale that starts at 1e-6.
Our reading: no stochastic depth; global average, the sex (1 -> 32), one linear layer; L1 regression.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from carpal.lab.baselines import protocol
from carpal.lab.baselines.protocol import Prediction, System, SystemConfig

CHANNELS, BLOCKS, LAYER_SCALE = (96, 192, 384, 768), (3, 3, 9, 3), 1e-6


class ConvNeXt(System):
    """ConvNeXt-Tiny, sex, L1."""

    def __init__(self, config: SystemConfig) -> None:
        super().__init__(config)
        channels = [protocol.scaled(c, config.width) for c in CHANNELS]
        layers: list[nn.Module] = []
        for stage, (c, blocks) in enumerate(zip(channels, BLOCKS, strict=True)):
            before = [nn.Conv2d(1, c, 4, 4), _Norm(c)] if stage == 0 else _halve(channels[stage - 1], c)
            layers += [*before, *(_Block(c) for _ in range(blocks))]
        self.features, self.norm = nn.Sequential(*layers), nn.LayerNorm(channels[-1], eps=1e-6)
        self.sex = protocol.sex_embedding()
        self.age = protocol.Regression(channels[-1] + protocol.SEX_FEATURES)

    def forward(self, image_B1HW: Tensor, male_B: Tensor, boxes_BR4: Tensor | None = None) -> Prediction:
        pooled_BD = self.norm(self.features(protocol.normalise(image_B1HW)).mean((2, 3)))
        months_B = self.age(torch.cat([pooled_BD, self.sex(male_B[:, None])], 1))
        return Prediction(months_B, protocol.above_point(months_B), (months_B,))

    def terms(self, prediction: Prediction, months_B: Tensor) -> dict[str, Tensor]:
        return {"l1": protocol.l1(prediction.months_B, months_B)}


class _Norm(nn.Module):
    """Layer norm over the channels of each cell."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels, eps=1e-6)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        normed_BHWC: Tensor = self.norm(x_BCHW.permute(0, 2, 3, 1))
        return normed_BHWC.permute(0, 3, 1, 2)


class _Block(nn.Module):
    """A 7x7 depthwise convolution, then two layers on each cell, scaled, beside the shortcut."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, 7, padding=3, groups=channels)
        self.norm = nn.LayerNorm(channels, eps=1e-6)
        self.wide, self.narrow = nn.Linear(channels, 4 * channels), nn.Linear(4 * channels, channels)
        self.scale = nn.Parameter(torch.full((channels,), LAYER_SCALE))

    def forward(self, x_BCHW: Tensor) -> Tensor:
        cells_BHWC: Tensor = self.norm(self.depthwise(x_BCHW).permute(0, 2, 3, 1))
        cells_BHWC = self.narrow(nn.functional.gelu(self.wide(cells_BHWC))) * self.scale
        return x_BCHW + cells_BHWC.permute(0, 3, 1, 2)


def _halve(channels_in: int, channels_out: int) -> list[nn.Module]:
    return [_Norm(channels_in), nn.Conv2d(channels_in, channels_out, 2, 2)]
