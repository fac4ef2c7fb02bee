"""Iglovikov et al.: three registered regions, VGG-style networks, regression and classes.

Iglovikov et al., DLMIA 2018, "Paediatric Bone Age Assessment Using Deep Convolutional Neural Networks" (arXiv
1712.05053). The paper's Table 3 quotes it with 4.97 months.

As published (the release's network m46 was read; the rest from general knowledge): hands segmented and registered by
key points; six VGG blocks of 32 to 384 channels, ELU, two hidden layers of 2048; L1 regression, and classification into
months; three regions (whole hand, carpals, metacarpals with proximal phalanges); all answers averaged.
Our reading: the key points are the 17 regions, given or found by our frozen detector; registration is a similarity
(turn, size, shift, mirror) to the mean hand, which also takes the place of the segmentation; one trunk a region with
both heads, trained together by L1 and cross-entropy; channels between 32 and 384 are 64, 128, 192, 256; the sex enters
by the 1 -> 32 layer (published: the age network has none, and one network is trained for each sex).

Blocks are VGG-style: 3x3 convolutions with batch norm and ELU, then a pool.

Letters: B batch, C channels, S side of the picture.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from carpal.lab.baselines import protocol, registration
from carpal.lab.baselines.detector import Detector
from carpal.lab.baselines.protocol import Prediction, System, SystemConfig, scaled
from carpal.lab.model import boxes

SHARES = {"hand": 1.0, "carpals": 0.5, "fingers": 0.625}
"""Side of a region's square picture as a share of the prepared image's long side: about the hand's own resolution."""


class Iglovikov(System):
    """Three registered regions, a VGG network each, regression and classification averaged."""

    starts_from = "detector"

    def __init__(self, config: SystemConfig) -> None:
        super().__init__(config)
        self.detector = Detector(config)
        self.sex = protocol.sex_embedding()
        self.regions = nn.ModuleDict({name: _Region(config, name) for name in registration.WINDOWS})

    def forward(self, image_B1HW: Tensor, male_B: Tensor, boxes_BR4: Tensor | None = None) -> Prediction:
        found_BR4, scores_BR = self.detector(image_B1HW, boxes_BR4)
        grey_B1HW, sex_BD = protocol.normalise(image_B1HW), self.sex(male_B[:, None])
        with protocol.full_precision(image_B1HW.device):
            points_BR2 = boxes.centres(found_BR4).float()
            cuts = {n: registration.cut(grey_B1HW, points_BR2, registration.WINDOWS[n], _side(self.config, n))
                    for n in self.regions}  # fmt: skip
        answers = [region(cuts[name], sex_BD) for name, region in self.regions.items()]
        months_BQ = torch.stack([months_B for months_B, _ in answers], 1)
        logits_BQC = torch.stack([logits_BC for _, logits_BC in answers], 1)
        both_BQK = (protocol.above_point(months_BQ) + protocol.above_classes(logits_BQC)) / 2
        above_BK = both_BQK.mean(1)
        return Prediction(above_BK.sum(-1), above_BK, (months_BQ, logits_BQC), found_BR4, scores_BR)

    def terms(self, prediction: Prediction, months_B: Tensor) -> dict[str, Tensor]:
        months_BQ, logits_BQC = prediction.raw
        wanted_BQ = protocol.class_of(months_B)[:, None].expand_as(months_BQ)
        cross_BQ = F.cross_entropy(logits_BQC.flatten(0, 1), wanted_BQ.flatten(), reduction="none")
        return {
            "l1": protocol.l1(months_BQ, months_B[:, None]).mean(1),
            "class": cross_BQ.reshape(months_BQ.shape).mean(1),
        }


class _Region(nn.Module):
    """One region's network: months (B) and class logits (B, 229)."""

    def __init__(self, config: SystemConfig, name: str) -> None:
        super().__init__()
        hidden = protocol.scaled(HIDDEN, config.width)
        self.blocks = blocks(config.width)
        features = flat_features(_side(config, name), config.width) + protocol.SEX_FEATURES
        self.hidden = fully_connected(features, config.width)
        self.age, self.classes = protocol.Regression(hidden), protocol.MonthClasses(hidden)

    def forward(self, picture_B1SS: Tensor, sex_BD: Tensor) -> tuple[Tensor, Tensor]:
        hidden_BD = self.hidden(torch.cat([self.blocks(picture_B1SS).flatten(1), sex_BD], 1))
        return self.age(hidden_BD), self.classes(hidden_BD)


def _side(config: SystemConfig, name: str) -> int:
    return round(SHARES[name] * config.long_side)


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
