"""Ordinal regression over K = 229 ranks, the months 0..228 (paper, eq. 1).

Letters: B batch, K the K-1 = 228 logits, logit k stands for 1{age > k}; leading dimensions `...` are free.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 (torch's own habit)
from torch import Tensor

RANKS = 229
LOGITS = RANKS - 1


def targets(months_B: Tensor) -> Tensor:
    """1{y > k} for k = 0..227: ages (...) give (..., K)."""
    ranks_K = torch.arange(LOGITS, device=months_B.device, dtype=months_B.dtype)
    return (months_B[..., None] > ranks_K).to(months_B.dtype)


def smooth_targets(months_B: Tensor, spread: float) -> Tensor:
    """P{y + e > k}, e normal with a standard deviation of `spread` months: a target that knows how far readers differ.

    The ranks still sum to y; they fall short only where the normal reaches beyond months 0 and 228.
    """
    ranks_K = torch.arange(LOGITS, device=months_B.device, dtype=months_B.dtype)
    above_BK: Tensor = torch.special.ndtr((months_B[..., None] - ranks_K - 0.5) / spread)
    return above_BK


def loss(
    logits_BK: Tensor, months_B: Tensor, spread: float = 0.0, taught_BK: Tensor | None = None, share: float = 1.0
) -> Tensor:
    """Eq. 1: the mean over the ranks of the binary cross-entropy, one value for each example (...).

    A `spread` above 0 takes `smooth_targets` in place of eq. 1's; `taught_BK`, probabilities that other networks give,
    make up `share` of the target.
    """
    target_BK = (smooth_targets(months_B, spread) if spread else targets(months_B)).to(logits_BK.dtype)
    if taught_BK is not None:
        target_BK = target_BK + share * (taught_BK.to(logits_BK.dtype) - target_BK)
    return F.binary_cross_entropy_with_logits(logits_BK, target_BK, reduction="none").mean(-1)


def disagreement(one_BK: Tensor, other_BK: Tensor) -> Tensor:
    """Jeffreys' divergence of two answers' probabilities, the mean over the ranks, half of it: one value a pair (...).

    0 where they agree, else above 0; of the size of eq. 1, for it is the mean of both cross-entropies' excess.
    """
    return ((torch.sigmoid(one_BK) - torch.sigmoid(other_BK)) * (one_BK - other_BK)).mean(-1) / 2


def months(logits_BK: Tensor) -> Tensor:
    """The predicted age: the sum of the probabilities of all ranks."""
    return torch.sigmoid(logits_BK).sum(-1)


def prior_bias(months_N: Tensor) -> Tensor:
    """Biases (K) at which the untrained network predicts the share of `months_N` above each rank."""
    share_K = targets(months_N.float()).mean(0)
    edge = 0.5 / max(len(months_N), 1)
    return torch.logit(share_K.clamp(edge, 1 - edge))
