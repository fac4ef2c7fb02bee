"""Iglovikov et al., DLMIA 2018, "Paediatric Bone Age Assessment Using Deep Convolutional Neural Networks" (arXiv
1712.05053). The paper's Table 3 quotes it with 4.97 months.

As published (the release's network m46 was read; the rest from general knowledge): hands segmented and registered by
key points; six VGG blocks of 32 to 384 channels, ELU, two hidden layers of 2048; L1 regression, and classification into
months; three regions (whole hand, carpals, metacarpals with proximal phalanges); all answers averaged.
Our reading: the key points are the 17 regions, given or found by our frozen detector; registration is a similarity
(turn, size, shift, mirror) to the mean hand, which also takes the place of the segmentation; one trunk a region with
both heads, trained together by L1 and cross-entropy; channels between 32 and 384 are 64, 128, 192, 256; the sex enters
by the 1 -> 32 layer (published: the age network has none, and one network is trained for each sex).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from carpal.baselines import protocol, registration, vgg
from carpal.baselines.detector import Detector
from carpal.baselines.protocol import Prediction, System, SystemConfig
from carpal.model import boxes

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
        hidden = protocol.scaled(vgg.HIDDEN, config.width)
        self.blocks = vgg.blocks(config.width)
        features = vgg.flat_features(_side(config, name), config.width) + protocol.SEX_FEATURES
        self.hidden = vgg.fully_connected(features, config.width)
        self.age, self.classes = protocol.Regression(hidden), protocol.MonthClasses(hidden)

    def forward(self, picture_B1SS: Tensor, sex_BD: Tensor) -> tuple[Tensor, Tensor]:
        hidden_BD = self.hidden(torch.cat([self.blocks(picture_B1SS).flatten(1), sex_BD], 1))
        return self.age(hidden_BD), self.classes(hidden_BD)


def _side(config: SystemConfig, name: str) -> int:
    return round(SHARES[name] * config.long_side)
