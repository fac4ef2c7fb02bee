"""`carpal pool`: a cross-validation's figures are those of all its readings, each radiograph once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from carpal.cli import main
from carpal.errors import DataError
from carpal.lab.evaluation import age, pool

pytest.importorskip("matplotlib")


def table(errors: list[float], start: int) -> age.Predictions:
    boneage_N = np.linspace(30, 200, len(errors)) if errors else np.zeros(0)
    ids = tuple(str(start + i) for i in range(len(errors)))
    return age.Predictions(ids, np.arange(len(errors)) % 2 == 0, boneage_N, boneage_N + np.array(errors))


def evaluation(folder: Path, errors: list[float], start: int, training: dict[str, Any]) -> Path:
    """A folder as `carpal evaluate` writes it, as far as `pool` reads it."""
    folder.mkdir()
    table(errors, start).write(folder / "predictions.csv")
    report = {
        "model": {"name": folder.name, "version": "1", "sha256": "ab" * 32},
        "weights": {"training": training},
        "refused": [{"id": f"r{start}", "image": "r.png", "code": "too-small", "message": "small"}],
        "failures": [],
        "date": "2026-11-28T00:00:00+00:00",
    }
    (folder / "report.json").write_text(json.dumps(report))
    return folder


def test_a_cross_validation_is_over_all_radiographs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = evaluation(tmp_path / "a", [1.0, -2.0, 3.0], 0, {"data": {"holdout": [0]}})
    second = evaluation(tmp_path / "b", [10.0], 100, {"data": {"holdout": [1, 2]}})
    assert main(["pool", str(first), str(second), "--out", str(tmp_path / "both")]) == 0
    printed = capsys.readouterr().out
    assert "a abababababab, which held out folds 0: n 3, MAE 2.00" in printed
    assert "which held out folds 1, 2: n 1, MAE 10.00" in printed
    assert "n 4, MAE 4.00 months" in printed
    assert "refused     2" in printed
    report = json.loads((tmp_path / "both" / "report.json").read_text())
    assert (report["n"], report["mae"], report["bias"]) == pytest.approx((4, 4.0, 3.0))
    assert [(part["held_out"], part["n"]) for part in report["parts"]] == [([0], 3), ([1, 2], 1)]
    assert report["n_refused"] == 2
    assert age.read_predictions(tmp_path / "both" / "predictions.csv").ids == ("0", "1", "2", "100")
    assert (tmp_path / "both" / "bland_altman.png").stat().st_size > 0
    assert main(["pool", str(tmp_path / "both"), "--out", str(tmp_path / "again")]) == 3
    assert "or pooled" in capsys.readouterr().err


@given(st.lists(st.lists(st.floats(-20, 20), max_size=5), min_size=1, max_size=4))
def test_the_order_of_the_parts_is_nothing_to_the_figures(parts: list[list[float]]) -> None:
    tables = [table(errors, 100 * i) for i, errors in enumerate(parts)]
    forth, back = (age.summary(pool.joined(order)) for order in (tables, tables[::-1]))
    assert forth["n"] == back["n"] == sum(map(len, parts))
    if forth["n"]:
        assert (forth["mae"], forth["rmse"]) == pytest.approx((back["mae"], back["rmse"]))


def test_a_radiograph_that_two_networks_read_is_an_error(tmp_path: Path) -> None:
    parts = [evaluation(tmp_path / name, [1.0, 2.0], start, {}) for name, start in (("a", 0), ("b", 1))]
    with pytest.raises(DataError, match=r"more than one network - 1: 1 - .* its own fold"):
        pool.pool(parts, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_folder_without_a_report_is_none_of_evaluate(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no folder of `carpal evaluate`"):
        pool.pool([tmp_path], tmp_path / "out")
