"""A folder read by Ray: with a process killed in the middle and an image that kills, nothing is lost or there twice."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import ray_kit
from carpal.cli import main
from carpal.types import Radiograph

pytestmark = pytest.mark.slow

HANDS = 40


@pytest.fixture
def hands(tmp_path: Path, drawn_hand: Radiograph) -> Path:
    """Forty links to a hand, and a narrow image that kills, one that raises, and one that is broken."""
    hand = Image.fromarray(drawn_hand.pixels_HW)
    hand.save(tmp_path / "hand.png")
    folder = tmp_path / "hands"
    folder.mkdir()
    for number in range(HANDS):
        (folder / f"{number:02}.png").symlink_to(tmp_path / "hand.png")
    hand.resize((64, 256)).save(folder / "20 kills.png")
    hand.resize((100, 256)).save(folder / "30 raises.png")
    (folder / "10 broken.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    return folder


def rows(path: Path) -> list[dict[str, Any]]:
    import pyarrow.parquet as parquet

    found: list[dict[str, Any]] = parquet.read_table(path).to_pylist()
    return found


def kill_the_victim(folder: Path, killed: list[int]) -> None:
    """Waits until a process of the pool waits for its end, and ends it."""
    while not (folder / "victim").exists():
        if not folder.exists():
            return  # the test is over
        time.sleep(0.05)
    killed.append(int((folder / "victim").read_text()))
    os.kill(killed[0], signal.SIGKILL)


@pytest.mark.slow
def test_with_killed_processes_nothing_is_lost_and_nothing_there_twice(
    hands: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("ray.data")
    monkeypatch.setattr("carpal.inference.engine.open_engine", ray_kit.open_engine)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parent), *sys.path]))
    seen, out, killed = tmp_path / "seen", tmp_path / "results.parquet", []
    seen.mkdir()
    words = ["--sex", "female", "--weights", str(seen), "--out", str(out), "--debug"]
    assert main(["assess", *(str(hands / f"{number:02}.png") for number in range(5)), *words]) == 0
    (seen / f"{os.getpid()}.runs").unlink()
    threading.Thread(target=kill_the_victim, args=(seen, killed), daemon=True).start()
    capsys.readouterr()

    monkeypatch.setattr("carpal.inference.on_ray.WAVE", 30)  # two waves
    words += ["--ray", "local", "--workers", "2"]
    assert main(["assess", str(hands), *words]) == 3
    assert f"{HANDS - 5 + 3} images read" in capsys.readouterr().err
    images = [Path(row["image"]).name for row in rows(out)]
    assert sorted(images) == sorted(path.name for path in hands.iterdir())
    refused = {Path(row["image"]).name: row["refused_code"] for row in rows(out) if row["refused_code"]}
    assert refused == {"10 broken.png": "unreadable-image", "20 kills.png": "reader-died", "30 raises.png": "bad-input"}
    (poison,) = (row for row in rows(out) if "kills" in row["image"])
    assert "2 processes that read it, and nothing else, died" in json.loads(poison["json"])["refused"]["message"]
    runs = {int(path.stem): path.read_text().split() for path in seen.glob("*.runs")}
    assert os.getpid() not in runs
    assert killed[0] in runs
    assert sum(each.count(str(ray_kit.KILLS)) for each in runs.values()) == 3  # in its block, and twice by itself
    assert len(runs) >= 1 + 1 + 3  # one for each that was killed, and those that went on

    before = sorted(path.name for path in out.iterdir())
    assert main(["assess", str(hands), *words]) == 0  # nothing is left to do
    assert sorted(path.name for path in out.iterdir()) == before


@pytest.mark.parametrize(
    ("address", "code", "complaint"),
    [
        ("127.0.0.1:1", 4, "The Ray at 127.0.0.1:1 cannot be reached"),
        ("ray://127.0.0.1:10001", 2, "HOST:PORT of a cluster's head - got ray://"),
        ("somewhere", 2, "HOST:PORT of a cluster's head - got somewhere"),
    ],
)
def test_an_address_where_no_ray_is_says_what_to_do(
    address: str,
    code: int,
    complaint: str,
    hand_png: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("carpal.inference.engine.open_engine", ray_kit.open_engine)
    words = ["--sex", "male", "--weights", str(tmp_path), "--out", str(tmp_path / "r.jsonl"), "--ray", address]
    assert main(["assess", str(hand_png), *words]) == code
    assert complaint in capsys.readouterr().err


def test_without_ray_the_extra_is_named(
    hand_png: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("carpal.inference.engine.open_engine", ray_kit.open_engine)
    monkeypatch.setitem(sys.modules, "ray", None)
    words = ["--sex", "male", "--weights", str(tmp_path), "--out", str(tmp_path / "r.jsonl"), "--ray", "local"]
    assert main(["assess", str(hand_png), *words]) == 4
    assert "--ray needs the package ray, which is not installed. Run: pip install 'carpal[scale]'" in (
        capsys.readouterr().err
    )


def test_ray_without_a_file_for_its_results_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["assess", "hand.png", "--sex", "male", "--ray", "local"]) == 2
    assert "add --out results.parquet" in capsys.readouterr().err
