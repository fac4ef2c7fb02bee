"""`carpal compare` on folders that the test writes: rows, statistics against slow twins and scipy, tables, refusals."""

from __future__ import annotations

import csv
import itertools
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from carpal.errors import ConfigError, DataError
from carpal.lab.evaluation import age, compare, compare_run, compare_tables
from carpal.lab.evaluation.compare import holm, p_value

COUNT = 60
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "alanet": {"regions": "named", "local": True, "patch": True},
    "resnet50": {"regions": "none", "local": False, "patch": False},
    "local": {"regions": "named", "local": True, "patch": False},
    "patch": {"regions": "none", "local": False, "patch": True},
    "vanilla_rpn": {"regions": "anonymous", "local": False, "patch": False},
    **{name: {"system": name} for name in ("larson", "ren", "iglovikov", "prsnet", "arcnn", "bonet")},
    **{name: {"system": name} for name in ("deeplasia", "convnext")},
}


def write_run(
    root: Path, name: str, spread: float, seed: int = 0, ids: range = range(COUNT), given: bool = False
) -> Path:
    """An evaluation whose errors scatter by `spread` months, on hands that all share a difficulty."""
    folder = root / f"{name}-{seed}{'-given' if given else ''}"
    folder.mkdir(parents=True)
    hard = np.random.default_rng(99).normal(0, 4, COUNT)
    own = np.random.default_rng([seed, *name.encode()]).normal(0, spread, COUNT)
    boneage = np.linspace(30, 200, COUNT)
    names, kept = tuple(f"h{i}" for i in ids), list(ids)
    age.Predictions(names, np.arange(COUNT)[kept] % 2 == 0, boneage[kept], (boneage + hard + own)[kept]).write(
        folder / "predictions.csv"
    )
    training = {"seed": seed, "hours": 0.1, "data": {"ages": name != "vanilla_rpn"}}
    cost = {"parameters": 24_000_000, "flops": 1_500_000_000}
    stated = {"path": "", "architecture": ARCHITECTURES[name], "training": training, "cost": cost}
    agnostic = {"ap": 0.8, "ap50": 0.97, "ap75": None}
    report = {"weights": stated, "given_regions": given, "regions": {"n": 21, "agnostic": agnostic}}
    (folder / "report.json").write_text(json.dumps(report))
    return folder


def test_holm_is_the_closed_test_of_bonferronis() -> None:
    """Its definition: reject a hypothesis when Bonferroni rejects every set of hypotheses that holds it."""
    generator = np.random.default_rng(0)
    for _ in range(50):
        p = generator.uniform(0, 0.2, generator.integers(1, 6)).round(2).tolist()
        wanted = []
        for i in range(len(p)):
            others = [k for k in range(len(p)) if k != i]
            sets = [(i, *some) for size in range(len(p)) for some in itertools.combinations(others, size)]
            wanted.append(max(min(1.0, len(some) * min(p[k] for k in some)) for some in sets))
        assert holm(p) == pytest.approx(wanted)
    assert holm([]) == []


def test_interval_and_p_value_agree_with_scipy() -> None:
    for seed, shift in enumerate((0.0, 0.15, 0.3, 0.6)):
        values_N = np.random.default_rng(seed).normal(shift, 1, 80)
        means_S = age.bootstrap_means(values_N)
        theirs = stats.bootstrap((values_N,), np.mean, n_resamples=10_000, method="percentile", rng=1)
        assert age.interval(means_S) == pytest.approx(tuple(theirs.confidence_interval), abs=0.012)
        assert p_value(means_S) == pytest.approx(stats.ttest_1samp(values_N, 0).pvalue, abs=0.02)


def test_a_p_value_is_never_nothing() -> None:
    assert p_value(np.full(999, 3.0)) == pytest.approx(2 / 1000)
    assert p_value(np.zeros(10)) == 1.0


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_row_goes_by_the_architecture(name: str, tmp_path: Path) -> None:
    (run,) = compare.read([write_run(tmp_path, name, 5)])
    assert run.row == name
    assert run.seed == 0


def test_seeds_are_averaged_hand_by_hand(tmp_path: Path) -> None:
    folders = [write_run(tmp_path, "alanet", 5, seed) for seed in (0, 1)]
    runs = compare.read(folders)
    (row,) = compare.rows(runs, compare.TABLE_1, resamples=500)
    each = [np.abs(run.predictions.error_N) for run in runs]
    assert row.absolute_N == pytest.approx((each[0] + each[1]) / 2)
    assert row.seeds == pytest.approx([each[0].mean(), each[1].mean()])
    assert row.ci95[0] < row.mae < row.ci95[1]


def test_hands_are_matched_by_id_and_not_by_place(tmp_path: Path) -> None:
    first, second = (write_run(tmp_path, name, 5) for name in ("alanet", "larson"))
    before = compare.against(compare.rows(compare.read([first, second]), compare.TABLE_3, 500), resamples=500)
    lines = (second / "predictions.csv").read_text().splitlines()
    (second / "predictions.csv").write_text("\n".join([lines[0], *reversed(lines[1:])]) + "\n")
    after = compare.against(compare.rows(compare.read([first, second]), compare.TABLE_3, 500), resamples=500)
    assert before == after


