"""The tutorial runs: its blocks, in order, in an empty folder, leave the files and the numbers that it promises."""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from carpal.anatomy import REGIONS

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
TUTORIAL = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(python|sh)\n(.*?)^```", TUTORIAL, re.MULTILINE | re.DOTALL)
NEEDS = ("torch", "safetensors", "onnx", "onnxscript", "onnxruntime", "matplotlib", "pycocotools")


def run_block(language: str, code: str, folder: Path) -> str:
    """Standard output of a block, which must succeed; `carpal` is `python -m carpal` of this source."""
    shell = f'set -euo pipefail\ncarpal() {{ "{sys.executable}" -m carpal "$@"; }}\n{code}'
    command = ["bash", "-c", shell] if language == "sh" else [sys.executable, "-c", code]
    paths = os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"PYTHONPATH": paths}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, f"{code}\nreturned {done.returncode}:\n{done.stdout}\n{done.stderr}"
    return done.stdout


def test_the_tutorial_shows_every_step() -> None:
    commands = [line.split()[1] for language, code in BLOCKS if language == "sh" for line in code.splitlines()]
    assert BLOCKS[0][0] == "python"
    assert commands == ["prepare", "train", "export", "info", "evaluate", "assess"]
    assert TUTORIAL.count("```") == 2 * len(BLOCKS), "a block of another language would not be run"


@pytest.mark.slow
def test_the_tutorial_runs(tmp_path: Path) -> None:
    for package in NEEDS:
        pytest.importorskip(package, reason=f"the tutorial needs {package}", exc_type=ImportError)
    printed = [run_block(language, code, tmp_path) for language, code in BLOCKS]

    manifest = json.loads((tmp_path / "store" / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["counts"]["with_regions"] == manifest["counts"]["with_age"] == 48
    records = (tmp_path / "run" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    losses = [json.loads(line) for line in records]
    proposals = [loss["rpn_objectness"] + loss["rpn_box"] for loss in losses]
    assert proposals[-1] < 0.9 * proposals[0]

    report = json.loads((tmp_path / "report" / "report.json").read_text(encoding="utf-8"))
    predictions = list(csv.DictReader((tmp_path / "report" / "predictions.csv").read_text().splitlines()))
    assert report["n"] == len(predictions) == 12
    assert report["regions"]["n"] > 0

    (assessment,) = json.loads((tmp_path / "assessment.json").read_text(encoding="utf-8"))
    assert assessment["refused"] is None
    assert [region["name"] for region in assessment["regions"]] == list(REGIONS)
    assert f"{assessment['months']:.1f}" in printed[-1]
    assert (tmp_path / "overlay.png").stat().st_size > 1000
