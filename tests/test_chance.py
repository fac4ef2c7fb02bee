"""Numbers from seeds: against SplitMix64 as published, spread evenly, the same in any batch."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from carpal.lab.model import chance

SEEDS = st.integers(0, 2**63 - 1)
WORD = (1 << 64) - 1


def splitmix64(seed: int, count: int) -> list[int]:
    """The published generator, one number after the other."""
    numbers, state = [], seed
    for _ in range(count):
        state = (state + 0x9E3779B97F4A7C15) & WORD
        z = state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & WORD
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & WORD
        numbers.append(z ^ (z >> 31))
    return numbers


def test_the_twin_gives_the_published_numbers() -> None:
    """The first outputs for seed 1234567 of the reference implementation."""
    assert splitmix64(1234567, 3) == [6457827717110365317, 3203168211198807973, 9817491932198370423]


@given(st.lists(SEEDS, min_size=1, max_size=5), st.integers(1, 20))
def test_the_numbers_are_those_of_splitmix64(seeds: list[int], count: int) -> None:
    slow = [[(number >> 11) / 2**53 for number in splitmix64(seed, count)] for seed in seeds]
    assert chance.uniform(torch.tensor(seeds), count).tolist() == slow


def test_neighbouring_seeds_and_numbers_are_spread_evenly() -> None:
    numbers = chance.uniform(torch.arange(1000), 50)
    assert 0 <= float(numbers.min()) < 1e-3 < 1 - 1e-3 < float(numbers.max()) < 1
    counts = torch.histc(numbers, 10, 0, 1)
    assert float((counts / 5000 - 1).abs().max()) < 0.06, "four standard deviations"
    assert float(torch.corrcoef(numbers.T).fill_diagonal_(0).abs().max()) < 0.15
