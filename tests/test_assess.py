"""From a reading in prepared pixels to an assessment in the radiograph's own, with its warnings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import carpal
from carpal.anatomy import REGIONS
from carpal.errors import ConfigError, MissingSex, UnreadableImage
from carpal.inference.assess import assess, choose_sex, clip_boxes, to_sex
from carpal.types import Radiograph, Sex

Engines = Callable[..., Any]


def test_boxes_come_back_in_original_pixels(drawn_hand: Radiograph, fake_engine: Engines) -> None:
    """256 x 200 pixels are prepared to 128 x 100 and padded by 14 on the left: every box moves back and doubles."""
    boxes_R4 = np.array(
        [[54, i, 74, i + 16] for i in range(17)], np.float32
    )  # in the middle: mirrored, they are the same
    assessment = assess(drawn_hand, Sex.FEMALE, fake_engine(boxes_R4=boxes_R4))
    assert drawn_hand.pixels_HW.shape == (256, 200)
    assert [region.name for region in assessment.regions] == list(REGIONS)
    box = assessment.regions[3].box
    assert (box.x1, box.y1, box.x2, box.y2) == pytest.approx((80, 6, 120, 38))
    assert (assessment.regions[3].score, assessment.regions[3].months) == pytest.approx((0.9, 103))


def test_the_engine_sees_a_padded_image_its_mirror_image_and_the_sex(
    drawn_hand: Radiograph, fake_engine: Engines
) -> None:
    engine = fake_engine()
    assess(drawn_hand, Sex.MALE, engine)
    assess(drawn_hand, Sex.FEMALE, engine)
    (image_HW, _), (mirrored_HW, _), *_ = engine.asked
    assert (image_HW.shape, image_HW.dtype) == ((128, 128), np.float32)
    np.testing.assert_array_equal(mirrored_HW, image_HW[:, ::-1])
    assert [male for _, male in engine.asked] == [True, True, False, False]


def test_age_probabilities_and_model_are_passed_on(drawn_hand: Radiograph, fake_engine: Engines) -> None:
    assessment = assess(drawn_hand, Sex.FEMALE, fake_engine(months=57.0))
    assert assessment.months == 57.0
    assert sum(assessment.probabilities) == pytest.approx(57.0, abs=1e-3)
    assert assessment.model.name == "fake"
    assert assessment.warnings == ()


def test_a_network_without_regions_gives_none(drawn_hand: Radiograph, fake_engine: Engines) -> None:
    engine = fake_engine(boxes_R4=None, scores_R=None, region_months_R=None)
    assert assess(drawn_hand, Sex.FEMALE, engine).regions == ()


def test_regions_found_with_a_low_score_are_named(drawn_hand: Radiograph, fake_engine: Engines) -> None:
    scores_R = np.full(17, 0.9, np.float32)
    scores_R[[0, 16]] = 0.1
    (warning,) = assess(drawn_hand, Sex.FEMALE, fake_engine(scores_R=scores_R)).warnings
    assert warning.endswith("MCP1, Wrist")


def test_a_negative_is_read_inverted_and_says_so(drawn_hand: Radiograph, fake_engine: Engines) -> None:
    negative = replace(drawn_hand, pixels_HW=255 - drawn_hand.pixels_HW)
    engine = fake_engine()
    assert assess(drawn_hand, Sex.FEMALE, engine).warnings == ()
    (warning,) = assess(negative, Sex.FEMALE, engine).warnings
    assert "inverted" in warning
    images = [image_HW.astype(int) for image_HW, _ in engine.asked]
    assert np.abs(images[0] - images[2]).max() <= 2


def test_a_small_image_is_read_with_a_warning(drawn_hand: Radiograph, fake_engine: Engines) -> None:
    small = replace(drawn_hand, pixels_HW=drawn_hand.pixels_HW[::2, ::2])
    (warning,) = assess(small, Sex.FEMALE, fake_engine()).warnings
    assert "100 x 128 pixels" in warning


@pytest.mark.parametrize(("months", "kept"), [(-3.0, 0.0), (230.0, 228.0)])
def test_an_age_off_the_scale_is_clipped_with_a_warning(
    months: float, kept: float, drawn_hand: Radiograph, fake_engine: Engines
) -> None:
    assessment = assess(drawn_hand, Sex.FEMALE, fake_engine(months=months))
    assert assessment.months == kept
    assert f"{months:.1f} months" in assessment.warnings[0]


def test_rounding_past_the_end_of_the_scale_is_no_warning(drawn_hand: Radiograph, fake_engine: Engines) -> None:
    assessment = assess(drawn_hand, Sex.FEMALE, fake_engine(months=228.00001))
    assert (assessment.months, assessment.warnings) == (228.0, ())


def test_the_readers_warnings_come_first_and_a_conflict_of_sex_is_one(
    drawn_hand: Radiograph, fake_engine: Engines
) -> None:
    dicom = replace(drawn_hand, sex=Sex.MALE, warnings=("no window",))
    assert assess(dicom, Sex.MALE, fake_engine()).warnings == ("no window",)
    first, second = assess(dicom, Sex.FEMALE, fake_engine()).warnings
    assert first == "no window"
    assert "states the sex male" in second


def test_sex_is_stated_or_in_the_file_and_never_guessed(drawn_hand: Radiograph) -> None:
    dicom = replace(drawn_hand, sex=Sex.MALE)
    assert choose_sex(drawn_hand, Sex.FEMALE) is Sex.FEMALE
    assert choose_sex(dicom, None) is Sex.MALE
    assert choose_sex(dicom, Sex.FEMALE) is Sex.FEMALE
    with pytest.raises(MissingSex, match=r"drawn\.png: sex is needed.*--sex male or --sex female"):
        choose_sex(drawn_hand, None)


def test_another_word_for_a_sex_is_refused() -> None:
    assert to_sex("male") is Sex.MALE
    with pytest.raises(ConfigError, match="got 'm'"):
        to_sex("m")


@given(st.lists(st.floats(-1e4, 1e4), min_size=4, max_size=4), st.integers(1, 500), st.integers(1, 500))
def test_clipped_boxes_are_boxes_inside_the_image(sides: list[float], height: int, width: int) -> None:
    x1, x2 = sorted(sides[:2])
    y1, y2 = sorted(sides[2:])
    ((a, b, c, d),) = clip_boxes(np.array([[x1, y1, x2, y2]]), height, width)
    assert 0 <= a < c <= width
    assert 0 <= b < d <= height
    inside = x1 >= 0 and x2 <= width and y1 >= 0 and y2 <= height and x2 - x1 >= 1 and y2 - y1 >= 1
    assert not inside or (a, b, c, d) == (x1, y1, x2, y2)


def test_the_public_door_reads_files_bytes_and_radiographs(
    hand_png: Path, drawn_hand: Radiograph, fake_engine: Engines
) -> None:
    engine = fake_engine()
    assessments = [
        carpal.read(source, sex="female", weights=engine)
        for source in (hand_png, str(hand_png), hand_png.read_bytes(), drawn_hand)
    ]
    assert len({assessment.months for assessment in assessments}) == 1
    assert [a.image for a in assessments] == [str(hand_png), str(hand_png), "the image", "drawn.png"]
    first, *others = (image_HW for image_HW, _ in engine.asked[::2])
    assert all(np.array_equal(first, other) for other in others)


def test_the_public_door_raises_our_errors(hand_png: Path, fake_engine: Engines) -> None:
    with pytest.raises(carpal.CarpalError, match="sex is needed"):
        carpal.read(hand_png, weights=fake_engine())
    with pytest.raises(UnreadableImage):
        carpal.read(b"not an image", sex="male", weights=fake_engine())
