"""The project's own data folder (see its README): `rsna/`, `annotations/` -> samples of both resolutions.

All 12,611 training radiographs are there at 299 x 299 pixels, squashed to a square; 1,465 of them as whole films too.

Terms: non-commercial research and education only, no attempt to identify anyone, cite Halabi et al., Radiology
2019;290(2):498-503, and give the link of the RSNA Pediatric Bone Age Challenge 2017.
"""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple, Protocol

import numpy as np

from carpal.errors import DataError
from carpal.lab.data.annotations import Annotation, prefer_experts, read_points_csv, read_voc_file
from carpal.lab.data.prepare import TEST_IDS, Sample, is_test_id
from carpal.lab.data.tables import few, number, read_table, truth
from carpal.types import RANKS

FOLDS: Final = 5
FOLD_SEED: Final = "carpal-folds-1"
COUNTS: Final = {"train": 12611, "images": 1317, "more": 148}
MISNUMBERED: Final = {"2352": "eval/expert/2352.xml"}
"""Hands whose joints carry wrong digits in the tables (here thumb and index finger), and their published XML."""
FILMS: Final = "images/"
"""How `train.csv` names the radiographs whose whole films are there; the folds are theirs."""
SQUASHED: Final = ("px299-a.zip", "px299-b.zip")
"""All radiographs at 299 x 299, in two parts."""


class Study(NamedTuple):
    """A line of `rsna/train.csv`: boneage in months, image "images/<id>.jpg" or the name of one that was withdrawn."""

    id: str
    boneage: float
    male: bool
    image: str


def read_train(source: Path) -> list[Study]:
    """`rsna/train.csv`. Raises DataError on duplicate ids, wrong counts, ages that are none, or ids of the test set."""
    path = source / "rsna" / "train.csv"
    studies = []
    for line in read_table(path, ("id", "boneage", "male", "image")):
        age = number(path, line, "boneage", 0, RANKS - 1)
        studies.append(Study(line.cells["id"], age, truth(path, line, "male"), line.cells["image"]))
    refuse_test_ids((study.id for study in studies), path)
    ids = [study.id for study in studies]
    if len(ids) != COUNTS["train"] or len(set(ids)) != len(ids):
        raise DataError(
            f"{path} must have {COUNTS['train']} different ids - it has {len(ids)} lines, {len(set(ids))} ids - "
            "copy it again."
        )
    return studies


def refuse_test_ids(ids: Iterable[str], where: Path) -> None:
    """Raises DataError where an id of the kept-back test set stands among training labels."""
    found = [name for name in ids if is_test_id(name)]
    if found:
        raise DataError(
            f"{where} has ids of the RSNA test set ({TEST_IDS.start}-{TEST_IDS.stop - 1}) among training labels - "
            f"{few(found)} - they are kept back for evaluation: remove them."
        )


class Labelled(Protocol):
    """What `folds` needs to know of a radiograph."""

    @property
    def id(self) -> str: ...
    @property
    def boneage(self) -> float: ...
    @property
    def male(self) -> bool: ...


def folds(rows: Iterable[Labelled]) -> dict[str, int]:
    """Each id's fold, 0-4, stratified by sex and age: neighbours in that order go to different folds.

    It depends on the ids, sexes and ages of `rows` and on nothing else, not on their order. Sorted by sex, age and id,
    every five neighbours are dealt to the five folds in an order that a hash of their ids decides.
    """
    ordered = sorted(rows, key=lambda row: (row.male, row.boneage, len(row.id), row.id))
    fold = {}
    for start in range(0, len(ordered), FOLDS):
        block = sorted((row.id for row in ordered[start : start + FOLDS]), key=_shuffle)
        fold.update({name: place for place, name in enumerate(block)})
    return fold


def _shuffle(name: str) -> bytes:
    return hashlib.sha256(f"{FOLD_SEED}:{name}".encode()).digest()


def real(studies: Iterable[Study]) -> list[Study]:
    """The 1,317 whose whole films were there from the first day: the folds are theirs."""
    return [study for study in studies if study.image.startswith(FILMS)]


def read_regions(source: Path) -> dict[str, Annotation]:
    """The annotated regions by RSNA id, an expert's where there are two; `MISNUMBERED` are read from their XML.

    Regions that the key points leave out (radius and ulna, above all) are taken from the middles of the joint boxes
    drawn for TW scoring (`rois15_points_rus.csv`), and so are the hands that only these know.
    """
    folder = source / "annotations"
    regions = prefer_experts(read_points_csv(folder / "rois17_points.csv", dataset="rsna"))
    regions |= {name: read_voc_file(folder / "voc_rois" / file, file) for name, file in MISNUMBERED.items()}
    boxed = folder / "rois15_points_rus.csv"
    for name, more in prefer_experts(read_points_csv(boxed, dataset="rsna")).items() if boxed.is_file() else ():
        regions[name] = _filled(regions[name], more) if name in regions else more
    return regions


def _filled(regions: Annotation, more: Annotation) -> Annotation:
    """The first annotation, with the regions that it lacks from the second, in the first one's frame."""
    if not (regions.width and regions.height and more.width and more.height):
        return regions
    moved_R3 = more.points_R3 * [regions.width / more.width, regions.height / more.height, 1]
    known_R1 = regions.points_R3[:, 2:] > 0
    return replace(regions, points_R3=np.where(known_R1, regions.points_R3, moved_R3))


