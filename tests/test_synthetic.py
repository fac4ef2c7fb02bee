"""Drawn hands: the order in which bones ossify, where the regions lie, and that the pixels show both."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from carpal.anatomy import INDEX, REGIONS
from carpal.errors import ConfigError
from carpal.imaging.preprocess import preprocess
from carpal.lab.data import drawing as oss
from carpal.lab.data.synthetic import REGIONS_CSV, SyntheticHand, draw_hand, write_dataset
from carpal.lab.data.tables import read_table
from carpal.types import RANKS, Sex

AGES = st.floats(0, RANKS - 1)
SEXES = st.sampled_from(list(Sex))
SMALL = 160


@given(AGES, AGES, SEXES)
def test_bones_never_disappear(one: float, other: float, sex: Sex) -> None:
    younger, older = sorted((one, other))
    assert set(oss.carpals(younger, sex)) <= set(oss.carpals(older, sex))
    for name in oss.CARPAL_CENTRES:
        assert oss.carpal_size(name, younger, sex) <= oss.carpal_size(name, older, sex)


@given(AGES)
def test_girls_are_ahead(months: float) -> None:
    girl, boy = Sex.FEMALE, Sex.MALE
    assert set(oss.carpals(months, girl)) >= set(oss.carpals(months, boy))
    for name in oss.EPIPHYSES:
        hers, his = oss.epiphysis(name, months, girl), oss.epiphysis(name, months, boy)
        if his is not None:
            assert hers is not None
            assert hers.fused >= his.fused
            assert hers.width >= his.width - 1e-12
            assert hers.gap <= his.gap + 1e-12


@given(AGES, AGES, SEXES, st.sampled_from(list(oss.EPIPHYSES)))
def test_an_epiphysis_widens_and_its_plate_closes(one: float, other: float, sex: Sex, name: str) -> None:
    younger, older = (oss.epiphysis(name, months, sex) for months in sorted((one, other)))
    if younger is not None:
        assert older is not None
        assert older.width >= younger.width - 1e-12
        assert older.gap <= younger.gap + 1e-12
        assert older.fused >= younger.fused


@pytest.mark.parametrize("sex", Sex)
def test_the_textbook_order_of_the_carpal_centres(sex: Sex) -> None:
    order = ["capitate", "hamate", "triquetrum", "lunate"]
    seen: list[str] = []
    for months in range(RANKS):
        seen += [name for name in oss.carpals(months, sex) if name not in seen]
    assert seen[:4] == order
    assert set(seen[4:7]) == {"scaphoid", "trapezium", "trapezoid"}
    assert seen[7:] == ["pisiform"]


@pytest.mark.parametrize("sex", Sex)
def test_plates_fuse_from_the_fingertips_to_the_radius(sex: Sex) -> None:
    def fused_at(kind: str) -> int:
        name = kind if kind in ("radius", "ulna") else f"{kind}3"
        states = ((months, oss.epiphysis(name, months, sex)) for months in range(RANKS))
        return next(months for months, state in states if state and state.fused == 1)

    ages = [fused_at(kind) for kind in ("distal", "metacarpal", "proximal", "middle", "ulna", "radius")]
    assert ages == sorted(ages)
    assert all(oss.epiphysis(name, RANKS - 1, sex).gap == 0 for name in oss.EPIPHYSES)  # type: ignore[union-attr]


@pytest.mark.parametrize("sex", Sex)
def test_every_epiphysis_is_there_once_and_appears_before_it_is_wide_before_it_fuses(sex: Sex) -> None:
    assert len(oss.EPIPHYSES) == 21
    column = list(Sex).index(sex)
    for name, ages in oss.EPIPHYSES.items():
        kind = name.rstrip("12345")
        begins, done = (pair[column] for pair in oss.FUSION[kind])
        assert 0 < ages[column] < oss.AS_WIDE_AS_SHAFT[kind][column] < begins < done < RANKS


def test_the_same_arguments_give_the_same_bytes() -> None:
    first, second = (draw_hand(90, Sex.MALE, seed=5, height=SMALL, rotation_deg=9) for _ in range(2))
    np.testing.assert_array_equal(first.pixels_HW, second.pixels_HW)
    np.testing.assert_array_equal(first.points_R2, second.points_R2)
    other = draw_hand(90, Sex.MALE, seed=6, height=SMALL, rotation_deg=9)
    assert not np.array_equal(first.points_R2, other.points_R2)


@settings(max_examples=12, deadline=None)
@given(
    months=st.floats(12, 216),
    sex=SEXES,
    seed=st.integers(0, 2**31),
    side=st.sampled_from(["left", "right"]),
    rotation=st.floats(-30, 30),
)
def test_regions_lie_inside_on_the_hand(months: float, sex: Sex, seed: int, side: str, rotation: float) -> None:
    hand = draw_hand(months, sex, seed=seed, height=SMALL, side=side, rotation_deg=rotation)
    height, width = hand.pixels_HW.shape
    assert (hand.pixels_HW.dtype, height) == (np.uint8, SMALL)
    assert hand.points_R2.shape == (len(REGIONS), 2)
    assert (hand.points_R2 > 2).all()
    assert (hand.points_R2 < [width - 2, height - 2]).all()
    air = float(np.percentile(hand.pixels_HW, 20))
    x, y = hand.points_R2.astype(int).T
    assert (hand.pixels_HW[y, x] > air).all()
    assert preprocess(hand.pixels_HW).inverted is False


@pytest.mark.parametrize("rotation", [0.0, 17.0])
def test_a_right_hand_is_the_mirror_image_and_keeps_the_names(rotation: float) -> None:
    left = draw_hand(100, Sex.FEMALE, seed=3, height=SMALL, rotation_deg=rotation)
    right = draw_hand(100, Sex.FEMALE, seed=3, height=SMALL, side="right", rotation_deg=-rotation)
    width = left.pixels_HW.shape[1]
    mirrored = left.points_R2 * [-1, 1] + [width, 0]
    np.testing.assert_allclose(right.points_R2, mirrored)
    differs = left.pixels_HW[:, ::-1] != right.pixels_HW
    assert differs.mean() < 0.02, "only the marker may differ"
    thumb, little = INDEX["MCP1"], INDEX["MCP5"]
    assert left.points_R2[thumb, 0] > left.points_R2[little, 0]
    assert right.points_R2[thumb, 0] < right.points_R2[little, 0]


def test_rotation_turns_clockwise() -> None:
    def lean(rotation: float) -> float:
        hand = draw_hand(100, Sex.FEMALE, seed=3, height=SMALL, rotation_deg=rotation)
        x, y = hand.points_R2[INDEX["DIP3"]] - hand.points_R2[INDEX["Wrist"]]
        return float(np.degrees(np.arctan2(x, -y)))

    assert lean(20) - lean(0) == pytest.approx(20)
    assert lean(0) - lean(-20) == pytest.approx(20)


def around(hand: SyntheticHand, region: str, radius: int) -> NDArray[np.float64]:
    x, y = hand.points_R2[INDEX[region]].astype(int)
    return hand.pixels_HW[y - radius : y + radius, x - radius : x + radius].astype(float)


def test_the_pixels_show_the_carpal_bones_appear() -> None:
    def bone(months: int, sex: Sex) -> float:
        return float(around(draw_hand(months, sex, seed=1, height=256), "Wrist", 16).mean())

    girls = [bone(months, Sex.FEMALE) for months in (18, 48, 80, 140)]
    assert np.diff(girls).min() > 2, girls
    assert bone(48, Sex.FEMALE) > bone(48, Sex.MALE) + 1


def test_the_pixels_show_the_growth_plate_close() -> None:
    def darkest_across_the_plate(months: int) -> float:
        """Along the bone's middle from the joint into the shaft; a plate is a dip between two bright pieces."""
        hand = draw_hand(months, Sex.MALE, seed=2, height=512)
        joint, next_joint = (hand.points_R2[INDEX[name]] for name in ("MCP3", "PIP3"))
        ways = [joint + share * (next_joint - joint) for share in np.linspace(0.05, 0.3, 40)]
        greys = np.array(
            [hand.pixels_HW[round(y) - 1 : round(y) + 2, round(x) - 2 : round(x) + 3].mean() for x, y in ways]
        )
        shaft = float(np.median(greys[-10:]))
        return float(greys[8:25].min()) / shaft

    assert darkest_across_the_plate(110) < 0.8
    assert darkest_across_the_plate(215) > 0.9


