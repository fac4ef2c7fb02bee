"""What an evaluation reads before it starts: the labels, the image of each, the annotated regions.

Everything a table or folder can be blamed for is found here, before hours of reading radiographs.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from carpal.anatomy import GROUPS
from carpal.errors import DataError
from carpal.lab.data.annotations import IGNORED, Annotation, prefer_experts, read_points_csv
from carpal.lab.data.sources import check_months, image_id
from carpal.lab.data.tables import Line, few, match_ids, number, plain, read_table, truth
from carpal.lab.evaluation.boxes import hand_length
from carpal.types import RANKS

ID_COLUMNS: Final = ("id", "image id", "case id")
AGE_COLUMNS: Final = ("boneage", "bone age (months)", "ground truth bone age (months)", "bone age")
YEAR_COLUMNS: Final = ("bone age (years)", "boneage (years)", "boneage_years", "bone_age_years")
SEX_COLUMNS: Final = ("male", "sex", "gender")
"""First ours, then those of the RSNA challenge's validation and test files; compared without case."""


class Label(NamedTuple):
    """One line of the labels: age in months."""

    id: str
    boneage: float
    male: bool
    line: int


class Reference(NamedTuple):
    """An annotated hand and its length in pixels of the annotation's frame (NaN where it cannot be told)."""

    annotation: Annotation
    length: float


def read_labels(path: Path) -> list[Label]:
    """The CSV id,boneage,male or an official RSNA file. Raises DataError, naming line and mend.

    Ages are months; years where their column is one of `YEAR_COLUMNS`. Refused: missing columns, ids given twice, ages
    that are no number from 0 to 228 months or that look like years, a sex that is none, no lines.
    """
    lines = read_table(path, ())
    if not lines:
        raise DataError(f"{path} has no lines below its header - nothing to evaluate - give id,boneage,male.")
    in_years = not any(plain(name) in lines[0].cells for name in AGE_COLUMNS)
    in_years = in_years and any(plain(name) in lines[0].cells for name in YEAR_COLUMNS)
    age_columns, months_a_unit = (YEAR_COLUMNS, 12) if in_years else (AGE_COLUMNS, 1)
    name_column, age_column, sex_column = (_column(path, lines[0], n) for n in (ID_COLUMNS, age_columns, SEX_COLUMNS))
    labels = [
        Label(
            line.cells[name_column],
            number(path, line, age_column, 0, (RANKS - 1) / months_a_unit) * months_a_unit,
            truth(path, line, sex_column),
            line.number,
        )
        for line in lines
    ]
    seen: dict[str, int] = {}
    for label in labels:
        if not label.id:
            raise DataError(f"{path}, line {label.line}, has no id - name the image (without its suffix) there.")
        if label.id in seen:
            raise DataError(
                f"{path}, line {label.line}, has the id {label.id!r} of line {seen[label.id]} again - keep one of them."
            )
        seen[label.id] = label.line
    if not in_years:
        check_months(path, age_column, [label.boneage for label in labels])
    return labels


def find_images(folder: Path, labels: Sequence[Label], table: Path) -> dict[str, Path]:
    """The image of each label by its id: named `<id>` with any ending or none, or as `match_ids` allows.

    Raises DataError where none or two are.
    """
    try:
        files = sorted(folder.iterdir())
    except OSError as error:
        raise DataError(f"The images' folder {folder} cannot be read - {error.strerror} - check the path.") from None
    found: defaultdict[str, list[Path]] = defaultdict(list)
    for path in files:
        if (name := image_id(path)) is not None:
            found[name].append(path)
    names = match_ids(table, (label.id for label in labels), found)
    missing = [label for label in labels if label.id not in names]
    if missing:
        listed = few([f"{label.id} (line {label.line})" for label in missing])
        raise DataError(
            f"{folder} lacks the images of some of the {len(labels)} labels in {table} - {listed} - "
            "put <id>.png, <id>.jpg or <id>.dcm there, or drop those lines."
        )
    doubled = [label.id for label in labels if len(found[names[label.id]]) > 1]
    if doubled:
        both = " and ".join(path.name for path in found[names[doubled[0]]])
        raise DataError(f"{folder} has several images for one id - {both} - keep one (ids: {few(doubled)}).")
    return {label.id: found[names[label.id]][0] for label in labels}


def read_references(path: Path, ids: Iterable[str]) -> dict[str, Reference]:
    """The annotated regions of those ids (a table as `rois17_points.csv`), an expert's where there are several.

    Raises DataError on a broken table, and where it knows none of the ids.
    """
    wanted = set(ids)
    annotations = prefer_experts(annotation for annotation in read_points_csv(path) if annotation.id in wanted)
    if not annotations:
        raise DataError(f"{path} has none of the labels' ids - {len(wanted)} ids - its column id must name the images.")
    lengths = _lengths(path)
    return {
        name: Reference(annotation, lengths.get((name, annotation.source), np.nan))
        for name, annotation in annotations.items()
    }


def _lengths(path: Path) -> dict[tuple[str, str], float]:
    """`hand_length` of each id and source that has a point at both ends, a DIP joint and one at the wrist.

    Key points that are none of the 17 regions (`RadiocarpalPoint`) count here too.
    """
    points: defaultdict[tuple[str, str], dict[str, tuple[float, float]]] = defaultdict(dict)
    for line in read_table(path, ("id", "source", "roi", "x", "y", "v")):
        if number(path, line, "v", 0, 2) > 0:
            place = number(path, line, "x"), number(path, line, "y")
            points[line.cells["id"], line.cells["source"]][line.cells["roi"]] = place
    proximal = {*GROUPS["wrist"], *IGNORED}
    return {
        key: hand_length(_array(hand.values()))
        for key, hand in points.items()
        if proximal & hand.keys() and hand.keys() & set(GROUPS["DIP"])
    }


def _array(points: Iterable[tuple[float, float]]) -> NDArray[np.float64]:
    return np.array(list(points), np.float64)


def _column(path: Path, line: Line, names: Sequence[str]) -> str:
    known = [plain(name) for name in names if plain(name) in line.cells]
    if not known:
        raise DataError(
            f"{path}, line 1, lacks the column {names[0]} (or {', '.join(names[1:])}) - it has {list(line.cells)} - "
            "name the columns id,boneage,male."
        )
    return known[0]
