"""JSON lines that grow: what is there is known again, what is torn is cut off, what is foreign is refused."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from carpal.errors import ConfigError
from carpal.report.lines import ResultLines

MADE_BY = {"model": {"name": "m", "sha256": "ab"}, "carpal": "1"}


def entry(image: str, **more: Any) -> dict[str, Any]:
    return {"image": image, "months": 100.0, **MADE_BY, **more}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "results.jsonl"
    with ResultLines(path, MADE_BY) as lines:
        lines.append("a", [entry("a")])
        lines.append("b", [entry("b", side="left"), entry("b", side="right")])
    return path


def images(path: Path) -> list[str]:
    return [json.loads(line)["image"] for line in path.read_text().splitlines()]


def test_what_was_written_is_known_again_and_gone_on_from(path: Path) -> None:
    with ResultLines(path, MADE_BY) as lines:
        assert ["a" in lines, "b" in lines, "c" in lines, len(lines)] == [True, True, False, 2]
        lines.append("c", [entry("c")])
    assert images(path) == ["a", "b", "b", "c"]


@pytest.mark.parametrize(("cut", "left"), [(3, ["a"]), (90, ["a"])], ids=["second hand torn", "first hand torn"])
def test_a_torn_end_goes_with_the_other_hand_of_its_image(path: Path, cut: int, left: list[str]) -> None:
    os.truncate(path, path.stat().st_size - cut)
    with ResultLines(path, MADE_BY) as lines:
        assert "b" not in lines
        lines.append("b", [entry("b")])
    assert images(path) == [*left, "b"]


def test_a_torn_line_of_a_new_image_costs_the_one_before_it(path: Path) -> None:
    with path.open("a") as file:
        file.write('{"image": "c", "mon')
    with ResultLines(path, MADE_BY) as lines:
        assert ["a" in lines, "b" in lines, "c" in lines] == [True, False, False]
    assert images(path) == ["a"]


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("no json\n", "line 4, is no result"),
        ('{"image": "c"}\n', "line 4, is no result - KeyError"),
        (json.dumps(entry("c") | {"carpal": "2"}) + "\n", "another runtime or version - line 4"),
    ],
)
def test_what_others_wrote_is_left_alone(path: Path, line: str, complaint: str) -> None:
    with path.open("a") as file:
        file.write(line)
    before = path.read_bytes()
    with pytest.raises(ConfigError, match=complaint):
        ResultLines(path, MADE_BY)
    assert path.read_bytes() == before


def test_a_name_that_is_no_text_survives(tmp_path: Path) -> None:
    name = os.fsdecode(b"hand-\xff.png")
    for _ in range(2):
        with ResultLines(tmp_path / "r.jsonl", MADE_BY) as lines:
            if name not in lines:
                lines.append(name, [entry(name)])
    assert images(tmp_path / "r.jsonl") == [name]


def test_a_full_disk_leaves_no_half_line(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    with ResultLines(path, MADE_BY) as lines:
        monkeypatch.setattr(os, "write", lambda handle, content: write(handle, content[:20]))
        with pytest.raises(ConfigError, match="disk is full"):
            lines.append("c", [entry("c")])
    assert images(path) == ["a", "b", "b"]


def test_a_place_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be written"):
        ResultLines(tmp_path / "none" / "r.jsonl", MADE_BY)
