"""Where the 17 regions lie: tables of points or boxes, BoNet's JSON, VOC XML -> points in their own frame.

R = 17 regions in the order of `anatomy.REGIONS`; the last axis of points is (x, y, v), v = 1 where annotated. Boxes
around points have 64 pixels.

*BoNet's key points* are COCO-style JSON with 17 x (x, y, v) a hand, bbox [x, y, w, h], zeros where not annotated. Which
of the 17 comes first is written in no public document of BoNet. So the order is taken from the file's own
`categories[0].keypoints`, or from the caller; it is never guessed.

*The published boxes* are one VOC XML a hand, with joints named "MCP", "PIP", "DIP" without their digit. The digits are
put back by anatomy: the knuckles (MCP) are walked as a row, from the radius's side, where the thumb is, to the ulna's.
Then PIP joints are paired with MCP, and DIP with PIP, so that the sum of the bones' lengths is least: fingers do not
cross.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import permutations
from pathlib import Path
from typing import Any, Final
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from carpal.anatomy import INDEX, REGIONS
from carpal.errors import DataError
from carpal.lab.data.tables import Line, few, number, read_table

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


MEND = f"give `order`, the {len(REGIONS)} names in the file's own sequence, a permutation of {','.join(REGIONS)}"


def read_coco(path: Path, order: Sequence[str] | None = None) -> list[Annotation]:
    """The annotated hands of a key-point JSON; the id is the image's file name without its ending, "1377".

    `order` names the key points as they follow each other in the file; None takes `categories[0].keypoints`. Hands
    that are zeros throughout are left out. Raises DataError on an unknown layout, saying what to give.
    """
    content = _load(path)
    rank_R = _ranks(path, content, order)
    images = _images(path, content)
    annotations: dict[Any, Annotation] = {}
    for entry in content["annotations"]:
        image = images.get(_field(path, entry, "image_id"))
        if image is None:
            raise DataError(
                f"{path} annotates an image that it does not list - image_id {entry['image_id']!r} - fetch it again."
            )
        annotation = _annotation(path, entry, image, rank_R)
        if annotation.id in annotations:
            raise DataError(f"{path} annotates {image['file_name']} twice - one image has one hand - drop one of them.")
        annotations[annotation.id] = annotation
    return [annotation for annotation in annotations.values() if annotation.points_R3[:, 2].any()]


def _load(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path} is not readable JSON - {error} - it may be cut off: fetch it again.") from error
    lists = [
        name for name in ("images", "annotations") if isinstance(content, dict) and isinstance(content.get(name), list)
    ]
    if len(lists) < 2:
        raise DataError(
            f"{path} has no COCO layout - found of `images` and `annotations`: {lists} - give BoNet's JSON."
        )
    return dict(content)


def _ranks(path: Path, content: dict[str, Any], order: Sequence[str] | None) -> NDArray[np.int64]:
    """For each of the file's key points its place in `anatomy.REGIONS`."""
    categories = content.get("categories") or [{}]
    stated = (
        categories[0].get("keypoints") if isinstance(categories, list) and isinstance(categories[0], dict) else None
    )
    names = list(order or stated or ())
    if not names:
        raise DataError(f"{path} does not name its key points - `categories[0].keypoints` is missing - {MEND}.")
    if sorted(map(str, names)) != sorted(REGIONS):
        raise DataError(f"{path}: the order of its key points is not of the {len(REGIONS)} regions - {names} - {MEND}.")
    return np.array([INDEX[name] for name in names])


def _images(path: Path, content: dict[str, Any]) -> dict[Any, dict[str, Any]]:
    images = {_field(path, image, "id"): image for image in content["images"]}
    names = [str(_field(path, image, "file_name")) for image in images.values()]
    twice = sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []
    if twice or len(images) < len(content["images"]):
        raise DataError(f"{path} lists an image twice - {few(twice)} - one image has one id: drop one of them.")
    return images


def _annotation(path: Path, entry: dict[str, Any], image: dict[str, Any], rank_R: NDArray[np.int64]) -> Annotation:
    name = str(image["file_name"])
    flat = _numbers(path, name, "keypoints", _field(path, entry, "keypoints"), 3 * len(REGIONS))
    hand_4 = _numbers(path, name, "bbox", entry.get("bbox") or [0, 0, 0, 0], 4)
    file_R3 = flat.reshape(-1, 3)
    annotated_R = (file_R3[:, 2] > 0) & file_R3[:, :2].any(axis=1)
    points_R3 = np.zeros((len(REGIONS), 3))
    points_R3[rank_R] = np.where(annotated_R[:, None], file_R3, 0)
    points_R3[:, 2] = points_R3[:, 2] > 0
    width, height = (float(image[side]) if image.get(side) else None for side in ("width", "height"))
    if width and height and ((points_R3[:, :2] < 0) | (points_R3[:, :2] > [width, height])).any():
        raise DataError(
            f"{path}: a key point of {name} lies outside of its {width:g} x {height:g} - mend or drop the hand."
        )
    box_4 = np.concatenate([hand_4[:2], hand_4[:2] + hand_4[2:]]) if hand_4.any() else None
    return Annotation(Path(name).stem, path.name, width, height, points_R3, hand_4=box_4)


def _field(path: Path, entry: Any, name: str) -> Any:
    if not isinstance(entry, dict) or name not in entry:
        raise DataError(f"{path} has an entry without {name!r} - got {str(entry)[:80]} - give BoNet's JSON.")
    return entry[name]


