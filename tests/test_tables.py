"""Tables as spreadsheets of other countries write them, and ids as they come back from one."""

from __future__ import annotations

from pathlib import Path

import pytest

from carpal.cli.batch import _sexes
from carpal.errors import DataError
from carpal.lab.data import sources
from carpal.lab.data.tables import match_ids, read_header
from carpal.lab.evaluation import labels
from carpal.types import Sex

EXPECTED = [("12382", 94.0, False), ("1643", 57.5, True), ("10340", 132.0, True)]
GERMAN = "id;boneage;male\r\n12382;94,0;FALSCH\r\n1643;57,5;WAHR\r\n10340;132,0;WAHR\r\n"
ENGLISH = "id,boneage,male\n12382,94,False\n1643,57.5,True\n10340,132,True\n"


@pytest.fixture
def table(tmp_path: Path) -> Path:
    return tmp_path / "labels.csv"


@pytest.mark.parametrize(
    "data",
    [
        GERMAN.encode("utf-8-sig"),
        GERMAN.encode("utf-16"),
        f"sep=;\r\n{GERMAN}".encode(),
        f'"sep=;"\r\n{GERMAN}'.encode("utf-8-sig"),
        GERMAN.replace(";", "\t").encode(),
        GERMAN.replace("\r\n", ";;\r\n").encode(),  # Excel's empty columns
        ENGLISH.encode("utf-16-le"),
        b"\xff\xfe" + ENGLISH.encode("utf-16-le"),
        ENGLISH.encode("utf-16-be"),
        ENGLISH.replace(",", "\t").encode(),
        ENGLISH.replace(",", "|").encode(),
        ENGLISH.replace("boneage", '"boneage"').encode(),
        ENGLISH.replace("57.5", "57.5").replace("False", "0.0").replace("True", "1.0").encode(),
        ENGLISH.replace("False", "W").replace("True", "M").encode(),
        ENGLISH.replace("male", "Sex").replace("False", "weiblich").replace("True", "männlich").encode("cp1252"),
        ENGLISH.replace("False", "FEMALE").replace("True", "Male").encode(),
    ],
)
def test_every_spreadsheet_s_table_says_the_same(table: Path, data: bytes) -> None:
    table.write_bytes(data)
    assert [(row.id, row.boneage, row.male) for row in labels.read_labels(table)] == EXPECTED


def test_a_line_is_counted_with_excel_s_own_above_it(table: Path) -> None:
    table.write_text("sep=;\nid;boneage;male\n1;ninety;M\n")
    with pytest.raises(DataError, match="line 3, column boneage"):
        labels.read_labels(table)


def test_a_decimal_comma_among_commas_is_said(table: Path) -> None:
    table.write_text("id,boneage,male\n1,94,5,True\n")
    with pytest.raises(DataError, match=r"line 2, has 4 cells and the header 3 .* comma"):
        labels.read_labels(table)


@pytest.mark.parametrize("data", [b"\x89PNG\r\n\x1a\n\0\0", b"id,boneage\0,male\n", b"\x81\x8d\x8f", b""])
def test_what_is_no_table_is_refused(table: Path, data: bytes) -> None:
    table.write_bytes(data)
    with pytest.raises(DataError, match=r"labels\.csv"):
        labels.read_labels(table)
    assert "boneage" not in read_header(table)


def test_ages_in_years_are_refused_or_meant(table: Path) -> None:
    table.write_text("id,boneage,male\n1,7.5,True\n2,18,False\n3,11,False\n")
    for read in (labels.read_labels, sources.read_labels):
        with pytest.raises(DataError, match=r"got 7.5 to 18, which look like years - multiply them by 12"):
            read(table)
    table.write_text("id;bone age (years);male\n1;7,5;M\n2;18;F\n")
    assert [row.boneage for row in labels.read_labels(table)] == [90.0, 216.0]
    table.write_text("id,Bone age (months),male\n1,7.5,True\n2,18,False\n")
    assert [row.boneage for row in labels.read_labels(table)] == [7.5, 18.0]


@pytest.mark.parametrize("written", ["12382", "12382.0", "012382", "12382.jpg", "12382.PNG", " 12382,0", "12382.dcm"])
def test_an_id_is_found_as_a_spreadsheet_gave_it_back(table: Path, written: str) -> None:
    assert match_ids(table, [written], {"12382", "1643"}) == {written: "12382"}


def test_an_image_with_zeros_in_front_is_found_without_them(table: Path) -> None:
    assert match_ids(table, ["12382", "7.0", "x"], {"0012382", "07", "y"}) == {"12382": "0012382", "7.0": "07"}
    assert match_ids(table, ["0"], {"000"}) == {"0": "000"}


def test_one_hand_is_never_given_to_two_ids_nor_one_id_two_hands(table: Path) -> None:
    assert match_ids(table, ["12", "012"], {"12", "012"}) == {"12": "12", "012": "012"}
    with pytest.raises(DataError, match="may mean 0012 or 012"):
        match_ids(table, ["12"], {"012", "0012"})
    with pytest.raises(DataError, match=r"has 12 twice - as '12' and '12\.0'"):
        match_ids(table, ["12", "12.0"], {"12"})


def test_labels_find_their_images_by_any_ending_and_content(table: Path, tmp_path: Path) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    for name, data in (
        ("0012382.dicom", b""),
        ("1643.ima", b""),
        ("7", b"\x89PNG\r\n\x1a\n"),
        ("1.2.840.5", bytes(128) + b"DICM"),
        ("9.img", bytes(128) + b"DICM"),
        ("7.txt", b"a note"),
        ("9.csv", b"id"),
    ):
        (folder / name).write_bytes(data)
    table.write_text("id,boneage,male\n12382.0,90,1\n1643.jpg,90,1\n7,90,1\n1.2.840.5,90,1\n9,90,1\n")
    found = labels.find_images(folder, labels.read_labels(table), table)
    assert [path.name for path in found.values()] == ["0012382.dicom", "1643.ima", "7", "1.2.840.5", "9.img"]


def test_sexes_that_contradict_each_other_are_refused(table: Path) -> None:
    table.write_text("id;male\n12382.0;W\n7;M\n")
    assert _sexes(table)["12382"] is Sex.FEMALE
    table.write_text("id,male\n12382,1\n12382.0,0\n")
    with pytest.raises(DataError, match="line 3, gives '12382' the other sex"):
        _sexes(table)
