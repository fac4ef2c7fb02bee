"""The challenge's three tables and folders: read for what they mean, refused where they are broken."""

from __future__ import annotations

from pathlib import Path

import pytest

from carpal.errors import DataError
from carpal.lab.data.sources import Label, check_images, find_images, find_tables, is_cut_off, read_labels, split_of

TRAIN = "id,boneage,male\n"


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("text", "split", "labels"),
    [
        ("id,boneage,male\n1377,180,False\n1379,94,True\n", "train", [("1377", 180, False), ("1379", 94, True)]),
        ("Image ID,male,Bone Age (months)\n1386,TRUE,30\n", "validation", [("1386", 30, True)]),
        ("Case ID,Sex,Ground truth bone age (months)\n9001,M,168.9\n", "test", [("9001", 168.9, True)]),
        ("\ufeff case id , SEX ,ground truth  bone age (months)\n9001, f ,12\n\n", "test", [("9001", 12, False)]),
        ("male,extra,boneage,id\n1,x,0,a\n", "train", [("a", 0, True)]),
    ],
)
def test_each_table_is_read_by_its_own_columns(tmp_path: Path, text: str, split: str, labels: list[Label]) -> None:
    path = write(tmp_path / "t.csv", text)
    found = split_of(path)
    assert found is not None
    assert found.name == split
    assert read_labels(path) == labels


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ("8,nan,True", "column boneage"),
        ("8,,True", "column boneage"),
        ("8,229,True", "from 0 to 228"),
        ("8,-1,True", "from 0 to 228"),
        ("8,twelve,True", "'twelve'"),
        ("8,12,", "never guessed"),
        ("8,12,diverse", "'diverse'"),
        ("7,12,True", "on line 2 already"),
        (",12,True", "is empty"),
        ("8,12", "2 cells"),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, line: str, word: str) -> None:
    with pytest.raises(DataError, match=word) as caught:
        read_labels(write(tmp_path / "t.csv", TRAIN + "7,10,False\n" + line + "\n"))
    assert "t.csv, line 3" in str(caught.value)


@pytest.mark.parametrize("text", ["id,age,male\n1,2,True\n", "", "id,boneage,boneage,male\n"])
def test_wrong_columns_are_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(DataError, match=r"t\.csv.*id,boneage,male|twice"):
        read_labels(write(tmp_path / "t.csv", text))


def test_a_missing_or_binary_table_is_a_data_error(tmp_path: Path) -> None:
    (tmp_path / "b.csv").write_bytes(b"\xff\xfe\x00\x01" * 20)
    for name in ("none.csv", "b.csv"):
        with pytest.raises(DataError, match=name):
            read_labels(tmp_path / name)


def test_an_official_table_must_be_whole(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", TRAIN + "".join(f"a{i},100,True\n" for i in range(12_611)))
    assert len(read_labels(path, official=True)) == 12_611
    write(path, TRAIN + "".join(f"a{i},100,True\n" for i in range(12_000)))
    with pytest.raises(DataError, match="12611 radiographs of the RSNA train set - it lists 12000"):
        read_labels(path, official=True)


def test_images_are_found_below_and_counted(tmp_path: Path) -> None:
    folder = tmp_path / "boneage" / "boneage"
    folder.mkdir(parents=True)
    for name in ("1.png", "2.PNG", ".3.png"):
        (folder / name).write_bytes(b"\x89PNG\r\n\x1a\n....IEND....")
    (folder / "notes.txt").write_text("no image")
    images = find_images(tmp_path)
    assert sorted(images) == ["1", "2"]
    with pytest.raises(DataError, match=r"lacks 6 of 8 radiographs - 6: 3, 4, 5, 6, 7, …"):
        check_images(images, map(str, range(1, 9)), tmp_path)
    (folder / "2.PNG").write_bytes(b"\x89PNG\r\n\x1a\n....")
    with pytest.raises(DataError, match=r"1 of 2 files cut off - 1: 2\.PNG"):
        check_images(images, ["1", "2"], tmp_path)
    (tmp_path / "1.jpg").write_bytes(b"")
    with pytest.raises(DataError, match="has 1 twice"):
        find_images(tmp_path)


@pytest.mark.parametrize(
    ("content", "cut"),
    [
        (b"", True),
        (b"\xff\xd8\xff" + b"x" * 2000, True),
        (b"\xff\xd8\xff" + b"x" * 2000 + b"\xff\xd9", False),
        (b"\x89PNG\r\n\x1a\n" + b"x" * 2000, True),
        (b"RIFFxxxxWEBP", False),
    ],
)
def test_cut_off_files_are_seen_without_decoding(tmp_path: Path, content: bytes, cut: bool) -> None:
    (tmp_path / "f").write_bytes(content)
    assert is_cut_off(tmp_path / "f") is cut


def test_tables_are_told_from_other_csv(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    write(tmp_path / "regions.csv", "id,source,width,height,roi,x,y,v\n")
    write(tmp_path / "sub" / "labels.csv", TRAIN)
    assert {path.name: split.name for path, split in find_tables(tmp_path).items()} == {"labels.csv": "train"}
