"""From proposals to local features: pick the regions, align their features, transform them (paper, section 3).

Letters: B batch, A anchors, R regions, C channels, H W cells of the feature map, S side of an aligned region.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from carpal.model import boxes

SAMPLES_PER_BIN = 2


def take(scores_BAR: Tensor, boxes_BAR4: Tensor, index_BR: Tensor) -> tuple[Tensor, Tensor]:
    """The chosen anchor of each name: boxes (B, R, 4) and scores (B, R), in the order of the names."""
    boxes_B1R4 = boxes_BAR4.gather(1, index_BR[:, None, :, None].expand(-1, 1, -1, 4))
    return boxes_B1R4.squeeze(1), scores_BAR.gather(1, index_BR[:, None]).squeeze(1)


def pick_top(scores_BA: Tensor, boxes_BA4: Tensor, count: int, max_iou: float = 0.5) -> tuple[Tensor, Tensor]:
    """Greedy non-maximum suppression that stops at `count`: boxes (B, count, 4) and scores, best first.

    Where fewer than `count` boxes survive the suppression, the rest repeat suppressed boxes with a score of -1.
    """
    overlap_BAA = boxes.iou(boxes_BA4, boxes_BA4)
    alive_BA = scores_BA.clone()
    chosen, chosen_scores = [], []
    for _ in range(count):
        score_B, best_B = alive_BA.max(1)
        chosen.append(best_B)
        chosen_scores.append(score_B)
        row_BA = overlap_BAA.gather(1, best_B[:, None, None].expand(-1, 1, overlap_BAA.shape[2])).squeeze(1)
        alive_BA = torch.where(row_BA > max_iou, -1.0, alive_BA).scatter(1, best_B[:, None], -1.0)
    index_BR = torch.stack(chosen, 1)
    return boxes_BA4.gather(1, index_BR[..., None].expand(-1, -1, 4)), torch.stack(chosen_scores, 1)


def roi_align(features_BCHW: Tensor, boxes_BR4: Tensor, side: int, stride: int) -> Tensor:
    """Features (B, R, C, side, side) of boxes in image pixels: the mean of 2x2 bilinear samples in each bin.

    ROIAlign of He et al. 2017 (aligned, sampling ratio 2). Boxes must lie inside the image (clip them first): samples
    beyond the border take the border's value.
    """
    batch, channels, height, width = features_BCHW.shape
    regions, points = boxes_BR4.shape[1], side * SAMPLES_PER_BIN
    steps_P = (torch.arange(points, device=boxes_BR4.device, dtype=boxes_BR4.dtype) + 0.5) / points
    x1, y1, x2, y2 = boxes_BR4.unbind(-1)
    x_BRP = (x1[..., None] + (x2 - x1)[..., None] * steps_P) * (2.0 / (width * stride)) - 1.0
    y_BRP = (y1[..., None] + (y2 - y1)[..., None] * steps_P) * (2.0 / (height * stride)) - 1.0
    shape = (batch, regions, points, points)
    grid = torch.stack([x_BRP[:, :, None, :].expand(shape), y_BRP[:, :, :, None].expand(shape)], dim=-1)
    sampled = F.grid_sample(features_BCHW, grid.flatten(1, 2), padding_mode="border", align_corners=False)
    bins = sampled.reshape(batch, channels, regions, side, SAMPLES_PER_BIN, side, SAMPLES_PER_BIN)
    return bins.mean(dim=(4, 6)).transpose(1, 2)


class RoiHead(nn.Module):
    """Four convolutions and one fully connected layer, shared by all regions: (B, R, C, S, S) to (B, R, D).

    The layer norm keeps the rectifier's units alive: without it, Adam's first steps over 6,400 inputs silenced all of
    them for good (docs/log.md).
    """

    def __init__(self, channels: int, side: int, features: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for _ in range(4):
            layers += [nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels), nn.ReLU()]
        self.convolutions = nn.Sequential(*layers)
        self.fully_connected = nn.Sequential(nn.Linear(channels * side * side, features), nn.LayerNorm(features))

    def forward(self, aligned_BRCSS: Tensor) -> Tensor:
        batch, regions = aligned_BRCSS.shape[:2]
        hidden = self.convolutions(aligned_BRCSS.flatten(0, 1)).flatten(1)
        features_ND: Tensor = torch.relu(self.fully_connected(hidden))
        return features_ND.unflatten(0, (batch, regions))  # type: ignore[no-any-return, no-untyped-call]
