"""A real disk that is full, a small tmpfs as the node's folder: 0xA700, C-ECHO answers throughout, nothing is lost."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset

import node_fixtures
import node_kit as kit
import tools
from carpal.node.app import Node
from carpal.node.audit import verify
from carpal.node.config import load
from carpal.queue.jobs import State

pytestmark = pytest.mark.slow

DISK_MB, SIDE = 24, 900
FULL = 0xA700


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """An empty disk of 24 MB; where none may be mounted the test skips, or fails where `.ci/run` has promised it."""
    place = tmp_path / "node"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m,mode=700", "carpal-test", str(place)]
    done = subprocess.run(mount, capture_output=True, text=True)
    if done.returncode != 0:
        tools.missing(f"no tmpfs can be mounted here ({done.stderr.strip()}; it needs root)")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


_quiet = node_fixtures.log


def large(number: int) -> Dataset:
    """0.8 MB of noise, which no file system makes smaller."""
    pixels = np.random.default_rng(number).integers(0, 255, (SIDE, SIDE), np.uint8).tobytes()
    return kit.radiograph(number, Rows=SIDE, Columns=SIDE, PixelData=pixels)


def fill(disk: Path, leave: int) -> Path:
    """A file that takes all room of the disk but `leave` bytes."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(65_536))
        except OSError:
            pass
        file.truncate(max(file.tell() - leave, 0))
    return filler


def waiting(node: Node) -> dict[State, int]:
    return {state: number for state, number in node.jobs.counts().items() if number}


@pytest.mark.parametrize(("min_free_mb", "leave"), [(4, 3 * 2**20), (4, 0), (0, 0), (0, 300_000)])
def test_a_full_disk_refuses_then_recovers_and_nothing_is_lost(
    tmp_path: Path, disk: Path, min_free_mb: int, leave: int
) -> None:
    """Full to the watermark, to the last byte, and so that half an object still fits; the archive is away meanwhile."""
    pacs = kit.Pacs()
    path = kit.write_config(tmp_path / "node.toml", pacs.port)
    path.write_text(path.read_text().replace("min_free_mb = 0", f"min_free_mb = {min_free_mb}"))
    pacs.close()
    with kit.running(load(path)) as node:
        assert kit.send(node.port, [large(n) for n in range(3)]) == [0] * 3
        assert kit.wait_for(lambda: waiting(node) == {State.DONE: 3})
        filler = fill(disk, leave)
        for number in (3, 4):
            assert kit.send(node.port, [large(number)]) == [FULL]
            assert kit.echo(node.port)
        assert node.state()["ok"] is (min_free_mb == 0 and leave > 0)
        assert list(node.jobs.spool.partial.iterdir()) == []
        filler.unlink()
        assert kit.wait_for(lambda: bool(node.state()["ok"]))
        assert kit.send(node.port, [large(number) for number in range(5)]) == [0] * 5
        again = kit.Pacs(pacs.port)
        try:
            assert kit.wait_for(lambda: waiting(node) == {State.DELIVERED: 5})
            assert kit.wait_for(lambda: set(again.received) == {f"{kit.ROOT}.4.{n}" for n in range(5)})
        finally:
            again.close()
    verify(disk / "audit.jsonl")


def test_a_disk_that_fills_while_results_are_written_keeps_the_study(tmp_path: Path, disk: Path) -> None:
    """Acknowledged, then no room for its report: the study waits, and its report comes once there is room."""
    pacs = kit.Pacs()
    fillers: list[Path] = []

    class Late(kit.InstantReader):
        def read(self, *words: object) -> object:  # type: ignore[override]
            if not fillers:
                fillers.append(fill(disk, 0))
            return super().read(*words)  # type: ignore[arg-type]

    with kit.running(load(kit.write_config(tmp_path / "node.toml", pacs.port)), Late) as node:
        assert kit.send(node.port, [large(1)]) == [0]
        assert kit.wait_for(lambda: bool(fillers))
        assert kit.echo(node.port)
        assert kit.send(node.port, [large(2)]) == [FULL]
        fillers[0].unlink()
        assert kit.wait_for(lambda: waiting(node) == {State.DELIVERED: 1})
    assert pacs.received == {f"{kit.ROOT}.4.1": 1}
    pacs.close()
