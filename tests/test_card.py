"""The model card: every number comes from the report, and only from one about the same weights."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from carpal.anatomy import REGIONS
from carpal.errors import DataError
from carpal.evaluation import age, boxes, card
from carpal.trust.coverage import strata

SIDECAR = {
    "name": "alanet",
    "version": "1",
    "sha256": "ab" * 32,
    "architecture": {"width": 64, "regions": "named"},
    "training": {"recipe": "alanet", "hours": 1.5, "folds": [0, 1, 2], "hardware": {"gpu": "one of them"}},
}


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
    assert "0 radiographs gave no age" in text


def test_the_card_lists_the_largest_errors() -> None:
    worst = [{"id": "7", "sex": "male", "boneage": 90.0, "predicted": 121.5, "warnings": ["small"]}]
    assert "| 7 | male | 90 | 121.5 | +31.5 | small |" in card.render(report() | {"largest_errors": worst}, SIDECAR)


def test_the_card_says_terms_and_limits_and_recipe() -> None:
    text = card.render(report(), SIDECAR)
    for words in ("Not a medical device", "non-commercial", "Halabi", "rsna.org", "- recipe: alanet", "- hours: 1.5"):
        assert words in text
    assert "- folds: 0, 1, 2\n- hardware\n  - gpu: one of them" in text


def test_the_card_has_the_intervals_of_strata_that_have_radiographs() -> None:
    male_N, age_N = np.array([True, True, False]), np.array([100.0, 110, 150])
    found = strata(male_N, age_N, np.array([1, 0, 1]), np.array([20.0, 30, 40]))
    text = card.render({**report(), "interval": {"nominal": 0.9, "crossfitted": True, **found}}, SIDECAR)
    assert "Promised coverage 90.0 %; fitted on other radiographs of this table" in text
    assert "| female 10-14 years | 1 | 100.0 % (20.6 % to 100.0 %) | 40.0 |" in text
    assert "| male 5-10 years | 2 | 50.0 % (" in text
    assert "male 0-2 years |" not in text.partition("## Intervals")[2].partition("## Regions")[0]
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
    card.write_card(measured, sidecar, out)
    assert out.read_text() == card.render(json.loads(measured.read_text()), SIDECAR)


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
