"""The picture: its labels are free of each other and inside, its colours where the boxes are."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageChops, ImageDraw

from carpal.anatomy import COLOURS, REGIONS
from carpal.report import overlay
from carpal.types import Assessment, BothSexes, Box, Interval, ModelId, Radiograph, Refusal, Region, Sex

MODEL = ModelId("alanet", "1.0", "ab" * 32)


def assessment(side: float = 20) -> Assessment:
    """Regions on a grid of 5 x 4, far apart, on a radiograph of 250 x 200 pixels."""
    corners = [(5 + 40 * (i % 5), 5 + 60 * (i // 5)) for i in range(17)]
    regions = tuple(
        Region(name, Box(x, y, x + side, y + side), 0.9, 100.0) for name, (x, y) in zip(REGIONS, corners, strict=True)
    )
    return Assessment("hand.png", Sex.FEMALE, 135.2, regions, MODEL)


def radiograph(height: int = 250, width: int = 200) -> Radiograph:
    slope_HW = np.add.outer(np.linspace(0, 120, height), np.linspace(0, 130, width))
    return Radiograph(slope_HW.astype(np.uint8), "hand.png")


def overlap(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    return max(width, 0) * max(height, 0)


def test_the_radiograph_fills_the_field_between_the_strips() -> None:
    picture = overlay.draw(radiograph(), assessment())
    assert picture.mode == "RGB"
    assert picture.height == overlay.LONG_SIDE + 2 * overlay.STRIP


def test_a_box_is_drawn_in_its_colour_where_it_belongs() -> None:
    picture = overlay.draw(radiograph(), assessment())
    scale = overlay.LONG_SIDE / 250
    left = (picture.width - round(200 * scale)) // 2
    for region in (assessment().regions[0], assessment().regions[16]):  # an MCP and the wrist
        x, y = region.box.x1 * scale + left, (region.box.y1 + 10) * scale + overlay.STRIP
        colour = COLOURS["MCP" if region.name == "MCP1" else "wrist"]
        assert colour in {picture.getpixel((round(x) + dx, round(y))) for dx in (-1, 0, 1)}


def test_header_and_footer_are_written() -> None:
    pixels = np.asarray(overlay.draw(radiograph(), assessment()), int)
    strips = pixels[: overlay.STRIP], pixels[-overlay.STRIP :]
    assert all((strip.min(axis=2) > 200).sum() > 200 for strip in strips)
    assert overlay.NOTICE == "Research only, not a medical device"


def test_a_refused_image_is_drawn_without_an_age() -> None:
    refused = Assessment("foot.png", Sex.MALE, None, (), MODEL, refused=Refusal("no-hand", "a foot"))
    assert overlay.draw(radiograph(), refused).height > overlay.LONG_SIDE


@pytest.mark.parametrize("shape", [(32, 40), (3000, 900), (300, 1500)])
def test_any_shape_is_drawn_at_one_size(shape: tuple[int, int]) -> None:
    picture = overlay.draw(radiograph(*shape), Assessment("x", Sex.MALE, 10.0, (), MODEL))
    assert (
        max(picture.width - 2 * round(overlay.MARGIN * 1200), picture.height - 2 * overlay.STRIP) == overlay.LONG_SIDE
    )


def test_names_stand_clear_of_each_other_and_of_every_box() -> None:
    labels = overlay._labels(assessment(), 4.8, 144, (1248, 1200))
    assert [label.text.split()[0] for label in labels] == list(REGIONS)
    assert all(overlap(a.place, b.place) == 0 for a, b in itertools.combinations(labels, 2))
    assert all(overlap(a.place, b.box) == 0 for a, b in itertools.product(labels, labels))


corner = st.floats(0, 900)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(corner, corner, st.floats(1, 300), st.floats(1, 300)), min_size=1, max_size=6))
def test_a_place_is_always_inside_the_picture(found: list[tuple[float, float, float, float]]) -> None:
    boxes = [(x, y, x + width, y + height) for x, y, width, height in found]
    x1, y1, x2, y2 = overlay.find_place(boxes[0], (90, 26), boxes, boxes[1:3], (1200, 1200))
    assert 0 <= x1 < x2 <= 1200
    assert 0 <= y1 < y2 <= 1200
    assert (x2 - x1, y2 - y1) == pytest.approx((90, 26))


def test_a_taken_place_is_avoided() -> None:
    box = (500.0, 500.0, 600.0, 600.0)
    first = overlay.find_place(box, (90, 26), [box], [], (1200, 1200))
    second = overlay.find_place(box, (90, 26), [box], [first], (1200, 1200))
    assert overlap(first, second) == 0


def test_an_interval_stands_below_the_age_and_nowhere_else() -> None:
    with_interval = replace(assessment(), interval=Interval(100, 140, 0.9))
    difference = ImageChops.difference(
        overlay.draw(radiograph(), assessment()), overlay.draw(radiograph(), with_interval)
    )
    left, top, right, bottom = difference.getbbox() or (0, 0, 0, 0)
    assert right > left
    assert 0 <= top < bottom <= overlay.STRIP


def test_save_writes_a_whole_png(tmp_path: Path) -> None:
    overlay.save(tmp_path / "out.png", radiograph(), assessment())
    with Image.open(tmp_path / "out.png") as picture:
        picture.load()
        assert picture.format == "PNG"
    assert [p.name for p in tmp_path.iterdir()] == ["out.png"]


def test_an_unknown_sex_shows_both_ages_and_none_beside_the_names(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[str] = []
    write = ImageDraw.ImageDraw.text

    def note(self: ImageDraw.ImageDraw, place: tuple[float, float], text: str, **options: object) -> None:
        drawn.append(text)
        write(self, place, text, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(ImageDraw.ImageDraw, "text", note)
    boy = replace(assessment(), sex=Sex.MALE, months=147.0)
    overlay.draw(radiograph(), BothSexes(assessment(), boy))
    assert "11 years 3 months as female, 12 years 3 months as male" in drawn
    assert "the sex is unknown, so both ages" in drawn
    assert set(REGIONS) < set(drawn)
    assert not any(text.startswith("Wrist 1") for text in drawn)
    drawn.clear()
    named = replace(assessment(), site="Łódź (2026)", raw_months=130.0, side_in_image="left")
    overlay.draw(radiograph(), named)
    assert "the hand on the left of the image, calibrated by ?odz (2026) from 130.0" in drawn


def test_pictures_stand_beside_each_other() -> None:
    one, other = (Image.new("RGB", size, colour) for size, colour in (((30, 40), "red"), ((20, 10), "blue")))
    both = overlay.beside([one, other])
    assert both.size == (50, 40)
    assert [both.getpixel(place) for place in ((29, 39), (30, 0), (30, 20))] == [(255, 0, 0), (0, 0, 255), (0, 0, 0)]
