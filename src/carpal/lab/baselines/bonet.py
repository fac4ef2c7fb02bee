"""BoNet (Escobar et al.): Inception-v3 with one stem for the image and one for the key points.

Escobar et al., MICCAI 2019, "Hand Pose Estimation for Pediatric Bone Age Assessment". The paper's Table 3 quotes it
with 4.14 months.

As published (the release was read): Inception-v3 without its auxiliary classifier; two stems, one for the image and one
for a heat map of 17 key points (3x3 stamps blurred with sigma 25 pixels of the original, unlabelled), up to Conv2d_4a;
their 384 channels go by a 1x1 convolution to 192, then the shared rest; the last map, 2048x7x7, is flattened and joined
by the sex (1 -> 32, ReLU); hidden layers of 1000 and 1000; L1 on months.
Our reading: key points are the centres of the 17 regions, given or found by our frozen detector; sigma is 1.4 % of the
long side (25 pixels of about 1800); the last map is averaged to `head_side` x `head_side` cells, so that images of any
size fit; image and heat map are augmented alike (the release draws them apart, which its own code shows to be a slip).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from carpal.lab.baselines import inception, protocol, registration
from carpal.lab.baselines.detector import Detector
from carpal.lab.baselines.protocol import Prediction, System, SystemConfig
from carpal.lab.model import boxes, roi

SIGMA_SHARE, STRIDE = 0.014, 32


class BoNet(System):
    """Inception-v3 with an image stem and a key-point stem, L1."""

    starts_from = "detector"

    def __init__(self, config: SystemConfig) -> None:
        super().__init__(config)
        channels = protocol.scaled(inception.STEM_CHANNELS, config.width)
        hidden = protocol.scaled(1000, config.width)
        self.detector = Detector(config)
        self.image_stem, self.points_stem = inception.Stem(1, config.width), inception.Stem(1, config.width)
        self.merge = inception.Conv(2 * channels, channels, 1)
        self.body = inception.Body(config.width)
        self.sex = protocol.sex_embedding()
        features = self.body.channels * config.head_side**2 + protocol.SEX_FEATURES
        self.hidden = nn.Sequential(nn.Linear(features, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU())
        self.age = protocol.Regression(hidden)

    def forward(self, image_B1HW: Tensor, male_B: Tensor, boxes_BR4: Tensor | None = None) -> Prediction:
        found_BR4, scores_BR = self.detector(image_B1HW, boxes_BR4)
        centres_BR2 = boxes.centres(found_BR4).float()
        heat_B1HW = registration.heat_map(centres_BR2, image_B1HW, SIGMA_SHARE * self.config.long_side)
        stems_BCHW = torch.cat([self.image_stem(protocol.normalise(image_B1HW)), self.points_stem(heat_B1HW)], 1)
        last_BCHW = self.body(self.merge(stems_BCHW))
        pooled_BD = self._averaged(last_BCHW).flatten(1)
        months_B = self.age(self.hidden(torch.cat([pooled_BD, self.sex(male_B[:, None])], 1)))
        return Prediction(months_B, protocol.above_point(months_B), (months_B,), found_BR4, scores_BR)

    def terms(self, prediction: Prediction, months_B: Tensor) -> dict[str, Tensor]:
        return {"l1": protocol.l1(prediction.months_B, months_B)}

    def _averaged(self, last_BCHW: Tensor) -> Tensor:
        """The map as `head_side` x `head_side` cells (B, C, S, S), by ROI align of all of it: works at every size."""
        height, width = last_BCHW.shape[-2:]
        scale_4 = last_BCHW.new_zeros(4, dtype=torch.float32)
        scale_4 = torch.stack([scale_4[0], scale_4[1], scale_4[2] + width, scale_4[3] + height]) * STRIDE
        with protocol.full_precision(last_BCHW.device):
            whole_B14 = scale_4.expand(last_BCHW.shape[0], 1, 4)  # `len` would fix the batch of an exported file
            return roi.roi_align(last_BCHW.float(), whole_B14, self.config.head_side, STRIDE)[:, 0]
