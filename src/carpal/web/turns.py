"""Turns at what only a few may do at the same time, in the order in which they came."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager


class Turns:
    """At most `at_once` threads are in a `turn()`; the others wait, and whoever has waited longest is next.

    A `threading.Semaphore` promises no order: one who has just come may pass all who wait, and the longest wait grows.
    """

    def __init__(self, at_once: int) -> None:
        self._free, self._lock = at_once, threading.Lock()
        self._waiting: deque[threading.Lock] = deque()

    @contextmanager
    def turn(self, patience: float | None = None) -> Iterator[None]:
        """Waits for a turn and gives it on at the end. Raises TimeoutError where none came in `patience` seconds."""
        mine = self._ask()
        if mine is not None and not mine.acquire(timeout=-1 if patience is None else max(patience, 0)):
            self._leave(mine)
        try:
            yield
        finally:
            self._give()

    @property
    def waiting(self) -> int:
        """How many wait now."""
        with self._lock:
            return len(self._waiting)

    def _ask(self) -> threading.Lock | None:
        """None for a turn at once, else the closed lock that opens when it comes."""
        with self._lock:
            if self._free > 0:
                self._free -= 1
                return None
            closed = threading.Lock()
            closed.acquire()
            self._waiting.append(closed)
            return closed

    def _leave(self, mine: threading.Lock) -> None:
        """Raises TimeoutError, unless the turn came at the last moment."""
        with self._lock:
            if mine in self._waiting:
                self._waiting.remove(mine)
                raise TimeoutError("no turn came in time")

    def _give(self) -> None:
        with self._lock:
            if self._waiting:
                self._waiting.popleft().release()
            else:
                self._free += 1
