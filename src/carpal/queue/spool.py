"""Files of the queue on disk: what arrived, under its SHA-256, and what was made of it, under the job's id.

No name that came from outside enters a path. A file is written beside its place, flushed to the disk (fsync), renamed,
and its folder is flushed, too: whoever sees the name sees the whole file, after a power cut as well.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tempfile
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final

from carpal.errors import OutOfResources

HEX: Final = re.compile(r"[0-9a-f]{32,64}")
NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
CHUNK: Final = 2**20
"""Bytes of a stream that are in memory at a time."""


class Spool:
    """`folder`/incoming/ab/<sha256> and `folder`/results/<job id>/<name>; `folder`/partial holds what is being written.

    `min_free` bytes always stay free on the disk: below that, `add` and `write` raise OutOfResources.
    """

    def __init__(self, folder: Path, min_free: int) -> None:
        self.folder, self.min_free = folder, min_free
        for name in ("incoming", "results", "partial"):
            (folder / name).mkdir(parents=True, exist_ok=True)

    @property
    def partial(self) -> Path:
        """Where a receiver may write a file that `adopt` then takes: the same disk, cleared by `sweep`."""
        return self.folder / "partial"

    def free(self) -> int:
        """Bytes that may still be written: what the disk has, less `min_free`."""
        return shutil.disk_usage(self.folder).free - self.min_free

    def need(self, size: int) -> None:
        """Raises OutOfResources where `size` more bytes would leave less than `min_free`."""
        if self.free() < size:
            raise OutOfResources(
                f"the disk of {self.folder} is full - {size} more bytes would leave less than {self.min_free} free - "
                "free some, or lower queue.min_free_mb"
            )

    def add(self, data: bytes) -> str:
        """Writes what arrived and returns its SHA-256; the file is on the disk when this returns."""
        self.need(len(data))
        sha256 = hashlib.sha256(data).hexdigest()
        self._write(self.incoming(sha256), data)
        return sha256

    def adopt(self, path: Path, sha256: str | None = None) -> str:
        """Moves a complete file out of `partial` to its place and returns its SHA-256, where it is not known yet."""
        self.need(1)
        with _full_is_ours(self.folder):
            with path.open("rb+") as file:
                sha256 = sha256 or hashlib.file_digest(file, "sha256").hexdigest()
                os.fsync(file.fileno())
            self._place(path, self.incoming(sha256))
        return sha256

    @contextmanager
    def copied(self, content: BinaryIO, durable: bool = True) -> Iterator[Path]:
        """A stream's bytes as a file in `partial`; it goes at the end, unless `move` has taken it.

        `durable`: on the disk when this returns, so that it survives a power cut.
        """
        content.seek(0, os.SEEK_END)
        self.need(content.tell())
        content.seek(0)
        with _full_is_ours(self.folder):
            handle, name = tempfile.mkstemp(dir=self.partial)
        path = Path(name)
        try:
            with _full_is_ours(self.folder), os.fdopen(handle, "wb") as file:
                shutil.copyfileobj(content, file, CHUNK)
                file.flush()
                if durable:
                    os.fsync(file.fileno())
            yield path
        finally:
            path.unlink(missing_ok=True)

    def move(self, path: Path, place: Path) -> None:
        """Moves a complete file to its place on the same disk."""
        with _full_is_ours(self.folder):
            self._place(path, place)

    def clear_partial(self, older_than: float = 3600) -> None:
        """Removes what a process that was killed left half written."""
        for path in self.partial.iterdir():
            if path.stat().st_mtime < time.time() - older_than:
                path.unlink(missing_ok=True)

    def incoming(self, sha256: str) -> Path:
        """Where the file of that hash lies."""
        assert HEX.fullmatch(sha256), "a hash in hexadecimal"
        return self.folder / "incoming" / sha256[:2] / sha256

    def result(self, job: str, name: str) -> Path:
        """Where the result of that name lies; names are ours, such as sr.dcm."""
        assert HEX.fullmatch(job), "an id in hexadecimal"
        assert NAME.fullmatch(name), "names of ours only"
        return self.folder / "results" / job / name

    def write(self, job: str, files: Mapping[str, bytes]) -> None:
        """Writes the results of one job, replacing those of an earlier try."""
        self.need(sum(map(len, files.values())))
        for name, content in files.items():
            self._write(self.result(job, name), content)

    def forget(self, job: str, sha256: str | None) -> None:
        """Removes a job's results and, where a hash is given, the file that arrived."""
        shutil.rmtree(self.result(job, "x").parent, ignore_errors=True)
        if sha256 is not None:
            self.incoming(sha256).unlink(missing_ok=True)

    def sweep(self, known: Collection[str], older_than: float = 3600) -> int:
        """Removes files that no row names: half written ones, and whole ones whose sender never got our answer and
        therefore still has them. Younger than `older_than` seconds they stay. Returns how many went."""
        removed, limit = 0, time.time() - older_than
        for path in self._files():
            if path.name not in known and path.stat().st_mtime < limit:
                path.unlink(missing_ok=True)
                removed += 1
        return removed

    def _files(self) -> Iterator[Path]:
        yield from (path for path in self.partial.iterdir() if path.is_file())
        yield from (path for path in (self.folder / "incoming").glob("*/*") if path.is_file())

    def _write(self, place: Path, content: bytes) -> None:
        with _full_is_ours(self.folder):
            handle, partial = tempfile.mkstemp(dir=self.partial)
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(content)
                    file.flush()
                    os.fsync(file.fileno())
                self._place(Path(partial), place)
            finally:
                Path(partial).unlink(missing_ok=True)

    @staticmethod
    def _place(partial: Path, place: Path) -> None:
        _make(place.parent)
        os.replace(partial, place)
        flush_folder(place.parent)


@contextmanager
def _full_is_ours(folder: Path) -> Iterator[None]:
    """A disk that is full or fails becomes OutOfResources."""
    try:
        yield
    except OSError as error:
        raise OutOfResources(
            f"{folder} cannot be written - {error.strerror} - free disk space, or check the disk"
        ) from error


def _make(folder: Path) -> None:
    if not folder.is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        flush_folder(folder.parent)


def flush_folder(folder: Path) -> None:
    """Makes a rename in this folder survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
