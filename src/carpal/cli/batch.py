"""`carpal assess DIR --out FILE`: many radiographs, read by several workers, going on where it stopped."""

from __future__ import annotations

import json
import sys
import time
from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from carpal.errors import ConfigError, InputError

if TYPE_CHECKING:
    from carpal.inference.assess import Facts
    from carpal.inference.engine import Engine
    from carpal.inference.pipeline import Done, Job
    from carpal.report.lines import ResultLines
    from carpal.report.results import ResultTable
    from carpal.types import Sex

    Render = Callable[[Done], list[str]]

EVERY: Final = 0.5
"""Seconds between two pictures of the progress bar."""
WIDTH: Final = 30


def add(parser: Any) -> None:
    """The options that make `carpal assess` a batch."""
    group = parser.add_argument_group(
        "many images (with --out, IMAGE may be a folder, or an address as s3://bucket/hands)"
    )
    group.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help="append each result, to NAME.jsonl as a line of JSON or to the folder NAME.parquet as a row; "
        "run again, it goes on where it stopped",
    )
    group.add_argument(
        "--workers", default="auto", metavar="N", help="images read at a time (default: auto, the cores)"
    )
    group.add_argument(
        "--ray",
        metavar="ADDRESS",
        help="read on the machines of this Ray cluster; auto: the one of this machine, local: one of its own",
    )
    group.add_argument("--sexes", type=Path, metavar="CSV", help="table id,male (1 or 0); id is the image's stem")


def run(arguments: Namespace) -> int:
    """Reads all images that have no result yet; returns 3 where one of them gave none."""
    import carpal
    from carpal.growth.reference import find_reference
    from carpal.inference.assess import Facts
    from carpal.inference.engine import open_engine
    from carpal.inference.pipeline import find_images
    from carpal.quality.site import read_site

    _check(arguments)
    sexes = _sexes(arguments.sexes)
    opening = partial(open_engine, arguments.weights, arguments.backend, 1, arguments.precision)
    engine = opening()
    site = None if arguments.calibration is None else read_site(arguments.calibration).for_model(engine.model)
    facts = Facts(site=site, reference=find_reference(arguments.reference))
    render = partial(_lines, model=engine.model)
    failed = 0
    with _open_results(arguments.out, {"model": asdict(engine.model), "carpal": carpal.__version__}) as results:
        passed_over: list[str] = []
        total = sum(1 for source in arguments.images for _ in find_images(source, partial(_say_passed, passed_over)))
        progress = Progress(total, len(results))
        images = (image for source in arguments.images for image in find_images(source) if image not in results)
        jobs = _jobs(images, arguments.sex, sexes)
        for image, lines in _read(jobs, arguments, engine, opening, render, facts):
            if image not in results:
                entries = [json.loads(line) for line in lines]
                results.append(image, entries)
                failed += any(entry["refused"] for entry in entries)
                progress.step()
        progress.end(failed, len(passed_over))
    return InputError.exit_code if failed else 0


def _say_passed(passed_over: list[str], path: str, what: str) -> None:
    """A file of a folder that is not read is named, with what it is."""
    passed_over.append(path)
    print(f"carpal: passed over: {path}: {what}", file=sys.stderr, flush=True)


def _open_results(path: Path, made_by: Mapping[str, Any]) -> ResultLines | ResultTable:
    from carpal.report.lines import ResultLines
    from carpal.report.results import ResultTable

    return (ResultTable if path.suffix == ".parquet" else ResultLines)(path, made_by)


def _read(
    jobs: Iterator[Job],
    arguments: Namespace,
    engine: Engine,
    opening: Callable[[], Engine],
    render: Render,
    facts: Facts,
) -> Iterator[tuple[str, list[str]]]:
    """Every image with its lines of JSON, read on this machine or by Ray."""
    unknown, workers = arguments.sex == "unknown", _workers(arguments.workers)
    if arguments.ray is None:
        from carpal.inference.pipeline import read_many, usable_cores

        for done in read_many(jobs, engine, workers or usable_cores(), unknown, facts):
            yield done.image, render(done)
        return
    from carpal.inference.on_ray import read_on_ray
    from carpal.inference.ray_actor import Work

    work = Work(opening, render, engine.model, unknown, facts, str(Path.cwd()))
    yield from read_on_ray(jobs, work, arguments.ray, workers)


def _check(arguments: Namespace) -> None:
    from carpal.cli.reports import FLAGS

    if arguments.out is None:
        raise ConfigError("--ray writes its results to a file - none was named - add --out results.parquet")
    others = [flag for flag in ("json", "overlay", "reports", *FLAGS) if getattr(arguments, flag)]
    if others:
        raise ConfigError(f"--out writes results and nothing else - got --{others[0]} - read single images for that")
    if arguments.out.suffix not in (".jsonl", ".parquet") or not arguments.out.parent.is_dir():
        raise ConfigError(
            f"--out {arguments.out}: it must end in .jsonl or .parquet, in a folder that exists - choose another"
        )
    _workers(arguments.workers)
    if arguments.sexes is not None and arguments.sex is not None:
        raise ConfigError("--sex and --sexes both state the sex - give one of them")


def _workers(text: str) -> int | None:
    if text == "auto":
        return None
    if not (text.isdecimal() and 1 <= int(text) <= 1024):
        raise ConfigError(f"--workers is a number from 1 to 1024, or auto - got {text!r}")
    return int(text)


def _sexes(path: Path | None) -> dict[str, Sex]:
    """The sex of each id, as it stands and without what a spreadsheet adds (`bare_id`). Raises DataError."""
    from carpal.errors import DataError
    from carpal.lab.data.tables import bare_id, read_table, truth
    from carpal.types import Sex

    sexes: dict[str, Sex] = {}
    for line in () if path is None else read_table(path, ("id", "male")):
        assert path is not None
        sex = Sex.MALE if truth(path, line, "male") else Sex.FEMALE
        for name in {line.cells["id"], bare_id(line.cells["id"])}:
            if sexes.setdefault(name, sex) is not sex:
                raise DataError(f"{path}, line {line.number}, gives {name!r} the other sex than before - keep one.")
    return sexes


def _jobs(images: Iterator[str], stated: str | None, sexes: dict[str, Sex]) -> Iterator[Job]:
    from carpal.inference.assess import to_sex
    from carpal.inference.pipeline import Job
    from carpal.lab.data.tables import bare_id

    sex = None if stated == "unknown" else to_sex(stated)
    for image in images:
        names = (Path(image).stem, Path(image).name)
        known = (sexes[name] for name in (*names, *map(bare_id, names)) if name in sexes)
        yield Job(image, sex or next(known, None))


def _lines(done: Done, model: Any) -> list[str]:
    """An image's results as lines of JSON."""
    from carpal.cli.commands import rendered
    from carpal.report import results as as_json
    from carpal.report.lines import as_line

    if done.error is not None:
        return [as_line(as_json.refused_entry(done.image, done.sex, done.error, model))]
    return [as_line(rendered(result)[0]) for result in done.results]


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

    def end(self, failed: int, passed_over: int = 0) -> None:
        """The last line: how many, how fast, how many without an age, how many files were no images."""
        seconds = time.monotonic() - self.start
        rate = self.done / max(seconds, 1e-9)
        clear = "\r" if sys.stderr.isatty() else ""
        print(
            f"{clear}carpal: {self.done} images read in {seconds:.1f} s "
            f"({rate:.1f} a second), {failed} of them without an age"
            + (f"; {passed_over} files passed over" if passed_over else ""),
            file=sys.stderr,
            flush=True,
        )
