"""The audit log: who sent or did what, read with which weights, when. Lines are only added; each seals the one before.

A line is JSON with `n` (1, 2, ...), `at` (UTC), `event`, its fields, `before` (the hash of the line before) and `hash`,
the SHA-256 of the line without that field. Whoever changes, removes or swaps lines breaks the chain, and `verify` names
the first line that does not fit. Cutting lines off the end cannot be seen from the file alone: `verify` gives the
number and the hash of the last line, to be compared with what was noted elsewhere. Fields hold UIDs, AE titles and
codes, never a name, a date of birth or another tag of the patient.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

from carpal.errors import DataError, OutOfResources

START: Final = "0" * 64


class Seal(NamedTuple):
    """The number and the hash of the last line; (0, 64 zeros) for an empty log."""

    lines: int
    hash: str


class Audit:
    """The log at `path`, for adding. Threads and processes may share it: each line is written under a lock."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()

    def write(self, event: str, **fields: str | int | float | bool | None) -> Seal:
        """Adds one line and flushes it to the disk. Raises OutOfResources where that fails."""
        with self._lock:
            try:
                with self.path.open("ab+") as file:
                    fcntl.flock(file, fcntl.LOCK_EX)
                    last = _last(file)
                    at = datetime.now(UTC).isoformat(timespec="milliseconds")
                    line = {"n": last.lines + 1, "at": at, "event": event, **fields, "before": last.hash}
                    seal = Seal(last.lines + 1, _hash(line))
                    file.write(json.dumps({**line, "hash": seal.hash}).encode() + b"\n")
                    file.flush()
                    os.fsync(file.fileno())
            except OSError as error:
                raise OutOfResources(
                    f"the audit log {self.path} cannot be written - {error.strerror} - free disk space"
                ) from error
        return seal


def verify(path: Path) -> Seal:
    """Walks the chain and returns its end. Raises DataError naming the first line that does not fit."""
    seal = Seal(0, START)
    if not path.exists():
        return seal
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            fields = _fields(line)
            stated = fields.pop("hash", None)
            if fields.get("n") != number or fields.get("before") != seal.hash or stated != _hash(fields):
                raise DataError(
                    f"{path}, line {number}: the chain is broken - the line was changed, or one before it removed - "
                    "keep the file as evidence and compare it with a backup"
                )
            seal = Seal(number, stated)
    return seal


def _hash(line: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(line, sort_keys=True).encode()).hexdigest()


def _fields(line: bytes) -> dict[str, Any]:
    try:
        fields = json.loads(line)
    except ValueError:
        return {}
    return fields if isinstance(fields, dict) else {}


def _last(file: Any) -> Seal:
    """The last whole line. Half a line, left by a crash while writing, is cut off: nobody was told that it is there."""
    size, block = file.seek(0, os.SEEK_END), 4096
    tail = b""
    while size > 0 and tail.count(b"\n") < 2 and len(tail) < size:
        file.seek(max(size - block, 0))
        tail, block = file.read(block), block * 2
    whole, _, half = tail.rpartition(b"\n")
    if half:
        file.truncate(size - len(half))
    fields = _fields(whole.rpartition(b"\n")[2])
    return Seal(int(fields.get("n", 0)), str(fields.get("hash", START)))
