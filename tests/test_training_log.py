"""What a run writes of itself: one JSON object a line, and none from beyond the checkpoint that it resumes from."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from carpal.lab.training import log
from carpal.lab.training.log import Log

TENSORBOARD = log._tensorboard


@pytest.fixture(autouse=True)
def without_tensorboard(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log, "_tensorboard", lambda folder, resume_step: None)


def steps(folder: Path) -> list[int]:
    return [json.loads(line)["step"] for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]


def test_a_record_is_a_line_of_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    writer = Log(tmp_path, total_steps=40, resume_step=0, quiet=False)
    writer.write(10, {"ord": 0.25, "lr": 1e-3})
    writer.write(40, {"ord": 0.125, "lr": 1e-4})
    first, last = (json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text(encoding="utf-8").splitlines())
    assert first.pop("seconds") >= 0
    assert first == {"step": 10, "ord": 0.25, "lr": 1e-3}
    assert last["step"] == 40
    lines = capsys.readouterr().err.splitlines()
    assert "█████░" in lines[0]
    assert "10/40" in lines[0]
    assert "ord 0.25" in lines[0]
    assert "40/40" in lines[1]
    assert "░" not in lines[1]


def test_records_beyond_the_checkpoint_are_dropped(tmp_path: Path) -> None:
    writer = Log(tmp_path, 50, 0, quiet=False)
    for step in (10, 20, 30):
        writer.write(step, {"ord": 1.0})
    resumed = Log(tmp_path, 50, 20, quiet=False)
    assert steps(tmp_path) == [10, 20]
    resumed.write(30, {"ord": 0.5})
    assert steps(tmp_path) == [10, 20, 30]
    Log(tmp_path, 50, 0, quiet=False)
    assert steps(tmp_path) == []


def test_half_a_line_does_not_stop_a_resumed_run(tmp_path: Path) -> None:
    Log(tmp_path, 50, 0, quiet=False).write(10, {"ord": 1.0})
    with (tmp_path / "metrics.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"step": 20, "seco')
    Log(tmp_path, 50, 10, quiet=False).write(20, {"ord": 0.5})
    assert steps(tmp_path) == [10, 20]


def test_a_quiet_process_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kept = '{"step": 99}\n'
    (tmp_path / "metrics.jsonl").write_text(kept, encoding="utf-8")
    Log(tmp_path, 50, 10, quiet=True).write(20, {"ord": 1.0})
    assert (tmp_path / "metrics.jsonl").read_text(encoding="utf-8") == kept
    assert capsys.readouterr().err == ""


def test_the_time_left_counts_from_the_resumed_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = 1000.0
    monkeypatch.setattr(log.time, "monotonic", lambda: now)
    writer = Log(tmp_path, total_steps=400, resume_step=200, quiet=False)
    now = 1600.0  # ten minutes for the first hundred of the two hundred that are left
    writer.write(300, {})
    assert "10 min left" in capsys.readouterr().err


class Board:
    def __init__(self) -> None:
        self.got: list[tuple[str, float, int]] = []
        self.closed = False

    def add_scalar(self, name: str, value: float, step: int) -> None:
        self.got.append((name, value, step))

    def close(self) -> None:
        self.closed = True


def test_tensorboard_gets_every_value_and_is_closed_at_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    board = Board()
    monkeypatch.setattr(log, "_tensorboard", lambda folder, resume_step: board)
    writer = Log(tmp_path, 20, 0, quiet=False)
    writer.write(10, {"ord": 1.0, "lr": 0.5})
    assert not board.closed
    writer.write(20, {"ord": 0.5})
    assert board.got == [("ord", 1.0, 10), ("lr", 0.5, 10), ("ord", 0.5, 20)]
    assert board.closed, "or the last two minutes would be lost"


def test_the_real_tensorboard_takes_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tensorboard")
    monkeypatch.setattr(log, "_tensorboard", TENSORBOARD)
    Log(tmp_path, 10, 0, quiet=False).write(10, {"ord": 0.25})
    (events,) = (tmp_path / "tensorboard").iterdir()
    assert b"ord" in events.read_bytes()
