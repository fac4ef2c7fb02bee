"""The region proposal network on C4: anchors, head, target assignment, loss (Ren et al. 2015, sections 3.1.1-3.1.3).

Letters: B batch, A anchors (one 64x64 box for each cell of C4), R regions that the head tells apart (17 when it names
them, 1 for the paper's anonymous proposals), 4 box coordinates.

With R = 1 this is Faster R-CNN's loss to the letter. With R = 17 an anchor is sampled once and answers for all names at
once, so that a PIP3 is a negative example for PIP4.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from carpal.model import boxes

STRIDE = 16
POSITIVE_IOU, NEGATIVE_IOU = 0.5, 0.3
SAMPLES, POSITIVE_SHARE = 256, 0.5
SMOOTH_L1_BETA = 1.0 / 9.0


class RpnOutput(NamedTuple):
    """What the head says of each anchor."""

    logits_BAR: Tensor
    deltas_BAR4: Tensor
    anchors_A4: Tensor


class RpnTargets(NamedTuple):
    """What the head should have said. `label` is 1 object, 0 background, -1 not asked."""

    label_AR: Tensor
    deltas_AR4: Tensor


class RpnHead(nn.Module):
    """A 3x3 convolution, then sibling 1x1 convolutions for objectness and for box offsets."""

    def __init__(self, channels: int, regions: int, box_size: int) -> None:
        super().__init__()
        self.box_size, self.regions = box_size, regions
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)
        self.objectness = nn.Conv2d(channels, regions, 1)
        self.deltas = nn.Conv2d(channels, regions * 4, 1)
        for layer in (self.conv, self.objectness, self.deltas):
            assert layer.bias is not None
            nn.init.normal_(layer.weight, std=0.01)
            nn.init.zeros_(layer.bias)
        assert self.objectness.bias is not None
        nn.init.constant_(self.objectness.bias, -3.0)  # an anchor is background until shown otherwise

    def forward(self, features_BCHW: Tensor) -> RpnOutput:
        hidden_BCHW = torch.relu(self.conv(features_BCHW))
        logits_BAR = self.objectness(hidden_BCHW).flatten(2).transpose(1, 2)
        deltas_BAD = self.deltas(hidden_BCHW).flatten(2).transpose(1, 2)
        deltas_BAR4 = deltas_BAD.unflatten(2, (self.regions, 4))
        return RpnOutput(logits_BAR, deltas_BAR4, anchors(features_BCHW, self.box_size))


def anchors(features_BCHW: Tensor, box_size: int) -> Tensor:
    """One square of `box_size` around the middle of each cell, row by row: (H * W, 4) in image pixels."""
    height, width = features_BCHW.shape[-2:]
    y_H = (torch.arange(height, device=features_BCHW.device, dtype=features_BCHW.dtype) + 0.5) * STRIDE
    x_W = (torch.arange(width, device=features_BCHW.device, dtype=features_BCHW.dtype) + 0.5) * STRIDE
    grid_A2 = torch.stack([x_W.expand(height, width), y_H[:, None].expand(height, width)], dim=-1).flatten(0, 1)
    return boxes.centred(grid_A2, box_size)


def assign(anchors_A4: Tensor, truth_R4: Tensor, known_R: Tensor, generator: torch.Generator) -> RpnTargets:
    """Labels for one image: an anchor is positive for a region at IoU >= 0.5 or when it is that region's best.

    Of at most 256 sampled anchors up to half are positive for some region; an anchor that overlaps a region by 0.3 to
    0.5 says nothing about it, and regions that nobody annotated (`known_R` False) are never asked.
    """
    overlap_AR = boxes.iou(anchors_A4, truth_R4) * known_R
    best_R = overlap_AR.amax(0)
    is_best_AR = (overlap_AR == best_R) & (best_R > 0)
    positive_AR = (overlap_AR >= POSITIVE_IOU) | is_best_AR
    negative_AR = (overlap_AR < NEGATIVE_IOU) & ~positive_AR
    chosen_A = _sample(positive_AR.any(1), negative_AR.all(1), generator)
    label_AR = torch.where(positive_AR, 1, torch.where(negative_AR, 0, -1))
    label_AR = torch.where(chosen_A[:, None] & known_R, label_AR, -1)
    deltas_AR4 = boxes.encode(truth_R4[None].expand(len(anchors_A4), -1, -1), anchors_A4[:, None])
    return RpnTargets(label_AR, deltas_AR4)


def _sample(positive_A: Tensor, negative_A: Tensor, generator: torch.Generator) -> Tensor:
    """A random choice of at most 256 anchors, at most half of them positive, as a mask (A)."""
    lottery_A = torch.rand(len(positive_A), generator=generator).to(positive_A.device)
    positives = min(int(positive_A.sum()), int(SAMPLES * POSITIVE_SHARE))
    negatives = min(int(negative_A.sum()), SAMPLES - positives)
    chosen_A = torch.zeros_like(positive_A)
    for mask_A, count in ((positive_A, positives), (negative_A, negatives)):
        chosen_A[torch.where(mask_A, lottery_A, -1.0).topk(count).indices] = True
    return chosen_A


def loss(logits_AR: Tensor, deltas_AR4: Tensor, target: RpnTargets) -> tuple[Tensor, Tensor]:
    """(objectness, boxes) of one image: cross-entropy and smooth L1 over the asked pairs, each over their number.

    Faster R-CNN divides the box term by the number of anchors and multiplies by 10, which makes the two terms about
    equal; dividing it by the number of samples says the same without the constant.
    """
    asked_AR, positive_AR = target.label_AR >= 0, target.label_AR == 1
    count = asked_AR.sum().clamp(min=1)
    wanted_AR = positive_AR.to(logits_AR.dtype)
    objectness = F.binary_cross_entropy_with_logits(
        logits_AR, wanted_AR, weight=asked_AR.to(logits_AR.dtype), reduction="sum"
    )
    distance = F.smooth_l1_loss(deltas_AR4, target.deltas_AR4, beta=SMOOTH_L1_BETA, reduction="none").sum(-1)
    return objectness / count, (distance * positive_AR).sum() / positive_AR.sum().clamp(min=1)
