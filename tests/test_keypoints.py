"""Points, boxes and BoNet's key points: each lands on the region it names, and what is unclear is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from carpal.anatomy import INDEX, REGIONS
from carpal.errors import DataError
from carpal.lab.data.annotations import (
    Annotation,
    points_to_boxes,
    prefer_experts,
    read_boxes_csv,
    read_coco,
    read_points_csv,
)

POINTS = "dataset,id,source,width,height,roi,x,y,v\n"
BOXES = "dataset,id,source,width,height,roi,x1,y1,x2,y2\n"


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


@given(x=st.floats(-100, 600), y=st.floats(-100, 600), size=st.floats(1, 200))
def test_boxes_are_square_around_their_points_and_zero_where_unseen(x: float, y: float, size: float) -> None:
    points = np.zeros((2, 17, 3))
    points[0, 3] = x, y, 1
    boxes = points_to_boxes(points, size)
    assert boxes.shape == (2, 17, 4)
    assert boxes.dtype == np.float32
    np.testing.assert_allclose(boxes[0, 3], [x - size / 2, y - size / 2, x + size / 2, y + size / 2], atol=1e-3)
    assert np.count_nonzero(boxes.any(axis=-1)) == 1, "an unseen region has no box"


def test_the_papers_box_is_64_pixels() -> None:
    box = points_to_boxes(np.array([[100.0, 50.0, 1.0]]))
    assert box.tolist() == [[68.0, 18.0, 132.0, 82.0]]


def test_points_are_read_by_name_and_radiocarpal_is_none_of_them(tmp_path: Path) -> None:
    lines = "rsna,7,a,200,400,DIP2,50,100,2\nrsna,7,a,200,400,RadiocarpalPoint,9,9,2\nrsna,7,a,200,400,Ulna,5,6,0\n"
    (hand,) = read_points_csv(write(tmp_path / "p.csv", POINTS + lines), dataset="rsna")
    assert hand.points_R3[INDEX["DIP2"]].tolist() == [50, 100, 1]
    assert hand.points_R3[:, 2].sum() == 1, "v = 0 and RadiocarpalPoint are not annotated"
    assert hand.fractions(1, 1)[INDEX["DIP2"]].tolist() == [0.25, 0.25, 1]


def test_fractions_fall_back_on_the_file_where_no_frame_is_stated() -> None:
    points = np.zeros((17, 3))
    points[0] = 30, 60, 1
    assert Annotation("1", "s", None, None, points).fractions(300, 600)[0].tolist() == [0.1, 0.1, 1]


def test_only_the_named_dataset_is_read(tmp_path: Path) -> None:
    path = write(tmp_path / "p.csv", POINTS + "other,7,a,200,400,DIP2,50,100,2\n")
    assert read_points_csv(path, dataset="rsna") == []
    assert len(read_points_csv(path)) == 1


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ("rsna,7,a,200,400,MCP6,5,5,2", "MCP6"),
        ("rsna,7,a,200,400,MCP1,500,5,2", "column x"),
        ("rsna,7,a,200,400,MCP1,nan,5,2", "column x"),
        ("rsna,7,a,200,400,MCP1,5,5,3", "column v"),
        ("rsna,7,a,200,400,PIP1,5,5,2", "second time"),
        ("rsna,7,a,100,400,MCP1,5,5,2", "several sizes"),
        ("rsna,7,a,200,400,MCP1,5", "7 cells"),
    ],
)
def test_a_wrong_point_is_named_by_file_and_line(tmp_path: Path, line: str, word: str) -> None:
    path = write(tmp_path / "p.csv", POINTS + "rsna,7,a,200,400,PIP1,5,5,2\n" + line + "\n")
    with pytest.raises(DataError, match=word) as caught:
        read_points_csv(path)
    assert "p.csv, line " in str(caught.value)


def test_boxes_keep_their_corners_and_give_their_middles(tmp_path: Path) -> None:
    path = write(tmp_path / "b.csv", BOXES + "rsna,7,a,200,400,Wrist,10,20,30,60\n")
    (hand,) = read_boxes_csv(path)
    assert hand.boxes_R4 is not None
    assert hand.boxes_R4[INDEX["Wrist"]].tolist() == [10, 20, 30, 60]
    assert hand.points_R3[INDEX["Wrist"]].tolist() == [20, 40, 1]
    assert hand.points_R3[:, 2].sum() == 1


def test_a_box_without_area_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"line 2.*x1 < x2"):
        read_boxes_csv(write(tmp_path / "b.csv", BOXES + "rsna,7,a,200,400,Wrist,30,20,30,60\n"))


def hand(name: str, source: str) -> Annotation:
    return Annotation(name, source, 1, 1, np.zeros((17, 3)))


def test_an_experts_hand_wins_in_any_order() -> None:
    both = [hand("7", "eval_nonexpert"), hand("7", "eval_expert"), hand("8", "eval_non-expert")]
    for order in (both, both[::-1]):
        chosen = prefer_experts(order)
        assert {name: one.source for name, one in chosen.items()} == {"7": "eval_expert", "8": "eval_non-expert"}
    with pytest.raises(DataError, match="Radiograph 7"):
        prefer_experts([hand("7", "a"), hand("7", "b")])


# --- BoNet ------------------------------------------------------------------------------------------------------------


def bonet(**changes: Any) -> dict[str, Any]:
    """Two images, one annotated; key point i at (10 i + 1, 10 i + 2) but the third, which is zeros."""
    flat = [value for i in range(17) for value in ((0, 0, 0) if i == 2 else (10 * i + 1, 10 * i + 2, 2))]
    content = {
        "images": [
            {"id": 0, "file_name": "1377.png", "width": 400, "height": 500},
            {"id": 1, "file_name": "1378.png"},
        ],
        "annotations": [
            {"image_id": 0, "keypoints": flat, "bbox": [5, 6, 100, 200]},
            {"image_id": 1, "keypoints": [0] * 51, "bbox": [0, 0, 0, 0]},
        ],
        "categories": [{"keypoints": list(REGIONS[::-1])}],
    }
    return content | changes


def test_key_points_go_to_their_regions_and_zeros_are_not_annotated(tmp_path: Path) -> None:
    (found,) = read_coco(write(tmp_path / "k.json", json.dumps(bonet())))
    assert (found.id, found.width, found.height) == ("1377", 400, 500)
    assert found.hand_4 is not None
    assert found.hand_4.tolist() == [5, 6, 105, 206]
    for i, name in enumerate(REGIONS[::-1]):
        expected = [0, 0, 0] if i == 2 else [10 * i + 1, 10 * i + 2, 1]
        assert found.points_R3[INDEX[name]].tolist() == expected


def test_a_given_order_wins_over_the_files(tmp_path: Path) -> None:
    path = write(tmp_path / "k.json", json.dumps(bonet()))
    (found,) = read_coco(path, order=REGIONS)
    assert found.points_R3[INDEX["MCP1"]].tolist() == [1, 2, 1]


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"categories": []}, "give `order`, the 17 names"),
        ({"categories": [{"keypoints": ["nose"] * 17}]}, "nose.*give `order`"),
        ({"images": None}, "COCO layout"),
        ({"images": [{"id": 0}]}, "file_name"),
        ({"annotations": [{"image_id": 0, "keypoints": [1, 2, 3]}]}, "51 numbers"),
        ({"annotations": [{"image_id": 9, "keypoints": [0] * 51}]}, "image_id 9"),
        ({"annotations": [{"image_id": 0, "keypoints": [900, 2, 1] * 17}]}, "outside of its 400 x 500"),
        ({"annotations": [{"image_id": 0, "keypoints": [0] * 51}] * 2}, "twice"),
        ({"annotations": [{"image_id": 0, "keypoints": [0] * 51, "bbox": [1, 2]}]}, "bbox of 1377.png"),
        ({"images": [{"id": 0, "file_name": "1.png"}, {"id": 1, "file_name": "1.png"}]}, "lists an image twice"),
    ],
)
def test_an_unknown_layout_is_refused_with_what_to_give(tmp_path: Path, changes: dict[str, Any], word: str) -> None:
    with pytest.raises(DataError, match=word) as caught:
        read_coco(write(tmp_path / "k.json", json.dumps(bonet(**changes))))
    assert "k.json" in str(caught.value)


def test_a_cut_off_json_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"k\.json is not readable JSON"):
        read_coco(write(tmp_path / "k.json", json.dumps(bonet())[:-40]))
