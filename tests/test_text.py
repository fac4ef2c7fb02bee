"""The line for the terminal: the only place where months become years."""

from __future__ import annotations

from dataclasses import replace

import pytest

from carpal.report.text import facts, signed, years
from carpal.report.text import one_line as line
from carpal.types import Assessment, Interval, ModelId, Refusal, Sex

MODEL = ModelId("alanet", "1", "0" * 64)


@pytest.mark.parametrize(
    ("months", "text"),
    [
        (0.2, "0 months"),
        (1.0, "1 month"),
        (11.4, "11 months"),
        (11.6, "1 year"),
        (13.0, "1 year 1 month"),
        (135.2, "11 years 3 months"),
        (228.0, "19 years"),
    ],
)
def test_years_and_months(months: float, text: str) -> None:
    assert years(months) == text


@pytest.mark.parametrize(
    ("number", "text"), [(-0.44, "\N{MINUS SIGN}0.4"), (2.04, "+2.0"), (-0.04, "+0.0"), (0.0, "+0.0")]
)
def test_a_negative_number_has_a_minus_sign_and_no_hyphen(number: float, text: str) -> None:
    assert signed(number) == text
    assert signed(number, plus=False) == text.removeprefix("+")


def test_a_line_has_image_age_sex_and_number_of_warnings() -> None:
    assessment = Assessment("a/hand.png", Sex.FEMALE, 135.24, (), MODEL, warnings=("dark", "small"))
    assert line(assessment) == "a/hand.png: 11 years 3 months (135.2 months), female, 2 warnings"


def test_an_interval_and_a_site_calibration_stand_behind_the_age() -> None:
    assessment = Assessment("h.png", Sex.MALE, 120.0, (), MODEL, interval=Interval(104.4, 139.6, 0.9))
    assert line(assessment) == "h.png: 10 years (120.0 months), 90 % interval 104 to 140 months, male"
    assessment = replace(assessment, interval=None, raw_months=115.0, site="ours, n = 60")
    assert line(assessment) == "h.png: 10 years (120.0 months), calibrated by ours, n = 60 from 115.0, male"


def test_a_refusal_gives_its_reason_and_no_age() -> None:
    refused = Assessment("foot.png", Sex.MALE, None, (), MODEL, refused=Refusal("no-hand", "this is a foot"))
    assert line(refused) == "foot.png: no age (this is a foot)"


def test_facts_align_nest_and_leave_out_what_is_empty() -> None:
    text = facts({"name": "alanet", "sha256": "ab", "licence": "", "training": {}, "parity": {"months": 0}})
    assert text == "name    alanet\nsha256  ab\nparity\n  months  0"
