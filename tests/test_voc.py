"""Numbering the joints of a VOC hand by anatomy: right at any turn and on either side."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from carpal.anatomy import INDEX, REGIONS
from carpal.errors import DataError
from carpal.lab.data.annotations import number_joints, read_voc

# A left hand, palm down, thumb to the right; the order is that of `REGIONS`.
MCP = [(290, 290), (240, 200), (200, 190), (165, 200), (130, 220)]
PIP = [(330, 240), (250, 130), (200, 115), (155, 130), (110, 165)]
DIP = [(255, 85), (200, 65), (150, 85), (100, 130)]
HAND = np.array([*MCP, *PIP, *DIP, (215, 380), (170, 380), (200, 340)], np.float64)


def unnumbered(points_R2: NDArray[np.float64], seed: int) -> dict[str, NDArray[np.float64]]:
    """The boxes by name without digit, each name's in random order."""
    random = np.random.default_rng(seed)
    boxes: dict[str, list[NDArray[np.float64]]] = {}
    for i in random.permutation(len(REGIONS)):
        box = np.concatenate([points_R2[i] - 10, points_R2[i] + 10])
        boxes.setdefault(REGIONS[i].rstrip("12345"), []).append(box)
    return {name: np.array(corners) for name, corners in boxes.items()}


@given(turn=st.floats(-180, 180), mirrored=st.booleans(), seed=st.integers(0, 99), scale=st.floats(0.3, 4))
def test_joints_get_their_digits_back(turn: float, mirrored: bool, seed: int, scale: float) -> None:
    cos, sin = np.cos(np.radians(turn)), np.sin(np.radians(turn))
    points = HAND * [-1 if mirrored else 1, 1] * scale @ np.array([[cos, -sin], [sin, cos]])
    boxes = number_joints(unnumbered(points, seed))
    np.testing.assert_allclose((boxes[:, :2] + boxes[:, 2:]) / 2, points, atol=1e-6)


def test_where_a_joint_is_missing_none_is_numbered() -> None:
    boxes = unnumbered(HAND, 0)
    boxes["PIP"] = boxes["PIP"][1:]
    named = number_joints(boxes)
    known = {REGIONS[i] for i in np.flatnonzero(named.any(axis=1))}
    assert known == {"Radius", "Ulna", "Wrist"}


def xml(boxes: dict[str, NDArray[np.float64]]) -> str:
    objects = "".join(
        f"<object><name>{name}</name><bndbox><xmin>{b[0]:g}</xmin><ymin>{b[1]:g}</ymin><xmax>{b[2]:g}</xmax>"
        f"<ymax>{b[3]:g}</ymax></bndbox></object>"
        for name, corners in boxes.items()
        for b in corners
    )
    size = "<size><width>400</width><height>500</height><depth>1</depth></size>"
    return f"<annotation><filename>7.png</filename>{size}{objects}</annotation>"


def test_a_folder_of_xml_is_read_with_its_sources(tmp_path: Path) -> None:
    folder = tmp_path / "eval" / "expert"
    folder.mkdir(parents=True)
    (folder / "7.xml").write_text(xml(unnumbered(HAND, 1)))
    (folder / "8.xml").write_text(xml({}))
    (hand,) = read_voc(tmp_path)
    assert (hand.id, hand.source, hand.width, hand.height) == ("7", "eval/expert", 400, 500)
    np.testing.assert_allclose(hand.points_R3[:, :2], HAND)
    assert hand.points_R3[INDEX["Wrist"], 2] == 1


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("<annotation><size>", "7.xml is no VOC annotation"),
        ("<annotation></annotation>", "7.xml is no VOC annotation"),
        (xml({"Elbow": np.array([[1, 1, 9, 9]])}), "'Elbow' x 1"),
        (xml({"Ulna": np.array([[1, 1, 9, 9]] * 2)}), "'Ulna' x 2"),
        (xml({"Ulna": np.array([[9, 1, 9, 9]])}), "without area or outside of 400 x 500"),
        (xml({"Ulna": np.array([[1, 1, 9, 901]])}), "without area or outside of 400 x 500"),
    ],
)
def test_a_broken_file_is_named(tmp_path: Path, text: str, word: str) -> None:
    (tmp_path / "7.xml").write_text(text)
    with pytest.raises(DataError, match=word):
        read_voc(tmp_path)


def test_a_folder_without_xml_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no XML file"):
        read_voc(tmp_path)
