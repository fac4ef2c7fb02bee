"""Bone age velocity: the ratio, its error, and the honest label."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from carpal.errors import GrowthError
from carpal.growth.velocity import Study, standard_error, velocity
from carpal.types import Interval, Sex


def test_two_years_of_bones_in_one_of_life() -> None:
    found = velocity(Study(96, 100, 3), Study(108, 124, 4))
    assert (found.rate, found.se) == pytest.approx((2, 5 / 12))  # the errors are two sides of a right triangle
    assert (found.low, found.high) == pytest.approx((2 - 1.96 * 5 / 12, 2 + 1.96 * 5 / 12), abs=1e-3)
    assert (found.delta_bone, found.delta_age, found.inside_noise, found.pace) == (24, 12, False, "faster")
    assert "faster than one year a year" in found.label


def test_a_change_inside_the_noise_is_labelled() -> None:
    found = velocity(Study(96, 100, 6), Study(102, 106, 6))
    assert found.inside_noise
    assert "inside the noise" in found.label


def test_a_standstill_over_years_is_slower_though_its_change_is_noise() -> None:
    found = velocity(Study(60, 60, 2), Study(96, 61, 2))
    assert (found.inside_noise, found.pace) == (True, "slower")


def test_a_year_a_year_is_not_distinguishable_from_one() -> None:
    found = velocity(Study(60, 60, 3), Study(84, 85, 3))
    assert (found.inside_noise, found.pace) == (False, "not distinguishable")
    assert "not distinguishable" in found.label


def test_the_standard_error_is_that_of_a_simulation() -> None:
    generator = np.random.default_rng(0)
    first, second = 100 + 3 * generator.standard_normal(20_000), 112 + 4 * generator.standard_normal(20_000)
    assert velocity(Study(96, 100, 3), Study(108, 112, 4)).se == pytest.approx(np.std((second - first) / 12), rel=0.02)


@given(st.floats(1, 100), st.floats(0, 228), st.floats(0, 228), st.floats(0.1, 30), st.floats(0.1, 30))
def test_a_longer_wait_gives_a_smaller_error(wait: float, bone: float, later: float, se: float, other: float) -> None:
    soon = velocity(Study(50, bone, se), Study(50 + wait, later, other))
    late = velocity(Study(50, bone, se), Study(50 + 2 * wait, later, other))
    assert late.se == pytest.approx(soon.se / 2)
    assert soon.inside_noise == late.inside_noise  # it is about the bones, not about the calendar
    assert soon.low <= soon.rate <= soon.high


def test_an_interval_gives_its_standard_error() -> None:
    assert standard_error(Interval(100, 132.898, 0.9)) == pytest.approx(10, abs=1e-3)
    assert standard_error(Interval(100, 139.2, 0.95)) == pytest.approx(10, abs=1e-2)


@pytest.mark.parametrize(
    ("earlier", "later", "complaint"),
    [
        (Study(100, 100, 3), Study(100, 110, 3), "on the same day"),
        (Study(100, 100, 3), Study(90, 110, 3), "10 months before"),
        (Study(90, 100, 0), Study(100, 110, 3), "standard error"),
        (Study(90, math.nan, 3), Study(100, 110, 3), "numbers"),
        (Study(90, 100, 3), Study(math.inf, 110, 3), "numbers"),
    ],
)
def test_bad_pairs_are_refused(earlier: Study, later: Study, complaint: str) -> None:
    with pytest.raises(GrowthError, match=complaint):
        velocity(earlier, later)


def test_a_report_takes_each_reading_s_own_interval() -> None:
    """Unequal intervals: the error of the change is the root of the sum of both squares, whichever is the wider."""
    from carpal.report.child import Child, Earlier
    from carpal.report.content import summarise
    from carpal.report.language import words_of
    from carpal.types import Assessment, ModelId

    def seen(before: Interval | None, today: Interval) -> tuple[float, str]:
        now = Assessment("a.png", Sex.FEMALE, 126.0, (), ModelId("m", "1", "0" * 64), interval=today)
        child = Child(months=126.0, earlier=(Earlier(90.0, 80.0), Earlier(102.0, 96.0, before)))
        found = summarise(now, child, words_of("en"))
        assert found.velocity is not None
        return found.velocity.se, found.velocity_note

    wide, narrow = Interval(80, 120, 0.9), Interval(121, 131, 0.9)
    error, note = seen(wide, narrow)
    assert error == pytest.approx(math.hypot(20, 5) / NormalDist().inv_cdf(0.95) / 24)
    assert "no interval" not in note
    assert seen(Interval(91, 101, 0.9), Interval(106, 146, 0.9))[0] == pytest.approx(error)
    error, note = seen(None, narrow)
    assert error == pytest.approx(math.hypot(5, 5) / NormalDist().inv_cdf(0.95) / 24)
    assert note.endswith("The reading before has no interval; its error is taken to be today's.")
