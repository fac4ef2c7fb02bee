"""Signed readings as a folder that `carpal prepare` reads: pictures, their ages, and the regions that were put right.

    <study>.png   the radiograph's grey values, without the header of the file that it came in
    labels.csv    id,boneage,male: the age that was signed last
    regions.csv   dataset,id,source,width,height,roi,x1,y1,x2,y2: only the regions that a reader put right

Left out is what is no label: rejected studies, an unknown sex, a picture of two hands. A name or a date that is burned
into the picture stays in it.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from PIL import Image

from carpal.errors import CarpalError, ConfigError
from carpal.imaging.read import read_radiograph
from carpal.types import Radiograph, Sex
from carpal.web.review import Correction, Reading, Readings, Study
from carpal.web.study_store import NAME

LABELS: Final = ("id", "boneage", "male")
REGION_COLUMNS: Final = ("dataset", "id", "source", "width", "height", "roi", "x1", "y1", "x2", "y2")
SOURCE: Final = "carpal-readers"


class Exported(NamedTuple):
    """How many radiographs were written, how many of them with regions, and how many signed ones were left out."""

    radiographs: int
    with_regions: int
    left_out: int


def export(data: Path, out: Path) -> Exported:
    """Writes the signed readings of the data folder `data` into the new folder `out`. Raises ConfigError."""
    database = data / "readings.sqlite"
    if not database.is_file():
        raise ConfigError(f"{data} holds no readings - name the folder that carpal serve was started with: --data DIR")
    if out.exists():
        raise ConfigError(f"{out} exists - an export never mixes with another - name a new folder")
    readings = Readings(database)
    latest = {study.id: (study, reading) for study, reading in readings.all_signed()}
    corrections = readings.corrections()
    out.mkdir(mode=0o700, parents=True)
    labels: list[tuple[object, ...]] = []
    regions: list[tuple[object, ...]] = []
    annotated = 0
    for study, reading in latest.values():
        radiograph = _labelled(study, reading, data / "uploads" / study.id)
        if radiograph is None:
            continue
        _write_png(radiograph, out / f"{study.id}.png")
        labels.append((study.id, reading.months, study.sex == Sex.MALE))
        boxes = _boxes(study, corrections.get(study.id), radiograph)
        regions += boxes
        annotated += bool(boxes)
    _write_table(out / "labels.csv", LABELS, labels)
    _write_table(out / "regions.csv", REGION_COLUMNS, regions)
    return Exported(len(labels), annotated, len(latest) - len(labels))


def _labelled(study: Study, reading: Reading, path: Path) -> Radiograph | None:
    """The radiograph, where its reading is the label of one hand of a known sex and its file is still there."""
    if reading.months is None or reading.hand or study.sex not in (Sex.FEMALE, Sex.MALE):
        return None
    try:
        return read_radiograph(path, NAME)
    except CarpalError:
        return None


def _boxes(study: Study, correction: Correction | None, radiograph: Radiograph) -> list[tuple[object, ...]]:
    """A row for each region that was put right, cut off at the picture's edge."""
    if correction is None:
        return []
    height, width = radiograph.pixels_HW.shape
    rows = []
    for name, (x1, y1, x2, y2) in json.loads(correction.boxes).items():
        (left, right), (top, bottom) = np.clip([x1, x2], 0, width), np.clip([y1, y2], 0, height)
        sides = (round(float(side), 2) for side in (left, top, right, bottom))
        rows.append(("service", study.id, SOURCE, width, height, name, *sides))
    return rows


def _write_png(radiograph: Radiograph, path: Path) -> None:
    """8 or 16 bits as they are; other values are spread over 16."""
    grey_HW: Any = radiograph.pixels_HW
    if grey_HW.dtype not in (np.uint8, np.uint16):
        values = grey_HW.astype(np.float64) - float(grey_HW.min())
        grey_HW = np.rint(values * (65535 / max(float(values.max()), 1e-12))).astype(np.uint16)
    Image.fromarray(grey_HW).save(path, format="PNG")


def _write_table(path: Path, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rows)
