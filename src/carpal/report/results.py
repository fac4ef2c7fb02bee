"""Results as JSON, one object of fixed keys for each image, refused ones included; and the same rows as Parquet.

A folder of Parquet files grows: a part is written beside its place and renamed, whole or not at all. What is lost when
a process is killed are the results since the last part; they are read again.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import carpal
from carpal.errors import CarpalError, ConfigError, need
from carpal.growth.reference import classify
from carpal.report import write_atomically
from carpal.report.lines import as_line, short_hash
from carpal.types import Assessment, BothSexes, Interval, ModelId, Refusal, Region, Result, Score, Sex

KEYS: Final = (
    "image",
    "sex",
    "months",
    "interval",
    "regions",
    "warnings",
    "refused",
    "model",
    "carpal",
    "site",
    "growth",
)
"""The keys of an entry, in their order. Others rely on them: never rename one.

`side_in_image` follows for one of two hands in a frame, `by_sex` where the sex is unknown, and in `frame` `hands` where
there are two.
"""


def frame(results: Sequence[Result]) -> dict[str, Any]:
    """One image as one object: the hand's entry, or for two hands an object without an age, whose `hands` have them."""
    entries = [entry_of(result) for result in results]
    if len(entries) == 1:
        return entries[0]
    first = entries[0]
    refusals = [each["refused"] for each in entries]
    empty: dict[str, Any] = {"months": None, "interval": None, "regions": [], "site": None, "growth": None}
    warnings = list(dict.fromkeys(warning for each in entries for warning in each["warnings"]))
    refused = refusals[0] if all(refusals) else None
    whole = {key: first[key] for key in KEYS} | empty
    return whole | {"warnings": warnings, "refused": refused, "hands": entries}


def entry_of(result: Result) -> dict[str, Any]:
    """One hand's object, whether its sex is known or not."""
    return entry_of_both(result) if isinstance(result, BothSexes) else entry(result)


def entry(assessment: Assessment) -> dict[str, Any]:
    """One image's object. Boxes are [x1, y1, x2, y2] in pixels of the original, ages are months."""
    side = {} if assessment.side_in_image is None else {"side_in_image": assessment.side_in_image}
    values = _entry(
        image=assessment.image,
        sex=assessment.sex,
        months=None if assessment.months is None else round(assessment.months, 3),
        interval=_interval(assessment.interval),
        regions=[_region(region) for region in assessment.regions],
        warnings=list(assessment.warnings),
        refused=assessment.refused,
        model=assessment.model,
        site=_site(assessment),
        growth=_growth(assessment.growth),
    )
    return values | side


def entry_of_both(both: BothSexes) -> dict[str, Any]:
    """One image's object where the sex is unknown: `sex` and `months` are null, `by_sex` has an entry for either."""
    female, male = entry(both.female), entry(both.male)
    return female | {
        "sex": None,
        "months": None,
        "interval": None,
        "regions": [],
        "refused": female["refused"] and male["refused"],
        "site": None,
        "growth": None,
        "by_sex": {"female": female, "male": male},
    }


def refused_entry(image: str, sex: Sex | None, error: CarpalError, model: ModelId) -> dict[str, Any]:
    """The object of an image that could not be read: why, and no age. `sex` is None where nobody stated it."""
    refused = Refusal(error.code, str(error))
    return _entry(
        image=image, sex=sex, months=None, interval=None, regions=[], warnings=[], refused=refused, model=model
    )


def document(entries: Sequence[dict[str, Any]], ascii_only: bool = False) -> str:
    r"""The whole list as text, one line end at its end; bytes of a file name that are no UTF-8 as \udcfc and the like.

    `ascii_only` escapes all letters beyond ASCII, for an output whose encoding nobody knows.
    """
    text = json.dumps(list(entries), indent=2, ensure_ascii=ascii_only, allow_nan=False) + "\n"
    return text.encode("utf-8", "backslashreplace").decode()  # only such bytes fail, and JSON escapes them alike


def write(path: Path, entries: Sequence[dict[str, Any]]) -> None:
    """Writes the list to a file, whole or not at all. Raises ConfigError where that is not possible."""
    write_atomically(path, document(entries).encode())


def _entry(
    *,
    image: str,
    sex: Sex | None,
    months: float | None,
    interval: dict[str, float] | None,
    regions: list[dict[str, Any]],
    warnings: list[str],
    refused: Refusal | None,
    model: ModelId,
    site: dict[str, Any] | None = None,
    growth: dict[str, Any] | None = None,
) -> dict[str, Any]:
    return {
        "image": image,
        "sex": None if sex is None else str(sex),
        "months": months,
        "interval": interval,
        "regions": regions,
        "warnings": warnings,
        "refused": None if refused is None else {"code": refused.code, "message": refused.message},
        "model": asdict(model),
        "carpal": carpal.__version__,
        "site": site,
        "growth": growth,
    }


