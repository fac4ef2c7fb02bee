"""Decode once: radiographs -> a store, a folder that training maps into memory and reads at random.

    pixels.npy     uint8, one axis: all prepared images one after the other, row by row, bones bright
    index.csv      id,boneage,male,kind,offset,height,width,fold: where each image lies in pixels.npy and what it is
    points.npy     float32 N x 17 x 3: x, y in prepared pixels of that row, v = 1 where annotated, 2 where found
    manifest.json  counts, parameters, hashes: what a reader checks before it trusts the rest

A store is written beside its place and moved there when it is whole: a killed `prepare` leaves none.
"""

from __future__ import annotations

import csv
import hashlib
import json
import math
import os
import shutil
import sys
import tempfile
import time
import zipfile
import zlib
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np
from numpy.typing import NDArray

import carpal
from carpal.anatomy import ANNOTATED, FOUND, REGIONS
from carpal.errors import DataError, InputError
from carpal.imaging.preprocess import LONG_SIDE, Prepared, preprocess
from carpal.imaging.read import read_radiograph
from carpal.lab.data.annotations import Annotation
from carpal.lab.data.store import (
    FILES,
    FORMAT,
    INDEX_COLUMNS,
    Manifest,
    Row,
    Store,
    open_store,
    preprocess_parameters,
    sha256_of,
)
from carpal.lab.data.tables import few
from carpal.types import RANKS, Radiograph, Sex

ASPECT_TOLERANCE = 0.05
"""How far an annotation's frame may differ in shape from its image before they cannot be the same picture."""
TEST_IDS: Final = range(4360, 4560)
"""The ids of the RSNA challenge's test set: kept back for evaluation, never in a store with an age."""

AT_ONCE: Final = 64
"""Radiographs that are decoded ahead of the one that is written: enough for every core, little memory."""
_Prepared = tuple[NDArray[np.uint8], NDArray[np.float32], bool | None, str]

Align = Callable[[NDArray[Any], Prepared, NDArray[np.float32]], tuple[NDArray[np.uint8], NDArray[np.float32]]]
"""(pixels of the radiograph H W, prepared, points R x 3) -> (aligned image, points): `align.align_for_training`."""

__all__ = ["Manifest", "Row", "Sample", "Store", "open_store", "prepare"]


@dataclass(frozen=True)
class Sample:
    """One radiograph before preparation. `name` is its file for messages, `read` gives the file's bytes.

    boneage is months, None where unknown, and so is male. aspect (width / height) undoes a squash, None keeps the
    image's own. `regions` are the annotated ones, None for none.
    """

    id: str
    name: str
    read: Callable[[], bytes] = field(repr=False)
    boneage: float | None = None
    male: bool | None = None
    kind: str = "image"
    fold: int = -1
    aspect: float | None = None
    regions: Annotation | None = field(repr=False, default=None)


def prepare(
    samples: Iterable[Sample],
    out: Path | str,
    long_side: int = LONG_SIDE,
    overwrite: bool = False,
    align: Align | None = None,
) -> Manifest:
    """Decodes and preprocesses every sample once into the store `out` and returns its manifest.

    `align` re-samples each hand to the pose in which it will be read; without it images stay as they are.
    Nothing is at `out` before all is well. Raises DataError on duplicate ids, ages that are none, files that do not
    decode (all of them in one message), and an `out` that exists (`overwrite` replaces it if it is a store).
    """
    samples, out = list(samples), Path(out)
    _check_samples(samples)
    _check_out(out, overwrite)
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    try:
        manifest = _write(samples, temporary, long_side, align)
        if out.exists():
            shutil.rmtree(out)
        temporary.chmod(0o755)
        temporary.rename(out)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return manifest


def _check_samples(samples: Sequence[Sample]) -> None:
    if not samples:
        raise DataError("There is nothing to prepare - no radiograph was found - check the source.")
    counts = Counter((item.id, item.kind) for item in samples)
    twice = [name for (name, _), count in counts.items() if count > 1]
    if twice:
        raise DataError(
            f"Ids occur more than once - {few(twice)} - one radiograph has one id: drop or rename the others."
        )
    bad = [
        f"{item.id} ({item.boneage:g})" for item in samples if item.boneage is not None and not _is_age(item.boneage)
    ]
    if bad:
        raise DataError(f"Bone ages must lie in 0..{RANKS - 1} months - {few(bad)} - leave an unknown age empty.")
    test = [item.id for item in samples if item.boneage is not None and is_test_id(item.id)]
    if test:
        raise DataError(
            f"Ids {TEST_IDS.start}-{TEST_IDS.stop - 1} with ages are the RSNA test set, which is never trained on - "
            f"{few(test)} - remove them, or rename them (a-{test[0]}) if they are other radiographs."
        )


def is_test_id(name: str) -> bool:
    """Whether a radiograph's id is one of the RSNA challenge's test set."""
    return name.isdecimal() and int(name) in TEST_IDS


def _is_age(months: float) -> bool:
    return math.isfinite(months) and 0 <= months <= RANKS - 1


def _check_out(out: Path, overwrite: bool) -> None:
    if not out.exists():
        return
    if not (out / "manifest.json").is_file() and not (out.is_dir() and not any(out.iterdir())):
        raise DataError(f"{out} exists and is not a store - it will not be replaced - choose another folder.")
    if (out / "manifest.json").is_file() and not overwrite:
        raise DataError(f"{out} is a store already - it was kept - choose another folder, or ask to overwrite it.")


