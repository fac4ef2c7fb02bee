"""What `carpal prepare SOURCE` understands: our data folder, the RSNA's, any folder of images with a table.

Each becomes samples, and those a store. Regions come from a table of points or boxes, a folder of VOC files, or
BoNet's JSON.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from carpal.data import shared
from carpal.data.coco import read_coco
from carpal.data.keypoints import Annotation, prefer_experts, read_boxes_csv, read_points_csv
from carpal.data.prepare import Align, Sample, prepare
from carpal.data.rsna import Split, check_images, find_images, find_tables, read_labels, split_of
from carpal.data.store import Manifest
from carpal.data.tables import match_ids, read_header
from carpal.data.voc import read_voc
from carpal.errors import ConfigError, DataError
from carpal.imaging.preprocess import LONG_SIDE

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
