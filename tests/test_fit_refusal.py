"""Limits follow their stated rules, part what they were fitted on, and reach the sidecar and the evaluation."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from carpal.checkout import commit
from carpal.cli import main
from carpal.inference.weights import sha256_of
from carpal.lab.evaluation import negatives, run, threshold_fit
from carpal.quality.ood import measure
from carpal.quality.thresholds import Found, Limits
from carpal.types import Radiograph


def seen(kind: str, seed: int, surety: float) -> threshold_fit.Seen:
    """A case with the looks of drawn blobs and a reading as sure as told."""
    rng = np.random.default_rng(seed)
    looks = replace(measure(negatives.draw("blobs", 3)), levels=200.0, air=float(rng.uniform(0.5, 0.9)))
    found = Found(surety, *rng.uniform([0.5, 1.0, -1.0, 2.0], [1.5, 1.3, -0.3, 30.0]), scores_R=(surety,) * 17)
    return threshold_fit.Seen(kind, str(seed), False, looks, found)


@pytest.fixture(scope="module")
def cases() -> list[threshold_fit.Seen]:
    hands = [seen("rsna", seed, 0.3 + 0.005 * seed) for seed in range(60)]
    return [*hands, *(seen("text", seed, 0.001 * seed) for seed in range(60, 90))]


def test_fitted_limits_part_hands_from_others(cases: list[threshold_fit.Seen]) -> None:
    limits = threshold_fit.fit_limits(cases)
    assert 0.089 < limits.surety < 0.3
    assert limits.levels == 100
    assert (limits.hidden, limits.found) == (1, 0.3)
    counted = threshold_fit.table(cases, limits)
    assert counted["rsna"] == {"n": 60, "read_by_network": 60, "refused": 0, "codes": {}}
    assert counted["text"] == {"n": 30, "read_by_network": 30, "refused": 30, "codes": {"not-a-hand": 30}}
    assert Limits.from_sidecar(json.loads(json.dumps(limits.as_dict())), "a.json") == limits


def test_so_much_counts_as_seen_that_one_hand_in_200_lacks_two_regions(cases: list[threshold_fit.Seen]) -> None:
    """Every fourth hand lacks one region, which costs it nothing."""
    hands = []
    for seed in range(400):
        unsure = [0.3 + 0.001 * seed, 0.2 if seed % 4 == 0 else 0.9]
        found = replace(cases[0].found, surety=0.8, scores_R=(*unsure, *(0.95,) * 15))
        hands.append(cases[seed % 60]._replace(found=found))
    limits = threshold_fit.fit_limits(hands + cases[60:])
    hidden_N = np.array([hand.found.hidden(limits.found) for hand in hands if hand.found])
    assert (hidden_N > limits.hidden).sum() in (1, 2)
    assert (hidden_N == 1).sum() > 50


def test_where_the_scores_overlap_few_hands_are_given_up() -> None:
    hands, strange = np.linspace(0, 1, 1001), np.linspace(0, 0.5, 101)
    assert threshold_fit.between(list(hands), list(strange)) == pytest.approx(0.002, abs=1e-4)
    assert threshold_fit.between([0.4] * 100, [0.1] * 100) == pytest.approx(0.2)


def test_a_coloured_picture_is_refused_whatever_was_found(cases: list[threshold_fit.Seen]) -> None:
    limits = threshold_fit.fit_limits(cases)
    assert threshold_fit.judge(cases[0], limits) == ""
    assert threshold_fit.judge(cases[0]._replace(coloured=True), limits) == "not-a-radiograph"


def test_a_hand_taken_for_two_counts_as_refused(
    cases: list[threshold_fit.Seen], drawn_hand: Radiograph, fake_engine: Callable[..., Any]
) -> None:
    """After the checks of the picture and before those of the reading, as in `assess`; other pictures are not asked."""
    limits = threshold_fit.fit_limits(cases)
    hand = cases[0]._replace(two_hands=True)
    assert threshold_fit.judge(hand, limits) == "two-hands"
    assert threshold_fit.judge(hand._replace(coloured=True), limits) == "not-a-radiograph"
    unread = hand._replace(found=None)
    counted = threshold_fit.table([hand, unread, unread._replace(two_hands=False)], limits)
    assert counted == {"rsna": {"n": 3, "read_by_network": 1, "refused": 2, "codes": {"two-hands": 2}}}
    pair = Radiograph(np.hstack([drawn_hand.pixels_HW, drawn_hand.pixels_HW[:, ::-1]]), "pair")
    for engine in (None, fake_engine()):
        assert threshold_fit.look(threshold_fit.Case("rsna", "1", pair), engine).two_hands is True
        assert threshold_fit.look(threshold_fit.Case("rsna", "1", drawn_hand), engine).two_hands is False
        assert threshold_fit.look(threshold_fit.Case("drawn text", "1", pair), engine).two_hands is False


def test_every_hand_is_looked_at_once_and_so_many_by_the_network(
    tmp_path: Path, cases: list[threshold_fit.Seen], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "external" / "brazil"
    folder.mkdir(parents=True)
    for name in range(5):
        Image.fromarray(np.tile(np.arange(40, dtype=np.uint8), (40, 1)) * (name + 1)).save(folder / f"{name}.jpg")
    monkeypatch.setattr(threshold_fit.shared, "images", lambda _: [])
    few, others = ([case.name for case in threshold_fit.brazilians(tmp_path, *span)] for span in ((2,), (None, 2)))
    assert (len(few), sorted(few + others)) == (2, [f"{name}.jpg" for name in range(5)])
    asked: list[tuple[str, bool]] = []
    fitted = threshold_fit.fit_limits(cases)

    def look(case: threshold_fit.Case, engine: object = None) -> threshold_fit.Seen:
        asked.append((case.name, engine is not None))
        return cases[0]._replace(kind=case.kind, name=case.name)

    monkeypatch.setattr(threshold_fit, "look", look)
    monkeypatch.setattr(threshold_fit, "AT_ONCE", 2)
    assert [one.name for one in threshold_fit.look_at(threshold_fit.brazilians(tmp_path))] == few + others  # in order
    asked.clear()
    monkeypatch.setattr(threshold_fit, "others", lambda *_: iter(()))
    monkeypatch.setattr(threshold_fit, "open_engine", lambda *_, **__: object())
    monkeypatch.setattr(threshold_fit, "fit_limits", lambda _: fitted)
    threshold_fit.fit(tmp_path, limit=2)
    assert sorted(asked) == sorted([*((name, True) for name in few), *((name, False) for name in others)])


def test_hands_and_others_are_both_needed(cases: list[threshold_fit.Seen]) -> None:
    with pytest.raises(AssertionError, match="no hand are needed"):
        threshold_fit.fit_limits(cases[:60])


def test_looking_measures_the_picture_and_the_reading(
    drawn_hand: Radiograph, fake_engine: Callable[..., Any], tmp_path: Path
) -> None:
    case = threshold_fit.Case("rsna", "1", drawn_hand)
    assert threshold_fit.look(case).found is None
    found = threshold_fit.look(case, fake_engine()).found
    assert found is not None
    assert found.surety == pytest.approx(0.9)
    Image.fromarray(drawn_hand.pixels_HW).save(tmp_path / "a.png")
    (tmp_path / "b.txt").write_text("no picture")
    assert [one.name for one in threshold_fit.pictures(tmp_path)] == ["a.png"]


@pytest.mark.parametrize("kind", negatives.CUTS)
def test_cuts_are_parts_of_the_hand(kind: str) -> None:
    from carpal.anatomy import MEAN_HAND

    points_R3 = np.column_stack([np.array(MEAN_HAND) * 80 + [200, 220], np.ones(17)])
    hand_HW = np.arange(400 * 400, dtype=np.float32).reshape(400, 400)
    piece_HW = negatives.cut(hand_HW, points_R3, kind)
    assert piece_HW is not None
    assert np.isin(piece_HW, hand_HW).all()
    assert piece_HW.size < 0.6 * hand_HW.size
    points_R3[:, 2] = 0
    points_R3[:3, 2] = 1
    assert negatives.cut(hand_HW, points_R3, kind) is None


def test_refused_images_are_counted_and_in_no_figure(
    tmp_path: Path, drawn_hand: Radiograph, fake_engine: Callable[..., Any], cases: list[threshold_fit.Seen]
) -> None:
    pytest.importorskip("matplotlib")
    for name in ("1", "2"):
        Image.fromarray(drawn_hand.pixels_HW).save(tmp_path / f"{name}.png")
    Image.fromarray(negatives.draw("text", 0)[:40, :60]).save(tmp_path / "3.png")
    (tmp_path / "labels.csv").write_text("id,boneage,male\n1,118,1\n2,118,0\n3,100,1\n")
    engine = fake_engine()
    engine.refusal = replace(
        threshold_fit.fit_limits(cases), oddness=1e6, misfit=1e6, stretch=1e6, outside=1e6, disagreement=1e6, levels=1
    )
    report = run.evaluate(tmp_path, tmp_path / "labels.csv", tmp_path / "out", engine=engine)
    assert (report["n"], report["n_refused"], report["mae"]) == (2, 1, 2.0)
    assert report["refused"][0]["code"] == "too-small"
    assert report["failures"] == []
    assert run.exit_code(report) == 0
    assert "refused     1, in no figure above" in run.summary(report)
    with (tmp_path / "out" / "predictions.csv").open() as file:
        assert [row["id"] for row in csv.DictReader(file)] == ["1", "2"]
    everything = run.evaluate(
        tmp_path, tmp_path / "labels.csv", tmp_path / "all", engine=engine, manner=run.Manner(may_refuse=False)
    )
    assert (everything["n"], everything["n_refused"]) == (3, 0)
    assert "--no-refusal" in everything["command"]


def test_the_command_prints_the_counts_and_writes_the_limits(
    tmp_path: Path, cases: list[threshold_fit.Seen], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = tmp_path / "some.onnx"
    weights.write_bytes(b"weights")
    known = {"name": "some", "version": "1", "sha256": sha256_of(weights), "training": {"data": {"holdout": [3]}}}
    weights.with_suffix(".json").write_text(json.dumps(known))
    for name in ("radiographs", "brazilians", "others", "cuts", "spoils"):
        monkeypatch.setattr(threshold_fit, name, lambda *_, **__: iter(()))
    monkeypatch.setattr(threshold_fit, "open_engine", lambda *_, **__: object())
    monkeypatch.setattr(threshold_fit, "look_at", lambda _, engine=None: cases if engine else [])
    words = [
        "limits",
        "--source",
        "data",
        "--weights",
        str(weights),
        "--kept-out",
        str(tmp_path / "none"),
        "--limit",
        "7",
    ]
    assert main([*words, "--write"]) == 0
    printed = capsys.readouterr().out
    assert '"fitted_on"' in printed
    assert '"usual"' not in printed
    block = json.loads(weights.with_suffix(".json").read_text())["refusal"]
    assert Limits.from_sidecar(block, "some") == threshold_fit.fit_limits(cases)
    assert block["command"] == "carpal limits --source data --weights some.onnx --kept-out none --limit 7 --each 5"
    assert block["commit"] == commit()
    assert block["held_out"] == [3]
    assert block["fitted_on"].keys() == {case.kind for case in cases}
