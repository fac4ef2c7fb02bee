"""The certificate counts what it should: a robust reader passes, one that follows the pixels fails, refusals count."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from carpal.checkout import commit, without_machine
from carpal.errors import ConfigError
from carpal.lab.evaluation import stress
from carpal.lab.evaluation import stress as stress_plot
from carpal.lab.evaluation.distortions import FAMILIES, Family
from carpal.types import Radiograph, Sex

CASES = [(name, strength) for name, family in FAMILIES.items() for strength in family.strengths]


def few(*names: str) -> dict[str, Family]:
    return {name: replace(FAMILIES[name], strengths=FAMILIES[name].strengths[:1]) for name in names}


@pytest.mark.parametrize(("name", "strength"), CASES)
@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_every_distortion_keeps_the_kind_and_changes_the_picture(
    name: str, strength: float, kind: Any, drawn_hand: Radiograph
) -> None:
    pixels_HW = drawn_hand.pixels_HW.astype(kind) * (1 if kind is np.uint8 else 200)
    before_HW = pixels_HW.copy()
    after_HW = FAMILIES[name].apply(pixels_HW, strength)
    assert after_HW.dtype == kind
    assert min(after_HW.shape) >= 32
    assert np.array_equal(pixels_HW, before_HW)
    same = after_HW.shape == pixels_HW.shape and np.array_equal(after_HW, pixels_HW)
    assert same is (name == "down-sampling" and strength >= 256)  # the drawn hand has 256 pixels


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_states_what_everyday_work_brings(name: str) -> None:
    family = FAMILIES[name]
    assert family.clinical
    assert set(family.clinical) <= set(family.strengths)
    (only,) = stress._families([name], clinical=True).values()
    assert only.strengths == family.clinical


def test_exact_families_can_be_undone(drawn_hand: Radiograph) -> None:
    pixels_HW = drawn_hand.pixels_HW
    for name in ("flip", "polarity"):
        for strength in FAMILIES[name].strengths:
            twice_HW = FAMILIES[name].apply(FAMILIES[name].apply(pixels_HW, strength), strength)
            assert np.array_equal(twice_HW, pixels_HW)
    assert np.array_equal(np.rot90(FAMILIES["quarter turns"].apply(pixels_HW, 90), -1), pixels_HW)


def test_a_steady_reader_passes(drawn_hand: Radiograph, fake_engine: Callable[..., Any]) -> None:
    report = stress.certificate([(drawn_hand, Sex.MALE, 118.0)], few("noise", "flip"), fake_engine())
    assert report["passed"] is True
    assert report["as_it_is"] == {"refused": 0, "mae": 2.0, "coverage": None}
    (entry,) = report["families"]["noise"]
    assert (entry["n"], entry["refused"], entry["median_change"], entry["mae_change"]) == (1, 0.0, 0.0, 0.0)


def test_a_reader_that_follows_the_pixels_does_not(drawn_hand: Radiograph, fake_engine: Callable[..., Any]) -> None:
    engine = fake_engine()
    answer = engine.run
    engine.run = lambda image_HW, male: answer(image_HW, male)._replace(months=float(np.mean(image_HW)))
    cases = [(drawn_hand, Sex.MALE, float(np.mean(drawn_hand.pixels_HW)))]
    report = stress.certificate(cases, few("black border", "collimator"), engine)
    assert report["passed"] is False
    assert "**not passed**" in stress.markdown(page(report))


def test_what_was_shown_before_is_not_shown_again(drawn_hand: Radiograph, fake_engine: Callable[..., Any]) -> None:
    engine = fake_engine()
    report = stress.certificate([(drawn_hand, Sex.MALE, 118.0)], few("flip"), engine)
    assert report["runs"] == len(engine.asked) == 2  # the picture and its mirror image, which the flip swaps
    report = stress.certificate([(drawn_hand, Sex.MALE, 118.0)] * 2, few("flip"), fake_engine(), jobs=2)
    assert report["runs"] == 4  # each radiograph for itself


def test_radiographs_keep_their_order_whatever_is_read_at_the_same_time(
    drawn_hand: Radiograph, fake_engine: Callable[..., Any]
) -> None:
    engine = fake_engine()
    answer = engine.run
    engine.run = lambda image_HW, male: answer(image_HW, male)._replace(months=float(np.mean(image_HW)))
    darker = Radiograph(drawn_hand.pixels_HW[:, :150], "narrow.png")
    cases = [(drawn_hand, Sex.MALE, 10.0), (darker, Sex.MALE, 20.0), (drawn_hand, Sex.FEMALE, 30.0)]
    one, three = (stress.certificate(cases, few("noise", "shift"), engine, jobs=jobs) for jobs in (1, 3))
    assert one == three


def test_changes_are_counted_over_images_read_both_times() -> None:
    plain = [stress.Answer(100, 1), stress.Answer(90, 1), stress.Answer(np.nan, np.nan), stress.Answer(50, 0)]
    after = [stress.Answer(104, 0), stress.Answer(np.nan, np.nan), stress.Answer(70, 1), stress.Answer(50, 1)]
    entry = stress.compare(plain, after, np.array([100.0, 90, 80, 50]), FAMILIES["blur"], 1)
    assert (entry["n"], entry["median_change"], entry["mae_change"]) == (2, 2.0, 2.0)
    assert (entry["newly_refused"], entry["refused"]) == (1, pytest.approx(1 / 3, abs=1e-3))  # of three ages before
    assert entry["coverage"] == pytest.approx(2 / 3, abs=1e-3)
    assert entry["passed"] is False


@pytest.mark.parametrize("name", [name for name, family in FAMILIES.items() if family.exact])
def test_an_exact_family_may_not_raise_the_error_either(name: str) -> None:
    """Every age moves by 0.4 month, which alone would pass, away from its reference."""
    plain, after = [stress.Answer(100, 1)] * 50, [stress.Answer(100.4, 1)] * 50
    entry = stress.compare(plain, after, np.full(50, 99.0), FAMILIES[name], 1)
    assert (entry["median_change"], entry["mae_change"], entry["passed"]) == (0.4, 0.4, False)
    assert stress.compare(plain, after, np.full(50, 101.0), FAMILIES[name], 1)["passed"] is True


@pytest.mark.parametrize(
    ("read", "newly", "passed"), [(10, 1, True), (10, 2, False), (50, 1, True), (100, 2, True), (100, 3, False)]
)
def test_two_in_a_hundred_may_be_newly_refused_or_one(read: int, newly: int, passed: bool) -> None:
    """One that is refused as it is and read distorted makes up for none."""
    refused = stress.Answer(np.nan, np.nan)
    plain = [*[stress.Answer(100, 1)] * read, *[refused] * 5]
    after = [*[refused] * newly, *[stress.Answer(100, 1)] * (read - newly), *[stress.Answer(100, 1)] * 5]
    for name in ("JPEG", "polarity"):
        entry = stress.compare(plain, after, np.full(read + 5, 100.0), FAMILIES[name], 1)
        assert (entry["n"], entry["newly_refused"], entry["passed"]) == (read - newly, newly, passed)
        assert entry["refused"] == round(newly / read, 4)


def test_the_plot_shows_the_limits_that_count() -> None:
    strict = {"exact": True, "strength": 90, "coverage": None}
    assert stress_plot.held_to([strict]) == tuple(stress.LIMITS)
    assert stress_plot.held_to([{"exact": False}]) == ("mae_change",)
    assert (stress_plot.below(strict), stress_plot.below(strict | {"coverage": 0.934})) == ("90", "90\n93 %")


def test_a_command_names_no_machine() -> None:
    assert without_machine("/data/patients/hands") == "hands"
    assert without_machine(Path("shared/data/rsna")) == "shared/data/rsna"
    assert without_machine("alanet") == "alanet"


def test_nothing_read_is_no_pass() -> None:
    nothing = [stress.Answer(np.nan, np.nan)]
    entry = stress.compare([stress.Answer(100, np.nan)], nothing, np.array([100.0]), FAMILIES["polarity"], 1)
    assert (entry["n"], entry["refused"], entry["passed"], entry["median_change"]) == (0, 1.0, False, None)


def page(report: dict[str, Any]) -> dict[str, Any]:
    model = {"name": "fake", "version": "1", "sha256": "0" * 64}
    return {
        "n": 1,
        "model": model,
        "command": "carpal stress",
        "commit": "abc1234",
        "date": "2026-11-24",
        "seconds": 1,
        **report,
    }


def test_the_command_writes_report_table_and_plot(
    tmp_path: Path, drawn_hand: Radiograph, fake_engine: Callable[..., Any]
) -> None:
    pytest.importorskip("matplotlib")
    for name in ("1", "2", "3"):
        Image.fromarray(drawn_hand.pixels_HW).save(tmp_path / f"{name}.png")
    (tmp_path / "labels.csv").write_text("id,boneage,male\n1,120,1\n2,120,0\n3,100,1\n")
    out = tmp_path / "out"
    options: dict[str, Any] = {"limit": 2, "families": ["flip", "polarity"], "engine": fake_engine()}
    report = stress.run(tmp_path, tmp_path / "labels.csv", out, **options)
    assert report["n"] == 2
    assert json.loads((out / stress.REPORT).read_text()) == report
    assert (out / stress.TABLE).read_text().count("| flip |") == 2
    with Image.open(out / stress.PLOT) as picture:
        assert picture.width > 800
    report = stress.run(tmp_path, tmp_path / "labels.csv", out, **options, clinical=True)
    assert report["command"] == (
        f"carpal stress --images {tmp_path.name} --labels labels.csv --out out --weights alanet --backend onnx "
        "--precision fp32 --limit 2 --family flip --family polarity --clinical"
    )
    assert report["commit"] == commit()
    text = (out / stress.TABLE).read_text()
    assert f"`{report['command']}`, {report['date']}, commit {report['commit'] or 'unknown'}, " in text
    assert str(tmp_path) not in text + (out / stress.REPORT).read_text()
    with pytest.raises(ConfigError, match="no family of distortions"):
        stress.run(tmp_path, tmp_path / "labels.csv", out, families=["flop"], engine=fake_engine())
