"""Two hands in a frame are cut apart and read on their own; one hand never is; sexes are both read where unknown."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from carpal.cli import main
from carpal.inference.assess import assess, difference, read_hands
from carpal.lab.data.synthetic import draw_hand
from carpal.quality.two_hands import find_valley, split
from carpal.types import Assessment, BothSexes, Interval, ModelId, Radiograph, Sex


def pair(first: Any, second: Any) -> Any:
    """Two pictures side by side, the shorter one with air below."""
    height = max(len(first), len(second))
    return np.concatenate([np.pad(one, ((0, height - len(one)), (0, 0)), mode="edge") for one in (first, second)], 1)


@pytest.fixture(scope="module")
def frame() -> Any:
    """A drawn hand and its mirror image."""
    hand_HW = draw_hand(120, Sex.FEMALE, seed=1).pixels_HW
    return pair(hand_HW, hand_HW[:, ::-1])


@pytest.mark.parametrize("seed", range(6))
def test_one_hand_is_never_cut(seed: int) -> None:
    hand_HW = draw_hand(40 * seed + 10, Sex.MALE, seed=seed).pixels_HW
    assert split(hand_HW) is None
    assert split(255 - hand_HW) is None


def test_two_hands_are_cut_in_the_valley_of_any_polarity(frame: Any) -> None:
    for picture in (frame, 255 - frame, frame.astype(np.uint16) * 200):
        halves = split(picture)
        assert halves is not None
        left, right = halves
        assert (left.side_in_image, right.side_in_image) == ("left", "right")
        assert left.right == right.left == pytest.approx(200, abs=30)
        assert (left.left, right.right) == (0, 400)


def test_stacked_hands_are_cut_too() -> None:
    hand_HW = draw_hand(120, Sex.FEMALE, seed=1).pixels_HW[:, 20:180]
    halves = split(np.pad(np.concatenate([hand_HW, hand_HW]), ((4, 4), (2, 2)), mode="edge"))
    if halves is not None:  # the forearm of the upper hand may touch the fingers of the lower one
        assert [half.side_in_image for half in halves] == ["top", "bottom"]


@pytest.mark.parametrize(("hills", "found"), [((1.0, 1.0), True), ((1.0, 0.2), False), ((1.0, 0.0), False)])
def test_a_valley_needs_two_hills_alike(hills: tuple[float, float], found: bool) -> None:
    x_W = np.linspace(0, 1, 160)
    profile_W = sum(
        weight * np.exp(-(((x_W - at) / 0.08) ** 2)) for weight, at in zip(hills, (0.25, 0.75), strict=True)
    )
    valley = find_valley(np.tile(200 * np.asarray(profile_W), (100, 1)))
    assert (valley is not None) is found
    assert valley is None or valley == pytest.approx(0.5, abs=0.1)


def test_both_hands_get_an_entry_with_boxes_in_the_frame(frame: Any, fake_engine: Callable[..., Any]) -> None:
    whole = Radiograph(frame, "two.png")
    refused = assess(whole, Sex.MALE, fake_engine()).refused
    assert refused is not None
    assert refused.code == "two-hands"
    left, right = read_hands(whole, Sex.MALE, fake_engine())
    assert isinstance(left, Assessment)
    assert isinstance(right, Assessment)
    assert (left.side_in_image, right.side_in_image) == ("left", "right")
    assert left.regions[0].box.x2 < 200 < right.regions[-1].box.x2 <= 400
    moved = right.regions[3].box.x1 - left.regions[3].box.x1
    assert moved == pytest.approx(200, abs=30)


def hand(months: float, interval: Interval | None = None) -> Assessment:
    return Assessment("a.png", Sex.MALE, months, (), ModelId("m", "1", "0" * 64), interval=interval)


def test_a_difference_beyond_the_intervals_is_flagged() -> None:
    wide, narrow = Interval(83, 117, 0.9), Interval(100, 134, 0.9)
    assert difference(hand(100, wide), hand(117, narrow)) == [], "each interval holds the other's age, just"
    said = ["the two hands in the picture are 17 months apart: look at both"]
    assert difference(hand(100, wide), hand(117.1, Interval(100, 135, 0.9))) == said, "they overlap by 17 months"
    assert difference(hand(117.1, Interval(100, 135, 0.9)), hand(100, wide)) == said
    assert difference(hand(99.9, wide), hand(117, narrow)) == said, "one of the two is enough"
    assert difference(hand(100), hand(112)) == []
    assert len(difference(hand(100), hand(112.1))) == 1
    assert len(difference(hand(100, wide), hand(113))) == 1, "an interval of one hand alone decides nothing"


def test_an_unknown_sex_gives_both_ages_and_none_of_its_own(
    hand_png: Path, tmp_path: Path, fake_engine: Callable[..., Any], monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    fake = fake_engine()
    monkeypatch.setattr("carpal.inference.engine.open_engine", lambda *_: fake)
    overlay = tmp_path / "o.png"
    words = ["assess", str(hand_png), "--sex", "unknown", "--json", str(tmp_path / "o.json"), "--overlay", str(overlay)]
    assert main(words) == 0
    (entry,) = json.loads((tmp_path / "o.json").read_text())
    assert (entry["sex"], entry["months"], entry["regions"], entry["interval"]) == (None, None, [], None)
    assert {sex: one["sex"] for sex, one in entry["by_sex"].items()} == {"female": "female", "male": "male"}
    assert [one["months"] for one in entry["by_sex"].values()] == [120, 120]
    out, _ = capsys.readouterr()
    assert "sex unknown, so both: 10 years (120.0 months) as female; 10 years (120.0 months) as male" in out
    with Image.open(overlay) as picture:
        assert picture.height > 1200
    assert sorted({male for _, male in fake.asked}) == [False, True]


def test_two_hands_through_the_command(
    frame: Any, tmp_path: Path, fake_engine: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("carpal.inference.engine.open_engine", lambda *_: fake_engine())
    Image.fromarray(frame).save(tmp_path / "two.png")
    words = ["assess", str(tmp_path / "two.png"), "--sex", "male", "--json", str(tmp_path / "o.json")]
    assert main([*words, "--overlay", str(tmp_path / "o.png")]) == 0
    assert [e["side_in_image"] for e in json.loads((tmp_path / "o.json").read_text())] == ["left", "right"]
    assert (tmp_path / "o-hand1.png").is_file()
    assert (tmp_path / "o-hand2.png").is_file()


def test_both_sexes_are_what_they_say() -> None:
    female = replace(hand(100), sex=Sex.FEMALE)
    assert BothSexes(female, hand(110)).male.months == 110
    with pytest.raises(ValueError, match="one assessment for each sex"):
        BothSexes(hand(110), female)