def test_ranks_are_shared_where_nothing_separates(tmp_path: Path) -> None:
    spreads = {"alanet": 3.0, "prsnet": 3.0, "larson": 25.0}
    runs = compare.read([write_run(tmp_path, name, spread) for name, spread in spreads.items()])
    table = compare.rows(runs, compare.TABLE_3, 2000)
    assert compare.ranks(table, 2000) == {"alanet": (1, 2), "prsnet": (1, 2), "larson": (3, 3)}
    versus = compare.against(table, resamples=2000)
    assert versus["larson"].separated
    assert versus["larson"].difference > 0
    assert not versus["prsnet"].separated
    words = " ".join(compare_tables.build(runs)[2].notes)
    assert "Worse than ALA-Net: Larson" in words
    assert "Not told apart from ALA-Net: PRSNet" in words


def test_every_cell_of_ours_is_filled_from_all_runs(tmp_path: Path) -> None:
    folders = [write_run(tmp_path, name, 6) for name in ARCHITECTURES] + [write_run(tmp_path, "alanet", 6, 1)]
    for folder in folders:
        report = json.loads((folder / "report.json").read_text())
        report["regions"]["agnostic"]["ap75"] = 0.9
        (folder / "report.json").write_text(json.dumps(report))
    latency = {name: {"median": 9.0, "low": 8.0, "high": 11.0} for name in ARCHITECTURES}
    tables = compare_tables.build(compare.read(folders), latency)
    assert compare_tables.empty_cells(tables) == []
    (ala,) = (row for row in tables[2].rows if row[0] == "ALA-Net")
    cells = dict(zip(tables[2].columns, ala, strict=True))
    assert cells["MAE, paper"] == "3.91"
    assert cells["Seeds: MAE of each"].startswith("2: ")
    assert (cells["Parameters (M)"], cells["FLOPs (G)"], cells["Training (h)"]) == ("24.0", "1.50", "0.10")
    assert cells["CPU latency (ms, quartiles)"] == "9.0 (8.0-11.0)"
    human = next(row for row in tables[2].rows if row[0] == "Human")
    assert human[3:5] == ("7.32", "quoted")
    assert [row[2] for row in tables[1].rows] == ["97.9", "98.0"]
    assert any("2.37 months" in note for note in tables[2].notes), "the noise floor is stated"


def test_what_was_not_run_is_named_and_never_filled(tmp_path: Path) -> None:
    out = tmp_path / "out"
    text = compare_run.run([write_run(tmp_path, "alanet", 6), write_run(tmp_path, "larson", 9)], out)
    assert "table3: BoNet, MAE, ours (95 % interval)" in text
    assert "One training run only" in text
    written = (out / "tables.md").read_text()
    assert re.search(r"^\| BoNet \| X \| X \| 4.14 \| - \|", written, re.MULTILINE)
    assert sorted(path.name for path in out.iterdir()) == ["compare.png", "tables.csv", "tables.md"]
    rows = list(csv.DictReader((out / "tables.csv").read_text().splitlines()))
    assert {"table": "table1", "row": "ALA-Net", "column": "MAE, paper", "value": "3.91"} in rows


def test_given_points_are_compared_on_the_annotated_hands(tmp_path: Path) -> None:
    folders = [write_run(tmp_path, name, 6) for name in ("alanet", "bonet")]
    folders.append(write_run(tmp_path, "bonet", 6, ids=range(0, COUNT, 3), given=True))
    notes = compare_tables.build(compare.read(folders))[2].notes
    (note,) = (note for note in notes if note.startswith("BoNet, points given"))
    assert "on the 20 annotated hands" in note
    assert "difference +0.00" in note, "the same answers differ by nothing"


def test_other_hands_and_other_networks_are_refused(tmp_path: Path) -> None:
    ala = write_run(tmp_path, "alanet", 6)
    with pytest.raises(DataError, match=r"not about the same hands - only in one: 1: h0"):
        compare.read([ala, write_run(tmp_path, "larson", 6, ids=range(1, COUNT))])
    odd = write_run(tmp_path, "ren", 6)
    (odd / "report.json").write_text(json.dumps({"weights": {"architecture": {"system": "alexnet"}}}))
    with pytest.raises(DataError, match="'alexnet'"):
        compare.read([ala, odd])
    dense = {**ARCHITECTURES["alanet"], "trunk": "densenet169"}
    (odd / "report.json").write_text(json.dumps({"weights": {"architecture": dense}}))
    with pytest.raises(DataError, match="'trunk densenet169'"):
        compare.read([ala, odd])
    for wrong in ("[1]", "no JSON"):
        (odd / "report.json").write_text(wrong)
        with pytest.raises(DataError, match=r"no folder of `carpal evaluate`"):
            compare.read([odd])
    with pytest.raises(DataError, match=r"no folder of `carpal evaluate`"):
        compare.read([tmp_path])


def test_a_page_takes_the_tables_between_its_marks(tmp_path: Path) -> None:
    ala, page = write_run(tmp_path, "alanet", 6), tmp_path / "page.md"
    page.write_text(f"# Before\n\n{compare_run.BEGIN}\nold\n{compare_run.END}\n\nAfter\n")
    compare_run.run([ala], tmp_path / "out", into=page)
    text = page.read_text()
    assert "old" not in text
    assert text.startswith("# Before")
    assert text.endswith("After\n")
    assert "### Table 1. Ablation" in text
    page.write_text("nothing")
    with pytest.raises(ConfigError, match="has no place for the tables"):
        compare_run.run([ala], tmp_path / "out", into=page)
