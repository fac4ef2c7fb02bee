"""`prepare_from`: a folder is recognised for what it is, or the message says what it lacks."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from carpal.anatomy import INDEX, REGIONS
from carpal.errors import ConfigError, DataError
from carpal.lab.data.sources import prepare_from, read_regions
from carpal.lab.data.store import open_store

REGIONS_CSV = "id,source,width,height,roi,x,y,v\na,k,60,80,Ulna,30,40,2\nc,k,60,80,Ulna,30,20,2\nz,k,60,80,Ulna,1,1,2\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Images a-d; ages of a and b; regions of a and c (and of z, which has no image)."""
    source = tmp_path / "hands"
    (source / "images").mkdir(parents=True)
    for i, name in enumerate("abcd"):
        pixels = np.random.default_rng(i).integers(0, 255, (80, 60), dtype=np.uint8)
        Image.fromarray(pixels).save(source / "images" / f"{name}.png")
    (source / "labels.csv").write_text("id,boneage,male\na,100,True\nb,50,False\n")
    (source / "regions.csv").write_text(REGIONS_CSV)
    return source


def test_ages_and_regions_may_each_be_absent(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prepare_from(folder, folder.parent / "store", long_side=64, regions=folder / "regions.csv")
    store = open_store(folder.parent / "store")
    assert [(row.id, row.boneage, row.male) for row in store.rows] == [
        ("a", 100, True),
        ("b", 50, False),
        ("c", None, None),
    ]
    assert store.points[:, INDEX["Ulna"], 2].tolist() == [1, 0, 1]
    assert store.points[2, INDEX["Ulna"]].tolist() == [24, 16, 1]
    assert store.rows[2].fold == -1
    assert {store.rows[0].fold, store.rows[1].fold} <= set(range(5))
    said = capsys.readouterr().err
    assert "1 images" in said
    assert "1 annotated hands have no image" in said


def test_annotated_keeps_only_hands_with_regions(folder: Path) -> None:
    prepare_from(folder, folder.parent / "store", long_side=64, regions=folder / "regions.csv", annotated=True)
    assert [row.id for row in open_store(folder.parent / "store").rows] == ["a", "c"]


def test_regions_alone_make_a_store(folder: Path) -> None:
    (folder / "labels.csv").unlink()
    prepare_from(folder, folder.parent / "store", long_side=64, regions=folder / "regions.csv")
    store = open_store(folder.parent / "store")
    assert [(row.id, row.boneage) for row in store.rows] == [("a", None), ("c", None)]


def test_a_folder_without_a_table_is_refused(folder: Path) -> None:
    (folder / "labels.csv").unlink()
    with pytest.raises(DataError, match="found none - name it with --labels"):
        prepare_from(folder, folder.parent / "store")


def test_two_tables_need_a_choice(folder: Path) -> None:
    (folder / "validation.csv").write_text("Image ID,male,Bone Age (months)\na,TRUE,9\n")
    with pytest.raises(DataError, match=r"labels\.csv \(train\), validation\.csv \(validation\)"):
        prepare_from(folder, folder.parent / "store")
    prepare_from(folder, folder.parent / "store", labels=folder / "labels.csv")
    with pytest.raises(DataError, match="1425 radiographs of the RSNA validation set - it lists 1"):
        prepare_from(folder, folder.parent / "other", labels=folder / "validation.csv")


def test_an_official_training_table_must_be_whole(folder: Path) -> None:
    (folder / "labels.csv").rename(folder / "boneage-training-dataset.csv")
    with pytest.raises(DataError, match="12611 radiographs of the RSNA train set - it lists 2"):
        prepare_from(folder, folder.parent / "store")


def test_the_test_set_is_never_prepared(folder: Path) -> None:
    (folder / "labels.csv").write_text("Case ID,Sex,Ground truth bone age (months)\na,M,9\n")
    with pytest.raises(DataError, match="never trained on"):
        prepare_from(folder, folder.parent / "store")


def test_missing_and_cut_off_images_are_named(folder: Path) -> None:
    image = folder / "images" / "b.png"
    content = image.read_bytes()
    image.write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match=r"1 of 2 files cut off - 1: b\.png"):
        prepare_from(folder, folder.parent / "store")
    image.unlink()
    with pytest.raises(DataError, match="lacks 1 of 2 radiographs - 1: b"):
        prepare_from(folder, folder.parent / "store")
    assert not (folder.parent / "store").exists()


def test_settings_are_checked(folder: Path) -> None:
    with pytest.raises(ConfigError, match="kind"):
        prepare_from(folder, folder.parent / "store", kind="films")
    with pytest.raises(ConfigError, match="32 to 4096"):
        prepare_from(folder, folder.parent / "store", long_side=8)
    with pytest.raises(DataError, match="no squashed radiographs"):
        prepare_from(folder, folder.parent / "store", kind="squashed")
    with pytest.raises(DataError, match="no folder"):
        prepare_from(folder / "nowhere", folder.parent / "store")


def test_regions_are_read_in_every_form(tmp_path: Path) -> None:
    flat = [value for i in range(17) for value in (i + 1, i + 1, 2)]
    image = {"id": 5, "file_name": "a.png", "width": 60, "height": 80}
    content = {"images": [image], "annotations": [{"image_id": 5, "keypoints": flat}]}
    (tmp_path / "k.json").write_text(json.dumps(content))
    (tmp_path / "p.csv").write_text(REGIONS_CSV)
    (tmp_path / "b.csv").write_text("id,source,width,height,roi,x1,y1,x2,y2\na,k,60,80,Ulna,20,30,40,50\n")
    box = "<bndbox><xmin>20</xmin><ymin>30</ymin><xmax>40</xmax><ymax>50</ymax></bndbox>"
    size = "<size><width>60</width><height>80</height></size>"
    (tmp_path / "a.xml").write_text(f"<annotation>{size}<object><name>Ulna</name>{box}</object></annotation>")
    for path in (tmp_path / "p.csv", tmp_path / "b.csv", tmp_path):
        hand = next(hand for hand in read_regions(path) if hand.id == "a")
        assert hand.points_R3[INDEX["Ulna"]].tolist() == [30, 40, 1], path
    (hand,) = read_regions(tmp_path / "k.json", order=REGIONS)
    assert hand.points_R3[INDEX["Ulna"]].tolist() == [16, 16, 1]
    with pytest.raises(DataError, match=r"r\.txt is no file of regions"):
        read_regions(tmp_path / "r.txt")
