"""Every bomb through a running node, from the watched folder and by C-STORE: settled by name, in time, in bounded
memory, while C-ECHO answers throughout; and the node reads the next hand."""

from __future__ import annotations

import contextlib
import itertools
import os
import threading
import time
from collections.abc import Iterator
from io import StringIO

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, JPEGBaseline8Bit, RLELossless
from pynetdicom import AE
from pynetdicom.sop_class import DigitalXRayImageStorageForPresentation

import node_kit as kit
from bombs_kit import BOMBS, MAY_BE_READ
from carpal.node.app import Node
from carpal.node.config import load
from carpal.queue import logs
from carpal.queue.jobs import Job, State
from carpal.types import Radiograph
from process_kit import cpu_seconds, forget_peak, peak_mb

pytestmark = pytest.mark.slow

MEMORY_MB = 300
ECHO_SECONDS, CPU_SECONDS = 2.0, 2.0
WALL_SECONDS = 20.0
"""On a machine that is busy with other work; what the reader itself computes is held to CPU_SECONDS."""
NO_OBJECT = ("no DICOM", "nothing")
"""Nothing in them says which instance they are: the watched folder puts them aside, and no job is made."""


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A node with real decoders in its reader's process; only the network is a fake."""
    folder, archive = tmp_path_factory.mktemp("bombs"), kit.Pacs()
    (folder / "inbox").mkdir()
    watched = f'[[folder]]\npath = "{folder / "inbox"}"\nseconds = 0.05\n'
    logs.to(StringIO())
    with kit.running(
        load(kit.write_config(folder / "node.toml", archive.port, more=watched)), kit.FakeNetworkReader
    ) as running:
        yield running
    logs.to(None)
    archive.close()


def hand(drawn: Radiograph, number: int) -> Dataset:
    rows, columns = drawn.pixels_HW.shape
    return kit.radiograph(number, Rows=rows, Columns=columns, PixelData=drawn.pixels_HW.tobytes())


@contextlib.contextmanager
def echoing(node: Node) -> Iterator[None]:
    """C-ECHO again and again meanwhile: each is answered, and of two in a row one within two seconds."""
    seconds: list[float] = []
    stop = threading.Event()

    def echo() -> None:
        while not stop.is_set() or len(seconds) < 2:
            start = time.monotonic()
            answered = kit.echo(node.port)
            seconds.append(time.monotonic() - start if answered else float("inf"))

    thread = threading.Thread(target=echo)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
    assert max(seconds) < float("inf"), "one had no answer"
    assert max(min(pair) for pair in itertools.pairwise(seconds)) < ECHO_SECONDS


@contextlib.contextmanager
def bounded(node: Node) -> Iterator[None]:
    """Bounds on the memory of the node and of its reader, on the reader's work and on the wall clock."""
    [pid] = [reader.pid for reader in node.readers]  # type: ignore[attr-defined]
    own, childs, cpu, start = forget_peak(), forget_peak(pid), cpu_seconds(pid), time.monotonic()
    with echoing(node):
        yield
    wall = time.monotonic() - start
    assert [reader.pid for reader in node.readers] == [pid], "the reader survived it"  # type: ignore[attr-defined]
    assert (peak_mb() - own) + (peak_mb(pid) - childs) < MEMORY_MB
    assert cpu_seconds(pid) - cpu < CPU_SECONDS
    assert wall < WALL_SECONDS


def jobs_of(node: Node, dataset: Dataset) -> list[Job]:
    return node.jobs.starting(f"{dataset.SOPInstanceUID}:")


def settled(node: Node, dataset: Dataset) -> bool:
    return bool(jobs_of(node, dataset)) and all(job.settled for job in jobs_of(node, dataset))


def check_named(node: Node, dataset: Dataset, name: str) -> None:
    [job] = jobs_of(node, dataset)
    assert job.state is State.REJECTED or (name in MAY_BE_READ and job.state in (State.DONE, State.DELIVERED)), job
    assert job.code not in ("internal", "duplicate-uid", "other-uid", "no-route"), "it was never looked into"
    assert job.tries <= 1


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_in_the_watched_folder(node: Node, drawn_hand: Radiograph, name: str) -> None:
    original = hand(drawn_hand, 100 + list(BOMBS).index(name))
    bomb = BOMBS[name](original)
    data = bomb if isinstance(bomb, bytes) else kit.as_bytes(bomb)
    inbox = node.config.folder[0].path
    (inbox / "refused" / "bomb.dcm").unlink(missing_ok=True)
    with bounded(node):
        (inbox / ".coming").write_bytes(data)
        os.rename(inbox / ".coming", inbox / "bomb.dcm")
        assert kit.wait_for(lambda: not (inbox / "bomb.dcm").exists())
        if name not in NO_OBJECT:
            assert kit.wait_for(lambda: settled(node, original))
    if name in NO_OBJECT:
        assert (inbox / "refused" / "bomb.dcm").read_bytes() == data
    else:
        check_named(node, original, name)


@pytest.mark.parametrize("name", [name for name in BOMBS if name != "inflates to 1.5 GB" and name not in NO_OBJECT])
def test_a_bomb_by_c_store(node: Node, drawn_hand: Radiograph, name: str) -> None:
    original = hand(drawn_hand, 200 + list(BOMBS).index(name))
    bomb = BOMBS[name](original)
    dataset = bomb if isinstance(bomb, Dataset) else read_as_far_as_it_goes(bomb)
    with bounded(node):
        assert store(node, dataset) == 0
        assert kit.wait_for(lambda: settled(node, original))
    check_named(node, original, name)


def read_as_far_as_it_goes(data: bytes) -> Dataset:
    from io import BytesIO

    from pydicom import dcmread

    return dcmread(BytesIO(data))


def store(node: Node, dataset: Dataset) -> int:
    """The status of a C-STORE."""
    entity = AE("TESTER")
    for syntax in (ExplicitVRLittleEndian, RLELossless, JPEGBaseline8Bit):
        entity.add_requested_context(DigitalXRayImageStorageForPresentation, syntax)
    association = kit.established(lambda: entity.associate("127.0.0.1", node.port, ae_title="CARPAL"))
    assert association.is_established
    status = association.send_c_store(dataset)
    association.release()
    return int(status.Status)


def test_what_unfolds_is_not_even_negotiated(node: Node) -> None:
    entity = AE("TESTER")
    entity.add_requested_context(DigitalXRayImageStorageForPresentation, DeflatedExplicitVRLittleEndian)
    assert not entity.associate("127.0.0.1", node.port, ae_title="CARPAL").is_established


def test_after_all_bombs_a_hand_is_read(node: Node, drawn_hand: Radiograph) -> None:
    last = hand(drawn_hand, 1)
    assert store(node, last) == 0
    assert kit.wait_for(lambda: [job.state for job in jobs_of(node, last)] == [State.DELIVERED])
    assert node.state()["ok"]
    assert node.jobs.counts()[State.DEAD] == 0
