"""The audit log: every change of a line is found, half a line is healed, writers do not break each other's chain."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest

from carpal.cli import main
from carpal.errors import DataError
from carpal.node.audit import START, Audit, Seal, verify


@pytest.fixture
def log(tmp_path: Path) -> Path:
    audit = Audit(tmp_path / "audit.jsonl")
    for number in range(5):
        audit.write("received", instance=f"1.2.{number}", new=True)
    return audit.path


def test_a_chain_that_nobody_touched_is_whole(log: Path, tmp_path: Path) -> None:
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [line["n"] for line in lines] == [1, 2, 3, 4, 5]
    assert [line["before"] for line in lines] == [START, *(line["hash"] for line in lines[:-1])]
    assert verify(log) == Seal(5, lines[-1]["hash"])
    assert verify(tmp_path / "none") == Seal(0, START)


def edit(line: str, **fields: Any) -> str:
    return json.dumps(json.loads(line) | fields)


@pytest.mark.parametrize(
    ("change", "number"),
    [
        (lambda lines: [*lines[:2], edit(lines[2], instance="9.9"), *lines[3:]], 3),
        (lambda lines: [*lines[:2], edit(lines[2], at="2000-01-01"), *lines[3:]], 3),
        (lambda lines: [*lines[:2], *lines[3:]], 3),
        (lambda lines: [lines[1], lines[0], *lines[2:]], 1),
        (lambda lines: [*lines, lines[-1]], 6),
        (lambda lines: lines[1:], 1),
        (lambda lines: [*lines[:3], "{}", lines[4]], 4),
        (lambda lines: [*lines[:3], "no json", lines[4]], 4),
    ],
)
def test_what_was_changed_is_named_by_its_line(log: Path, change: Any, number: int) -> None:
    log.write_text("\n".join(change(log.read_text().splitlines())) + "\n")
    with pytest.raises(DataError, match=f"line {number}"):
        verify(log)


def test_half_a_line_of_a_crash_is_cut_off_and_the_chain_goes_on(log: Path) -> None:
    with log.open("ab") as file:
        file.write(b'{"n": 6, "at": "2026')
    Audit(log).write("start")
    assert verify(log).lines == 6


def test_long_lines_and_two_writers_keep_one_chain(log: Path) -> None:
    def write(audit: Audit) -> None:
        for _ in range(10):
            audit.write("received", note="x" * 5000)

    threads = [threading.Thread(target=write, args=(Audit(log),)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert verify(log).lines == 25


def test_the_command_says_whether_it_is_whole(log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "node.toml"
    config.write_text(f'[node]\nfolder = "{tmp_path}"\n')
    assert main(["node", "--config", str(config), "--verify-audit"]) == 0
    assert capsys.readouterr().out.startswith("5 lines, chain intact")
    log.write_text(log.read_text().replace("1.2.3", "1.2.9"))
    assert main(["node", "--config", str(config), "--verify-audit"]) == 3
    assert "line 4: the chain is broken" in capsys.readouterr().err
