"""Random numbers as a function of a seed: the same on every device, in every batch, in any order.

Letters: B seeds (one an example), N numbers of each.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

GOLDEN: Final = 0x9E3779B97F4A7C15
MIX: Final = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB))
LAST: Final = 31
BITS: Final = 53
"""The bits of a random integer that a float64 between 0 and 1 can hold."""


def uniform(seeds_B: Tensor, count: int) -> Tensor:
    """`count` numbers from 0 to below 1 for each seed (int64): (B, N), float64.

    SplitMix64 (Steele, Lea and Flood 2014): number n is a hash of the seed and n, so that all of them come at once.
    """
    steps_N = torch.arange(1, count + 1, device=seeds_B.device)
    mixed_BN = seeds_B[:, None] + steps_N * _signed(GOLDEN)
    for shift, factor in MIX:
        mixed_BN = (mixed_BN ^ _shift_right(mixed_BN, shift)) * _signed(factor)
    mixed_BN = mixed_BN ^ _shift_right(mixed_BN, LAST)
    return _shift_right(mixed_BN, 64 - BITS).double() * 2.0**-BITS


def _signed(word: int) -> int:
    """An unsigned 64-bit number as the signed one of the same bits: all that torch multiplies."""
    return word - (1 << 64) if word >> 63 else word


def _shift_right(words_BN: Tensor, places: int) -> Tensor:
    """Shifts in zeros, as an unsigned number does."""
    return (words_BN >> places) & ((1 << (64 - places)) - 1)
