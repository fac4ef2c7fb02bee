"""What an actor does with a block that killed others before it; without Ray, whose part a few lines play."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import ray_kit
from carpal.errors import BackendError, ReaderDied
from carpal.inference import ray_actor
from carpal.inference.pipeline import Done, Job
from carpal.inference.ray_actor import BlockReader, Ledger, Work
from carpal.types import Sex

pytestmark = pytest.mark.slow


class Remote:
    """A ledger as Ray hands it out: `handle.begin.remote(name)`."""

    def __init__(self, ledger: Ledger) -> None:
        self.begin, self.end = SimpleNamespace(remote=ledger.begin), SimpleNamespace(remote=ledger.end)


def render(done: Done) -> list[str]:
    return [json.dumps([done.image, done.error and done.error.code])]


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Work:
    monkeypatch.setattr(ray_actor, "need", lambda *_, **__: SimpleNamespace(get=lambda value: value))
    monkeypatch.chdir(tmp_path)
    return Work(lambda: ray_kit.Engine(tmp_path), render, ray_kit.Engine.model, folder=str(tmp_path))  # type: ignore[arg-type, return-value]


@pytest.fixture
def jobs(hand_png: Path) -> list[Job]:
    return [Job(str(hand_png), Sex.MALE), Job("none.png", Sex.MALE), Job(str(hand_png.parent / "poison.png"), Sex.MALE)]


def killed_within(reader: BlockReader, jobs: list[Job], monkeypatch: pytest.MonkeyPatch) -> None:
    """Reads until the image poison.png comes, where the process ends."""

    def ends(self: BlockReader, jobs: list[Job]) -> list[Done]:
        if any(job.image.endswith("poison.png") for job in jobs):
            raise SystemExit
        return [Done(job.image, job.sex, []) for job in jobs]

    with monkeypatch.context() as patch:
        patch.setattr(BlockReader, "_read", ends)
        with pytest.raises(SystemExit):
            reader.read(jobs)


def test_an_image_that_kills_is_tried_in_its_block_and_twice_alone(
    work: Work, jobs: list[Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = Ledger()
    for _ in range(3):
        killed_within(BlockReader(work, Remote(ledger)), jobs, monkeypatch)
    done = BlockReader(work, Remote(ledger)).read(jobs)
    assert [each.image for each in done] == [job.image for job in jobs]
    assert [each.error and each.error.code for each in done] == [None, "unreadable-image", "reader-died"]
    assert isinstance(done[2].error, ReaderDied)
    assert ledger.begin(jobs[0].image) == 0  # the images beside it are forgiven


def test_a_killed_process_costs_its_block_nothing(work: Work, jobs: list[Job], monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = Ledger()
    for _ in range(2):
        killed_within(BlockReader(work, Remote(ledger)), jobs, monkeypatch)
    codes = [each.error and each.error.code for each in BlockReader(work, Remote(ledger)).read(jobs)]
    assert codes == [None, "unreadable-image", "unreadable-image"]  # poison.png is not there, in truth


def test_blocks_are_tables(work: Work, hand_png: Path) -> None:
    arrow = pytest.importorskip("pyarrow")
    name = b"hand-\xff.png"
    block = arrow.table({"image": [bytes(hand_png), name], "sex": ["male", None]})
    answer = BlockReader(work, Remote(Ledger()))(block)
    assert answer["image"].to_pylist() == [bytes(hand_png), name]
    lines = [json.loads(line) for (line,) in answer["lines"].to_pylist()]
    assert lines == [[str(hand_png), None], ["hand-\udcff.png", "unreadable-image"]]


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"version": "0.0.1"}, r"has carpal .* 0\.0\.1 was called"),
        ({"folder": "nowhere"}, "nowhere: No such file or directory - mount it on every machine"),
        ({"model": replace(ray_kit.Engine.model, version="9")}, "copy the same weights"),
    ],
)
def test_a_machine_that_is_set_up_otherwise_is_refused(work: Work, change: dict[str, Any], complaint: str) -> None:
    with pytest.raises(BackendError, match=complaint):
        BlockReader(replace(work, **change), Remote(Ledger()))


HANGS = """
import time
from carpal.inference import ray_actor
from carpal.inference.pipeline import Job
from carpal.types import Sex
import ray_kit
ray_actor.read_many = lambda *_: time.sleep(600)
reader = object.__new__(ray_actor.BlockReader)
reader.work = ray_actor.Work(None, None, None, patience=0.2)
reader.engine = None
reader._read([Job("hand.png", Sex.MALE)])
"""


def test_what_takes_too_long_ends_its_process() -> None:
    code = f"import sys; sys.path[:0] = {sys.path!r}\n{HANGS}"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert ended.returncode == 1
    assert "Timeout" in ended.stderr