class ThreePoints(NamedTuple):
    """Three key points of a hand (`hand3points.csv`) as shares of the radiograph's width and height."""

    middle_tip: complex
    thumb_tip: complex
    capitate: complex
    thumb_left: bool
    """Whether the thumb lies on the left of the picture: a right hand, or a mirrored film."""


def read_three_points(source: Path) -> dict[str, ThreePoints]:
    """The key points of 4,648 hands by id; they check poses and are never trained on. Raises DataError."""
    path = source / "annotations" / "hand3points.csv"
    names = ("middle_tip", "thumb_tip", "capitate")
    columns = ("id", "width", "height", "thumb_side", *(f"{name}_{axis}" for name in names for axis in "xy"))
    found = {}
    for line in read_table(path, columns):
        width, height = number(path, line, "width", 1), number(path, line, "height", 1)
        points = [
            complex(number(path, line, f"{name}_x") / width, number(path, line, f"{name}_y") / height) for name in names
        ]
        middle, thumb, capitate = points
        found[line.cells["id"]] = ThreePoints(middle, thumb, capitate, line.cells["thumb_side"].startswith("left"))
    return found


def images(source: Path | str) -> list[Sample]:
    """The 1,317 whole films with ages, sexes, folds and, where annotated, regions. Raises DataError."""
    source = Path(source)
    studies = real(read_train(source))
    if len(studies) != COUNTS["images"]:
        raise DataError(f"{source} must name {COUNTS['images']} radiographs - it names {len(studies)} - copy it again.")
    missing = [study.image for study in studies if not (source / "rsna" / study.image).is_file()]
    if missing:
        raise DataError(
            f"{source / 'rsna'} lacks {len(missing)} of {len(studies)} files - {few(missing)} - copy it again."
        )
    fold, regions = folds(studies), read_regions(source)
    return [
        Sample(
            study.id,
            study.image,
            (source / "rsna" / study.image).read_bytes,
            study.boneage,
            study.male,
            fold=fold[study.id],
            regions=regions.get(study.id),
        )
        for study in studies
    ]


def more(source: Path | str) -> list[Sample]:
    """The 148 whole films beyond the 1,317, which belong to no fold. Raises DataError."""
    source = Path(source)
    studies, regions = {study.id: study for study in read_train(source)}, read_regions(source)
    folder = source / "rsna" / "more"
    names = [line.cells["id"] for line in read_table(folder / "index.csv", ("id",))]
    missing = [name for name in names if name not in studies or not (folder / f"{name}.png").is_file()]
    if missing or len(names) != COUNTS["more"]:
        raise DataError(
            f"{folder} must hold {COUNTS['more']} radiographs of train.csv - it lists {len(names)}, of which "
            f"{len(missing)} are missing or unknown: {few(missing)} - copy it again."
        )
    return [
        Sample(
            name,
            f"more/{name}.png",
            (folder / f"{name}.png").read_bytes,
            studies[name].boneage,
            studies[name].male,
            regions=regions.get(name),
        )
        for name in names
    ]


def squashed(source: Path | str) -> list[Sample]:
    """All 12,611 radiographs at 299 x 299 pixels, whose native size undoes the squash. Raises DataError.

    One that is among the 1,317 carries its fold, the others -1.
    """
    source = Path(source)
    studies = read_train(source)
    fold, regions, aspect = folds(real(studies)), read_regions(source), _aspects(source)
    unknown = [study.id for study in studies if study.id not in aspect]
    if unknown:
        raise DataError(f"{source / 'rsna' / 'native_sizes.csv'} lacks ids - {few(unknown)} - copy it again.")
    read = _open_zips([source / "rsna" / part for part in SQUASHED], [f"{study.id}.webp" for study in studies])
    return [
        Sample(
            study.id,
            f"px299:{study.id}.webp",
            read[f"{study.id}.webp"],
            study.boneage,
            study.male,
            fold=fold.get(study.id, -1),
            aspect=aspect[study.id],
            regions=regions.get(study.id),
        )
        for study in studies
    ]


def _aspects(source: Path) -> dict[str, float]:
    """Width / height of every radiograph as it was taken."""
    path = source / "rsna" / "native_sizes.csv"
    return {
        line.cells["id"]: number(path, line, "width", 1) / number(path, line, "height", 1)
        for line in read_table(path, ("id", "width", "height"))
    }


def _open_zips(paths: Sequence[Path], names: Sequence[str]) -> dict[str, Callable[[], bytes]]:
    """What reads each of `names`, found in one of the archives. Raises DataError where one is cut off or missing."""
    readers: dict[str, Callable[[], bytes]] = {}
    for path in paths:
        try:
            archive = zipfile.ZipFile(path)
        except FileNotFoundError:
            raise DataError(f"There is no {path} - the copy is incomplete - copy it again.") from None
        except (OSError, zipfile.BadZipFile) as error:
            raise DataError(f"{path} is cut off or no ZIP file - {error} - copy it again.") from error
        readers |= {name: partial(archive.read, name) for name in archive.namelist()}
    missing = sorted(set(names) - set(readers))
    if missing:
        where = " and ".join(path.name for path in paths)
        raise DataError(f"{where} lack {len(missing)} of {len(names)} radiographs - {few(missing)} - copy them again.")
    return readers
