"""Deeplasia-like (Rassmann et al.): one EfficientNet-B0, squared error of the z-score.

Rassmann et al., Pediatric Radiology 2024;54:82-95, "Deeplasia: deep learning for bone age assessment validated on
skeletal dysplasias". Not in the paper's Table 3; its ensemble reports 3.87 months on the same test images.

As published (the release was read): EfficientNet-B0 and B4 on grey images of 512 pixels and more; the sex by Linear
1 -> 32 and ReLU, joined to the pooled features; mean squared error of the z-score (127.3166, 41.1793); hands masked,
several views, a linear correction of the bias, three networks averaged.
Our reading: one EfficientNet-B0, one linear layer after the join, neither mask nor correction; the mirrored view that
`carpal` averages for every system is its only other view. "Deeplasia-like" is all that its name can claim.

EfficientNet-B0 (Tan and Le 2019) is built here: inverted bottlenecks with squeeze and excitation. Stochastic depth is
left out.

Letters: B batch, C channels, H W cells.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from carpal.lab.baselines import protocol
from carpal.lab.baselines.protocol import Prediction, System, SystemConfig, scaled


class Deeplasia(System):
    """EfficientNet-B0, sex, squared error of the z-score."""

    def __init__(self, config: SystemConfig) -> None:
        super().__init__(config)
        self.features = EfficientNetB0(config.width)
        self.sex = protocol.sex_embedding()
        self.age = protocol.Regression(self.features.channels + protocol.SEX_FEATURES)

    def forward(self, image_B1HW: Tensor, male_B: Tensor, boxes_BR4: Tensor | None = None) -> Prediction:
        pooled_BD = self.features(protocol.normalise(image_B1HW)).mean((2, 3))
        months_B = self.age(torch.cat([pooled_BD, self.sex(male_B[:, None])], 1))
        return Prediction(months_B, protocol.above_point(months_B), (months_B,))

    def terms(self, prediction: Prediction, months_B: Tensor) -> dict[str, Tensor]:
        return {"mse": ((prediction.months_B - months_B) / protocol.SD_MONTHS).square()}


STAGES = (
    (1, 3, 1, 16, 1), (6, 3, 2, 24, 2), (6, 5, 2, 40, 2), (6, 3, 2, 80, 3), (6, 5, 1, 112, 3), (6, 5, 2, 192, 4),
    (6, 3, 1, 320, 1),
)  # fmt: skip
"""Expansion, kernel, stride, channels, blocks of each stage: the paper's table 1."""
STEM, LAST = 32, 1280


class EfficientNetB0(nn.Sequential):
    """A grey image (B, 1, H, W) to the last map at stride 32, 1280 channels."""

    def __init__(self, width: int) -> None:
        channels_in = scaled(STEM, width)
        layers: list[nn.Module] = [_conv(1, channels_in, 3, 2)]
        for expansion, kernel, stride, channels, blocks in STAGES:
            for block in range(blocks):
                layers.append(_MBConv(channels_in, scaled(channels, width), expansion, kernel, 1 if block else stride))
                channels_in = scaled(channels, width)
        layers.append(_conv(channels_in, scaled(LAST, width), 1))
        super().__init__(*layers)
        self.channels = scaled(LAST, width)


class _MBConv(nn.Module):
    """Widen, convolve each channel by itself, weigh the channels, narrow; with the shortcut where shapes allow it."""

    def __init__(self, channels_in: int, channels_out: int, expansion: int, kernel: int, stride: int) -> None:
        super().__init__()
        inner, squeezed = channels_in * expansion, max(1, channels_in // 4)
        self.widen = _conv(channels_in, inner, 1) if expansion > 1 else nn.Identity()
        self.depthwise = _conv(inner, inner, kernel, stride, groups=inner)
        self.squeeze, self.excite = nn.Conv2d(inner, squeezed, 1), nn.Conv2d(squeezed, inner, 1)
        self.narrow = nn.Sequential(nn.Conv2d(inner, channels_out, 1, bias=False), nn.BatchNorm2d(channels_out))
        self.shortcut = stride == 1 and channels_in == channels_out

    def forward(self, x_BCHW: Tensor) -> Tensor:
        inner_BCHW = self.depthwise(self.widen(x_BCHW))
        pooled_BC11 = inner_BCHW.mean((2, 3), keepdim=True)
        weight_BC11 = torch.sigmoid(self.excite(nn.functional.silu(self.squeeze(pooled_BC11))))
        out_BCHW: Tensor = self.narrow(inner_BCHW * weight_BC11)
        return out_BCHW + x_BCHW if self.shortcut else out_BCHW


def _conv(channels_in: int, channels_out: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(channels_in, channels_out, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(channels_out), nn.SiLU())
