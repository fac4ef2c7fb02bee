"""Results as JSON lines that grow: an image's lines are written at once, and a torn end is cut off when it goes on."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from carpal.errors import ConfigError


class ResultLines:
    """A file of JSON lines, opened to go on: `image in lines` says whether it has a result already.

    Of each image eight bytes of a hash are kept in memory. Raises ConfigError where the file cannot be written, or
    holds something else, or results of other weights, another runtime or version than `made_by` says.
    """

    def __init__(self, path: Path, made_by: Mapping[str, Any]) -> None:
        self.path = path
        self._made_by = dict(made_by)
        self._known: set[bytes] = set()
        try:
            end = self._take_stock() if path.exists() else 0
            self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
            os.ftruncate(self._file, end)
        except OSError as error:
            raise ConfigError(f"{path} cannot be written - {error.strerror} - choose another place") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        os.fsync(self._file)
        os.close(self._file)

    def __contains__(self, image: str) -> bool:
        return short_hash(image) in self._known

    def __len__(self) -> int:
        return len(self._known)

    def append(self, image: str, entries: Sequence[Mapping[str, Any]]) -> None:
        """Writes an image's entries by one call: a killed process leaves them whole, or torn at the end."""
        content = "".join(f"{as_line(entry)}\n" for entry in entries).encode()
        try:
            written = os.write(self._file, content)
        except OSError as error:
            raise ConfigError(
                f"{self.path} cannot be written - {error.strerror} - make room and run it again"
            ) from error
        if written != len(content):
            os.ftruncate(self._file, os.fstat(self._file).st_size - written)
            raise ConfigError(f"{self.path} cannot be written - the disk is full - make room and run it again")
        self._known.add(short_hash(image))

    def _take_stock(self) -> int:
        """Notes the images that are done; returns where the whole ones end.

        Where the last line is torn, the image before it goes, too: the torn line may be its second hand.
        """
        start = end = 0
        previous: str | None = None
        with self.path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if not line.endswith(b"\n"):
                    self._known.discard(short_hash(previous) if previous is not None else b"")
                    return start
                image = self._image_of(line, number)
                if image != previous:
                    start, previous = end, image
                end += len(line)
                self._known.add(short_hash(image))
        return end

    def _image_of(self, line: bytes, number: int) -> str:
        try:
            entry = json.loads(line)
            image, made_by = str(entry["image"]), {name: entry[name] for name in self._made_by}
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigError(
                f"{self.path}, line {number}, is no result - {error!r} - choose another file, or delete this one"
            ) from error
        if made_by != self._made_by:
            raise ConfigError(
                f"{self.path} holds results of other weights, another runtime or version - line {number} was made by "
                f"{made_by}, now it would be {self._made_by} - choose another file"
            )
        return image


def as_line(entry: Mapping[str, Any]) -> str:
    """An entry as one line of JSON, without the line's end; ASCII, whatever the names in it."""
    return json.dumps(entry, allow_nan=False, separators=(",", ":"))


def short_hash(image: str) -> bytes:
    """Eight bytes that stand for an image's name: of ten million names two agree once in 400,000 runs."""
    return hashlib.blake2b(image.encode("utf-8", "surrogateescape"), digest_size=8).digest()