def _numbers(path: Path, image: str, name: str, values: Any, count: int) -> NDArray[np.float64]:
    try:
        array = np.asarray(values, np.float64).ravel()
    except (TypeError, ValueError):
        array = np.full(1, np.nan)
    if array.size != count or not np.isfinite(array).all():
        raise DataError(f"{path}: {name} of {image} must be {count} numbers - got {str(values)[:80]} - {MEND}.")
    return array


WHOLE = {"MCP": 5, "PIP": 5, "DIP": 4, "Radius": 1, "Ulna": 1, "Wrist": 1}
"""What a whole hand has of each name."""


def read_voc(folder: Path) -> list[Annotation]:
    """Every `<id>.xml` below `folder`; the source is the XML's folder, as "eval/expert".

    A hand that lacks a joint keeps Radius, Ulna and Wrist: which joint is missing cannot be told from the rest. One
    without any box is left out. Raises DataError on broken XML, unknown names and boxes without area.
    """
    files = sorted(folder.rglob("*.xml"))
    if not files:
        raise DataError(f"{folder} has no XML file - VOC regions are one <id>.xml a hand - check the path.")
    annotations = [read_voc_file(file, file.parent.relative_to(folder).as_posix()) for file in files]
    return [annotation for annotation in annotations if annotation.points_R3[:, 2].any()]


def read_voc_file(file: Path, source: str = "voc") -> Annotation:
    """One hand; the id is the file's name. Raises DataError."""
    try:
        root = ElementTree.parse(file).getroot()
        width, height = (float(root.findtext(f"size/{side}", "")) for side in ("width", "height"))
        named: dict[str, list[list[float]]] = defaultdict(list)
        for item in root.iter("object"):
            corners = [float(item.findtext(f"bndbox/{side}", "")) for side in ("xmin", "ymin", "xmax", "ymax")]
            named[item.findtext("name", "").strip()].append(corners)
    except (OSError, ElementTree.ParseError, ValueError) as error:
        raise DataError(f"{file} is no VOC annotation - {error} - fetch it again.") from error
    boxes = {name: np.array(corners) for name, corners in named.items()}
    _check(file, boxes, width, height)
    boxes_R4 = number_joints(boxes)
    return Annotation(file.stem, source, width, height, centres(boxes_R4), boxes_R4)


def _check(file: Path, boxes: dict[str, NDArray[np.float64]], width: float, height: float) -> None:
    wrong = [f"{name!r} x {len(box)}" for name, box in boxes.items() if len(box) > WHOLE.get(name, 0)]
    if wrong:
        raise DataError(f"{file} has names or numbers of no hand - {few(wrong)} - a whole hand has {WHOLE}.")
    for name, box_N4 in boxes.items():
        if not (
            (box_N4[:, :2] < box_N4[:, 2:]).all() and (box_N4 >= 0).all() and (box_N4 <= [width, height] * 2).all()
        ):
            raise DataError(
                f"{file} has a {name} box without area or outside of {width:g} x {height:g} - "
                f"{box_N4.tolist()} - mend it."
            )


def number_joints(boxes: dict[str, NDArray[np.float64]]) -> NDArray[np.float64]:
    """Boxes N x 4 by unnumbered name -> 17 x 4 in the order of `anatomy.REGIONS`, zeros for what is not known.

    The joints of a hand are numbered only if all of `WHOLE` are there.
    """
    named_R4 = np.zeros((len(REGIONS), 4))
    for name in ("Radius", "Ulna", "Wrist"):
        if name in boxes:
            named_R4[INDEX[name]] = boxes[name][0]
    if any(len(boxes.get(name, ())) != count for name, count in WHOLE.items()):
        return named_R4
    middle = {name: (box[:, :2] + box[:, 2:]) / 2 for name, box in boxes.items()}
    knuckles = _radial_to_ulnar(middle["MCP"], middle["Radius"][0], middle["Ulna"][0], middle["Wrist"][0])
    second = _pair(middle["MCP"][knuckles], middle["PIP"])
    third = _pair(middle["PIP"][second][1:], middle["DIP"])
    named_R4[[INDEX[f"MCP{digit}"] for digit in range(1, 6)]] = boxes["MCP"][knuckles]
    named_R4[[INDEX[f"PIP{digit}"] for digit in range(1, 6)]] = boxes["PIP"][second]
    named_R4[[INDEX[f"DIP{digit}"] for digit in range(2, 6)]] = boxes["DIP"][third]
    return named_R4


def _radial_to_ulnar(
    knuckles_52: NDArray[np.float64],
    radius_2: NDArray[np.float64],
    ulna_2: NDArray[np.float64],
    wrist_2: NDArray[np.float64],
) -> list[int]:
    """The order of the knuckles by their angle about the wrist, from the side on which the radius is."""
    axis_2 = knuckles_52.mean(axis=0) - wrist_2
    across_2 = np.array([-axis_2[1], axis_2[0]])
    if across_2 @ (radius_2 - ulna_2) < 0:
        across_2 = -across_2
    rays_52 = knuckles_52 - wrist_2
    angle_5 = np.arctan2(rays_52 @ across_2, rays_52 @ axis_2)
    return [int(place) for place in np.argsort(-angle_5)]


def _pair(proximal_N2: NDArray[np.float64], distal_N2: NDArray[np.float64]) -> list[int]:
    """For each proximal joint its distal one, such that the summed distance is least (at most 5! ways are tried)."""
    distance_NN = np.linalg.norm(proximal_N2[:, None] - distal_N2[None], axis=-1)
    rows = range(len(proximal_N2))
    return list(min(permutations(rows), key=lambda order: float(distance_NN[rows, order].sum())))
