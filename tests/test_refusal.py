"""Each reason has its own cause: a picture, a stated age, or a reading beyond one limit and within all others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from carpal.anatomy import MEAN_HAND
from carpal.errors import WeightsError
from carpal.imaging.raster import IN_COLOUR
from carpal.inference.assess import Facts, assess, judge
from carpal.lab.evaluation import negatives
from carpal.quality import thresholds
from carpal.quality.ood import measure
from carpal.quality.thresholds import LOOKS, REASONS, Limits, Usual
from carpal.report import results, text
from carpal.types import BothSexes, Exam, Interval, Radiograph, Sex, each_of

USUAL = Usual((0.0,) * len(LOOKS), tuple(tuple(float(i == j) for j in range(len(LOOKS))) for i in range(len(LOOKS))))
LIMITS = Limits(
    long_side=96, levels=13, oddness=1e6, surety=0.15, misfit=2.5, stretch=2, outside=0, hidden=4, found=0.1,
    disagreement=50, usual=USUAL,
)  # fmt: skip
GOOD = thresholds.Found(surety=0.5, misfit=1, stretch=1.1, outside=-0.5, disagreement=10, scores_R=(0.5,) * 17)


def hand_boxes(long_side: int = 128) -> Any:
    """Boxes that lie as in the mean hand, in the middle of a square picture."""
    centres_R2 = np.array(MEAN_HAND) * long_side / 5 + long_side / 2
    return np.concatenate([centres_R2 - 8, centres_R2 + 8], axis=1).astype(np.float32)


@pytest.fixture
def engine(fake_engine: Callable[..., Any]) -> Callable[..., Any]:
    """An engine with limits that finds a plausible hand, or what it is told."""

    def build(**fields: Any) -> Any:
        months = np.full(17, 118, np.float32)
        values = {"boxes_R4": hand_boxes(), "region_months_R": months} | fields
        limits = values.pop("limits", LIMITS)
        fake = fake_engine(**values)
        fake.refusal = limits
        return fake

    return build


def square(drawn_hand: Radiograph) -> Radiograph:
    """The drawn hand with air at both sides: 256 x 256."""
    return replace(drawn_hand, pixels_HW=np.pad(drawn_hand.pixels_HW, ((0, 0), (28, 28)), mode="edge"))


def test_a_plausible_reading_passes(engine: Callable[..., Any], drawn_hand: Radiograph) -> None:
    assessment = assess(square(drawn_hand), Sex.FEMALE, engine())
    assert assessment.refused is None
    assert assessment.months == 120


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"surety": 0.1}, "not-a-hand"),
        ({"misfit": 3.0}, "implausible-regions"),
        ({"stretch": 3.0}, "implausible-regions"),
        ({"outside": 0.2}, "cropped"),
        ({"scores_R": (0.05,) * 6 + (0.6,) * 11}, "hidden-regions"),
        ({"disagreement": 60.0}, "age-disagreement"),
    ],
)
def test_each_limit_of_a_reading_has_its_code(change: dict[str, Any], code: str) -> None:
    assert thresholds.judge_reading(GOOD, LIMITS) == ("", "")
    refused = thresholds.check_reading(replace(GOOD, **change), LIMITS, "hand.png")
    assert refused is not None
    assert refused.code == code
    assert refused.message.startswith("hand.png: ")


@pytest.mark.parametrize(("above", "is_beyond"), [(30, False), (3, True), (-3, True)])
def test_a_hand_whose_fingertips_would_lie_beyond_the_edge_is_cropped(above: int, is_beyond: bool) -> None:
    """So many pixels are left above the last joint of the longest finger; a fifth of the hand's size is needed."""
    boxes_R4 = hand_boxes()
    cut = float(boxes_R4[:, 1].min()) + 8 - above
    boxes_R4[:, 1::2] -= cut
    found = thresholds.find(boxes_R4, np.full(17, 0.9), np.full(17, 120.0), 120.0, (512, 128))
    assert (found.outside > 0) == is_beyond
    code, _ = thresholds.judge_reading(replace(GOOD, outside=found.outside), LIMITS)
    assert code == ("cropped" if is_beyond else "")


@pytest.mark.parametrize(
    ("change", "code"),
    [({"long_side": 90.0}, "too-small"), ({"levels": 5.0}, "too-dark"), ({"roughness": 1e9}, "not-a-radiograph")],
)
def test_each_limit_of_a_picture_has_its_code(change: dict[str, float], code: str, drawn_hand: Radiograph) -> None:
    limits = replace(LIMITS, oddness=10.0)
    picture = replace(measure(drawn_hand.pixels_HW), long_side=600.0, levels=200.0)
    assert thresholds.judge_picture(picture, limits)[0] == ""
    assert thresholds.judge_picture(replace(picture, **change), limits)[0] == code


