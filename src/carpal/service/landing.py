"""Where an object lands while it arrives: a file that takes note of a full disk, so that its sender is told.

pynetdicom writes what it receives from within its reactor, where an error of the disk would end the association without
an answer. `LandingFile` takes the place of its temporary file: after an error it swallows the rest, and the handler of
the C-STORE answers 0xA700.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from typing import Any


class LandingFile:
    """A new file in `tempfile.tempdir` with what pynetdicom uses of a NamedTemporaryFile; `full` once it failed."""

    def __init__(self, **_: Any) -> None:
        self.full, self.name, self._handle = False, "", -1
        try:
            self._handle, self.name = tempfile.mkstemp(suffix=".dcm")
        except OSError:
            self.full = True

    @property
    def file(self) -> LandingFile:
        """pynetdicom flushes the file below."""
        return self

    def write(self, data: bytes) -> int:
        """Writes all of it, or nothing any more."""
        rest = memoryview(data)
        try:
            while rest and not self.full:
                rest = rest[os.write(self._handle, rest) :]
        except OSError:
            self.full = True
            with contextlib.suppress(OSError):
                os.truncate(self._handle, 0)  # others may need the room at once
        return len(data)

    def flush(self) -> None:
        """Nothing is held back; `Spool.adopt` brings it to the disk."""

    def close(self) -> None:
        """May be called again."""
        handle, self._handle = self._handle, -1
        if handle >= 0:
            with contextlib.suppress(OSError):
                os.close(handle)
