"""Many radiographs: decoded on some threads, read on others, answered in order, with a bounded number in between.

Runtimes release Python's lock, so threads are enough. A batch of several images gains nothing on a CPU (docs/speed.md);
one image a core, each with one thread of its own, does.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Final, NamedTuple

from carpal.errors import CarpalError, InputError
from carpal.imaging import remote
from carpal.imaging.read import read_radiograph
from carpal.inference.assess import Facts, choose_sex
from carpal.inference.engine import Engine
from carpal.inference.hands import read_hands
from carpal.types import Assessment, BothSexes, Radiograph, Sex

AHEAD: Final = 4
"""Images in work for each worker: decoded ones wait in memory, so not many."""
READERS_A_DECODER: Final = 4
ENDINGS: Final = (".png", ".jpg", ".jpeg", ".dcm", ".tif", ".tiff", ".webp")


class Job(NamedTuple):
    """An image and its sex; None for what the file states."""

    image: str
    sex: Sex | None = None


class Done(NamedTuple):
    """What became of a job: one result for each hand, or the error. `sex` is the stated one, the file's if none was."""

    image: str
    sex: Sex | None
    results: list[Assessment] | list[BothSexes]
    error: CarpalError | None = None


def usable_cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0))


def read_many(
    jobs: Iterable[Job], engine: Engine, workers: int, both_sexes: bool = False, facts: Facts | None = None
) -> Iterator[Done]:
    """Reads every job and yields the outcomes in the order of the jobs; one that fails does not stop the others.

    `engine` must allow several threads at once and take one core for each call; `both_sexes` reads every image for
    both, whatever is stated; `facts` are what every image is judged by, besides the age that its file states.
    At most `AHEAD` images a worker are in memory.
    """
    decoding = ThreadPoolExecutor(max(1, workers // READERS_A_DECODER), "decode")
    reading = ThreadPoolExecutor(workers, "read")
    waiting: deque[Future[Done]] = deque()
    try:
        for job in jobs:
            if len(waiting) >= AHEAD * workers:
                yield waiting.popleft().result()
            decoded = decoding.submit(read_radiograph, job.image)
            waiting.append(reading.submit(_read, job, decoded, engine, both_sexes, facts))
        while waiting:
            yield waiting.popleft().result()
    finally:
        for pool in (decoding, reading):
            pool.shutdown(wait=True, cancel_futures=True)


def _read(job: Job, decoded: Future[Radiograph], engine: Engine, both_sexes: bool, facts: Facts | None) -> Done:
    sex = job.sex
    try:
        radiograph = decoded.result()
        sex = job.sex or radiograph.sex
        wanted = None if both_sexes else choose_sex(radiograph, job.sex)
        known = replace(facts or Facts(), age_months=radiograph.age_months)
        return Done(job.image, sex, read_hands(radiograph, wanted, engine, known))
    except CarpalError as error:
        return Done(job.image, sex, [], error)
    except Exception as error:  # one image never stops the others: a mistake of ours becomes its result
        message = f"{job.image}: {type(error).__name__} while reading - a mistake of ours - look with `carpal --debug`"
        return Done(job.image, sex, [], InputError(message))


def find_images(source: str) -> Iterator[str]:
    """The images of a folder, or a store's as s3://bucket/hands, and the folders in it, by name; a file is itself.

    Looked for are `ENDINGS`, and names without an ending or with a number for one, as DICOM files have. Hidden files
    and links to folders are left out. A folder's names are in memory, no more.
    """
    entries = remote.list_folder(source) if remote.is_remote(source) else _list_folder(source)
    if entries is None:
        yield source
        return
    for name, path, is_folder, is_file in sorted(entries):
        if name.startswith("."):
            continue
        if is_folder:
            yield from find_images(path)
        elif is_file and _looks_like_an_image(name):
            yield path


def _list_folder(source: str) -> list[remote.Entry] | None:
    if not Path(source).is_dir():
        return None
    with os.scandir(source) as found:
        return [
            remote.Entry(
                entry.name, os.path.join(source, entry.name), entry.is_dir(follow_symlinks=False), entry.is_file()
            )
            for entry in found
        ]


def _looks_like_an_image(name: str) -> bool:
    ending = Path(name).suffix.lower()
    return ending in ENDINGS or not ending or ending[1:].isdigit()
