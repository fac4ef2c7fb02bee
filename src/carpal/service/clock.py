"""Time for the queue: seconds since 1970 that never jump, whatever happens to the machine's clock meanwhile.

The wall clock is asked once, at the start; from then on the kernel's count since boot adds to it, which nobody sets and
which goes on while a machine sleeps. So a wall clock that is put a day forward or back ends no lease early, holds back
no delivery and makes none too old. What was written before a restart may still come from another clock: `Jobs.lease`
and `Outbox.lease` take a time that lies further ahead than any of theirs can for one that has come.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

SLACK: Final = 60.0
"""Seconds by which the clocks of two processes on one queue may differ before one distrusts the other."""


def since_boot() -> float:
    """Seconds since the machine was started, sleep included where the system counts it (Linux)."""
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if clock is None else time.clock_gettime(clock)


class Clock:
    """`now()` in seconds since 1970, never backwards. Tests give a `wall` and a `steady` of their own."""

    def __init__(self, wall: Callable[[], float] = time.time, steady: Callable[[], float] = since_boot) -> None:
        self._steady = steady
        self._offset = wall() - steady()

    def now(self) -> float:
        """The wall clock's time at the start, and what has gone by since."""
        return self._offset + self._steady()
