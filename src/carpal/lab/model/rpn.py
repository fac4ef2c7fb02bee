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

from carpal.lab.model import boxes, chance

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

    label_BAR: Tensor
    deltas_BAR4: Tensor


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


def assign(anchors_A4: Tensor, truth_BR4: Tensor, known_BR: Tensor, seeds_B: Tensor) -> RpnTargets:
    """Labels: an anchor is positive for a region at IoU >= 0.5 or when it is that region's best.

    Of at most 256 sampled anchors an image up to half are positive for some region; an anchor that overlaps a region by
    0.3 to 0.5 says nothing about it, and regions that nobody annotated (`known_BR` False) are never asked.
    """
    overlap_BAR = boxes.iou(anchors_A4, truth_BR4) * known_BR[:, None]
    best_B1R = overlap_BAR.amax(1, keepdim=True)
    is_best_BAR = (overlap_BAR == best_B1R) & (best_B1R > 0)
    positive_BAR = (overlap_BAR >= POSITIVE_IOU) | is_best_BAR
    negative_BAR = (overlap_BAR < NEGATIVE_IOU) & ~positive_BAR
    chosen_BA = _sample(positive_BAR.any(2), negative_BAR.all(2), seeds_B)
    label_BAR = torch.where(positive_BAR, 1, torch.where(negative_BAR, 0, -1))
    label_BAR = torch.where(chosen_BA[..., None] & known_BR[:, None], label_BAR, -1)
    deltas_BAR4 = boxes.encode(truth_BR4[:, None].expand(-1, len(anchors_A4), -1, -1), anchors_A4[:, None])
    return RpnTargets(label_BAR, deltas_BAR4)


def _sample(positive_BA: Tensor, negative_BA: Tensor, seeds_B: Tensor) -> Tensor:
    """A random choice of at most 256 anchors an image, at most half of them positive, as a mask (B, A)."""
    lottery_BA = chance.uniform(seeds_B, positive_BA.shape[1])
    positives_B = positive_BA.sum(1).clamp(max=int(SAMPLES * POSITIVE_SHARE))
    chosen_BA = torch.zeros_like(positive_BA)
    for mask_BA, most_B in ((positive_BA, positives_B), (negative_BA, SAMPLES - positives_B)):
        place_BA = torch.where(mask_BA, lottery_BA, -1.0).argsort(1, descending=True).argsort(1)
        chosen_BA |= mask_BA & (place_BA < most_B[:, None])
    return chosen_BA


def loss(logits_BAR: Tensor, deltas_BAR4: Tensor, target: RpnTargets) -> tuple[Tensor, Tensor]:
    """(objectness, boxes), each (B): cross-entropy and smooth L1 over an image's asked pairs, each over their number.

    Faster R-CNN divides the box term by the number of anchors and multiplies by 10, which makes the two terms about
    equal; dividing it by the number of samples says the same without the constant.
    """
    asked_BAR, positive_BAR = target.label_BAR >= 0, target.label_BAR == 1
    entropy_BAR = F.binary_cross_entropy_with_logits(logits_BAR, positive_BAR.to(logits_BAR.dtype), reduction="none")
    distance_BAR4 = F.smooth_l1_loss(deltas_BAR4, target.deltas_BAR4, beta=SMOOTH_L1_BETA, reduction="none")
    return _mean(entropy_BAR, asked_BAR), _mean(distance_BAR4.sum(-1), positive_BAR)


def _mean(each_BAR: Tensor, counts_BAR: Tensor) -> Tensor:
    """The mean over the pairs of an image that count (B); zero, with a gradient, where none does."""
    return torch.where(counts_BAR, each_BAR, 0.0).sum((1, 2)) / counts_BAR.sum((1, 2)).clamp(min=1)
