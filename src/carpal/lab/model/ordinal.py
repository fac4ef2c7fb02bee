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


def loss(logits_BK: Tensor, months_B: Tensor) -> Tensor:
    """Eq. 1: the mean over the ranks of the binary cross-entropy, one value for each example (...)."""
    target_BK = targets(months_B).to(logits_BK.dtype)
    return F.binary_cross_entropy_with_logits(logits_BK, target_BK, reduction="none").mean(-1)


def months(logits_BK: Tensor) -> Tensor:
    """The predicted age: the sum of the probabilities of all ranks."""
    return torch.sigmoid(logits_BK).sum(-1)


def prior_bias(months_N: Tensor) -> Tensor:
    """Biases (K) at which the untrained network predicts the share of `months_N` above each rank."""
    share_K = targets(months_N.float()).mean(0)
    edge = 0.5 / max(len(months_N), 1)
    return torch.logit(share_K.clamp(edge, 1 - edge))
