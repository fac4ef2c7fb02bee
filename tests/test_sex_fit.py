"""A sex that fits a child's age badly is a warning and never changes the age; without a stated age nobody asks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from carpal.inference.assess import assess, read_hands
from carpal.quality import sex_check
from carpal.types import BothSexes, Exam, Radiograph, Sex

Engines = Callable[..., Any]
AS_MALE, AS_FEMALE = 100.0, 126.0
"""At 120 months -2.6 SD of the boys' mean and 0.0 of the girls'."""


def engine_of_both(fake_engine: Engines) -> SimpleNamespace:
    """Answers AS_MALE or AS_FEMALE by the sex that it is asked for."""
    engine: SimpleNamespace = fake_engine()
    answer = engine.run
    engine.run = lambda image_HW, male, **boxes: answer(image_HW, male)._replace(months=AS_MALE if male else AS_FEMALE)
    return engine


def aged(radiograph: Radiograph, months: float | None) -> Radiograph:
    return replace(radiograph, exam=Exam(age_months=months))


def test_a_sex_that_fits_badly_is_a_warning_and_no_change(drawn_hand: Radiograph, fake_engine: Engines) -> None:
    engine = engine_of_both(fake_engine)
    unasked = assess(drawn_hand, Sex.MALE, engine)
    asked = len(engine.asked)
    warned = assess(aged(drawn_hand, 120.0), Sex.MALE, engine)
    (warning,) = warned.warnings
    assert "-2.6 SD from the mean of male children" in warning
    assert "read for female it would lie +0.0 SD" in warning
    assert replace(warned, warnings=()) == replace(unasked, warnings=())
    assert (unasked.warnings, warned.months, warned.sex) == ((), AS_MALE, Sex.MALE)
    assert [male for _, male in engine.asked[asked:]][-2:] == [False, False]  # the picture and its mirror image
    assert len(engine.asked) == 2 * asked + 2


@pytest.mark.parametrize("months", [None, 110.0, 1.0, 220.0])
def test_nobody_asks_without_an_age_or_where_it_fits_or_beyond_the_table(
    months: float | None, drawn_hand: Radiograph, fake_engine: Engines
) -> None:
    engine = engine_of_both(fake_engine)
    assert assess(aged(drawn_hand, months), Sex.MALE, engine).warnings == ()
    assert all(male for _, male in engine.asked)


def test_a_child_far_from_both_means_raises_nothing(drawn_hand: Radiograph, fake_engine: Engines) -> None:
    assert assess(aged(drawn_hand, 120.0), Sex.MALE, fake_engine(months=80.0)).warnings == ()
    assert sex_check.warn(Sex.MALE, 120.0, 80.0, 110.0) == []
    assert len(sex_check.warn(Sex.MALE, 120.0, 80.0, 116.0)) == 1


def test_given_regions_are_kept_for_the_other_sex(drawn_hand: Radiograph, fake_engine: Engines) -> None:
    engine = engine_of_both(fake_engine)
    given: list[bool] = []
    answer = engine.run
    engine.run = lambda image_HW, male, **boxes: (given.append("boxes_R4" in boxes), answer(image_HW, male))[1]
    boxes_R4 = np.tile([10.0, 10, 50, 50], (17, 1))
    assert len(assess(aged(drawn_hand, 120.0), Sex.MALE, engine, boxes_R4).warnings) == 1
    assert given[-4:] == [True] * 4


def test_of_an_unknown_sex_no_fit_is_said(drawn_hand: Radiograph, fake_engine: Engines) -> None:
    (both,) = read_hands(aged(drawn_hand, 120.0), None, engine_of_both(fake_engine))
    assert isinstance(both, BothSexes)
    assert (both.male.months, both.female.months) == (AS_MALE, AS_FEMALE)
    assert both.male.warnings == both.female.warnings == ()
