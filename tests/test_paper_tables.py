"""bench/paper_tables.py with commands that only leave their files: which it runs, that they parse, what it skips."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bench_kit import bench_script
from carpal.cli.parser import build_parser
from carpal.lab.baselines.registry import SYSTEMS
from carpal.lab.training import config, recipes

pytestmark = pytest.mark.slow


@pytest.fixture
def bench() -> Any:
    """The script as a module."""
    return bench_script("paper_tables")


@pytest.fixture
def commands(bench: Any, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The parsed words of each command, in order; each leaves the file that the script looks for."""
    parsed: list[Any] = []

    def run(words: list[str], check: bool) -> SimpleNamespace:
        arguments = build_parser().parse_args(words[3:])
        parsed.append(arguments)
        out = Path(arguments.out)
        if arguments.command == "export":
            out.touch()
        elif arguments.command != "compare":
            out.mkdir(parents=True, exist_ok=True)
            name = f"{arguments.recipe}.safetensors" if arguments.command == "train" else "report.json"
            (out / name).touch()
        return SimpleNamespace(returncode=0)

    monkeypatch.setattr(bench.subprocess, "run", run)
    return parsed


def call(bench: Any, monkeypatch: pytest.MonkeyPatch, out: Path, *more: str) -> None:
    words = ["--data", "store", "--images", "images", "--labels", "l.csv", "--regions", "r.csv", "--start", "imagenet"]
    monkeypatch.setattr(sys, "argv", ["paper_tables.py", *words, "--out", str(out), *more])
    assert bench.main() == 0


def test_every_system_is_trained_exported_and_evaluated(
    bench: Any, commands: list[Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert set(bench.SYSTEMS) == set(SYSTEMS)
    call(bench, monkeypatch, tmp_path)
    trained = [(c.recipe, c.out.name) for c in commands if c.command == "train"]
    assert sorted({name for name, _ in trained}) == sorted(bench.ALL)
    assert [out for name, out in trained if name == "alanet"] == ["alanet-0", "alanet-1"]
    assert len(trained) == len(SYSTEMS) + 2 * 4 + 1
    assert sum(c.command == "export" for c in commands) == len(trained) - 1, "the plain RPN has no age to export"
    given = [c.out.name for c in commands if c.command == "evaluate" and c.given_regions]
    assert given == ["iglovikov-0-given", "bonet-0-given"]
    assert commands[-1].command == "compare"
    assert len(commands[-1].runs) == len(trained) + 2


def test_the_budget_is_the_same_and_every_setting_exists(
    bench: Any, commands: list[Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    call(bench, monkeypatch, tmp_path, "--seeds", "1")
    runs = [config.override(recipes.get(c.recipe), c.settings) for c in commands if c.command == "train"]
    assert len({(run.schedule, run.augment, run.model.long_side, run.model.box_size) for run in runs}) == 1
    assert len({(run.optim.lr, run.optim.batch, run.optim.weight_decay, run.optim.clip) for run in runs}) == 1
    assert {run.data.holdout for run in runs} == {(0, 1)}
    starts = {run.name: Path(run.start).name for run in runs}
    assert starts["bonet"] == starts["iglovikov"] == "alanet.safetensors"
    assert starts["larson"] == starts["vanilla_rpn"] == "imagenet"
    assert starts["ren"] == starts["convnext"] == ""


def test_what_is_done_is_skipped(
    bench: Any, commands: list[Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    call(bench, monkeypatch, tmp_path, "--only", "alanet", "larson", "--seeds", "1", "--no-compare")
    assert [c.command for c in commands] == ["train"] * 2 + ["export", "evaluate"] * 2
    commands.clear()
    call(bench, monkeypatch, tmp_path, "--only", "alanet", "larson", "bonet", "--seeds", "1", "--no-compare")
    assert [c.command for c in commands] == ["train", "export", "evaluate", "evaluate"]


def test_key_points_need_the_detector_first(bench: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="run --only alanet first"):
        call(bench, monkeypatch, tmp_path, "--only", "bonet")
