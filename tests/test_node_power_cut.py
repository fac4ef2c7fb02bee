"""Power cuts: what was not flushed to the disk is gone, and every acknowledged study is still there.

The node's folder is a small ext4 in a file. What the file holds at a moment is what the disk would hold if the power
failed then: writes that nobody flushed are still in the memory of the mounted file system, and not in the file. Its
copy is mounted (the file system's journal is replayed, as at the next start) and looked at.
"""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import node_fixtures
import node_kit as kit
import tools
from carpal.node.audit import verify
from carpal.node.config import load
from carpal.queue.jobs import Jobs, Limits, State

pytestmark = pytest.mark.slow

_quiet = node_fixtures.log
DISK_MB = 24
CUTS = int(os.environ.get("CARPAL_POWER_CUTS", "12"))


class Disk:
    """An empty ext4 in a file in memory, mounted at `place`."""

    def __init__(self, place: Path, folder: Path) -> None:
        self.place, self.image = place, folder / "disk.img"
        self.copies: list[Path] = []
        with self.image.open("wb") as file:
            file.truncate(DISK_MB * 2**20)
        subprocess.run(["mkfs.ext4", "-q", "-F", str(self.image)], check=True)

    def cut(self) -> Path:
        """The disk as a power cut would leave it at this moment."""
        copy = self.image.with_suffix(f".{len(self.copies)}")
        subprocess.run(["cp", "--sparse=always", str(self.image), str(copy)], check=True)
        self.copies.append(copy)
        return copy


@contextmanager
def mounted(image: Path, place: Path) -> Iterator[Path]:
    place.mkdir(exist_ok=True)
    done = subprocess.run(["mount", "-o", "loop", str(image), str(place)], capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip(f"no file can be mounted as a disk here ({done.stderr.strip()}; it needs root and loop devices)")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    """Mounted at `tmp_path`/node, where `write_config` puts the node."""
    tools.tool("mkfs.ext4")
    memory = Path("/dev/shm") if Path("/dev/shm").is_dir() else tmp_path
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        made = Disk(tmp_path / "node", Path(folder))
        with mounted(made.image, made.place):
            yield made


@pytest.mark.parametrize(("synchronous", "kept"), [("FULL", True), ("NORMAL", False)])
def test_only_full_synchronisation_keeps_what_was_committed(
    disk: Disk, tmp_path: Path, synchronous: str, kept: bool
) -> None:
    """NORMAL shows that the simulation does lose what was not flushed, and why the queue does not use it."""
    with Jobs(disk.place, Limits(min_free=0)) as jobs:
        assert (jobs._one("PRAGMA synchronous"), jobs._one("PRAGMA busy_timeout")) == (2, 60_000)
        jobs.put(b"before", "before", "dicom", "S")
        jobs._db.execute(f"PRAGMA synchronous={synchronous}")
        jobs.put(b"pixels", "1", "dicom", "S")
        (disk.place / "unflushed").write_bytes(bytes(100_000))
        copy = disk.cut()
    with mounted(copy, tmp_path / "after") as after, Jobs(after, Limits(min_free=0)) as jobs:
        assert jobs.find("before") is not None
        assert (jobs.find("1") is not None) is kept
        unflushed = after / "unflushed"
        assert not unflushed.exists() or unflushed.stat().st_size == 0


def acknowledge_and_cut(disk: Disk, port: int, process: int) -> list[list[str]]:
    """Sends radiographs; at each success the node stands still and the power fails. What was acknowledged till then."""
    association = kit.associate(port)
    acknowledged: list[str] = []
    known: list[list[str]] = []
    for number in range(CUTS):
        dataset = kit.radiograph(number)
        assert association.send_c_store(dataset).Status == 0
        os.kill(process, signal.SIGSTOP)
        acknowledged.append(str(dataset.SOPInstanceUID))
        disk.cut()
        known.append(list(acknowledged))
        os.kill(process, signal.SIGCONT)
    association.release()
    return known


def test_no_power_cut_after_a_success_loses_the_study(disk: Disk, tmp_path: Path) -> None:
    pacs, port = kit.Pacs(), tools.free_port()
    path = kit.write_config(tmp_path / "node.toml", pacs.port, port)
    node = subprocess.Popen(
        [sys.executable, kit.__file__, str(path)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        assert kit.wait_for(lambda: kit.echo(port))
        known = acknowledge_and_cut(disk, port, node.pid)
    finally:
        node.kill()
        node.wait()
        pacs.close()
    for copy, acknowledged in zip(disk.copies, known, strict=True):
        with mounted(copy, tmp_path / "after") as after, Jobs(after, Limits(min_free=0)) as jobs:
            assert jobs._db.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
            for instance in acknowledged:
                [job] = jobs.starting(f"{instance}:")
                assert hashlib.sha256(job.payload.read_bytes()).hexdigest() == job.sha256
            verify(after / "audit.jsonl")
    start_from(disk.copies[-1], tmp_path, known[-1])


def start_from(copy: Path, tmp_path: Path, acknowledged: list[str]) -> None:
    """A node that starts on what the cut has left brings every report to the archive, once as an object."""
    pacs = kit.Pacs()
    folder = tmp_path / "again"
    folder.mkdir()
    path = kit.write_config(folder / "node.toml", pacs.port)
    with mounted(copy, folder / "node"), kit.running(load(path)) as node:
        assert kit.wait_for(lambda: node.jobs.counts()[State.DELIVERED] == len(acknowledged))
        assert {job.meta["instance"] for job in node.jobs.latest()} == set(acknowledged)
    pacs.close()
    assert set(pacs.received) <= {kit.report_uid(instance) for instance in acknowledged}