def test_a_written_dataset_reads_back(tmp_path: Path) -> None:
    write_dataset(tmp_path / "drawn", count=3, seed=1, height=SMALL)
    labels = read_table(tmp_path / "drawn" / "labels.csv", ("id", "boneage", "male"))
    regions = list(csv.DictReader((tmp_path / "drawn" / REGIONS_CSV).read_text().splitlines()))
    assert list(regions[0]) == ["dataset", "id", "source", "width", "height", "roi", "x", "y", "v"]
    ids = [line.cells["id"] for line in labels]
    assert len(set(ids)) == 3
    assert {row["id"] for row in regions} == set(ids)
    for line in labels:
        assert 12 <= int(line.cells["boneage"]) <= 216
        assert line.cells["male"] in ("True", "False")
        mine = [row for row in regions if row["id"] == line.cells["id"]]
        assert [row["roi"] for row in mine] == list(REGIONS)
        with Image.open(tmp_path / "drawn" / f"{line.cells['id']}.png") as image:
            assert image.size == (int(mine[0]["width"]), int(mine[0]["height"]))
            assert image.mode == "L"


@pytest.mark.parametrize(
    ("months", "height", "side", "words"),
    [(-1, 256, "left", "-1"), (300, 256, "left", "300"), (90, 16, "left", "16"), (90, 256, "both", "both")],
)
def test_what_cannot_be_drawn_is_refused(months: float, height: int, side: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        draw_hand(months, Sex.MALE, seed=0, height=height, side=side)