def _site(assessment: Assessment) -> dict[str, Any] | None:
    """The hospital's calibration that gave `months` and `interval`, and the network's own age."""
    if assessment.raw_months is None:
        return None
    return {"calibration": assessment.site, "raw_months": round(assessment.raw_months, 3)}


def _growth(growth: Score | None) -> dict[str, Any] | None:
    """The comparison with children of the same age; its numbers are null outside the reference, `note` says why."""
    if growth is None:
        return None
    return {
        "reference": growth.reference,
        "citation": growth.citation,
        "chronological_months": growth.chronological_months,
        "mean_months": growth.mean,
        "sd_months": growth.sd,
        "z_score": growth.z,
        "maturity": None if growth.z is None else classify(growth.z),
        "note": growth.note or None,
    }


def _interval(interval: Interval | None) -> dict[str, float] | None:
    if interval is None:
        return None
    return {"low": round(interval.low, 3), "high": round(interval.high, 3), "coverage": interval.coverage}


def _region(region: Region) -> dict[str, Any]:
    box = region.box
    return {
        "name": region.name,
        "box": [round(side, 2) for side in (box.x1, box.y1, box.x2, box.y2)],
        "score": round(region.score, 4),
        "months": round(region.months, 3),
    }


ROWS: Final = 10_000
"""Of a part: about 16 MB of JSON in memory, 1,000 parts for ten million hands."""
SECONDS: Final = 60.0
"""Between two parts at most, as long as results come."""
COLUMNS: Final = {
    "image": "string",
    "side_in_image": "string",
    "sex": "string",
    "months": "float64",
    "interval_low": "float64",
    "interval_high": "float64",
    "interval_coverage": "float64",
    "months_female": "float64",
    "months_male": "float64",
    "interval_low_female": "float64",
    "interval_high_female": "float64",
    "interval_low_male": "float64",
    "interval_high_male": "float64",
    "chronological_months": "float64",
    "reference": "string",
    "z_score": "float64",
    "z_score_female": "float64",
    "z_score_male": "float64",
    "raw_months": "float64",
    "calibration": "string",
    "refused_code": "string",
    "refused_message": "string",
    "warnings": "list<string>",
    "model": "string",
    "model_version": "string",
    "model_sha256": "string",
    "backend": "string",
    "precision": "string",
    "carpal": "string",
    "json": "string",
}
"""The columns in their order. Others rely on them: never rename one. docs/inference.md says what each holds."""


