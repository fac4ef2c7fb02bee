"""From proposals to local features: pick the regions, align their features, transform them (paper, section 3).

Letters: B batch, A anchors, R regions, C channels, H W cells of the feature map, S side of an aligned region.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from carpal.lab.model import boxes

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
    beyond the border take the border's value. The samples form a grid, so two small matrix products, one for each
    axis, do the work of sampling, for which ONNX Runtime needs much less time than for GridSample.
    """
    batch, channels, height, width = features_BCHW.shape
    regions = boxes_BR4.shape[1]
    x1, y1, x2, y2 = boxes_BR4.unbind(-1)
    across_BRSW = _bins(x1 / stride, x2 / stride, side, width)
    down_BRSH = _bins(y1 / stride, y2 / stride, side, height)
    rows_BXN = features_BCHW.reshape(batch, channels * height, width) @ across_BRSW.flatten(1, 2).transpose(1, 2)
    rows_BCHRS = rows_BXN.reshape(batch, channels, height, regions, side)
    columns_BRHX = rows_BCHRS.permute(0, 3, 2, 1, 4).reshape(batch, regions, height, channels * side)
    bins_BRSCS = (down_BRSH @ columns_BRHX).reshape(batch, regions, side, channels, side)
    return bins_BRSCS.transpose(2, 3)


def _bins(first_BR: Tensor, last_BR: Tensor, side: int, cells: int) -> Tensor:
    """How much each of `cells` cells of one axis counts in each bin between two places (in cells): (B, R, side, cells).

    A bilinear sample counts the two cells around it, the nearer one more; a bin is the mean of its samples.
    """
    points = side * SAMPLES_PER_BIN
    steps_P = (torch.arange(points, device=first_BR.device, dtype=first_BR.dtype) + 0.5) / points
    place_BRP = first_BR[..., None] + (last_BR - first_BR)[..., None] * steps_P - 0.5
    place_BRP = place_BRP.clamp(0, cells - 1)
    cell_W = torch.arange(cells, device=first_BR.device, dtype=first_BR.dtype)
    weight_BRPW = (1 - (place_BRP[..., None] - cell_W).abs()).clamp(min=0)
    return weight_BRPW.reshape(*first_BR.shape, side, SAMPLES_PER_BIN, cells).mean(3)


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
