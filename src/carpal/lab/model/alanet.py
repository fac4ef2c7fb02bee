"""ALA-Net, the paper's figure 2 from top to bottom.

Letters: B batch, H W the prepared image, R regions (17), K the 228 logits, D features.

    image -> ResNet-50 -> C4 -> reduction -> RPN -> pick 17 -> ROI align -> ROI head -> max -> local ┐
                      └-> C5 -> average pool -> global ──────────────────────────────────────────────┼-> MLP -> logits
    sex -> embedding ────────────────────────────────────────────────────────────────────────────────┘
    each region's features -> patch MLP -> that region's logits
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from carpal.lab.model import boxes, naming, ordinal, roi
from carpal.lab.model.resnet import ResNet50
from carpal.lab.model.rpn import STRIDE, RpnHead, RpnOutput

REGION_COUNT = 17
GREY_MEAN, GREY_STD = 0.449, 0.226
"""ImageNet's mean and standard deviation over the three colours, for an input of 0..255."""


@dataclass(frozen=True)
class ModelConfig:
    """The network's settings; Table 1 and Table 2 of the paper are combinations of the first three."""

    regions: str = "named"
    """Proposals: "named" (one for each anatomical name), "anonymous" (the paper's top 17), "none" (no RPN)."""
    local: bool = True
    """Whether the region features join the global ones (anatomical local extraction)."""
    patch: bool = True
    """Whether an age is read from each region (anatomical patch training)."""
    long_side: int = 512
    """The prepared image's long side in pixels."""
    box_size: int = 64
    """Side of a region's box in the prepared image."""
    width: int = 64
    """Channels of the first convolution; 64 is the trunk as published, tests use 8."""
    roi_side: int = 5
    """Bins along a side of an aligned region. A 64-pixel box covers 4 cells of C4."""
    roi_features: int = 512
    """Width of the ROI head's fully connected layer."""

    def __post_init__(self) -> None:
        if self.regions not in ("named", "anonymous", "none"):
            raise ValueError(f'regions is "named", "anonymous" or "none", got {self.regions!r}')
        if self.local and self.regions == "none":
            raise ValueError('local extraction needs proposals: set regions to "named" or "anonymous"')


class Output(NamedTuple):
    """Everything the network knows. Fields are None where the configuration has no such part."""

    logits_BK: Tensor
    patch_logits_BRK: Tensor | None
    boxes_BR4: Tensor | None
    scores_BR: Tensor | None
    rpn: RpnOutput | None
    features_BF: Tensor | None = None
    """What the age is read from: the trunk's mean, sex, and the maximum over the regions."""


class ALANet(nn.Module):
    """The whole network. `image_B1HW` holds grey values 0..255, sides multiples of 16; `male_B` is 1 or 0."""

    def __init__(self, config: ModelConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or ModelConfig()
        reduced, hidden = 4 * config.width, 8 * config.width
        self.trunk = ResNet50(config.width)
        self.sex = nn.Sequential(nn.Linear(1, 32), nn.ReLU())
        features = self.trunk.c5_channels + 32
        if config.regions != "none" or config.patch:
            self.reduction = nn.Sequential(nn.Conv2d(self.trunk.c4_channels, reduced, 1), nn.ReLU())
        if config.regions != "none":
            self.rpn = RpnHead(reduced, REGION_COUNT if config.regions == "named" else 1, config.box_size)
        if config.local or config.patch:
            self.roi_head = roi.RoiHead(reduced, config.roi_side, config.roi_features)
        if config.local:
            features += config.roi_features
        self.mlp = _mlp(features, hidden)
        if config.patch:
            self.patch_mlp = _mlp(config.roi_features, hidden // 2)

    def forward(self, image_B1HW: Tensor, male_B: Tensor, boxes_BR4: Tensor | None = None) -> Output:
        """`boxes_BR4` replaces the picked proposals (patch training on annotated regions, corrected regions).

        A box of NaN keeps the picked one.
        """
        grey_B1HW = (image_B1HW / 255.0 - GREY_MEAN) / GREY_STD
        c4_BCHW, c5_BCHW = self.trunk(grey_B1HW)
        features = [c5_BCHW.mean((2, 3)), self.sex(male_B[:, None])]
        rpn_output, scores_BR, patch_logits_BRK = None, None, None
        if hasattr(self, "reduction"):
            reduced_BCHW = self.reduction(c4_BCHW)
            if self.config.regions != "none":
                rpn_output = self.rpn(reduced_BCHW)
                if hasattr(self, "roi_head") or not self.training:  # the loss of the RPN alone needs no picks
                    picked_BR4, scores_BR = self.pick(rpn_output, image_B1HW.shape[-2:])
                    boxes_BR4 = (
                        picked_BR4 if boxes_BR4 is None else torch.where(boxes_BR4.isnan(), picked_BR4, boxes_BR4)
                    )
            if hasattr(self, "roi_head") and boxes_BR4 is not None:
                aligned_BRCSS = roi.roi_align(reduced_BCHW, boxes_BR4, self.config.roi_side, STRIDE)
                local_BRD = self.roi_head(aligned_BRCSS)
                if self.config.local:
                    features.append(local_BRD.amax(1))
                if self.config.patch:
                    patch_logits_BRK = self.patch_mlp(local_BRD)
        features_BF = torch.cat(features, 1)
        return Output(self.mlp(features_BF), patch_logits_BRK, boxes_BR4, scores_BR, rpn_output, features_BF)

    def pick(self, rpn_output: RpnOutput, size: torch.Size) -> tuple[Tensor, Tensor]:
        """The 17 proposals, clipped to the image: boxes (B, 17, 4) and scores (B, 17). No gradient flows back.

        In float32 whatever trains around it: with the 8 bits of bf16 a box would lie 2 pixels off.
        """
        if self.training and torch.is_autocast_enabled(rpn_output.logits_BAR.device.type):
            with torch.autocast(rpn_output.logits_BAR.device.type, enabled=False):
                return self.pick(RpnOutput(*(tensor.detach().float() for tensor in rpn_output)), size)
        scores_BAR = torch.sigmoid(rpn_output.logits_BAR.detach())
        boxes_BAR4 = boxes.decode(rpn_output.deltas_BAR4.detach(), rpn_output.anchors_A4[:, None])
        boxes_BAR4 = boxes.clip(boxes_BAR4, *size)
        if self.config.regions == "named":
            index_BR = naming.choose(scores_BAR, boxes.centres(boxes_BAR4), self.config.long_side)
            return roi.take(scores_BAR, boxes_BAR4, index_BR)
        return roi.pick_top(scores_BAR[..., 0], boxes_BAR4[:, :, 0], REGION_COUNT)

    def set_age_prior(self, months_N: Tensor) -> None:
        """Starts the output biases at the share of training ages above each rank."""
        bias_K = ordinal.prior_bias(months_N)
        heads = [self.mlp, self.patch_mlp] if self.config.patch else [self.mlp]
        with torch.no_grad():
            for head in heads:
                last = head[-1]
                assert isinstance(last, nn.Linear)
                last.bias.copy_(bias_K)
                last.weight.mul_(0.1)


def _mlp(features: int, hidden: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(features, hidden), nn.ReLU(), nn.Linear(hidden, ordinal.LOGITS))