class ResultTable:
    """A folder of Parquet parts, opened to go on: `image in table` says whether it has a result already.

    Used as `lines.ResultLines` is. Raises ConfigError where the folder cannot be written or another run writes to it,
    where a part is damaged, and where it holds something else, or results of other weights, another runtime or version
    than `made_by` says. Raises BackendError without pyarrow.
    """

    def __init__(self, path: Path, made_by: Mapping[str, Any]) -> None:
        self.path, self._made_by = path, dict(made_by)
        self._arrow = need("pyarrow", feature="A Parquet file", extra="scale")
        self._parquet = need("pyarrow.parquet", feature="A Parquet file", extra="scale")
        self._rows: list[dict[str, Any]] = []
        self._known: set[bytes] = set()
        self._since = time.monotonic()
        self._schema = self._schema_of_a_part()
        try:
            path.mkdir(exist_ok=True)
            self._lock = os.open(path, os.O_RDONLY)
            self._take_the_folder()
        except OSError as error:
            raise ConfigError(f"{path} cannot be written - {error.strerror} - choose another place") from error
        try:
            self._next = self._take_stock()
        except BaseException:
            os.close(self._lock)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        try:
            self.flush()
        finally:
            os.close(self._lock)

    def __contains__(self, image: str) -> bool:
        return short_hash(_as_text(image)) in self._known

    def __len__(self) -> int:
        return len(self._known)

    def append(self, image: str, entries: Sequence[Mapping[str, Any]]) -> None:
        """Keeps an image's entries for the next part, which holds all of them, and writes that when it is due."""
        if not self._rows:
            self._since = time.monotonic()
        self._rows.extend(as_row(entry) for entry in entries)
        self._known.add(short_hash(_as_text(image)))
        if len(self._rows) >= ROWS or time.monotonic() - self._since >= SECONDS:
            self.flush()

    def flush(self) -> None:
        """Writes what waits as one part, flushed to the disk. Raises ConfigError where there is no room."""
        if not self._rows:
            return
        sink = self._arrow.BufferOutputStream()
        table = self._arrow.Table.from_pylist(self._rows, self._schema)
        self._parquet.write_table(table, sink, compression="zstd", write_page_checksum=True)
        write_atomically(self.path / f"part-{self._next:06}.parquet", sink.getvalue().to_pybytes(), durable=True)
        os.fsync(self._lock)
        self._next += 1
        self._rows.clear()

    def _schema_of_a_part(self) -> Any:
        kinds = {"string": self._arrow.string(), "float64": self._arrow.float64()}
        kinds["list<string>"] = self._arrow.list_(kinds["string"])
        fields = [(name, kinds[kind]) for name, kind in COLUMNS.items()]
        return self._arrow.schema(fields, metadata={"made_by": as_line(self._made_by)})

    def _take_the_folder(self) -> None:
        """Locks the folder, where its file system can, and clears what a killed run left half written."""
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(self._lock)
            raise ConfigError(f"{self.path} is being written by another run - wait for it, or end it") from error
        except OSError:
            pass  # some network file systems have no locks
        for partial in self.path.glob(".part-*.parquet.*"):
            partial.unlink()

    def _take_stock(self) -> int:
        """Notes the images that are done; returns the number of the next part."""
        number = -1
        for part in self._parts():
            number = _number(part)
            self._known.update(map(short_hash, self._images_of(part)))
        return number + 1

    def _parts(self) -> list[Path]:
        parts = [part for part in self.path.glob("part-*.parquet") if part.stem[5:].isdecimal()]
        others = {each for each in self.path.iterdir() if not each.name.startswith((".", "_"))} - set(parts)
        if others:
            raise ConfigError(f"{min(others)} is no part of results - choose another --out, or move this file away")
        return sorted(parts, key=_number)

    def _images_of(self, part: Path) -> Iterator[str]:
        try:
            with self._parquet.ParquetFile(part, page_checksum_verification=True) as file:
                made_by = json.loads((file.schema_arrow.metadata or {})[b"made_by"])
                images = [str(name) for batch in file.iter_batches(columns=["image"]) for name in batch[0].to_pylist()]
        except (self._arrow.ArrowException, OSError, ValueError, KeyError) as error:
            reason = str(error).splitlines()[0] if str(error) else repr(error)
            raise ConfigError(
                f"{part} is damaged, or no part of results ({reason}) - delete it: its images are read again"
            ) from error
        if made_by != self._made_by:
            raise ConfigError(
                f"{self.path} holds results of other weights, another runtime or version - {part.name} was made by "
                f"{made_by}, now it would be {self._made_by} - choose another folder"
            )
        yield from images


def as_row(entry: Mapping[str, Any]) -> dict[str, Any]:
    """A JSON entry (`KEYS`) as a row of `COLUMNS`; what the entry lacks is None, `json` has all of it."""
    interval, refused, site = (entry.get(name) or {} for name in ("interval", "refused", "site"))
    model, by_sex = entry["model"], {sex: (entry.get("by_sex") or {}).get(sex) or {} for sex in ("female", "male")}
    spans = {sex: each.get("interval") or {} for sex, each in by_sex.items()}
    growths = {sex: each.get("growth") or {} for sex, each in by_sex.items()}
    coverage = next((each["coverage"] for each in (interval, *spans.values()) if each), None)
    growth = next((each for each in (entry.get("growth"), *growths.values()) if each), {})
    return {
        "image": _as_text(entry["image"]),
        "side_in_image": entry.get("side_in_image"),
        "sex": entry["sex"],
        "months": entry["months"],
        **{f"interval_{end}": interval.get(end) for end in ("low", "high")},
        "interval_coverage": coverage,
        **{f"months_{sex}": each.get("months") for sex, each in by_sex.items()},
        **{f"interval_{end}_{sex}": each.get(end) for sex, each in spans.items() for end in ("low", "high")},
        **{name: growth.get(name) for name in ("chronological_months", "reference")},
        "z_score": (entry.get("growth") or {}).get("z_score"),
        **{f"z_score_{sex}": each.get("z_score") for sex, each in growths.items()},
        "raw_months": site.get("raw_months"),
        "calibration": site.get("calibration"),
        "refused_code": refused.get("code"),
        "refused_message": _as_text(refused["message"]) if refused else None,
        "warnings": [_as_text(warning) for warning in entry["warnings"]],
        "model": model["name"],
        "model_version": model["version"],
        "model_sha256": model["sha256"],
        "backend": model["backend"],
        "precision": model["precision"],
        "carpal": entry["carpal"],
        "json": as_line(entry),
    }


def _number(part: Path) -> int:
    return int(part.stem[5:])


def _as_text(name: str) -> str:
    r"""A name as UTF-8 can say it: what a file system's bytes make of it otherwise becomes \udc80 and the like."""
    return name.encode("utf-8", "backslashreplace").decode()
