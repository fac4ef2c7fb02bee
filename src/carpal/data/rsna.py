"""The RSNA Pediatric Bone Age Challenge 2017 as it is distributed: three folders of `<id>.png` and three tables.

The tables name their columns each in its own way; they are told apart by them. A plain table of ours has the columns
of the training table.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from carpal.data.tables import few, number, plain, read_header, read_table, truth
from carpal.errors import DataError
from carpal.imaging.read import ENDINGS, HEAD, recognise
from carpal.types import RANKS

INFANCY: Final = 20
"""Years of the oldest child. A table whose ages all lie below is one in years, unless its column says months."""


class Label(NamedTuple):
    """What a table says of a radiograph: its id, bone age in months, and whether the sex is male."""

    id: str
    boneage: float
    male: bool


@dataclass(frozen=True)
class Split:
    """One of the challenge's three sets: the columns of its table, and how many radiographs it has."""

    name: str
    columns: tuple[str, str, str]
    """id, age and sex."""
    count: int


SPLITS: Final = (
    Split("train", ("id", "boneage", "male"), 12_611),
    Split("validation", ("Image ID", "Bone Age (months)", "male"), 1_425),
    Split("test", ("Case ID", "Ground truth bone age (months)", "Sex"), 200),
)


def split_of(path: Path) -> Split | None:
    """Whose columns the table has, compared without case and spaces; None where it is no table of labels."""
    header = read_header(path)
    return next((split for split in SPLITS if {plain(name) for name in split.columns} <= set(header)), None)


def read_labels(path: Path, official: bool = False) -> list[Label]:
    """A table of any of the three forms. `official` also holds the number of radiographs against the challenge's.

    Raises DataError on other columns, duplicate ids, ages outside 0..228 months or none, sexes that are neither.
    """
    split = split_of(path)
    if split is None:
        forms = "; ".join(f"{','.join(split.columns)} ({split.name})" for split in SPLITS)
        raise DataError(f"{path} is no table of labels - its columns are {read_header(path)} - name them {forms}.")
    name, age, sex = split.columns
    labels: list[Label] = []
    first: dict[str, int] = {}
    for line in read_table(path, split.columns):
        label = Label(line.cells[plain(name)], number(path, line, age, 0, RANKS - 1), truth(path, line, sex))
        if not label.id or label.id in first:
            before = f"is on line {first[label.id]} already" if label.id else "is empty"
            raise DataError(f"{path}, line {line.number}: the id {label.id!r} {before} - every line needs its own id.")
        first[label.id] = line.number
        labels.append(label)
    check_months(path, age, [label.boneage for label in labels])
    if official and len(labels) != split.count:
        raise DataError(
            f"{path} must list the {split.count} radiographs of the RSNA {split.name} set - it lists {len(labels)} - "
            "it may be cut off: fetch it again."
        )
    return labels


def check_months(path: Path, column: str, ages: Iterable[float]) -> None:
    """Raises DataError where the ages are years: as months they would all be infants', and every error a decade."""
    known = list(ages)
    if len(known) > 1 and max(known) <= INFANCY and "month" not in column.lower():
        raise DataError(
            f"{path}, column {column}, gives ages in months - got {min(known):g} to {max(known):g}, which look like "
            "years - multiply them by 12; if they are months, name the column 'Bone age (months)'."
        )


def image_id(path: Path) -> str | None:
    """An image file's name without its ending, or whole where it has none; None for a file that is no image."""
    if not path.is_file() or path.name.startswith("."):
        return None
    ending = path.suffix.lower()
    if ending in ENDINGS:
        return path.stem
    try:
        with path.open("rb") as file:
            what, _ = recognise(file.read(HEAD))
    except OSError:
        return None
    if what:
        return None
    return path.name if not ending or ending[1:].isdigit() else path.stem


def find_images(folder: Path) -> dict[str, Path]:
    """All images below the folder by their names without ending. Raises DataError where a name occurs twice."""
    images: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        if (name := image_id(path)) is not None:
            if name in images:
                raise DataError(f"{folder} has {name} twice - {images[name]} and {path} - keep one of them.")
            images[name] = path
    return images


def find_tables(folder: Path) -> dict[Path, Split]:
    """The tables of labels in the folder and in those directly below it, with the set whose columns they have."""
    candidates = [*sorted(folder.glob("*.csv")), *sorted(folder.glob("*/*.csv"))]
    return {path: split for path in candidates if (split := split_of(path)) is not None}


def check_images(images: dict[str, Path], wanted: Iterable[str], folder: Path) -> None:
    """Raises DataError, with numbers and first names, where images are missing, empty or cut off."""
    names = list(wanted)
    missing = [name for name in names if name not in images]
    if missing:
        raise DataError(
            f"{folder} lacks {len(missing)} of {len(names)} radiographs - {few(missing)} - "
            "finish the download, or drop them from the table."
        )
    cut = [images[name].name for name in names if is_cut_off(images[name])]
    if cut:
        raise DataError(f"{folder} has {len(cut)} of {len(names)} files cut off - {few(cut)} - fetch them again.")


def is_cut_off(path: Path) -> bool:
    """Whether the file is empty, or a PNG or JPEG without its end: a look at the last kilobyte, not a decoding."""
    with path.open("rb") as file:
        head = file.read(8)
        size = file.seek(0, 2)
        file.seek(max(0, size - 1024))
        tail = file.read()
    if head.startswith(b"\x89PNG"):
        return b"IEND" not in tail
    if head.startswith(b"\xff\xd8"):
        return b"\xff\xd9" not in tail
    return size == 0
