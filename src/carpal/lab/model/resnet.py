"""The trunk: ResNet-50 (He et al. 2016), returning C4 and C5.

Letters: B batch, C channels, H height, W width of the prepared image.

Parameter names are the standard ones (`layer3.0.conv2.weight`), so that published ImageNet weights load by name. The
input has one grey channel. The stride of a stage sits in its first 1x1 convolution, as in the weights that we start
from (Keras's ResNet50, batch norm epsilon 1.001e-5), not in the 3x3 (torchvision's later variant).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

BATCH_NORM_EPS = 1.001e-5
STAGE_BLOCKS = (3, 4, 6, 3)
EXPANSION = 4


class Features(NamedTuple):
    """What the trunk hands on: C4 (stride 16) for the regions, C5 (stride 32) for the whole hand."""

    c4_BCHW: Tensor
    c5_BCHW: Tensor


class Bottleneck(nn.Module):
    """1x1 (with the stride), 3x3, 1x1 and the shortcut."""

    def __init__(self, channels_in: int, width: int, stride: int) -> None:
        super().__init__()
        channels_out = width * EXPANSION
        self.conv1 = nn.Conv2d(channels_in, width, 1, stride=stride, bias=False)
        self.bn1 = nn.BatchNorm2d(width, eps=BATCH_NORM_EPS)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width, eps=BATCH_NORM_EPS)
        self.conv3 = nn.Conv2d(width, channels_out, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(channels_out, eps=BATCH_NORM_EPS)
        self.downsample: nn.Module | None = None
        if stride != 1 or channels_in != channels_out:
            self.downsample = nn.Sequential(
                nn.Conv2d(channels_in, channels_out, 1, stride=stride, bias=False),
                nn.BatchNorm2d(channels_out, eps=BATCH_NORM_EPS),
            )

    def forward(self, x_BCHW: Tensor) -> Tensor:
        shortcut = x_BCHW if self.downsample is None else self.downsample(x_BCHW)
        x_BCHW = torch.relu(self.bn1(self.conv1(x_BCHW)))
        x_BCHW = torch.relu(self.bn2(self.conv2(x_BCHW)))
        return torch.relu(self.bn3(self.conv3(x_BCHW)) + shortcut)


class ResNet50(nn.Module):
    """ResNet-50 without its classifier. `width` 64 is the published network; tests use 8."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, width, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(width, eps=BATCH_NORM_EPS)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        widths = [width, 2 * width, 4 * width, 8 * width]
        inputs = [width, *(w * EXPANSION for w in widths[:3])]
        stages = [
            self._stage(channels_in, w, blocks, stride=1 if i == 0 else 2)
            for i, (channels_in, w, blocks) in enumerate(zip(inputs, widths, STAGE_BLOCKS, strict=True))
        ]
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        self.c4_channels, self.c5_channels = widths[2] * EXPANSION, widths[3] * EXPANSION
        self._initialise()

    @staticmethod
    def _stage(channels_in: int, width: int, blocks: int, stride: int) -> nn.Sequential:
        first = Bottleneck(channels_in, width, stride)
        rest = [Bottleneck(width * EXPANSION, width, 1) for _ in range(blocks - 1)]
        return nn.Sequential(first, *rest)

    def _initialise(self) -> None:
        """He initialisation; each block starts as its shortcut (its last batch norm scales by zero)."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            elif isinstance(module, Bottleneck):
                nn.init.zeros_(module.bn3.weight)

    def stages(self) -> list[list[nn.Module]]:
        """The parts in the order in which they read, first to last, for `optim.freeze_stages`."""
        return [[self.conv1, self.bn1, self.layer1], [self.layer2], [self.layer3], [self.layer4]]

    def forward(self, image_B1HW: Tensor) -> Features:
        x = self.maxpool(torch.relu(self.bn1(self.conv1(image_B1HW))))
        c4_BCHW = self.layer3(self.layer2(self.layer1(x)))
        return Features(c4_BCHW, self.layer4(c4_BCHW))
