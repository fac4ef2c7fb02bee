"""What runs on the machines of a Ray cluster: the actors that read blocks of images, and the ledger of those that died.

Ray gives the block of an actor that died to another one, again and again. So that this ends where an image is what
kills them, a ledger counts what was begun and never ended: a block that killed an actor is read image by image, and an
image that then kills two is put in quarantine, with that as its result.
"""

from __future__ import annotations

import faulthandler
import os
import socket
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import carpal
from carpal.errors import BackendError, ReaderDied, need
from carpal.inference.assess import Facts
from carpal.inference.engine import Engine
from carpal.inference.pipeline import Done, Job, read_many
from carpal.types import ModelId, Sex

DEATHS: Final = 2
"""How many actors an image may kill, read by itself, before nobody opens it again."""
PATIENCE: Final = 300.0
"""Seconds that a block, or an image read by itself, may take before its actor ends itself."""


@dataclass(frozen=True)
class Work:
    """What an actor is told. Ray carries it there, so it holds functions of modules and plain values only."""

    opening: Callable[[], Engine]
    """Opens the network: one that takes one core."""
    render: Callable[[Done], list[str]]
    """Makes the lines of JSON of an outcome, one for each hand."""
    model: ModelId
    """What `opening` must open, on every machine."""
    both_sexes: bool = False
    facts: Facts | None = None
    """What every image is judged by, besides the age that its file states."""
    folder: str = "."
    """From where relative paths are meant."""
    patience: float = PATIENCE
    version: str = carpal.__version__


class Ledger:
    """Counts what was begun and not ended: the deaths in between. An actor of its own, which uses no core."""

    def __init__(self) -> None:
        self._begun: Counter[str] = Counter()

    def begin(self, name: str) -> int:
        """How often this was begun before and never ended."""
        self._begun[name] += 1
        return self._begun[name] - 1

    def end(self, name: str) -> None:
        """It came to its end; earlier deaths are forgiven."""
        del self._begun[name]


class BlockReader:
    """An actor: opens the network once, and reads one block of images after the other.

    Raises BackendError on a machine that has another carpal, other weights or not the folder.
    """

    def __init__(self, work: Work, ledger: Any) -> None:
        host = socket.gethostname()
        if work.version != carpal.__version__:
            raise BackendError(f"{host} has carpal {carpal.__version__} - {work.version} was called - install the same")
        try:
            os.chdir(work.folder)
        except OSError as error:
            raise BackendError(f"{host}: {work.folder}: {error.strerror} - mount it on every machine") from error
        self.work, self.ledger, self.engine = work, ledger, work.opening()
        if self.engine.model != work.model:
            raise BackendError(f"{host} opened {self.engine.model} - {work.model} was called - copy the same weights")

    def __call__(self, block: Any) -> Any:
        """A table of images and sexes becomes one of images and their lines of JSON."""
        images = [os.fsdecode(image) for image in block["image"].to_pylist()]
        jobs = [Job(image, sex and Sex(sex)) for image, sex in zip(images, block["sex"].to_pylist(), strict=True)]
        lines = [self.work.render(done) for done in self.read(jobs)]
        return block.select(["image"]).append_column("lines", [lines])

    def read(self, jobs: Sequence[Job]) -> list[Done]:
        """All at once; where an actor died of these before, one by one."""
        name = f"block of {jobs[0].image}"
        done = list(map(self.read_alone, jobs)) if self._ask("begin", name) else self._read(jobs)
        self._ask("end", name)
        return done

    def read_alone(self, job: Job) -> Done:
        """One image, or where it killed its actors its quarantine."""
        if self._ask("begin", job.image) >= DEATHS:
            return Done(job.image, job.sex, [], _poison(job.image, self.work.patience))
        (done,) = self._read([job])
        self._ask("end", job.image)
        return done

    def _read(self, jobs: Sequence[Job]) -> list[Done]:
        faulthandler.dump_traceback_later(self.work.patience, exit=True)
        try:
            return list(read_many(jobs, self.engine, 1, self.work.both_sexes, self.work.facts))
        finally:
            faulthandler.cancel_dump_traceback_later()

    def _ask(self, question: str, name: str) -> int:
        ray = need("ray", feature="An actor", extra="scale")
        return int(ray.get(getattr(self.ledger, question).remote(name)) or 0)


def _poison(image: str, patience: float) -> ReaderDied:
    return ReaderDied(
        f"{image}: {DEATHS} processes that read it, and nothing else, died or took longer than {patience:g} s - "
        "look at the file, or give the workers more memory"
    )
