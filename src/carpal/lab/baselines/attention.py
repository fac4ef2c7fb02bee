"""Attention over the cells of a feature map: maps that point at a place, cells that look at each other, the best cells.

Letters: B batch, C channels, H W cells, N = H * W, P parts, M maps, S a part's cells along a side.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


def places(maps_BMHW: Tensor, stride: int) -> Tensor:
    """Where each softmax map points, (B, M, 2) as (x, y) in image pixels: the mean place under the map."""
    height, width = maps_BMHW.shape[-2:]
    y_H = (torch.arange(height, device=maps_BMHW.device, dtype=maps_BMHW.dtype) + 0.5) * stride
    x_W = (torch.arange(width, device=maps_BMHW.device, dtype=maps_BMHW.dtype) + 0.5) * stride
    x_BM = (maps_BMHW.sum(2) * x_W).sum(-1)
    y_BM = (maps_BMHW.sum(3) * y_H).sum(-1)
    return torch.stack([x_BM, y_BM], -1)


def softmax_maps(logits_BMHW: Tensor) -> Tensor:
    """Each map's softmax over its cells."""
    flat_BMN = torch.softmax(logits_BMHW.float().flatten(2), -1)
    return flat_BMN.reshape(logits_BMHW.shape)


def overlap(maps_BMHW: Tensor) -> Tensor:
    """How much different maps look at the same cells (B): the mean product of every two."""
    flat_BMN = maps_BMHW.flatten(2)
    together_B = flat_BMN.sum(1).square().sum(-1) - flat_BMN.square().sum((1, 2))
    count = flat_BMN.shape[1]
    return together_B / max(1, count * (count - 1))


class Relation(nn.Module):
    """Every cell looks at every other by what surrounds it at three scales; a residual block."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = max(4, channels // 4)
        self.scales = nn.ModuleList(
            [nn.Conv2d(channels, inner, 3, padding=dilation, dilation=dilation) for dilation in (1, 2, 4)]
        )
        self.query, self.key = (nn.Conv2d(3 * inner, inner, 1) for _ in range(2))
        self.value, self.out = nn.Conv2d(channels, channels, 1), nn.Conv2d(channels, channels, 1)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        context_BCHW = torch.relu(torch.cat([scale(x_BCHW) for scale in self.scales], 1))
        query_BNC = self.query(context_BCHW).flatten(2).transpose(1, 2)
        key_BCN = self.key(context_BCHW).flatten(2)
        weight_BNN = torch.softmax(query_BNC @ key_BCN / math.sqrt(query_BNC.shape[-1]), -1)
        value_BNC = self.value(x_BCHW).flatten(2).transpose(1, 2)
        related_BCN = (weight_BNN @ value_BNC).transpose(1, 2)
        result: Tensor = x_BCHW + self.out(related_BCN.reshape(x_BCHW.shape))
        return result


def top_cells(features_BCHW: Tensor, scores_B1HW: Tensor, count: int) -> Tensor:
    """The features (B, P, C) of the `count` cells with the highest scores, each times its score's sigmoid.

    A map with fewer cells is filled up with cells of zeros.
    """
    features_BNC = features_BCHW.flatten(2).transpose(1, 2)
    score_BN = scores_B1HW.flatten(1)
    filler_BPC = features_BNC[:, :1].expand(-1, count, -1) * 0.0
    low_BP = score_BN[:, :1].expand(-1, count) * 0.0 - 1e4
    features_BNC, score_BN = torch.cat([features_BNC, filler_BPC], 1), torch.cat([score_BN, low_BP], 1)
    top_BP, index_BP = score_BN.topk(count, dim=1)
    chosen_BPC = features_BNC.gather(1, index_BP[..., None].expand(-1, -1, features_BNC.shape[-1]))
    return chosen_BPC * torch.sigmoid(top_BP)[..., None]