def _write(samples: Sequence[Sample], folder: Path, long_side: int, align: Align | None) -> Manifest:
    points = np.zeros((len(samples), len(REGIONS), 3), np.float32)
    rows: list[Row] = []
    failed: list[str] = []
    sources = hashlib.sha256()
    with (folder / "pixels.npy").open("wb") as file, ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        start = _write_header(file, 0)
        waiting: deque[Future[_Prepared]] = deque()
        rest = iter(samples)
        for i, sample in enumerate(progress(samples, "prepare")):
            waiting.extend(
                pool.submit(_prepare_one, each, long_side, align) for each in islice(rest, AT_ONCE - len(waiting))
            )
            try:
                pixels_HW, points[i], male, digest = waiting.popleft().result()
            except (InputError, DataError, OSError, KeyError, zipfile.BadZipFile, zlib.error) as error:
                failed.append(str(error) if sample.name in str(error) else f"{sample.name}: {error}")
                continue
            (height, width), offset = pixels_HW.shape, file.tell() - start
            file.write(pixels_HW.tobytes())
            sources.update(f"{sample.id}\t{sample.kind}\t{digest}\n".encode())
            rows.append(Row(sample.id, sample.boneage, male, sample.kind, offset, height, width, sample.fold))
        total = file.tell() - start
        file.seek(0)
        assert _write_header(file, total) == start, "numpy keeps room for the length in its header"
    if failed:
        raise DataError(
            f"Of {len(samples)} files these cannot be prepared - {few(failed)} - fetch them again, or drop them."
        )
    np.save(folder / "points.npy", points)
    _write_index(folder / "index.csv", rows)
    return _write_manifest(folder, rows, points, long_side, sources.hexdigest())


def _prepare_one(sample: Sample, long_side: int, align: Align | None) -> _Prepared:
    """The prepared pixels, the points R x 3 on them, male (from the file where the table has none), the file's hash."""
    content = sample.read()
    radiograph = read_radiograph(content, sample.name)
    male = sample.male
    if male is None and radiograph.sex is not None:
        male = radiograph.sex is Sex.MALE
    prepared = preprocess(radiograph.pixels_HW, long_side, sample.aspect)
    pixels_HW, points_R3 = prepared.pixels_HW, _points(sample, radiograph, prepared)
    if align is not None:
        pixels_HW, points_R3 = align(radiograph.pixels_HW, prepared, points_R3)
    return pixels_HW, points_R3, male, hashlib.sha256(content).hexdigest()


def _points(sample: Sample, radiograph: Radiograph, prepared: Prepared) -> NDArray[np.float32]:
    if sample.regions is None:
        return np.zeros((len(REGIONS), 3), np.float32)
    (height, width), regions = radiograph.pixels_HW.shape, sample.regions
    if regions.width and regions.height:
        aspect = width / height if sample.aspect is None else sample.aspect
        if abs(regions.width / regions.height / aspect - 1) > ASPECT_TOLERANCE:
            raise DataError(
                f"{sample.name}: the regions of {regions.source!r} lie in a frame of {regions.width:g} x "
                f"{regions.height:g}, the image has another shape ({aspect:.3f}). Take the image they were drawn on"
            )
    fractions_R3 = regions.fractions(width, height)
    new_height, new_width = prepared.pixels_HW.shape
    visible_R1 = fractions_R3[:, 2:] > 0
    points_R3 = np.where(visible_R1, fractions_R3 * [new_width, new_height, 0] + [0, 0, 1], 0)
    return points_R3.astype(np.float32)


def _write_header(file: BinaryIO, size: int) -> int:
    """Writes the header of a uint8 array of `size` numbers; returns where the numbers start."""
    np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": (size,)})
    return file.tell()


def _write_index(path: Path, rows: Iterable[Row]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(INDEX_COLUMNS)
        for row in rows:
            age = "" if row.boneage is None else f"{row.boneage:g}"
            male = "" if row.male is None else int(row.male)
            writer.writerow([row.id, age, male, row.kind, row.offset, row.height, row.width, row.fold])


def _write_manifest(
    folder: Path, rows: Sequence[Row], points: NDArray[np.float32], long_side: int, sources: str
) -> Manifest:
    annotated = points[:, :, 2].any(axis=1)
    manifest = Manifest(
        format=FORMAT,
        carpal=carpal.__version__,
        long_side=long_side,
        preprocess=preprocess_parameters(),
        counts={
            "images": sum(row.kind == "image" for row in rows),
            "thumbs": sum(row.kind == "thumb" for row in rows),
            "with_age": sum(row.boneage is not None for row in rows),
            "with_sex": sum(row.male is not None for row in rows),
            "with_regions": int(annotated.sum()),
            "points": int((points[:, :, 2] == ANNOTATED).sum()),
            "points_found": int((points[:, :, 2] == FOUND).sum()),
        },
        sources_sha256=sources,
        files={name: {"bytes": (folder / name).stat().st_size, "sha256": sha256_of(folder / name)} for name in FILES},
    )
    (folder / "manifest.json").write_text(json.dumps(asdict(manifest), indent=1) + "\n", encoding="utf-8")
    return manifest


def progress(items: Sequence[Sample], title: str) -> Iterator[Sample]:
    """Passes the items through and draws a bar on stderr: ten lines in a log, a moving one on a terminal."""
    start, step = time.monotonic(), max(1, len(items) // (200 if sys.stderr.isatty() else 10))
    for done, item in enumerate(items, start=1):
        yield item
        if done % step == 0 or done == len(items):
            left = (time.monotonic() - start) / done * (len(items) - done)
            bar = "#" * round(30 * done / len(items))
            end = "\r" if sys.stderr.isatty() and done < len(items) else "\n"
            print(f"{title} [{bar:<30}] {done}/{len(items)}, {left:.0f} s left", end=end, file=sys.stderr, flush=True)
