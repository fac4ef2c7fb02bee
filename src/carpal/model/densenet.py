"""The other trunk: DenseNet-169 (Huang et al. 2017), returning C4 and C5 as `resnet.py` does.

Letters: B batch, C channels, H height, W width of the prepared image.

Parameter names are torchvision's (`denseblock3.denselayer1.conv2.weight`), so that published ImageNet weights load by
name. The input has one grey channel; epsilon is that of the weights that we start from (Keras's).
"""

from __future__ import annotations

from collections import OrderedDict
from typing import ClassVar, Final

import torch
from torch import Tensor, nn

from carpal.model.resnet import BATCH_NORM_EPS, Features

BLOCK_LAYERS: Final = (6, 12, 32, 32)
BOTTLENECK: Final = 4
"""Channels of a layer's 1x1 convolution, as a multiple of those that the layer adds."""


class DenseLayer(nn.Module):
    """Norm, 1x1, norm, 3x3: `growth` new channels, appended to those that came in."""

    def __init__(self, channels_in: int, growth: int) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(channels_in, eps=BATCH_NORM_EPS)
        self.conv1 = nn.Conv2d(channels_in, BOTTLENECK * growth, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(BOTTLENECK * growth, eps=BATCH_NORM_EPS)
        self.conv2 = nn.Conv2d(BOTTLENECK * growth, growth, 3, padding=1, bias=False)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        new_BCHW = self.conv1(torch.relu(self.norm1(x_BCHW)))
        new_BCHW = self.conv2(torch.relu(self.norm2(new_BCHW)))
        return torch.cat([x_BCHW, new_BCHW], 1)


def dense_block(channels_in: int, layers: int, growth: int) -> nn.Sequential:
    """`layers` layers, each of which reads all that came before it."""
    parts = {f"denselayer{i + 1}": DenseLayer(channels_in + i * growth, growth) for i in range(layers)}
    return nn.Sequential(OrderedDict(parts))


class Transition(nn.Module):
    """Norm, 1x1 to half the channels, and half the size."""

    def __init__(self, channels_in: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels_in, eps=BATCH_NORM_EPS)
        self.conv = nn.Conv2d(channels_in, channels_in // 2, 1, bias=False)

    def normed(self, x_BCHW: Tensor) -> Tensor:
        """What the block before found, ready to be read."""
        return torch.relu(self.norm(x_BCHW))

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return nn.functional.avg_pool2d(self.conv(self.normed(x_BCHW)), 2)


class DenseNet169(nn.Module):
    """DenseNet-169 without its classifier. `width` 64 is the published network; tests use 8."""

    FIRST: ClassVar = ("conv0.weight", "norm0.running_mean")
    NOT_PUBLISHED: ClassVar = ()

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        growth, channels = width // 2, [width]
        for layers in BLOCK_LAYERS:  # into a block, and out of it: what it adds; a transition then takes half
            channels += [channels[-1] + layers * growth, (channels[-1] + layers * growth) // 2]
        self.conv0 = nn.Conv2d(1, width, 7, stride=2, padding=3, bias=False)
        self.norm0 = nn.BatchNorm2d(width, eps=BATCH_NORM_EPS)
        self.pool0 = nn.MaxPool2d(3, stride=2, padding=1)
        self.denseblock1, self.transition1 = dense_block(channels[0], BLOCK_LAYERS[0], growth), Transition(channels[1])
        self.denseblock2, self.transition2 = dense_block(channels[2], BLOCK_LAYERS[1], growth), Transition(channels[3])
        self.denseblock3, self.transition3 = dense_block(channels[4], BLOCK_LAYERS[2], growth), Transition(channels[5])
        self.denseblock4 = dense_block(channels[6], BLOCK_LAYERS[3], growth)
        self.norm5 = nn.BatchNorm2d(channels[7], eps=BATCH_NORM_EPS)
        self.c4_channels, self.c5_channels = channels[5], channels[7]
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)

    def stages(self) -> list[list[nn.Module]]:
        """The parts in the order in which they read, first to last, for `optim.freeze_stages`."""
        return [
            [self.conv0, self.norm0, self.denseblock1, self.transition1],
            [self.denseblock2, self.transition2],
            [self.denseblock3, self.transition3],
            [self.denseblock4, self.norm5],
        ]

    def forward(self, image_B1HW: Tensor) -> Features:
        x = self.pool0(torch.relu(self.norm0(self.conv0(image_B1HW))))
        x = self.transition2(self.denseblock2(self.transition1(self.denseblock1(x))))
        x = self.denseblock3(x)
        last = self.denseblock4(self.transition3(x))
        return Features(self.transition3.normed(x), torch.relu(self.norm5(last)))
