"""Ordinal regression against the paper's eq. 1 written as a loop. Letters: B batch, K logits."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from carpal import types
from carpal.lab.model import ordinal

K = 229
"""The paper's K: the months 0..228."""


def slow_loss(logits: list[float], months: float) -> float:
    """Eq. 1: 1 / (K - 1) times the sum over k = 0..K-2 of BCE(o_k, 1{y > k})."""
    total = 0.0
    for k in range(K - 1):
        probability = 1 / (1 + math.exp(-logits[k]))
        total += -math.log(probability) if months > k else -math.log(1 - probability)
    return total / (K - 1)


def test_ranks_are_those_of_the_package() -> None:
    assert ordinal.RANKS == types.RANKS == K
    assert ordinal.LOGITS == K - 1


@given(st.floats(0, 228))
def test_target_k_says_older_than_k(months: float) -> None:
    target_K = ordinal.targets(torch.tensor(months, dtype=torch.float64))
    assert target_K.tolist() == [1.0 if months > k else 0.0 for k in range(K - 1)]


@given(st.lists(st.integers(0, 228), min_size=1, max_size=4), st.integers(0, 2**31))
def test_loss_is_equation_1(months: list[int], seed: int) -> None:
    logits_BK = torch.randn(len(months), K - 1, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 3
    fast_B = ordinal.loss(logits_BK, torch.tensor(months, dtype=torch.float64))
    slow_B = [slow_loss(row, age) for row, age in zip(logits_BK.tolist(), months, strict=True)]
    assert fast_B.tolist() == pytest.approx(slow_B, rel=1e-9)


def test_loss_of_regions_is_that_of_each() -> None:
    torch.manual_seed(0)
    logits_BRK, months_BR = torch.randn(2, 3, K - 1), torch.randint(0, K, (2, 3)).float()
    each_BR = torch.stack(
        [torch.stack([ordinal.loss(logits_BRK[b, r], months_BR[b, r]) for r in range(3)]) for b in (0, 1)]
    )
    torch.testing.assert_close(ordinal.loss(logits_BRK, months_BR), each_BR)


def test_gradient_of_the_loss_and_of_the_age() -> None:
    torch.manual_seed(0)
    logits_BK = torch.randn(2, K - 1, dtype=torch.float64, requires_grad=True)
    months_B = torch.tensor([7.0, 131.0], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda logits: ordinal.loss(logits, months_B), logits_BK)
    assert torch.autograd.gradcheck(ordinal.months, logits_BK)


def test_loss_is_finite_for_huge_logits() -> None:
    logits_BK = torch.full((2, K - 1), 1e4, requires_grad=True)
    loss_B = ordinal.loss(logits_BK, torch.tensor([228.0, 0.0]))
    torch.testing.assert_close(loss_B, torch.tensor([0.0, 1e4]))
    loss_B.sum().backward()
    assert logits_BK.grad is not None
    assert logits_BK.grad.isfinite().all()


@given(st.integers(0, 228))
def test_certain_logits_say_their_age(months: int) -> None:
    """Targets and the prediction are each other's inverse for every whole month."""
    logits_K = (ordinal.targets(torch.tensor(float(months))) * 2 - 1) * 50
    assert float(ordinal.months(logits_K)) == pytest.approx(months, abs=1e-4)
    assert float(ordinal.loss(logits_K, torch.tensor(float(months)))) < 1e-6


def test_the_age_is_the_sum_of_the_probabilities() -> None:
    torch.manual_seed(0)
    logits_BK: Tensor = torch.randn(3, K - 1, dtype=torch.float64)
    slow_B = [sum(1 / (1 + math.exp(-logit)) for logit in row) for row in logits_BK.tolist()]
    assert ordinal.months(logits_BK).tolist() == pytest.approx(slow_B)


@given(st.lists(st.integers(0, 228), min_size=1, max_size=50))
def test_the_prior_predicts_the_mean_age(months: list[int]) -> None:
    """Apart from the ranks that all or none exceed, whose share is kept half an example away from certainty."""
    bias_K = ordinal.prior_bias(torch.tensor(months, dtype=torch.float32))
    assert bias_K.isfinite().all()
    edges = sum(
        0.5 / len(months) * (1 if k < min(months) else -1) for k in range(K - 1) if not min(months) <= k < max(months)
    )
    assert float(ordinal.months(bias_K)) == pytest.approx(sum(months) / len(months) - edges, abs=0.02)
    for k in range(min(months), max(months)):
        share = sum(age > k for age in months) / len(months)
        assert float(torch.sigmoid(bias_K[k])) == pytest.approx(
            min(max(share, 0.5 / len(months)), 1 - 0.5 / len(months)), abs=1e-5
        )


def test_the_prior_of_a_real_set_is_close_to_its_mean() -> None:
    torch.manual_seed(0)
    months_N = (127 + 41 * torch.randn(12_611)).round().clamp(1, 228)
    assert float(ordinal.months(ordinal.prior_bias(months_N))) == pytest.approx(float(months_N.mean()), abs=0.02)
