"""Regions as published with the boxes: one VOC XML a hand, joints named "MCP", "PIP", "DIP" without their digit.

The digits are put back by anatomy. The knuckles (MCP) are walked as a row, from the radius's side, where the thumb is,
to the ulna's. Then PIP joints are paired with MCP, and DIP with PIP, so that the sum of the bones' lengths is least:
fingers do not cross.
"""

from __future__ import annotations

from collections import defaultdict
from itertools import permutations
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from carpal.anatomy import INDEX, REGIONS
from carpal.data.keypoints import Annotation, centres
from carpal.data.tables import few
from carpal.errors import DataError

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