def test_a_coloured_picture_and_an_adult_never_reach_the_network(
    engine: Callable[..., Any], drawn_hand: Radiograph
) -> None:
    fake = engine()
    coloured = replace(drawn_hand, warnings=(IN_COLOUR,))
    adult = replace(drawn_hand, exam=Exam(age_months=240))
    codes = [assess(picture, Sex.MALE, fake).refused for picture in (coloured, adult)]
    assert [refused.code for refused in codes if refused] == ["not-a-radiograph", "adult"]
    assert fake.asked == []
    assert assess(replace(drawn_hand, exam=Exam(age_months=239)), Sex.MALE, engine(limits=None)).refused is None


def test_an_age_that_somebody_states_counts_as_the_files_own_does(
    fake_engine: Callable[..., Any], drawn_hand: Radiograph
) -> None:
    girl = replace(assess(drawn_hand, Sex.FEMALE, fake_engine()), side_in_image="left", interval=Interval(1, 200, 0.9))
    for months in (None, 120.0, 239.9):
        assert replace(judge(girl, Facts(months)), growth=None) == girl
    for adult in each_of(judge(BothSexes(girl, replace(girl, sex=Sex.MALE)), Facts(240.0))):
        assert adult.refused is not None
        assert adult.refused.code == "adult"
        assert "120" not in str(results.entry(adult))
        assert (adult.regions, adult.probabilities, adult.interval, adult.side_in_image) == ((), (), None, "left")
    foot = replace(girl, months=None, refused=thresholds.refuse("not-a-hand", "a.png", "0.1"))
    assert judge(foot, Facts(480.0)) is foot


def test_a_refused_image_has_no_age_in_any_form(engine: Callable[..., Any], drawn_hand: Radiograph) -> None:
    fake = engine(scores_R=np.full(17, 0.01, np.float32))
    assessment = assess(square(drawn_hand), Sex.FEMALE, fake)
    assert assessment.refused is not None
    assert assessment.refused.code == "not-a-hand"
    assert (assessment.months, assessment.probabilities, assessment.regions, assessment.interval) == (
        None,
        (),
        (),
        None,
    )
    entry = results.entry(assessment)
    assert (entry["months"], entry["regions"], entry["interval"]) == (None, [], None)
    assert "120" not in text.one_line(assessment)
    assert assess(square(drawn_hand), Sex.FEMALE, fake, may_refuse=False).months == 120


def test_without_limits_only_certain_things_are_refused(
    fake_engine: Callable[..., Any], drawn_hand: Radiograph
) -> None:
    assert assess(drawn_hand, Sex.MALE, fake_engine(scores_R=np.zeros(17, np.float32))).refused is None


def test_limits_survive_the_sidecar_and_broken_ones_are_refused() -> None:
    block = LIMITS.as_dict() | {"date": "2026-11-24"}
    assert Limits.from_sidecar(block, "a.json") == LIMITS
    assert Limits.from_sidecar({}, "a.json") is None
    for broken in ({"surety": 0.1}, block | {"misfit": "x"}, block | {"surety": float("nan")}, block | {"usual": {}}):
        with pytest.raises(WeightsError, match=r"a\.json: the sidecar's refusal limits"):
            Limits.from_sidecar(broken, "a.json")


def test_every_reason_is_a_sentence_with_a_mend() -> None:
    assert all(sentence.count(". ") >= 1 and not sentence.endswith(".") for sentence in REASONS.values())
    with pytest.raises(KeyError):
        thresholds.refuse("bad-luck", "a.png", "")


@pytest.mark.parametrize("family", negatives.FAMILIES)
def test_drawn_pictures_are_repeatable_and_varied(family: str) -> None:
    first, again, other = (negatives.draw(family, seed) for seed in (0, 0, 1))
    assert np.array_equal(first, again)
    assert not np.array_equal(first[:32, :32], other[:32, :32])
    assert first.dtype == np.uint8
    assert np.ptp(first) > 100


def test_oddness_is_the_mahalanobis_distance(drawn_hand: Radiograph) -> None:
    pictures = [measure(negatives.draw("blobs", seed)) for seed in range(12)]
    usual = Usual.of(pictures)
    distances = [usual.oddness(picture) for picture in pictures]
    assert np.mean(np.square(distances)) == pytest.approx(len(LOOKS) * 11 / 12, rel=0.05)  # its mean, by definition
    assert usual.oddness(measure(negatives.draw("white_noise", 0))) > 2 * max(distances)
