"""One judgement of a reading: calibration, adult, interval and z-score, in this order, once for every output."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from carpal.errors import ConfigError
from carpal.inference import assess as module
from carpal.inference.assess import Facts, cut_out, judge, read_hands
from carpal.quality.site import Check, Line, Site
from carpal.report import forms
from carpal.report import results as as_json
from carpal.types import BothSexes, Exam, Interval, Radiograph, Sex
from dicom_kit import assessment, child_file, header_of

GIRL = assessment(Sex.FEMALE, 100.0)
SITE = Site("ours", "2026-11-24", GIRL.model, dict.fromkeys(Sex, Line(5, 0, 100, 50, 150, 30)), Check(8, 6, 2, (1, 3)))
"""Five months more, for either sex."""


def test_what_is_not_known_changes_nothing() -> None:
    assert judge(GIRL, Facts()) is GIRL


def test_the_z_score_is_that_of_the_calibrated_age() -> None:
    plain, moved = judge(GIRL, Facts(120.0)), judge(GIRL, Facts(120.0, SITE))
    assert (moved.months, moved.raw_months, moved.site) == (105.0, 100.0, SITE.label)
    assert moved.interval == Interval(120.0, 145.5, 0.9)
    assert plain.growth is not None
    assert moved.growth is not None
    mean, sd, z = moved.growth.numbers
    assert z == pytest.approx((105.0 - mean) / sd, abs=0.01)
    assert moved.growth.numbers[:2] == plain.growth.numbers[:2]
    assert plain.growth.numbers[2] < z


def test_an_adult_has_no_age_and_no_score_whatever_else_is_known() -> None:
    both = judge(BothSexes(GIRL, replace(GIRL, sex=Sex.MALE)), Facts(240.0, SITE))
    for each in (both.female, both.male):
        assert each.refused is not None
        assert each.refused.code == "adult"
        assert (each.months, each.raw_months, each.interval, each.growth) == (None, None, None, None)
    assert judge(both.female, Facts(120.0, SITE)) is both.female, "a refusal stays one"


def test_nothing_is_calibrated_twice_or_with_the_calibration_of_other_weights() -> None:
    once = judge(GIRL, Facts(site=SITE))
    with pytest.raises(ConfigError, match="is calibrated by"):
        judge(once, Facts(site=SITE))
    with pytest.raises(ConfigError, match="belongs to"):
        judge(replace(GIRL, model=replace(GIRL.model, sha256="cd" * 32)), Facts(site=SITE))


def test_the_score_is_computed_once_a_hand_from_the_file_to_every_form(
    fake_engine: Callable[..., Any], drawn_hand: Radiograph, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("highdicom")
    pytest.importorskip("reportlab")
    asked, true_score = [], module.score
    counted = lambda *given: asked.append(given) or true_score(*given)  # noqa: E731
    for where in ("carpal.inference.assess.score", "carpal.report.content.score", "carpal.report.content.score_of"):
        monkeypatch.setattr(where, counted)
    header = header_of(child_file())
    hand = replace(drawn_hand, exam=header.exam, header=header)
    results = read_hands(hand, Sex.FEMALE, fake_engine())
    made = forms.make_all(forms.KINDS, results, header, [cut_out(hand, result) for result in results])
    assert set(made) == set(forms.KINDS)
    assert as_json.entry_of(results[0])["growth"]["z_score"] is not None
    assert len(asked) == 1


def test_without_facts_a_hand_is_judged_by_the_age_that_its_file_states(
    fake_engine: Callable[..., Any], drawn_hand: Radiograph
) -> None:
    aged = replace(drawn_hand, exam=Exam(age_months=120.0))
    (by_file,) = read_hands(aged, Sex.FEMALE, fake_engine())
    (by_nobody,) = read_hands(aged, Sex.FEMALE, fake_engine(), Facts())
    assert by_file.growth is not None
    assert by_nobody == replace(by_file, growth=None)
