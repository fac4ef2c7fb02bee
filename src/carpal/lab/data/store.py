"""A prepared store, opened: rows, pixels as a memory map, points. `prepare.py` writes it and lists its files."""

from __future__ import annotations

import csv
import hashlib
import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from carpal.anatomy import REGIONS
from carpal.errors import DataError
from carpal.imaging.intensity import HIGH_PERCENTILE, LOW_PERCENTILE, MIDDLE, ROUNDED

FORMAT: Final = 1
"""Raised whenever the files' layout changes."""
INDEX_COLUMNS: Final = ("id", "boneage", "male", "kind", "offset", "height", "width", "fold")
FILES: Final = ("pixels.npy", "points.npy", "index.csv")


@dataclass(frozen=True)
class Row:
    """One prepared image. boneage is months or None, male None where unknown, fold 0-4 or -1 (in no fold).

    kind is "image" or "thumb"; the pixels are height x width from `offset` on in pixels.npy.
    """

    id: str
    boneage: float | None
    male: bool | None
    kind: str
    offset: int
    height: int
    width: int
    fold: int


@dataclass(frozen=True)
class Manifest:
    """manifest.json: how the store was made and what its files must be."""

    format: int
    carpal: str
    long_side: int
    preprocess: dict[str, float]
    counts: dict[str, int]
    sources_sha256: str
    files: dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Store:
    """A store opened for reading: `pixels(i)` is row i's image, `points_N17x3` its regions in prepared pixels."""

    path: Path
    manifest: Manifest
    rows: tuple[Row, ...]
    points: NDArray[np.float32]
    _pixels: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.rows)

    def pixels(self, i: int) -> NDArray[np.uint8]:
        """Image i, H x W uint8, read-only, straight from the memory map."""
        row = self.rows[i]
        return self._pixels[row.offset : row.offset + row.height * row.width].reshape(row.height, row.width)


def preprocess_parameters() -> dict[str, float]:
    """What decides the pixels besides `long_side`: a store made with other values is stale."""
    return {"low": LOW_PERCENTILE, "high": HIGH_PERCENTILE, "middle": MIDDLE, "rounded": ROUNDED}


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, as hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def open_store(path: Path | str, verify: bool = False) -> Store:
    """Opens a store after holding its files against the manifest; `verify` hashes them too (seconds a gigabyte).

    Raises DataError where a file is missing, cut off or changed, or the store is of another version.
    """
    path = Path(path)
    manifest = _read_manifest(path)
    _check_files(path, manifest, verify)
    rows = _read_index(path / "index.csv")
    points = np.load(path / "points.npy")
    pixels = np.load(path / "pixels.npy", mmap_mode="r")
    end = max((row.offset + row.height * row.width for row in rows), default=0)
    if points.shape != (len(rows), len(REGIONS), 3) or pixels.ndim != 1 or pixels.size != end:
        raise DataError(
            f"{path} does not fit together - {len(rows)} rows, points {points.shape}, {pixels.size} pixels for {end} - "
            "prepare it again."
        )
    return Store(path, manifest, rows, points, pixels)


def _read_manifest(path: Path) -> Manifest:
    file = path / "manifest.json"
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        manifest = Manifest(**{item.name: content[item.name] for item in fields(Manifest)})
    except FileNotFoundError:
        raise DataError(f"{path} is not a prepared store - it has no manifest.json - run `carpal prepare`.") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{file} is no manifest of a store - {error!r} - prepare the store again.") from error
    if (manifest.format, manifest.preprocess) != (FORMAT, preprocess_parameters()):
        raise DataError(
            f"{path} is stale - made as format {manifest.format} with {manifest.preprocess}, this version needs "
            f"format {FORMAT} with {preprocess_parameters()} - prepare it again."
        )
    return manifest


def _check_files(path: Path, manifest: Manifest, verify: bool) -> None:
    for name in FILES:
        stated, file = manifest.files.get(name, {}), path / name
        size = file.stat().st_size if file.is_file() else None
        if size is None or size != stated.get("bytes"):
            got = "it is missing" if size is None else f"it has {size} bytes, the manifest says {stated.get('bytes')}"
            raise DataError(f"{file} is not the file that was prepared - {got} - copy or prepare the store again.")
        if verify and sha256_of(file) != stated.get("sha256"):
            raise DataError(f"{file} was changed - its SHA-256 is not the manifest's - prepare the store again.")


def _read_index(path: Path) -> tuple[Row, ...]:
    with path.open(newline="", encoding="utf-8") as file:
        return tuple(
            Row(
                id=cells["id"],
                boneage=float(cells["boneage"]) if cells["boneage"] else None,
                male=cells["male"] == "1" if cells["male"] else None,
                kind=cells["kind"],
                offset=int(cells["offset"]),
                height=int(cells["height"]),
                width=int(cells["width"]),
                fold=int(cells["fold"]),
            )
            for cells in csv.DictReader(file)
        )
