"""The model card: every number comes from the report, and only from one about the same weights."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from carpal.anatomy import REGIONS
from carpal.errors import DataError
from carpal.lab.evaluation import age, boxes, card
from carpal.lab.evaluation.coverage import strata

ROOT = Path(__file__).parents[1]
SIDECAR = {
    "name": "alanet",
    "version": "1",
    "sha256": "ab" * 32,
    "architecture": {"width": 64, "regions": "named"},
    "parity": {"float32": {"months": {"max": 4.58e-05}}},
    "refusal": {"oddness": 14.352},
    "training": {
        "name": "second", "model": {"long_side": 256}, "data": {"stores": ["hands", "thumbs"], "holdout": [0, 1]},
        "optim": {"batch": 16}, "schedule": {"steps": 2000}, "start": "first.safetensors", "epochs": 15.4, "hours": 1.5,
        "hardware": "1 x one of them", "commit": "abc1234",
        "started_from": {
            "trunk": {"sha256": "cd" * 32, "training": {"name": "first", "data": {"holdout": [1, 2]}, "hours": 0.5}},
            "mlp": {"sha256": "ef" * 32, "training": "as above"},
        },
    },
}  # fmt: skip


def report() -> dict[str, Any]:
    boneage = np.array([10.0, 100.0, 110.0, 160.0])
    ids, male_N = ("a", "b", "c", "d"), np.array([True, False, True, False])
    table = age.Predictions(ids, male_N, boneage, boneage + np.array([2, -4, 6, 8]))
    points = np.stack([60 + 15.0 * np.arange(17), 40 + 20.0 * np.arange(17)], axis=-1)
    around = np.concatenate([points - 32, points + 32], axis=-1) + np.array([6, 0, 6, 0])
    hand = boxes.Hand(points, 400.0, around, np.ones(17), 400.0, 512.0)
    return {
        **age.summary(table),
        "by_sex": age.by_sex(table),
        "by_age": age.by_age(table),
        "regions": boxes.score([hand]),
        "model": {"name": "alanet", "version": "1", "sha256": "ab" * 32},
        "carpal": "0.1.0",
        "command": "carpal evaluate --images x",
        "date": "2026-11-23T14:00:00+00:00",
        "failures": [],
    }


def test_the_card_says_what_was_measured() -> None:
    text = card.render(report(), SIDECAR)
    assert text.startswith("# Model card: alanet 1\n")
    assert "| all | 4 | 5.00 (" in text
    assert "| female | 2 | 6.00 (" in text
    assert "| 2-5 years | 0 | | | |" in text
    assert "mean 1.5 % of the hand's length" in text
    assert all(f"| {name} | 1 | 1.5 % |" in text for name in REGIONS)
    assert "`carpal evaluate --images x`" in text
    assert "0 refused, 0 unreadable" in text
    assert (
        "- Months of bias by years of reference age: +2.00 at 0-2 (n 1), +1.00 at 5-10 (n 2), +8.00 at 10-14 (n 1)."
        in text
    )
    refused = {"n_refused": 3, "failures": [{"file": "x.png"}]}
    assert "3 refused, 1 unreadable" in card.render(report() | refused, SIDECAR)


def test_one_screen_comes_before_any_detail() -> None:
    first, details = card.render(report() | {"n_refused": 1}, SIDECAR).split("\n## Details\n")
    assert len(first.splitlines()) <= 48
    heads = [line.removeprefix("## ") for line in first.splitlines() if line.startswith("## ")]
    assert heads == ["Use", "Not for", "Data", "Results", "Limits"]
    assert max(map(len, first.splitlines())) <= 200
    for lives_in_the_sidecar in ("4.58e-05", "14.352"):
        assert lives_in_the_sidecar not in first + details
    assert "`carpal info alanet`" in details


def test_the_committed_card_is_of_the_released_weights_and_in_this_form() -> None:
    text = (ROOT / "docs" / "cards" / "alanet.md").read_text(encoding="utf-8")
    sidecar = json.loads((ROOT / "src" / "carpal" / "released" / "alanet.json").read_text(encoding="utf-8"))
    assert text.startswith(f"# Model card: alanet {sidecar['version']}\n\nSHA-256 `{sidecar['sha256']}`\n")
    assert card._training(sidecar["training"]) in text
    for part in (card.USE, card.NOT_FOR, card.DATA, card.LIMITS):
        assert part in text
    assert len(text.split("\n## Details\n")[0].splitlines()) <= 48


def test_the_card_lists_the_largest_errors() -> None:
    worst = [{"id": "7", "sex": "male", "boneage": 90.0, "predicted": 121.5, "warnings": ["small"]}]
    worst.append({"id": "8", "sex": "female", "boneage": 90.0, "predicted": 49.0, "warnings": []})
    text = card.render(report() | {"largest_errors": worst}, SIDECAR)
    assert "| 7 | male | 90 | 121.5 | +31.5 | small |" in text
    assert "read wrong by up to 41 months" in text


def test_the_card_says_terms_and_limits_and_each_training_once() -> None:
    text = card.render(report(), SIDECAR)
    for words in ("Not a medical device", "non-commercial", "Halabi", "rsna.org"):
        assert words in text
    assert "Folds that none of these trainings read: 1." in text
    table = text.partition("### Training")[2]
    assert (
        "| second | first.safetensors | hands, thumbs | 256 | 2000 | 16 | 15.4 | 1.5 | 1 x one of them | abc1234 |\n"
        "| first | - | - | - | - | - | - | 0.5 | - | - |\n"
    ) in table


def test_the_card_has_the_intervals_of_strata_that_have_radiographs() -> None:
    male_N, age_N = np.array([True, True, False]), np.array([100.0, 110, 150])
    found = strata(male_N, age_N, np.array([1, 0, 1]), np.array([20.0, 30, 40]))
    text = card.render({**report(), "interval": {"nominal": 0.9, "crossfitted": True, **found}}, SIDECAR)
    assert "Promised coverage 90.0 %; fitted on other radiographs of this table" in text
    assert "| female 10-14 years | 1 | 100.0 % (20.6 % to 100.0 %) | 40.0 |" in text
    assert "| male 5-10 years | 2 | 50.0 % (" in text
    assert "male 0-2 years |" not in text.partition("### Intervals")[2].partition("### Regions")[0]
    assert "## Intervals\n\nNone: these weights have no calibration." in card.render(report(), SIDECAR)


def test_no_regions_and_an_empty_training_are_said() -> None:
    text = card.render({**report(), "regions": None}, {**SIDECAR, "training": {}})
    assert "## Regions\n\nNot measured." in text
    assert "Not stated in the sidecar." in text


def test_other_weights_and_empty_reports_are_refused() -> None:
    other = copy.deepcopy(report())
    other["model"]["sha256"] = "cd" * 32
    with pytest.raises(DataError, match=r"cdcdcdcdcdcd.*abababababab"):
        card.render(other, SIDECAR)
    with pytest.raises(DataError, match="n is 0"):
        card.render({**report(), "n": 0}, SIDECAR)


def test_files_in_and_a_file_out(tmp_path: Path) -> None:
    measured, sidecar, out = tmp_path / "report.json", tmp_path / "alanet.json", tmp_path / "cards" / "alanet.md"
    measured.write_text(json.dumps(report()))
    sidecar.write_text(json.dumps(SIDECAR))
    words = [sys.executable, "-m", "carpal.lab.evaluation.card", str(measured), str(sidecar), str(out)]
    subprocess.run(words, check=True)
    assert out.read_text() == card.render(json.loads(measured.read_text()), SIDECAR)
    assert subprocess.run(words[:4], capture_output=True).returncode == 1


@pytest.mark.parametrize(
    ("text", "complaint"), [("{", "not a readable JSON"), ("[]", "lacks n, mae"), ('{"n": 1}', "lacks mae")]
)
def test_broken_reports_are_refused(tmp_path: Path, text: str, complaint: str) -> None:
    measured, sidecar = tmp_path / "report.json", tmp_path / "alanet.json"
    measured.write_text(text)
    sidecar.write_text(json.dumps(SIDECAR))
    with pytest.raises(DataError, match=complaint):
        card.write_card(measured, sidecar, tmp_path / "card.md")
    assert not (tmp_path / "card.md").exists()
