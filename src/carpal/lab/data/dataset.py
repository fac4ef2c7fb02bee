"""Prepared stores as training batches: which example comes at which step, and its pixels.

Nothing here keeps state. The order of an epoch is a function of the seed and the epoch, an example's own random seed
one of the run's seed and its place in the whole run: a run that is killed and resumed, or spread over more processes,
sees the same examples with the same augmentation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from carpal.errors import DataError
from carpal.lab.data.store import Store


class Batch(NamedTuple):
    """Examples before augmentation. Letters: B batch, H W the largest picture of the batch, R regions.

    months_B is NaN where the age is unknown; points are in pixels of the stored picture.
    """

    pixels_B1HW: Tensor
    size_B2: Tensor
    male_B: Tensor
    months_B: Tensor
    points_BR2: Tensor
    known_BR: Tensor
    seeds: list[int]

    def pinned(self) -> Batch:
        """The same in memory that a GPU reads by itself."""
        return Batch(
            self.pixels_B1HW.pin_memory(),
            self.size_B2,
            self.male_B.pin_memory(),
            self.months_B.pin_memory(),
            self.points_BR2.pin_memory(),
            self.known_BR.pin_memory(),
            self.seeds,
        )


@dataclass(frozen=True)
class Mixture:
    """Several stores as one endless sequence of examples.

    `repeats` says how often an epoch passes over each store; `holdout` leaves out folds, in every store.
    """

    stores: tuple[Store, ...]
    repeats: tuple[float, ...]
    seed: int
    holdout: tuple[int, ...] = ()
    regions_only: bool = False

    def __post_init__(self) -> None:
        if not len(self):
            raise DataError(
                "No example is left to train on: the stores are empty, or the settings leave everything out."
            )

    def __len__(self) -> int:
        """Examples in an epoch."""
        return self._length

    @cached_property
    def _length(self) -> int:
        return sum(round(len(rows) * repeat) for rows, repeat in zip(self.rows, self.repeats, strict=True))

    @cached_property
    def rows(self) -> list[NDArray[np.int64]]:
        """The usable rows of each store: sex known, an age or regions known, not held out."""
        return [self._usable(store) for store in self.stores]

    def _usable(self, store: Store) -> NDArray[np.int64]:
        known: NDArray[np.bool_] = np.any(store.points[:, :, 2] > 0, axis=1)
        usable = [
            i
            for i, row in enumerate(store.rows)
            if (row.boneage is not None or known[i])
            and (row.male is not None or row.boneage is None)
            and row.fold not in self.holdout
            and (known[i] or not self.regions_only)
        ]
        return np.array(usable, np.int64)

    def months(self) -> Tensor:
        """The known ages of everything trained on."""
        pairs = zip(self.stores, self.rows, strict=True)
        ages = [store.rows[i].boneage for store, rows in pairs for i in rows]
        return torch.tensor([age for age in ages if age is not None])

    def epoch(self, epoch: int) -> NDArray[np.int64]:
        """(store, row) of every example of an epoch, shuffled: (examples, 2)."""
        random = np.random.default_rng([self.seed, epoch])
        parts = []
        for store, (indices, repeat) in enumerate(zip(self.rows, self.repeats, strict=True)):
            wanted = round(len(indices) * repeat)
            passes = -(-wanted // max(len(indices), 1))
            chosen = np.concatenate([indices[:0], *(random.permutation(indices) for _ in range(passes))])[:wanted]
            parts.append(np.stack([np.full(len(chosen), store, np.int64), chosen], 1))
        return random.permutation(np.concatenate(parts))

    def batch(self, first: int, count: int) -> Batch:
        """Examples `first` to `first + count` of the whole run."""
        places = range(first, first + count)
        picked = [self._order(place // len(self))[place % len(self)] for place in places]
        examples = [(self.stores[store], int(row)) for store, row in picked]
        return collate(examples, [_seed(self.seed, place) for place in places])

    def _order(self, epoch: int) -> NDArray[np.int64]:
        if epoch not in self._orders:
            self._orders.clear()
            self._orders[epoch] = self.epoch(epoch)
        return self._orders[epoch]

    @cached_property
    def _orders(self) -> dict[int, NDArray[np.int64]]:
        return {}


def collate(examples: Sequence[tuple[Store, int]], seeds: list[int]) -> Batch:
    """Stacks examples of any size, padded with black on the right and below."""
    pictures = [store.pixels(row) for store, row in examples]
    height, width = (max(picture.shape[axis] for picture in pictures) for axis in (0, 1))
    pixels_B1HW = np.zeros((len(pictures), 1, height, width), np.uint8)
    for i, picture in enumerate(pictures):
        pixels_B1HW[i, 0, : picture.shape[0], : picture.shape[1]] = picture
    points_BR3 = torch.from_numpy(np.stack([store.points[row] for store, row in examples]))
    rows = [store.rows[row] for store, row in examples]
    return Batch(
        torch.from_numpy(pixels_B1HW),
        torch.tensor([picture.shape for picture in pictures]),
        torch.tensor([float(bool(row.male)) for row in rows]),
        torch.tensor([float("nan") if row.boneage is None else row.boneage for row in rows]),
        points_BR3[..., :2].float(),
        points_BR3[..., 2] > 0,
        seeds,
    )


def _seed(seed: int, place: int) -> int:
    return int(np.random.SeedSequence([seed, place]).generate_state(1, np.uint64)[0] >> 1)
