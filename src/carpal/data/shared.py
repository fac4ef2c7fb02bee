"""The project's own data folder (see its README): `rsna/`, `annotations/` -> samples of both resolutions.

Terms: non-commercial research and education only, no attempt to identify anyone, cite Halabi et al., Radiology
2019;290(2):498-503, and give the link of the RSNA Pediatric Bone Age Challenge 2017.
"""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple, Protocol

from carpal.data.keypoints import Annotation, prefer_experts, read_points_csv
from carpal.data.prepare import TEST_IDS, Sample, is_test_id
from carpal.data.tables import few, number, read_table, truth
from carpal.data.voc import read_voc_file
from carpal.errors import DataError
from carpal.types import RANKS

FOLDS: Final = 5
FOLD_SEED: Final = "carpal-folds-1"
USUAL_ASPECT: Final = 0.78
"""Width / height of a thumbnail's original where no table states it (the data's README)."""
COUNTS: Final = {"train": 12611, "images": 1317}
MISNUMBERED: Final = {"2352": "eval/expert/2352.xml"}
"""Hands whose joints carry wrong digits in the tables (here thumb and index finger), and their published XML."""
THUMBS: Final = "thumb100.zip"


class Study(NamedTuple):
    """A line of `rsna/train.csv`: boneage in months, image "images/<id>.jpg" or "thumb100.zip:<id>.webp"."""

    id: str
    boneage: float
    male: bool
    image: str
    native_width: float | None
    native_height: float | None


def read_train(source: Path) -> list[Study]:
    """`rsna/train.csv`. Raises DataError on duplicate ids, wrong counts, ages that are none, or ids of the test set."""
    path = source / "rsna" / "train.csv"
    columns = ("id", "boneage", "male", "image", "native_width", "native_height")
    studies = []
    for line in read_table(path, columns):
        size: tuple[float | None, float | None] = (None, None)
        if line.cells["native_width"] or line.cells["native_height"]:
            size = (number(path, line, "native_width", 1), number(path, line, "native_height", 1))
        age = number(path, line, "boneage", 0, RANKS - 1)
        studies.append(Study(line.cells["id"], age, truth(path, line, "male"), line.cells["image"], *size))
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
    """Those with a radiograph at real resolution, 1,317 of them: the folds are theirs."""
    return [study for study in studies if not study.image.startswith(THUMBS)]


def read_regions(source: Path) -> dict[str, Annotation]:
    """The annotated regions by RSNA id, an expert's where there are two; `MISNUMBERED` are read from their XML."""
    folder = source / "annotations"
    regions = prefer_experts(read_points_csv(folder / "rois17_points.csv", dataset="rsna"))
    return regions | {name: read_voc_file(folder / "voc_rois" / file, file) for name, file in MISNUMBERED.items()}


def images(source: Path | str) -> list[Sample]:
    """The 1,317 radiographs with ages, sexes, folds and, where annotated, regions. Raises DataError."""
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


def thumbs(source: Path | str) -> list[Sample]:
    """All 12,611 thumbnails; one of a real radiograph's id carries its fold, the others -1. Raises DataError."""
    source = Path(source)
    studies = read_train(source)
    fold, regions = folds(real(studies)), read_regions(source)
    archive = _open_zip(source / "rsna" / THUMBS, [f"{study.id}.webp" for study in studies])
    return [
        Sample(
            study.id,
            f"{THUMBS}:{study.id}.webp",
            partial(archive.read, f"{study.id}.webp"),
            study.boneage,
            study.male,
            kind="thumb",
            fold=fold.get(study.id, -1),
            aspect=_aspect(study, regions.get(study.id)),
            regions=regions.get(study.id),
        )
        for study in studies
    ]


def _aspect(study: Study, annotation: Annotation | None) -> float:
    if study.native_width and study.native_height:
        return study.native_width / study.native_height
    if annotation and annotation.width and annotation.height:
        return annotation.width / annotation.height
    return USUAL_ASPECT


def _open_zip(path: Path, names: Sequence[str]) -> zipfile.ZipFile:
    try:
        archive = zipfile.ZipFile(path)
    except FileNotFoundError:
        raise DataError(f"There is no {path} - the copy is incomplete - copy it again.") from None
    except (OSError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} is cut off or no ZIP file - {error} - copy it again.") from error
    missing = sorted(set(names) - set(archive.namelist()))
    if missing:
        raise DataError(f"{path} lacks {len(missing)} of {len(names)} thumbnails - {few(missing)} - copy it again.")
    return archive
