"""VGG-style blocks as in Iglovikov's networks: 3x3 convolutions with batch norm and ELU, then a pool.

Letters: B batch, C channels, S side of the picture.
"""

from __future__ import annotations

import math

from torch import nn

from carpal.baselines.protocol import scaled

CHANNELS = (32, 64, 128, 192, 256, 384)
HIDDEN = 2048


def blocks(width: int) -> nn.Sequential:
    """Six blocks of two convolutions, each halving the picture (the last cell of an odd side is kept)."""
    layers: list[nn.Module] = []
    channels_in = 1
    for channels in (scaled(c, width) for c in CHANNELS):
        for _ in range(2):
            convolution = nn.Conv2d(channels_in, channels, 3, padding=1, bias=False)
            layers += [convolution, nn.BatchNorm2d(channels), nn.ELU()]
            channels_in = channels
        layers.append(nn.MaxPool2d(2, ceil_mode=True))
    return nn.Sequential(*layers)


def flat_features(side: int, width: int) -> int:
    """Numbers in the flattened last map of a square picture."""
    cells = math.ceil(side / (1 << len(CHANNELS)))
    return scaled(CHANNELS[-1], width) * cells * cells


def fully_connected(features: int, width: int) -> nn.Sequential:
    """The two hidden layers of 2048."""
    hidden = scaled(HIDDEN, width)
    return nn.Sequential(nn.Linear(features, hidden), nn.ELU(), nn.Linear(hidden, hidden), nn.ELU())
