"""The JSON that other programs read: its keys, kinds and units never change."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import carpal
from carpal.anatomy import REGIONS
from carpal.errors import ConfigError, UnreadableImage
from carpal.report import results
from carpal.types import Assessment, Box, Interval, ModelId, Region, Sex

MODEL = ModelId("alanet", "1.0", "ab" * 32)


def assessment(image: str = "hand.png") -> Assessment:
    regions = tuple(Region(name, Box(i, 2 * i, i + 10, 2 * i + 20), 0.5, 100.0 + i) for i, name in enumerate(REGIONS))
    return Assessment(image, Sex.FEMALE, 135.24567, regions, MODEL, warnings=("small",))


def test_an_entry_has_exactly_the_promised_keys() -> None:
    entry = results.entry(assessment())
    assert list(entry) == [
        "image",
        "sex",
        "months",
        "interval",
        "regions",
        "warnings",
        "refused",
        "model",
        "carpal",
        "site",
        "growth",
    ]
    assert entry["model"] == {
        "name": "alanet",
        "version": "1.0",
        "sha256": "ab" * 32,
        "backend": "onnx",
        "precision": "fp32",
    }
    assert (entry["sex"], entry["months"], entry["warnings"]) == ("female", 135.246, ["small"])
    assert entry["refused"] is None
    assert entry["interval"] is None


def test_an_interval_states_its_bounds_and_its_coverage() -> None:
    interval = Interval(120.00049, 150.5, 0.9)
    entry = results.entry(replace(assessment(), interval=interval))
    assert entry["interval"] == {"low": 120.0, "high": 150.5, "coverage": 0.9}


@pytest.mark.parametrize("bounds", [(-1, 10, 0.9), (10, 9, 0.9), (0, 229, 0.9), (0, 10, 0), (0, 10, 1)])
def test_an_interval_off_the_scale_is_refused(bounds: tuple[float, float, float]) -> None:
    with pytest.raises(ValueError, match="an interval needs"):
        Interval(*bounds)


def test_the_entry_states_the_version() -> None:
    entry = results.entry(assessment())
    assert entry["carpal"] == carpal.__version__


def test_a_site_calibration_is_named_and_keeps_the_raw_age() -> None:
    assert results.entry(assessment())["site"] is None
    entry = results.entry(replace(assessment(), raw_months=130.12345, site="ours, n = 60"))
    assert entry["site"] == {"calibration": "ours, n = 60", "raw_months": 130.123}


@pytest.mark.parametrize("half", [{"raw_months": 130.0}, {"site": "ours"}])
def test_half_a_site_calibration_is_refused(half: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="keeps the raw one"):
        replace(assessment(), **half)


def test_regions_are_named_boxes_with_score_and_months() -> None:
    regions = results.entry(assessment())["regions"]
    assert [region["name"] for region in regions] == list(REGIONS)
    assert regions[2] == {"name": "MCP3", "box": [2.0, 4.0, 12.0, 24.0], "score": 0.5, "months": 102.0}


def test_a_refused_image_keeps_its_place_without_an_age() -> None:
    entry = results.refused_entry("bad.png", None, UnreadableImage("bad.png: not an image"), MODEL)
    assert tuple(entry) == results.KEYS
    assert entry["refused"] == {"code": "unreadable-image", "message": "bad.png: not an image"}
    assert (entry["sex"], entry["months"], entry["regions"]) == (None, None, [])


def test_the_document_is_a_list_that_survives_names_in_any_script() -> None:
    document = results.document([results.entry(assessment("手骨.png"))])
    assert document.endswith("]\n")
    assert "手骨.png" in document
    assert json.loads(document)[0]["image"] == "手骨.png"


def test_writing_replaces_the_file_and_leaves_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "out.json"
    path.write_text("old")
    results.write(path, [results.entry(assessment())])
    assert json.loads(path.read_text(encoding="utf-8"))[0]["months"] == 135.246
    assert [p.name for p in tmp_path.iterdir()] == ["out.json"]


def test_a_failed_write_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "out.json"
    path.write_text("old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(ConfigError, match=r"out\.json cannot be written - No space left"):
        results.write(path, [])
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["out.json"]
