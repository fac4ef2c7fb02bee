"""Results as Parquet parts: the same as the JSON lines, gone on from, refused where damaged or foreign."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from carpal.cli import main
from carpal.errors import BackendError, ConfigError
from carpal.report import results as parquet
from carpal.report.results import COLUMNS, ResultTable

MODEL = {"name": "m", "version": "1", "sha256": "ab", "backend": "onnx", "precision": "fp32"}
MADE_BY = {"model": MODEL, "carpal": "1"}


def entry(image: str, **more: Any) -> dict[str, Any]:
    empty = {"sex": "female", "interval": None, "regions": [], "warnings": [], "refused": None, "site": None}
    return {"image": image, "months": 100.0, **empty, **MADE_BY, **more}


def growth(z: float) -> dict[str, Any]:
    return {"reference": "ours", "chronological_months": 126.0, "z_score": z}


@pytest.fixture(autouse=True)
def reader() -> Any:
    return pytest.importorskip("pyarrow.parquet")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Two parts: one hand, and two hands of one image."""
    path = tmp_path / "results.parquet"
    for name, sides in (("a", [None]), ("b", ["left", "right"])):
        with ResultTable(path, MADE_BY) as table:
            table.append(name, [entry(name, **({"side_in_image": side} if side else {})) for side in sides])
    return path


def rows(path: Path) -> list[dict[str, Any]]:
    import pyarrow.parquet

    found: list[dict[str, Any]] = pyarrow.parquet.read_table(path).to_pylist()
    return found


def images(path: Path) -> list[str]:
    return [row["image"] for row in rows(path)]


def test_what_was_written_is_known_again_and_gone_on_from(path: Path) -> None:
    with ResultTable(path, MADE_BY) as table:
        assert ["a" in table, "b" in table, "c" in table, len(table)] == [True, True, False, 2]
        table.append("c", [entry("c")])
    assert images(path) == ["a", "b", "b", "c"]
    assert sorted(each.name for each in path.iterdir()) == [f"part-00000{number}.parquet" for number in range(3)]


def test_every_value_of_an_entry_has_its_column(tmp_path: Path) -> None:
    whole = entry(
        "a",
        interval={"low": 90.0, "high": 110.0, "coverage": 0.9},
        warnings=["one", "two"],
        site={"calibration": "hospital", "raw_months": 101.5},
        growth=growth(1.5),
        side_in_image="left",
    )
    both = {
        "female": entry("b", months=90.0, interval={"low": 80.0, "high": 99.0, "coverage": 0.9}, growth=growth(-0.5)),
        "male": entry("b", months=None),
    }
    refused = entry("c", months=None, sex=None, refused={"code": "not-a-hand", "message": "c: no hand"})
    with ResultTable(tmp_path / "r.parquet", MADE_BY) as table:
        for each in (whole, entry("b", months=None, sex=None, by_sex=both), refused):
            table.append(each["image"], [each])
    first, second, third = rows(tmp_path / "r.parquet")
    assert list(first) == list(COLUMNS)
    assert json.loads(first.pop("json")) == whole
    expected = [
        "a", "left", "female", 100.0, 90.0, 110.0, 0.9, *[None] * 6, 126.0, "ours", 1.5, None, None,
        101.5, "hospital", None, None, ["one", "two"], "m", "1", "ab", "onnx", "fp32", "1",
    ]  # fmt: skip
    assert list(first.values()) == expected
    assert [second[name] for name in ("months", "months_female", "months_male")] == [None, 90.0, None]
    names = ("interval_low_female", "interval_high_female", "interval_coverage", "interval_low_male", "interval_low")
    assert [second[name] for name in names] == [80.0, 99.0, 0.9, None, None]
    names = ("z_score", "z_score_female", "z_score_male", "reference", "chronological_months")
    assert [second[name] for name in names] == [None, -0.5, None, "ours", 126.0]
    assert [third[name] for name in ("months", "refused_code", "refused_message")] == [None, "not-a-hand", "c: no hand"]


