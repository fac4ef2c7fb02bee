"""What `carpal prepare SOURCE` understands: our data folder, the RSNA's, any folder of images with a table.

Each becomes samples, and those a store. Regions come from a table of points or boxes, a folder of VOC files, or
BoNet's JSON.

The RSNA Pediatric Bone Age Challenge 2017 is distributed as three folders of `<id>.png` and three tables, whose columns
are named each in its own way; the tables are told apart by them. A plain table of ours has the columns of the training
table.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from carpal.errors import ConfigError, DataError
from carpal.imaging.preprocess import LONG_SIDE
from carpal.imaging.read import ENDINGS, HEAD, recognise
from carpal.lab.data import shared
from carpal.lab.data.annotations import Annotation, prefer_experts, read_boxes_csv, read_coco, read_points_csv, read_voc
from carpal.lab.data.prepare import Align, Sample, prepare
from carpal.lab.data.store import Manifest
from carpal.lab.data.tables import few, match_ids, number, plain, read_header, read_table, truth
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


KINDS: Final = ("images", "more", "squashed")
"""Which radiographs of our own folder: the 1,317 whole films, 148 more of them, or all 12,611 at 299 x 299 pixels."""
LONG_SIDES: Final = {"squashed": 320}
"""Long side of a store by kind, where none is asked for and it is not the paper's."""


def prepare_from(
    source: Path | str,
    out: Path | str,
    long_side: int | None = None,
    kind: str = "images",
    regions: Path | str | None = None,
    labels: Path | str | None = None,
    order: Sequence[str] | None = None,
    overwrite: bool = False,
    annotated: bool = False,
    align: Align | None = None,
) -> Manifest:
    """Recognises what `source` is and prepares it into the store `out`; `annotated` keeps only hands with regions.

    kind: one of `KINDS`; others than "images" are of our own folder alone. regions: points, boxes, VOC folder or
    key-point JSON, in the `order` of its key points. labels: the table, where the folder has none or several. align:
    what re-samples each hand into the pose in which it will be read. Raises DataError and ConfigError.
    """
    source = Path(source)
    if kind not in KINDS:
        raise ConfigError(f"kind must be one of {', '.join(KINDS)} - got {kind!r} - say which images to prepare.")
    long_side = LONG_SIDES.get(kind, LONG_SIDE) if long_side is None else long_side
    if not 32 <= long_side <= 4096:
        raise ConfigError(f"The long side must be 32 to 4096 pixels - got {long_side} - the paper's is 512.")
    regions, labels = (None if path is None else Path(path) for path in (regions, labels))
    samples = collect(source, kind, regions, labels, order)
    if annotated:
        samples = [sample for sample in samples if sample.regions is not None]
    return prepare(samples, out, long_side, overwrite, align)


def collect(
    source: Path,
    kind: str = "images",
    regions: Path | None = None,
    labels: Path | None = None,
    order: Sequence[str] | None = None,
) -> list[Sample]:
    """The samples of a source; arguments and errors as in `prepare_from`."""
    if not source.is_dir():
        raise DataError(f"There is no folder {source} - check the path.")
    if (source / "rsna" / "train.csv").is_file() and labels is None and regions is None:
        return {"images": shared.images, "more": shared.more, "squashed": shared.squashed}[kind](source)
    if kind != "images":
        raise DataError(
            f"{source} has no {kind} radiographs - only the folder with rsna/train.csv has - use --kind images."
        )
    return table_samples(source, labels or _only_table(source, regions), regions, order)


def table_samples(
    folder: Path, labels: Path | None, regions: Path | None = None, order: Sequence[str] | None = None
) -> list[Sample]:
    """Images named by id, with the ages of `labels` and the regions of `regions`; either may be absent for an image.

    Labelled radiographs get folds of their own. Raises DataError where a labelled one is missing or cut off.
    """
    split = split_of(labels) if labels else None
    if split is not None and split.name == "test":
        raise DataError(f"{labels} is the RSNA test set, which is never trained on - read it with `carpal evaluate`.")
    known = {label.id: label for label in read_labels(labels, _is_official(labels, split))} if labels else {}
    annotated = prefer_experts(read_regions(regions, order)) if regions else {}
    images = find_images(folder)
    if labels:
        names = match_ids(labels, known, images)
        known = {names.get(name, name): label._replace(id=names.get(name, name)) for name, label in known.items()}
    wanted = [*known, *(name for name in annotated if name in images and name not in known)]
    check_images(images, wanted, folder)
    _tell_unused(folder, set(images) - set(wanted), set(annotated) - set(images))
    fold = shared.folds(known.values())
    return [
        Sample(
            name,
            str(images[name].relative_to(folder)),
            images[name].read_bytes,
            known[name].boneage if name in known else None,
            known[name].male if name in known else None,
            fold=fold.get(name, -1),
            regions=annotated.get(name),
        )
        for name in wanted
    ]


def read_regions(path: Path, order: Sequence[str] | None = None) -> list[Annotation]:
    """Regions of any form we read: CSV of points or boxes, key-point JSON, folder of VOC XML. Raises DataError."""
    if path.is_dir():
        return read_voc(path)
    if path.suffix.lower() == ".json":
        return read_coco(path, order)
    if path.suffix.lower() == ".csv":
        return read_boxes_csv(path) if "x1" in read_header(path) else read_points_csv(path)
    raise DataError(
        f"{path} is no file of regions - give a .csv of points or boxes, a .json of key points, a VOC folder."
    )


def _only_table(folder: Path, regions: Path | None) -> Path | None:
    tables = find_tables(folder)
    if len(tables) == 1:
        return next(iter(tables))
    if not tables and regions is not None:
        return None
    found = ", ".join(f"{path.relative_to(folder)} ({split.name})" for path, split in tables.items()) or "none"
    raise DataError(f"{folder} needs one table of labels (id,boneage,male) - found {found} - name it with --labels.")


def _is_official(labels: Path, split: Split | None) -> bool:
    """Whether the number of lines must be the challenge's: by its column names, or its training table's name."""
    return split is not None and (split.name != "train" or labels.stem.lower() == "boneage-training-dataset")


def _tell_unused(folder: Path, images: set[str], regions: set[str]) -> None:
    if images:
        print(
            f"prepare: {len(images)} images of {folder} have neither age nor regions and are left out", file=sys.stderr
        )
    if regions:
        print(f"prepare: {len(regions)} annotated hands have no image in {folder}", file=sys.stderr)
