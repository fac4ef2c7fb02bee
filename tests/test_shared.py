"""Our own data folder, in a small copy that the tests write: folds, aspects, corrected regions, refusals."""

from __future__ import annotations

import io
import random
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from carpal.anatomy import INDEX
from carpal.errors import DataError
from carpal.lab.data import shared
from carpal.lab.data.sources import Label, prepare_from
from carpal.lab.data.store import open_store

POINTS = """dataset,id,source,width,height,roi,x,y,v
rsna,12,k,200,400,PIP3,100,100,2
rsna,12,k,200,400,RadiocarpalPoint,100,300,2
rsna,11,e_nonexpert,300,400,Wrist,1,1,2
rsna,11,e_expert,300,400,Wrist,150,300,2
"""


def picture(ending: str, height: int, width: int) -> bytes:
    pixels = np.random.default_rng(height).integers(0, 255, (height, width), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, ending)
    return file.getvalue()


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Ten studies, 10-19; of the first six there are whole films, of 18 too; 11 and 12 have regions."""
    monkeypatch.setattr(shared, "COUNTS", {"train": 10, "images": 6, "more": 1})
    monkeypatch.setattr(shared, "MISNUMBERED", {})
    (tmp_path / "rsna" / "images").mkdir(parents=True)
    (tmp_path / "annotations").mkdir()
    (tmp_path / "rsna" / "more").mkdir()
    lines, sizes = ["id,boneage,male,image,native_width,native_height"], ["id,width,height"]
    archives = [zipfile.ZipFile(tmp_path / "rsna" / part, "w") for part in shared.SQUASHED]
    for i in range(10, 20):
        whole = i < 16
        lines.append(f"{i},{10 * i},{i % 2 == 0}," + (f"images/{i}.jpg,," if whole else f"thumb100.zip:{i}.webp,,"))
        sizes.append(f"{i},{600 if i == 12 else 900},1200")
        archives[i % 2].writestr(f"{i}.webp", picture("WEBP", 100, 100))
        if whole:
            content = picture("JPEG", 80, 40 if i == 12 else 60)
            (tmp_path / "rsna" / "images" / f"{i}.jpg").write_bytes(content)
    for archive in archives:
        archive.close()
    (tmp_path / "rsna" / "more" / "18.png").write_bytes(picture("PNG", 80, 60))
    (tmp_path / "rsna" / "more" / "index.csv").write_text(
        "id,boneage,male,width,height,stretched\n18,180,True,60,80,no\n"
    )
    (tmp_path / "rsna" / "train.csv").write_text("\n".join(lines) + "\n")
    (tmp_path / "rsna" / "native_sizes.csv").write_text("\n".join(sizes) + "\n")
    (tmp_path / "annotations" / "rois17_points.csv").write_text(POINTS)
    return tmp_path


def test_images_carry_ages_folds_and_experts_regions(source: Path) -> None:
    prepare_from(source, source / "store", long_side=64)
    store = open_store(source / "store")
    assert [row.id for row in store.rows] == [str(i) for i in range(10, 16)]
    assert [row.boneage for row in store.rows] == [10 * i for i in range(10, 16)]
    assert [row.male for row in store.rows] == [True, False] * 3
    assert {row.fold for row in store.rows} == {0, 1, 2, 3, 4}
    assert store.points[1, INDEX["Wrist"]].tolist() == [24, 48, 1], "the expert's, at half and 3/4 of 48 x 64"
    assert store.points[2].tolist()[INDEX["PIP3"]] == [16, 16, 1]
    assert store.points[2, :, 2].sum() == 1


def test_squashed_radiographs_get_their_native_aspect_and_the_fold_of_their_film(source: Path) -> None:
    prepare_from(source, source / "images", long_side=64)
    prepare_from(source, source / "squashed", kind="squashed")
    images, squashed = open_store(source / "images"), open_store(source / "squashed")
    assert [row.id for row in squashed.rows] == [str(i) for i in range(10, 20)]
    assert squashed.manifest.long_side == 320
    fold = {row.id: row.fold for row in images.rows}
    assert {row.id: row.fold for row in squashed.rows} == fold | {str(i): -1 for i in range(16, 20)}
    width = {row.id: row.width for row in squashed.rows}
    assert (width["10"], width["12"]) == (240, 160), "native sizes of 900 x 1200 and 600 x 1200"
    np.testing.assert_allclose(squashed.points[1, INDEX["Wrist"]], [120, 240, 1])


def test_more_films_belong_to_no_fold(source: Path) -> None:
    (sample,) = shared.more(source)
    assert (sample.id, sample.boneage, sample.male, sample.fold) == ("18", 180, True, -1)
    (source / "rsna" / "more" / "18.png").unlink()
    with pytest.raises(DataError, match=r"must hold 1 .* 1 are missing or unknown: 1: 18"):
        shared.more(source)


def test_regions_that_key_points_leave_out_come_from_joint_boxes(source: Path) -> None:
    (source / "annotations" / "rois15_points_rus.csv").write_text(
        "dataset,id,source,width,height,roi,x,y,v\n"
        "rsna,12,p,400,800,Radius,100,600,2\nrsna,12,p,400,800,PIP3,1,1,2\nrsna,15,p,400,800,Ulna,200,700,2\n"
    )
    regions = shared.read_regions(source)
    assert regions["12"].points_R3[INDEX["Radius"]].tolist() == [50, 300, 1], "in the key points' frame of 200 x 400"
    assert regions["12"].points_R3[INDEX["PIP3"]].tolist() == [100, 100, 1], "what was there stays"
    assert regions["15"].points_R3[INDEX["Ulna"]].tolist() == [200, 700, 1]


def test_three_key_points_are_shares_of_the_radiograph(source: Path) -> None:
    (source / "annotations" / "hand3points.csv").write_text(
        "id,width,height,middle_tip_x,middle_tip_y,thumb_tip_x,thumb_tip_y,capitate_x,capitate_y,thumb_side,x,inside\n"
        "12,200,400,100,40,20,200,100,300,left of picture,0,1\n"
    )
    points = shared.read_three_points(source)["12"]
    assert points == shared.ThreePoints(0.5 + 0.1j, 0.1 + 0.5j, 0.5 + 0.75j, True)


def test_misnumbered_hands_are_read_from_their_xml(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    box = "<bndbox><xmin>10</xmin><ymin>20</ymin><xmax>30</xmax><ymax>40</ymax></bndbox>"
    size = "<size><width>200</width><height>400</height></size>"
    folder = source / "annotations" / "voc_rois"
    folder.mkdir()
    (folder / "12.xml").write_text(f"<annotation>{size}<object><name>Ulna</name>{box}</object></annotation>")
    monkeypatch.setattr(shared, "MISNUMBERED", {"12": "12.xml"})
    regions = shared.read_regions(source)
    assert regions["12"].points_R3[INDEX["Ulna"]].tolist() == [20, 30, 1]
    assert regions["12"].points_R3[:, 2].sum() == 1
    assert regions["11"].expert


def test_a_half_copied_folder_says_what_is_missing(source: Path) -> None:
    (source / "rsna" / "images" / "13.jpg").unlink()
    with pytest.raises(DataError, match=r"lacks 1 of 6 files - 1: images/13\.jpg"):
        shared.images(source)
    archive = source / "rsna" / shared.SQUASHED[1]
    archive.write_bytes(archive.read_bytes()[:-200])
    with pytest.raises(DataError, match=r"px299-b\.zip is cut off"):
        shared.squashed(source)
    with zipfile.ZipFile(archive, "w") as emptied:
        emptied.writestr("11.webp", b"")
    with pytest.raises(DataError, match=r"px299-a\.zip and px299-b\.zip lack 4 of 10 radiographs"):
        shared.squashed(source)
    archive.unlink()
    with pytest.raises(DataError, match=r"no .*px299-b\.zip"):
        shared.squashed(source)
    table = source / "rsna" / "train.csv"
    table.write_text("".join(table.read_text().splitlines(keepends=True)[:-1]))
    with pytest.raises(DataError, match="10 different ids - it has 9"):
        shared.images(source)


def test_ids_of_the_test_set_are_refused(source: Path) -> None:
    table = source / "rsna" / "train.csv"
    table.write_text(table.read_text().replace("\n19,", "\n4360,"))
    for read in (shared.images, shared.squashed):
        with pytest.raises(DataError, match=r"test set \(4360-4559\).*1: 4360"):
            read(source)


def rows(count: int) -> list[Label]:
    dice = random.Random(count)
    return [Label(str(i), dice.randint(0, 228), dice.random() < 0.5) for i in range(count)]


@given(count=st.integers(1, 300))
def test_folds_are_even_and_do_not_depend_on_the_order(count: int) -> None:
    labels = rows(count)
    fold = shared.folds(labels)
    assert fold == shared.folds(labels[::-1])
    sizes = np.bincount(list(fold.values()), minlength=5)
    assert sizes.sum() == count
    assert sizes.max() - sizes.min() <= 1


def test_folds_are_alike_in_sex_and_age() -> None:
    labels = rows(1000)
    fold = shared.folds(labels)
    groups = [[label for label in labels if fold[label.id] == k] for k in range(5)]
    males = [sum(label.male for label in group) for group in groups]
    means = [np.mean([label.boneage for label in group]) for group in groups]
    assert max(males) - min(males) <= 1, males
    assert max(means) - min(means) < 2, means
    assert [label.id for label in groups[0]] != [label.id for label in labels[::5]], "dealt, not every fifth"


def test_folds_stay_what_they_were() -> None:
    """Released numbers are cross-validated on these folds: this pins them."""
    fold = shared.folds(rows(12))
    assert "".join(str(fold[str(i)]) for i in range(12)) == "100421320143"
