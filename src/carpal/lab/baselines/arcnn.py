"""AR-CNN (Liu et al.): an agent that points at bone parts, and one that recognises them.

Liu et al., 2019/20, "Extract Bone Parts Without Human Prior: End-to-end Convolutional Neural Network for Pediatric Bone
Age Assessment" (AR-CNN: Attention-Recognition). The paper's Table 3 quotes it with 4.38 months.

As published (abstract; the full text and code were not read): an attention agent proposes discriminative bone parts
without annotations, a recognition agent learns their features and assesses the age, and the assessment is fed back to
the attention agent; trained end to end.
Our reading: ResNet-50; the agent is a convolution on C4 that gives four softmax maps; each points at a place, where a
box twice a region's side is cut by ROI align, whose coordinates carry the gradient back (the feedback); the recognition
agent is ALA-Net's ROI head, shared by the parts; the parts' mean joins the global features and the sex (1 -> 32); every
part also assesses the age by itself (half weight), and maps that look at the same cells are penalised.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from carpal.lab.baselines import attention, protocol
from carpal.lab.baselines.protocol import Prediction, System, SystemConfig
from carpal.lab.model import boxes, roi
from carpal.lab.model.resnet import ResNet50
from carpal.lab.model.rpn import STRIDE

ROI_SIDE, PART_WEIGHT, OVERLAP_WEIGHT = 5, 0.5, 0.1


class ARCNN(System):
    """ResNet-50, an attention agent, a recognition agent, L1."""

    starts_from = "imagenet"

    def __init__(self, config: SystemConfig) -> None:
        super().__init__(config)
        reduced, features = 4 * config.width, 8 * config.width
        self.trunk = ResNet50(config.width)
        self.reduction = nn.Sequential(nn.Conv2d(self.trunk.c4_channels, reduced, 1), nn.ReLU())
        self.agent = nn.Conv2d(reduced, max(2, config.parts // 4), 3, padding=1)
        self.recognition = roi.RoiHead(reduced, ROI_SIDE, features)
        self.sex = protocol.sex_embedding()
        self.age = protocol.Regression(self.trunk.c5_channels + features + protocol.SEX_FEATURES)
        self.part_age = protocol.Regression(features)

    def forward(self, image_B1HW: Tensor, male_B: Tensor, boxes_BR4: Tensor | None = None) -> Prediction:
        c4_BCHW, c5_BCHW = self.trunk(protocol.normalise(image_B1HW))
        reduced_BCHW = self.reduction(c4_BCHW)
        maps_BMHW = attention.softmax_maps(self.agent(reduced_BCHW))
        parts_BM4 = boxes.centred(attention.places(maps_BMHW, STRIDE), 2.0 * self.config.box_size)
        parts_BM4 = boxes.clip(parts_BM4, *image_B1HW.shape[-2:])
        with protocol.full_precision(image_B1HW.device):
            aligned_BMCSS = roi.roi_align(reduced_BCHW.float(), parts_BM4, ROI_SIDE, STRIDE)
        local_BMD = self.recognition(aligned_BMCSS)
        features_BD = torch.cat([c5_BCHW.mean((2, 3)), local_BMD.mean(1), self.sex(male_B[:, None])], 1)
        months_B = self.age(features_BD)
        raw = (months_B, self.part_age(local_BMD), attention.overlap(maps_BMHW))
        return Prediction(months_B, protocol.above_point(months_B), raw)

    def terms(self, prediction: Prediction, months_B: Tensor) -> dict[str, Tensor]:
        own_B, parts_BM, overlap_B = prediction.raw
        return {
            "l1": protocol.l1(own_B, months_B),
            "parts": PART_WEIGHT * protocol.l1(parts_BM, months_B[:, None]).mean(1),
            "overlap": OVERLAP_WEIGHT * overlap_B,
        }
