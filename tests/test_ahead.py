"""Examples read ahead: in order, not too far ahead, and a mistake is raised where its step would be."""

from __future__ import annotations

from itertools import islice
from typing import Any

import pytest

from carpal.lab.training import loop


def numbered(step: int) -> Any:
    return [step]


@pytest.mark.parametrize("count", [0, 1, loop.AHEAD, loop.AHEAD + 1, 20])
def test_every_step_comes_once_and_in_order(count: int) -> None:
    assert list(loop.ahead(numbered, range(5, 5 + count))) == [[step] for step in range(5, 5 + count)]


def test_no_more_than_a_few_steps_are_read_ahead() -> None:
    made: list[int] = []

    def make(step: int) -> Any:
        made.append(step)
        return [step]

    batches = loop.ahead(make, range(100))
    assert list(islice(batches, 3)) == [[0], [1], [2]]
    batches.close()  # type: ignore[attr-defined]
    assert len(made) <= 3 + loop.AHEAD


def test_a_mistake_is_raised_at_its_step() -> None:
    def make(step: int) -> Any:
        if step == 4:
            raise OSError("the store is gone")
        return [step]

    batches = loop.ahead(make, range(9))
    assert list(islice(batches, 4)) == [[0], [1], [2], [3]]
    with pytest.raises(OSError, match="the store is gone"):
        next(batches)
