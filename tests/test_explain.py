"""Masking a region changes the result where, and only where, the network looks; the picture and the JSON say so."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from carpal.anatomy import REGIONS
from carpal.cli import main
from carpal.inference.align import Pose, Similarity
from carpal.inference.assess import examine
from carpal.inference.explain import explain, mask
from carpal.report import overlay
from carpal.types import Explanation, Radiograph, Sex

BOX_4 = np.array([40, 30, 56, 46], np.float32)


@pytest.fixture
def radiograph() -> Radiograph:
    """A noisy picture of 96 x 128 pixels: prepared at long side 128 it keeps its size."""
    return Radiograph(np.random.default_rng(0).integers(0, 255, (128, 96)).astype(np.uint8), "noise.png")


@pytest.fixture
def looking(fake_engine: Callable[..., Any]) -> Any:
    """An engine whose age is 100 months and a hundredth of the texture in region 4, and that has two more boxes."""
    boxes_R4 = np.tile(np.array([0, 0, 8, 8], np.float32), (17, 1))
    boxes_R4[4] = BOX_4
    engine = fake_engine(boxes_R4=boxes_R4)
    answer = engine.run

    def run(image_HW: Any, male: bool, boxes_R4: Any = None) -> Any:
        reading = answer(image_HW, male)
        given = reading.boxes_R4 if boxes_R4 is None else boxes_R4
        x1, y1, x2, y2 = np.asarray(given[4], int)
        return reading._replace(months=100 + float(image_HW[y1:y2, x1:x2].std()) / 100, boxes_R4=np.asarray(given))

    engine.run = run
    return engine


def test_only_the_region_that_is_looked_at_has_an_effect(radiograph: Radiograph, looking: Any) -> None:
    explanation = explain(radiograph, Sex.FEMALE, looking)
    effects = dict(zip(REGIONS, explanation.effects, strict=True))
    assert effects.pop(REGIONS[4]) > 0.1
    assert set(effects.values()) == {0.0}


@pytest.mark.parametrize("flip", [False, True])
def test_the_view_is_asked_as_often_as_for_its_age(
    flip: bool, radiograph: Radiograph, looking: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once as it is and once with each region masked; each time its mirror image as well, where the age needs it."""
    unaligned = explain(radiograph, Sex.FEMALE, looking).effects[4]
    true_examine, before = examine, len(looking.asked)

    def aligned(*arguments: Any) -> Any:
        assessment, reading, view = true_examine(*arguments)
        looking.asked.clear()
        return assessment, reading, view._replace(pose=Pose(Similarity(30 + 0j), False, 0.0))

    assert before == 2 + 2 * 18
    looking.flip = flip
    monkeypatch.setattr("carpal.inference.explain.examine", aligned)
    assert explain(radiograph, Sex.FEMALE, looking).effects[4] == pytest.approx(unaligned)
    assert len(looking.asked) == (1 + flip) * 18


def test_a_mask_covers_its_box_and_nothing_else() -> None:
    picture_HW = np.random.default_rng(1).integers(0, 255, (64, 64)).astype(np.uint8)
    masked_HW = mask(picture_HW, BOX_4)
    assert np.ptp(masked_HW[30:46, 40:56]) == 0
    changed_y, changed_x = np.nonzero(masked_HW != picture_HW)
    assert (changed_y.min(), changed_y.max() + 1, changed_x.min(), changed_x.max() + 1) == (30, 46, 40, 56)
    outside = mask(picture_HW, np.array([80, 80, 96, 96], np.float32))
    assert np.array_equal(outside, picture_HW)


def test_the_command_writes_picture_and_values(
    hand_png: Path, tmp_path: Path, fake_engine: Callable[..., Any], monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    fake = fake_engine()
    answer = fake.run
    fake.run = lambda image_HW, male, boxes_R4=None: answer(image_HW, male)
    monkeypatch.setattr("carpal.inference.engine.open_engine", lambda *_: fake)
    assert main(["explain", str(hand_png), "--sex", "female", "--out", str(tmp_path / "out")]) == 0
    entry = json.loads((tmp_path / "out" / overlay.VALUES).read_text())
    assert list(entry["effects"]) == list(REGIONS)
    assert entry["months"] == 120
    with Image.open(tmp_path / "out" / overlay.PICTURE) as picture:
        assert picture.height == overlay.MAP_LONG_SIDE + overlay.MAP_STRIP
    assert capsys.readouterr().out.count("adds to the result") == 17


def test_a_refusal_is_drawn_without_an_age(radiograph: Radiograph, looking: Any) -> None:
    from carpal.quality.thresholds import refuse
    from carpal.types import Assessment

    refused = Assessment("a.png", Sex.MALE, None, (), looking.model, refused=refuse("not-a-hand", "a.png", "0.1"))
    explanation = Explanation(refused, ())
    assert overlay.draw_age_map(radiograph, explanation).width >= 1000
    assert overlay.values(explanation)["effects"] == {}
    with pytest.raises(ValueError, match="an effect for each region"):
        Explanation(refused, (1.0,))


def test_colours_run_from_blue_to_orange() -> None:
    assert overlay.colour(-100) == overlay.YOUNGER
    assert overlay.colour(100) == overlay.OLDER
    assert overlay.colour(0) == overlay.SAME
