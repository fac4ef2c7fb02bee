"""Larson et al.: ResNet-50, one class for each month, the age as the expected value.

Larson et al., Radiology 2018;287(1):313-322, "Performance of a Deep-Learning Neural Network Model in Assessing
Skeletal Maturity on Pediatric Hand Radiographs". The paper's Table 3 quotes it with 6.24 months.

As published (from general knowledge, no code was found): ResNet-50 on the whole image, one class for each month, the
age as the expected value of the classes' distribution.
Our reading: cross-entropy over 229 months; one network that is told the sex, by the 1 -> 32 layer, instead of one for
each; our own preprocessing.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from carpal.lab.baselines import protocol
from carpal.lab.baselines.protocol import Prediction, System, SystemConfig
from carpal.lab.model.resnet import ResNet50


class Larson(System):
    """ResNet-50, 229 month classes, expected value."""

    starts_from = "imagenet"

    def __init__(self, config: SystemConfig) -> None:
        super().__init__(config)
        self.trunk = ResNet50(config.width)
        self.sex = protocol.sex_embedding()
        self.classes = protocol.MonthClasses(self.trunk.c5_channels + protocol.SEX_FEATURES)

    def forward(self, image_B1HW: Tensor, male_B: Tensor, boxes_BR4: Tensor | None = None) -> Prediction:
        pooled_BD = self.trunk(protocol.normalise(image_B1HW)).c5_BCHW.mean((2, 3))
        logits_BC = self.classes(torch.cat([pooled_BD, self.sex(male_B[:, None])], 1))
        above_BK = protocol.above_classes(logits_BC)
        return Prediction(above_BK.sum(-1), above_BK, (logits_BC,))

    def terms(self, prediction: Prediction, months_B: Tensor) -> dict[str, Tensor]:
        (logits_BC,) = prediction.raw
        return {"class": F.cross_entropy(logits_BC, protocol.class_of(months_B), reduction="none")}
