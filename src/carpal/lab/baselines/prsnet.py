"""PRSNet (Ji et al.): parts that look at each other, and the best of them.

Ji et al., MICCAI 2019, "PRSNet: Part Relation and Selection Network for Bone Age Assessment" (arXiv 1909.05651). The
paper's Table 3 quotes it with 4.49 months, and ALA-Net takes its sex feature from it.

As published (abstract; the full text and code were not read): a part relation module that discovers which parts occur
together from multi-scale context of the features; a part selection module, based on the relation, that measures how
important each part is and keeps the top ranking ones to assist; both trained jointly with the age.
Our reading: ResNet-50; a part is a cell of C4, reduced to 256 channels; the relation is self-attention between cells
whose queries and keys see three dilated convolutions; the importance is one score a cell, whose sigmoid multiplies the
cell's features, so that the age alone teaches it; the 16 best cells are averaged and join the global features and the
sex (1 -> 32, an assumption: the sex feature is not described in what we read); L1 regression.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from carpal.lab.baselines import attention, protocol
from carpal.lab.baselines.protocol import Prediction, System, SystemConfig
from carpal.lab.model.resnet import ResNet50


class PRSNet(System):
    """ResNet-50, part relation, part selection, L1."""

    starts_from = "imagenet"

    def __init__(self, config: SystemConfig) -> None:
        super().__init__(config)
        reduced = 4 * config.width
        self.trunk = ResNet50(config.width)
        self.reduction = nn.Sequential(nn.Conv2d(self.trunk.c4_channels, reduced, 1), nn.ReLU())
        self.relation = attention.Relation(reduced)
        self.importance = nn.Conv2d(reduced, 1, 1)
        self.sex = protocol.sex_embedding()
        features = self.trunk.c5_channels + reduced + protocol.SEX_FEATURES
        self.mlp = nn.Sequential(nn.Linear(features, 8 * config.width), nn.ReLU())
        self.age = protocol.Regression(8 * config.width)

    def forward(self, image_B1HW: Tensor, male_B: Tensor, boxes_BR4: Tensor | None = None) -> Prediction:
        c4_BCHW, c5_BCHW = self.trunk(protocol.normalise(image_B1HW))
        related_BCHW = self.relation(self.reduction(c4_BCHW))
        parts_BPC = attention.top_cells(related_BCHW, self.importance(related_BCHW), self.config.parts)
        features_BD = torch.cat([c5_BCHW.mean((2, 3)), parts_BPC.mean(1), self.sex(male_B[:, None])], 1)
        months_B = self.age(self.mlp(features_BD))
        return Prediction(months_B, protocol.above_point(months_B), (months_B,))

    def terms(self, prediction: Prediction, months_B: Tensor) -> dict[str, Tensor]:
        return {"l1": protocol.l1(prediction.months_B, months_B)}
