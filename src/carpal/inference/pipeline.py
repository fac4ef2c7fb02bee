"""Many radiographs: decoded on some threads, read on others, answered in order, with a bounded number in between.

Runtimes release Python's lock, so threads are enough. A batch of several images gains nothing on a CPU (docs/speed.md);
one image a core, each with one thread of its own, does.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Final, NamedTuple

from carpal.errors import CarpalError, InputError
from carpal.imaging import read as remote
from carpal.imaging.read import ENDINGS, HEAD, read_radiograph, recognise
from carpal.inference.assess import Facts, choose_sex, read_hands
from carpal.inference.engine import Engine
from carpal.types import Assessment, BothSexes, Radiograph, Sex

AHEAD: Final = 4
"""Images in work for each worker: decoded ones wait in memory, so not many."""
READERS_A_DECODER: Final = 4
ON_A_CD: Final = {"DICOMDIR", "README", "LICENSE", "LICENCE", "AUTORUN", "CHANGELOG", "MANIFEST", "VERSION"}
"""Names without an ending that a store's folder may hold beside DICOM files; files at hand are looked into."""


PassedOver = Callable[[str, str], None]
"""Told of every name that is no image: its path, and what it is."""


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


def find_images(source: str, passed_over: PassedOver = lambda _path, _what: None) -> Iterator[str]:
    """The images of a folder, or a store's as s3://bucket/hands, and the folders in it, by name; a file is itself.

    A name that ends as `ENDINGS` do is an image. Of every other file the content decides, as for a single one; pictures
    of kinds that we do not read count, too, so that they are refused by name. In a store, where each look is a request,
    names without an ending or with a number for one are images, as DICOM files have them. Everything else, hidden files
    and links to folders among it, is told to `passed_over`. A folder's names are in memory, no more.
    """
    entries = remote.list_folder(source) if remote.is_remote(source) else _list_folder(source)
    if entries is None:
        yield source
        return
    for name, path, is_folder, is_file in sorted(entries):
        if name.startswith("."):
            passed_over(path, "hidden")
        elif is_folder:
            yield from find_images(path, passed_over)
        elif not is_file:
            passed_over(path, "a link to a folder or to nothing, or no regular file")
        elif what := _no_image(name, path):
            passed_over(path, what)
        else:
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


def _no_image(name: str, path: str) -> str:
    """What a file is that is no image; "" for one that shall be read, if only to say why that cannot be done."""
    ending = Path(name).suffix.lower()
    if ending in ENDINGS:
        return ""
    like_dicom = not ending or ending[1:].isdigit()
    if remote.is_remote(path) and like_dicom:
        return "by its name no image" if name.upper() in ON_A_CD else ""
    try:
        if remote.is_remote(path):
            head = remote.read_head(path, HEAD)
        else:
            with open(path, "rb") as file:
                head = file.read(HEAD)
    except (InputError, OSError):
        return ""  # reading it will say why
    if not head and like_dicom:
        return ""  # an empty file in a DICOM file's place is a radiograph lost
    what, is_picture = recognise(head)
    return "" if is_picture else what
