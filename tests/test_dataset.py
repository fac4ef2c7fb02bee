"""Which example comes when: permutations, repeats, the fold that is never seen, and seeds that depend on the place."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from carpal.anatomy import REGIONS
from carpal.errors import DataError
from carpal.lab.data.dataset import Mixture, collate
from carpal.lab.data.store import Manifest, Row, Store

MANIFEST = Manifest(1, "0", 8, {}, {}, "", {})
SIZES = [(8, 6), (5, 8), (8, 8)]


def store(
    ids: list[int],
    *,
    kind: str = "image",
    folds: dict[int, int] | None = None,
    ageless: tuple[int, ...] = (),
    sexless: tuple[int, ...] = (),
    without_regions: tuple[int, ...] = (),
) -> Store:
    """A store in memory: image `id` is filled with the grey value `id`, is `id` months old, its points at (id, R)."""
    rows, parts, offset = [], [], 0
    points = np.zeros((len(ids), len(REGIONS), 3), np.float32)
    for i, number in enumerate(ids):
        height, width = SIZES[number % len(SIZES)]
        age = None if number in ageless else float(number)
        male = None if number in sexless else number % 2 == 0
        fold = (folds or {}).get(number, -1)
        rows.append(Row(str(number), age, male, kind, offset, height, width, fold))
        parts.append(np.full(height * width, number, np.uint8))
        offset += height * width
        if number not in without_regions:
            points[i] = [(number, region, 1) for region in range(len(REGIONS))]
    return Store(Path(kind), MANIFEST, tuple(rows), points, np.concatenate(parts))


def seen(mixture: Mixture, first: int, count: int) -> list[int]:
    """The ids of a batch, read back from its pixels."""
    return [int(value) for value in mixture.batch(first, count).pixels_B1HW[:, 0, 0, 0]]


def test_an_epoch_is_a_permutation_and_the_next_another() -> None:
    mixture = Mixture((store(list(range(1, 31))),), (1.0,), seed=0)
    epochs = [seen(mixture, 30 * epoch, 30) for epoch in range(3)]
    assert [sorted(epoch) for epoch in epochs] == [list(range(1, 31))] * 3
    assert epochs[0] != epochs[1] != epochs[2]
    assert epochs[0] != sorted(epochs[0])


@settings(deadline=None)
@given(st.integers(1, 12), st.floats(0, 3.5), st.integers(0, 5))
def test_repeats_are_passes_and_fractions_of_one(count: int, repeat: float, epoch: int) -> None:
    stores = (store(list(range(1, count + 1))), store([101, 102]))
    mixture = Mixture(stores, (repeat, 1.0), seed=3)
    wanted = round(count * repeat)
    assert len(mixture) == wanted + 2
    times = Counter(seen(mixture, epoch * len(mixture), len(mixture)))
    assert (times[101], times[102]) == (1, 1)
    each = [times[number] for number in range(1, count + 1)]
    assert sum(each) == wanted
    assert max(each) - min(each) <= 1, "no example has a second turn before all have had their first"


def test_a_fraction_chooses_others_each_epoch() -> None:
    mixture = Mixture((store(list(range(1, 41))),), (0.5,), seed=0)
    first, second = set(seen(mixture, 0, 20)), set(seen(mixture, 20, 20))
    assert len(first) == len(second) == 20
    assert first != second


def test_stores_are_shuffled_into_each_other() -> None:
    mixture = Mixture((store(list(range(1, 51))), store(list(range(101, 151)), kind="thumb")), (1.0, 1.0), seed=0)
    from_first = [number < 100 for number in seen(mixture, 0, 100)]
    changes = sum(a != b for a, b in pairwise(from_first))
    assert changes > 20


def test_the_holdout_appears_in_no_store_as_image_or_thumbnail() -> None:
    ids = list(range(1, 41))
    folds = {number: number % 5 for number in ids if number <= 30}  # the last ten belong to no fold
    pair = (store(ids, folds=folds), store(ids, kind="thumb", folds=folds))
    mixture = Mixture(pair, (1.0, 2.5), seed=1, holdout=(2,))
    held = {number for number, fold in folds.items() if fold == 2}
    assert len(held) == 6
    everything = seen(mixture, 0, 4 * len(mixture))
    assert set(everything) == set(ids) - held
    assert not held & set(mixture.months().int().tolist()), "the age prior is blind to them, too"


def test_only_hands_that_teach_something_are_used() -> None:
    ids = [1, 2, 3, 4, 5, 6]
    hands = store(ids, ageless=(1, 2, 6), sexless=(1, 3), without_regions=(2, 4, 3))
    assert sorted(seen(Mixture((hands,), (1.0,), seed=0), 0, 4)) == [1, 4, 5, 6]
    regions_only = Mixture((hands,), (1.0,), seed=0, regions_only=True)
    assert len(regions_only) == 3
    assert sorted(seen(regions_only, 0, 3)) == [1, 5, 6]
    assert regions_only.months().tolist() == [5.0]


def test_nothing_left_is_an_error() -> None:
    with pytest.raises(DataError, match="No example is left"):
        Mixture((store([1, 2], folds={1: 0, 2: 0}),), (1.0,), seed=0, holdout=(0,))
    with pytest.raises(DataError, match="No example is left"):
        Mixture((store([1, 2]),), (0.0,), seed=0)


def test_the_seed_decides_the_order_and_nothing_else_does() -> None:
    def make(seed: int) -> Mixture:
        return Mixture((store(list(range(1, 21))),), (1.0,), seed)

    assert seen(make(4), 0, 60) == seen(make(4), 0, 60)
    assert seen(make(4), 0, 20) != seen(make(5), 0, 20)
    backwards = make(4)  # a resumed run starts anywhere
    late, early = seen(backwards, 47, 9), seen(backwards, 0, 20)
    assert early + seen(make(4), 20, 27) + late == seen(make(4), 0, 56)


@settings(deadline=None)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=8))
def test_examples_and_seeds_do_not_depend_on_the_batches(sizes: list[int]) -> None:
    mixture = Mixture((store(list(range(1, 8))),), (1.5,), seed=9)
    whole = mixture.batch(5, sum(sizes))
    pieces, first = [], 5
    for size in sizes:  # micro-batches, or the shares of several processes, over the ends of epochs
        pieces.append(mixture.batch(first, size))
        first += size
    assert [seed for piece in pieces for seed in piece.seeds] == whole.seeds
    assert torch.equal(torch.cat([piece.points_BR2 for piece in pieces]), whole.points_BR2)
    assert torch.equal(torch.cat([piece.months_B for piece in pieces]), whole.months_B)


def test_a_seed_belongs_to_the_place_not_to_the_hand() -> None:
    mixture = Mixture((store([7]),), (1.0,), seed=0)
    seeds = mixture.batch(0, 200).seeds
    assert len(set(seeds)) == 200, "the same hand looks different every time"
    assert all(0 <= seed < 2**63 for seed in seeds), "what torch.Generator.manual_seed takes"
    assert Mixture((store([8, 9]),), (1.0,), seed=0).batch(150, 3).seeds == seeds[150:153]
    assert Mixture((store([7]),), (1.0,), seed=1).batch(0, 1).seeds[0] not in seeds


def test_collate_pads_to_the_right_and_below() -> None:
    hands = store([3, 1, 2], ageless=(1,), sexless=(1,), without_regions=(2,))
    batch = collate([(hands, 0), (hands, 1), (hands, 2)], [11, 12, 13])
    assert batch.pixels_B1HW.shape == (3, 1, 8, 8)
    assert batch.pixels_B1HW.dtype == torch.uint8
    assert batch.size_B2.tolist() == [[8, 6], [5, 8], [8, 8]]
    for i, (number, (height, width)) in enumerate(zip([3, 1, 2], batch.size_B2.tolist(), strict=True)):
        picture = batch.pixels_B1HW[i, 0]
        assert (picture[:height, :width] == number).all()
        assert int(picture.count_nonzero()) == height * width, "black outside"
    assert batch.male_B.tolist() == [0.0, 0.0, 1.0]
    assert batch.months_B[0] == 3
    assert batch.months_B[1].isnan()
    assert batch.months_B[2] == 2
    assert batch.points_BR2[0, 5].tolist() == [3.0, 5.0]
    assert batch.known_BR.all(1).tolist() == batch.known_BR.any(1).tolist() == [True, True, False]
    assert batch.seeds == [11, 12, 13]


def test_a_batch_is_as_large_as_its_largest_picture() -> None:
    hands = store([3, 1])
    assert collate([(hands, 0)], [0]).pixels_B1HW.shape == (1, 1, 8, 6)
    assert collate([(hands, 1)], [0]).pixels_B1HW.shape == (1, 1, 5, 8)
