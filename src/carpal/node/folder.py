"""A watched folder: DICOM files that appear in it are queued, then moved to `done` or `refused` beside them.

A file is taken once its size has stayed the same between two looks. It is copied into the queue before it is moved, so
a crash in between only makes the same job once more.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
from pathlib import Path
from typing import Final

from carpal.node.config import Folder, NodeConfig
from carpal.node.scp import UID, Receiver
from carpal.queue import logs

MAGIC_AT, MAGIC = 128, b"DICM"
DONE, REFUSED = "done", "refused"
SOP_INSTANCE: Final = b"\x02\x00\x03\x00UI"
"""(0002,0003) MediaStorageSOPInstanceUID in the file meta information, which is always explicit little endian."""


class Watcher:
    """One watched folder."""

    def __init__(self, config: NodeConfig, folder: Folder, receiver: Receiver) -> None:
        self.folder, self.receiver = folder, receiver
        self.limit = config.limits.max_object_mb * 2**20
        self._sizes: dict[Path, tuple[int, int]] = {}

    def run(self, stop: threading.Event) -> None:
        """Until `stop` is set."""
        while not stop.wait(self.folder.seconds):
            try:
                self.look()
            except Exception as error:  # a file that went wrong is looked at again
                logs.failure("folder-failed", error)

    def look(self) -> int:
        """Takes files that stayed the same since the last look; returns how many. Raises OSError, OutOfResources."""
        taken, sizes = 0, {}
        for path in sorted(self.folder.path.iterdir()):
            if path.is_symlink() or not path.is_file() or path.name.startswith("."):
                continue
            status = path.stat()
            sizes[path] = (status.st_size, status.st_mtime_ns)
            if self._sizes.get(path) == sizes[path]:
                self._take(path, status.st_size)
                taken += 1
        self._sizes = sizes
        return taken

    def _take(self, path: Path, size: int) -> None:
        with path.open("rb") as file:
            head = file.read(4096)
        instance = instance_of(head)
        if instance is None or size > self.limit:
            self._move(path, REFUSED)
            logs.event("refused", "warning", code="no-dicom" if instance is None else "too-large", way="folder")
            return
        handle, name = tempfile.mkstemp(dir=self.receiver.jobs.spool.partial)
        with path.open("rb") as source, open(handle, "wb") as copy:
            copy.write(bytes(MAGIC_AT))  # whatever the preamble holds, it is not kept
            source.seek(MAGIC_AT)
            shutil.copyfileobj(source, copy, 1 << 20)
        self.receiver.take(Path(name), instance, "folder", "folder", {})
        self._move(path, DONE)

    def _move(self, path: Path, where: str) -> None:
        place = self.folder.path / where
        place.mkdir(exist_ok=True)
        os.replace(path, place / path.name)


def instance_of(head: bytes) -> str | None:
    """The SOP instance UID in the file meta information, or None where these are no first bytes of a DICOM file."""
    if head[MAGIC_AT : MAGIC_AT + 4] != MAGIC:
        return None
    at = head.find(SOP_INSTANCE, MAGIC_AT + 4)
    if at < 0:
        return None
    length = int.from_bytes(head[at + 6 : at + 8], "little")
    uid = head[at + 8 : at + 8 + length].rstrip(b"\0 ").decode("ascii", "replace")
    return uid if UID.fullmatch(uid) else None
