"""`carpal assess DIR --out results.jsonl`: many radiographs, read by several workers, going on where it stopped."""

from __future__ import annotations

import sys
import time
from argparse import Namespace
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from carpal.errors import ConfigError, InputError

if TYPE_CHECKING:
    from carpal.inference.pipeline import Done, Job
    from carpal.trust.site import Site
    from carpal.types import Sex

EVERY: Final = 0.5
"""Seconds between two pictures of the progress bar."""
WIDTH: Final = 30


def add(parser: Any) -> None:
    """The options that make `carpal assess` a batch."""
    group = parser.add_argument_group("many images (with --out, IMAGE may be a folder)")
    group.add_argument(
        "--out",
        type=Path,
        metavar="FILE.jsonl",
        help="append each result as a JSON line; run again, it goes on where it stopped",
    )
    group.add_argument(
        "--workers", default="auto", metavar="N", help="images read at a time (default: auto, the cores)"
    )
    group.add_argument("--sexes", type=Path, metavar="CSV", help="table id,male (1 or 0); id is the image's stem")


def run(arguments: Namespace) -> int:
    """Reads all images that have no result yet; returns 3 where one of them gave none."""
    import carpal
    from carpal.inference.engine import open_engine
    from carpal.inference.pipeline import find_images, read_many
    from carpal.report.lines import ResultLines
    from carpal.trust.site import read_site

    _check(arguments)
    workers, sexes = _workers(arguments.workers), _sexes(arguments.sexes)
    engine = open_engine(arguments.weights, arguments.backend, 1, arguments.precision)
    site = None if arguments.calibration is None else read_site(arguments.calibration).for_model(engine.model)
    unknown, failed = arguments.sex == "unknown", 0
    with ResultLines(arguments.out, {"model": asdict(engine.model), "carpal": carpal.__version__}) as lines:
        total = sum(1 for source in arguments.images for _ in find_images(source))
        progress = Progress(total, len(lines))
        images = (image for source in arguments.images for image in find_images(source) if image not in lines)
        for done in read_many(_jobs(images, arguments.sex, sexes), engine, workers, unknown):
            entries = _entries(done, site, engine.model)
            lines.append(done.image, entries)
            failed += any(entry["refused"] for entry in entries)
            progress.step()
        progress.end(failed)
    return InputError.exit_code if failed else 0


def _check(arguments: Namespace) -> None:
    from carpal.cli.reports import FLAGS

    others = [flag for flag in ("json", "overlay", "reports", *FLAGS) if getattr(arguments, flag)]
    if others:
        raise ConfigError(f"--out writes JSON lines and nothing else - got --{others[0]} - read single images for that")
    if arguments.out.suffix != ".jsonl" or not arguments.out.parent.is_dir():
        raise ConfigError(f"--out {arguments.out}: it must end in .jsonl, in a folder that exists - choose another")
    if arguments.sexes is not None and arguments.sex is not None:
        raise ConfigError("--sex and --sexes both state the sex - give one of them")


def _workers(text: str) -> int:
    from carpal.inference.pipeline import usable_cores

    if text == "auto":
        return usable_cores()
    if not (text.isdecimal() and 1 <= int(text) <= 1024):
        raise ConfigError(f"--workers is a number from 1 to 1024, or auto - got {text!r}")
    return int(text)


def _sexes(path: Path | None) -> dict[str, Sex]:
    from carpal.data.tables import read_table, truth
    from carpal.types import Sex

    if path is None:
        return {}
    lines = read_table(path, ("id", "male"))
    return {line.cells["id"]: Sex.MALE if truth(path, line, "male") else Sex.FEMALE for line in lines}


def _jobs(images: Iterator[str], stated: str | None, sexes: dict[str, Sex]) -> Iterator[Job]:
    from carpal.inference.assess import to_sex
    from carpal.inference.pipeline import Job

    sex = None if stated == "unknown" else to_sex(stated)
    return (Job(image, sex or sexes.get(Path(image).stem)) for image in images)


def _entries(done: Done, site: Site | None, model: Any) -> list[dict[str, Any]]:
    from carpal.cli.commands import rendered
    from carpal.report import as_json
    from carpal.trust.site import calibrated

    if done.error is not None:
        return [as_json.refused_entry(done.image, done.sex, done.error, model)]
    return [rendered(calibrated(result, site))[0] for result in done.results]


class Progress:
    """A bar on the error output where a person watches; one line at the end in any case."""

    def __init__(self, total: int, before: int) -> None:
        self.total, self.before, self.done = total, before, 0
        self.start = self.last = time.monotonic()
        if before:
            print(f"carpal: {before} results are there already", file=sys.stderr, flush=True)

    def step(self) -> None:
        """One more image is done."""
        self.done += 1
        now = time.monotonic()
        if sys.stderr.isatty() and now - self.last >= EVERY:
            self.last = now
            print(f"\r{self.bar(now)}", end="", file=sys.stderr, flush=True)

    def bar(self, now: float) -> str:
        """`[#####     ] 120/1000  4.0/s  220 s left`."""
        there = min(self.before + self.done, self.total)
        rate = self.done / max(now - self.start, 1e-9)
        filled = WIDTH * there // max(self.total, 1)
        left = (self.total - there) / max(rate, 1e-9)
        return f"[{'#' * filled:<{WIDTH}}] {there}/{self.total}  {rate:.1f}/s  {left:.0f} s left "

    def end(self, failed: int) -> None:
        """The last line: how many, how fast, how many without an age."""
        seconds = time.monotonic() - self.start
        rate = self.done / max(seconds, 1e-9)
        clear = "\r" if sys.stderr.isatty() else ""
        print(
            f"{clear}carpal: {self.done} images read in {seconds:.1f} s "
            f"({rate:.1f} a second), {failed} of them without an age",
            file=sys.stderr,
            flush=True,
        )
