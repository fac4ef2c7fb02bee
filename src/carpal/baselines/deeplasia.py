"""Rassmann et al., Pediatric Radiology 2024;54:82-95, "Deeplasia: deep learning for bone age assessment validated on
skeletal dysplasias". Not in the paper's Table 3; its ensemble reports 3.87 months on the same test images.

As published (the release was read): EfficientNet-B0 and B4 on grey images of 512 pixels and more; the sex by Linear
1 -> 32 and ReLU, joined to the pooled features; mean squared error of the z-score (127.3166, 41.1793); hands masked,
several views, a linear correction of the bias, three networks averaged.
Our reading: one EfficientNet-B0, one linear layer after the join, neither mask nor correction; the mirrored view that
`carpal` averages for every system is its only other view. "Deeplasia-like" is all that its name can claim.
"""

from __future__ import annotations

import torch
from torch import Tensor

from carpal.baselines import protocol
from carpal.baselines.efficientnet import EfficientNetB0
from carpal.baselines.protocol import Prediction, System, SystemConfig


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