def test_a_part_is_written_when_it_is_full_or_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "r.parquet"
    monkeypatch.setattr(parquet, "ROWS", 3)
    with ResultTable(path, MADE_BY) as table:
        for name in "abcd":
            table.append(name, [entry(name, side_in_image=side) for side in ("left", "right")])
        assert images(path) == ["a", "a", "b", "b", "c", "c", "d", "d"]  # two images a part
        monkeypatch.setattr(parquet, "ROWS", 1000)
        table.append("e", [entry("e")])
        assert len(images(path)) == 8
        monkeypatch.setattr(parquet, "SECONDS", -1.0)
        table.append("f", [entry("f")])
        assert images(path)[8:] == ["e", "f"]
    assert len(list(path.iterdir())) == 3


def test_what_a_killed_run_left_half_written_is_cleared(path: Path) -> None:
    (path / ".part-000002.parquet.x7").write_bytes(b"PAR1 half")
    with ResultTable(path, MADE_BY):
        pass
    assert images(path) == ["a", "b", "b"]
    assert len(list(path.iterdir())) == 2


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "no parquet"])
def test_a_damaged_part_is_named(path: Path, damage: str) -> None:
    part = path / "part-000001.parquet"
    whole = part.read_bytes()
    broken = {"cut": whole[:-9], "flipped": whole[:20] + bytes([whole[20] ^ 255]) + whole[21:], "empty": b""}
    part.write_bytes(broken.get(damage, b"no parquet at all"))
    with pytest.raises(ConfigError, match=r"part-000001\.parquet is damaged, .* delete it: its images are read again"):
        ResultTable(path, MADE_BY)
    part.unlink()
    with ResultTable(path, MADE_BY) as table:
        assert ["a" in table, "b" in table] == [True, False]


def test_results_of_others_are_refused(path: Path) -> None:
    with pytest.raises(ConfigError, match=r"other weights, another runtime or version - part-000000\.parquet"):
        ResultTable(path, MADE_BY | {"carpal": "2"})
    (path / "notes.txt").touch()
    with pytest.raises(ConfigError, match=r"notes\.txt is no part of results"):
        ResultTable(path, MADE_BY)


def test_two_runs_at_a_time_are_refused(path: Path) -> None:
    with ResultTable(path, MADE_BY), pytest.raises(ConfigError, match="is being written by another run"):
        ResultTable(path, MADE_BY)
    with ResultTable(path, MADE_BY) as table:
        assert len(table) == 2


def test_a_name_that_is_no_text_survives(tmp_path: Path) -> None:
    name = os.fsdecode(b"hand-\xff.png")
    for _ in range(2):
        with ResultTable(tmp_path / "r.parquet", MADE_BY) as table:
            if name not in table:
                table.append(name, [entry(name, refused={"code": "c", "message": f"{name}: broken"})])
    (row,) = rows(tmp_path / "r.parquet")
    assert json.loads(row["json"])["image"] == name
    assert row["image"] == r"hand-\udcff.png"


def test_a_place_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file.parquet").touch()
    for path in (tmp_path / "none" / "r.parquet", tmp_path / "file.parquet"):
        with pytest.raises(ConfigError, match="cannot be written"):
            ResultTable(path, MADE_BY)


def test_without_pyarrow_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(BackendError, match=r"A Parquet file needs .* pip install 'carpal\[scale\]'"):
        ResultTable(tmp_path / "r.parquet", MADE_BY)


def test_the_command_writes_the_json_lines_as_a_table_and_goes_on(
    hand_png: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fake_engine: Callable[..., Any]
) -> None:
    engine = fake_engine()
    monkeypatch.setattr("carpal.inference.engine.open_engine", lambda *_: engine)
    folder, lines, table = tmp_path / "hands", tmp_path / "r.jsonl", tmp_path / "r.parquet"
    folder.mkdir()
    for number in range(5):
        (folder / f"{number}.png").symlink_to(hand_png)
    (folder / "3b.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    monkeypatch.setattr(parquet, "ROWS", 2)
    for out in (lines, table):
        assert main(["assess", str(folder), "--sex", "female", "--out", str(out)]) == 3
    written = [row["json"] for row in rows(table)]
    assert written == lines.read_text().splitlines()
    (table / "part-000001.parquet").unlink()  # 2.png and 3.png
    asked = len(engine.asked)
    assert main(["assess", str(folder), "--sex", "female", "--out", str(table)]) == 0
    assert sorted(row["json"] for row in rows(table)) == sorted(written)
    assert (len(engine.asked) - asked) * 5 == asked  # two of five hands; `asked` holds two runs of five
