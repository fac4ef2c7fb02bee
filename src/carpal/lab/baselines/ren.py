"""Ren et al.: coarse and fine attention before an Inception-v3.

Ren et al., IEEE JBHI 2019;23(5):2030-2038, "Regression Convolutional Neural Network for Automated Pediatric Bone Age
Assessment From Hand Radiograph". The paper's Table 3 quotes it with 5.20 months.

As published (from general knowledge, no code was found): attention maps in two steps, coarse then fine; an
Inception-v3 that regresses the age from the image with its attention; a "dynamic attention loss"; no boxes.
Our reading: both maps are small convolutional networks, trained by the age alone: the coarse one sees the image at half
its size, the fine one the image and the coarse map. The regression sees two channels, the image and the image times
the fine map. The dynamic loss weighs an example by e / (e + 12 months), e its present error: hard examples count more.
The sex enters by the 1 -> 32 layer.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from carpal.lab.baselines import inception, protocol
from carpal.lab.baselines.protocol import Prediction, System, SystemConfig

HALF_WEIGHT_MONTHS = 12.0


class Ren(System):
    """Coarse map, fine map, Inception-v3."""

    def __init__(self, config: SystemConfig) -> None:
        super().__init__(config)
        hidden = protocol.scaled(32, config.width)
        self.coarse, self.fine = _attention(1, hidden), _attention(2, hidden)
        self.stem, self.body = inception.Stem(2, config.width), inception.Body(config.width)
        self.sex = protocol.sex_embedding()
        self.age = protocol.Regression(self.body.channels + protocol.SEX_FEATURES)

    def forward(self, image_B1HW: Tensor, male_B: Tensor, boxes_BR4: Tensor | None = None) -> Prediction:
        grey_B1HW = protocol.normalise(image_B1HW)
        coarse_B1HW = F.interpolate(self.coarse(F.avg_pool2d(grey_B1HW, 2)), scale_factor=2.0, mode="bilinear")
        fine_B1HW = self.fine(torch.cat([grey_B1HW, coarse_B1HW.to(grey_B1HW.dtype)], 1))
        attended_B2HW = torch.cat([grey_B1HW, grey_B1HW * fine_B1HW], 1)
        pooled_BD = self.body(self.stem(attended_B2HW)).mean((2, 3))
        months_B = self.age(torch.cat([pooled_BD, self.sex(male_B[:, None])], 1))
        return Prediction(months_B, protocol.above_point(months_B), (months_B,))

    def terms(self, prediction: Prediction, months_B: Tensor) -> dict[str, Tensor]:
        error_B = (prediction.months_B.detach() - months_B).abs()
        weight_B = error_B / (error_B + HALF_WEIGHT_MONTHS)
        return {"dynamic": weight_B * protocol.l1(prediction.months_B, months_B)}


def _attention(channels_in: int, hidden: int) -> nn.Sequential:
    """A map between 0 and 1 of the image's size, seen through windows of 15 pixels."""
    return nn.Sequential(
        nn.Conv2d(channels_in, hidden, 3, padding=1, bias=False),
        nn.BatchNorm2d(hidden),
        nn.ReLU(),
        nn.Conv2d(hidden, hidden, 3, padding=2, dilation=2, bias=False),
        nn.BatchNorm2d(hidden),
        nn.ReLU(),
        nn.Conv2d(hidden, 1, 3, padding=4, dilation=4),
        nn.Sigmoid(),
    )
