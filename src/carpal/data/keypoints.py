"""Where the 17 regions lie: tables of points, in the frame they were drawn in -> points and 64-pixel boxes.

R = 17 regions in the order of `anatomy.REGIONS`; the last axis of points is (x, y, v), v = 1 where annotated.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from carpal.anatomy import INDEX, REGIONS
from carpal.data.tables import Line, number, read_table
from carpal.errors import DataError

BOX_SIZE = 64
"""Side of a region's box in the prepared image (long side 512), the paper's Fig. 1."""
IGNORED: Final = frozenset({"RadiocarpalPoint"})
"""Published key points that are none of the 17: they name neither bone."""


@dataclass(frozen=True)
class Annotation:
    """One annotator's regions on one radiograph, in pixels of a frame of width x height.

    width and height are None where the source states none: the frame is then the radiograph's own file. points_R3 is
    float64 (x, y, v); boxes_R4 is (x1, y1, x2, y2) where boxes were drawn, zeros where not, or None. hand_4 is the box
    around the whole hand, where there is one.
    """

    id: str
    source: str
    width: float | None
    height: float | None
    points_R3: NDArray[np.float64] = field(repr=False)
    boxes_R4: NDArray[np.float64] | None = field(repr=False, default=None)
    hand_4: NDArray[np.float64] | None = field(repr=False, default=None)

    def fractions(self, width: float, height: float) -> NDArray[np.float64]:
        """The points R x 3 as shares of the frame's sides (of width x height where it states none), v as it is.

        Shares hold at any size of the same picture: a thumbnail, a copy at half size.
        """
        fractions_R3: NDArray[np.float64] = self.points_R3 / [self.width or width, self.height or height, 1.0]
        return fractions_R3

    @property
    def expert(self) -> bool:
        """False where the source itself says that no expert drew it."""
        return "nonexpert" not in self.source.lower().replace("-", "").replace("_", "").replace(" ", "")


def points_to_boxes(points_R3: NDArray[Any], box_size: float = BOX_SIZE) -> NDArray[np.float32]:
    """Square boxes (..., R, 4), xyxy, with the points (..., R, 3) in their middles; zeros where v = 0.

    Boxes may reach over the image's border: the point stays the middle. Both are in prepared pixels.
    """
    centre, visible = np.asarray(points_R3, np.float32)[..., :2], np.asarray(points_R3)[..., 2:] > 0
    half = np.float32(box_size / 2)
    boxes = np.concatenate([centre - half, centre + half], axis=-1)
    return np.where(visible, boxes, np.float32(0)).astype(np.float32)


def read_points_csv(path: Path, dataset: str | None = None) -> list[Annotation]:
    """A table id,source,width,height,roi,x,y,v (rois17_points.csv) as annotations, one for each id and source.

    `dataset` keeps the lines of that name in the column `dataset`, None all. Raises DataError on an unknown region,
    a region named twice, a point outside its frame, and numbers that are none.
    """
    lines_by_hand = _by_hand(path, ("id", "source", "width", "height", "roi", "x", "y", "v"), dataset)
    return [_pointed(path, lines) for lines in lines_by_hand]


def read_boxes_csv(path: Path, dataset: str | None = None) -> list[Annotation]:
    """A table id,source,width,height,roi,x1,y1,x2,y2 (rois17_boxes.csv): the points are the boxes' middles.

    `dataset` and errors as in `read_points_csv`; a box without area is an error too.
    """
    lines_by_hand = _by_hand(path, ("id", "source", "width", "height", "roi", "x1", "y1", "x2", "y2"), dataset)
    return [_boxed(path, lines) for lines in lines_by_hand]


def centres(boxes_R4: NDArray[Any]) -> NDArray[np.float64]:
    """Boxes R x 4 as points R x 3: their middles, v = 1 where the box has an area."""
    visible_R1 = (boxes_R4[:, 2:] > boxes_R4[:, :2]).all(axis=1, keepdims=True)
    return np.concatenate([(boxes_R4[:, :2] + boxes_R4[:, 2:]) / 2 * visible_R1, visible_R1], axis=1)


def prefer_experts(annotations: Iterable[Annotation]) -> dict[str, Annotation]:
    """One annotation for each id: an expert's where there is one. Raises DataError where two are equally good."""
    chosen: dict[str, Annotation] = {}
    for annotation in annotations:
        other = chosen.get(annotation.id)
        if other is not None and other.expert == annotation.expert:
            raise DataError(
                f"Radiograph {annotation.id} has regions from {other.source!r} and from {annotation.source!r} - "
                "both count the same - keep the lines of one of them."
            )
        if other is None or annotation.expert:
            chosen[annotation.id] = annotation
    return chosen


def _by_hand(path: Path, columns: Sequence[str], dataset: str | None) -> list[list[Line]]:
    groups: defaultdict[tuple[str, str], list[Line]] = defaultdict(list)
    for line in read_table(path, columns):
        if dataset is None or line.cells.get("dataset", dataset) == dataset:
            groups[line.cells["id"], line.cells["source"]].append(line)
    return list(groups.values())


def _pointed(path: Path, lines: Sequence[Line]) -> Annotation:
    width, height = _frame(path, lines)
    points_R3 = np.zeros((len(REGIONS), 3))
    for line in lines:
        region = _region(path, line, points_R3[:, 2] > 0)
        if region is not None and number(path, line, "v", 0, 2) > 0:
            points_R3[region] = number(path, line, "x", 0, width), number(path, line, "y", 0, height), 1.0
    return Annotation(lines[0].cells["id"], lines[0].cells["source"], width, height, points_R3)


def _boxed(path: Path, lines: Sequence[Line]) -> Annotation:
    width, height = _frame(path, lines)
    boxes_R4 = np.zeros((len(REGIONS), 4))
    for line in lines:
        region = _region(path, line, boxes_R4[:, 2] > 0)
        if region is not None:
            x1, y1 = number(path, line, "x1", 0, width), number(path, line, "y1", 0, height)
            x2, y2 = number(path, line, "x2", 0, width), number(path, line, "y2", 0, height)
            if not (x1 < x2 and y1 < y2):
                raise DataError(
                    f"{path}, line {line.number}, needs x1 < x2 and y1 < y2 - got {x1:g},{y1:g},{x2:g},{y2:g} - "
                    "mend or drop the line."
                )
            boxes_R4[region] = x1, y1, x2, y2
    return Annotation(lines[0].cells["id"], lines[0].cells["source"], width, height, centres(boxes_R4), boxes_R4)


def _frame(path: Path, lines: Sequence[Line]) -> tuple[float, float]:
    """The one width and height that all lines of a radiograph state. Raises DataError where they differ."""
    frames = {(number(path, line, "width", 1), number(path, line, "height", 1)) for line in lines}
    if len(frames) > 1:
        raise DataError(
            f"{path}, line {lines[0].number}, radiograph {lines[0].cells['id']} has several sizes - {sorted(frames)} - "
            "all its lines must be in pixels of one frame."
        )
    return frames.pop()


def _region(path: Path, line: Line, taken_R: NDArray[np.bool_]) -> int | None:
    """Which of the 17 the line is about, None for a point that is none of them. Raises DataError."""
    name = line.cells["roi"]
    if name in IGNORED:
        return None
    index = INDEX.get(name)
    if index is None:
        raise DataError(
            f"{path}, line {line.number}, names an unknown region - {name!r} - the regions are {', '.join(REGIONS)}."
        )
    if taken_R[index]:
        raise DataError(
            f"{path}, line {line.number}, has {name} of radiograph {line.cells['id']} a second time - drop one."
        )
    return index
