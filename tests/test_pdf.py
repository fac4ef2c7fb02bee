"""The one-page report: what it says, that its bytes do not change, and that a page is enough."""

from __future__ import annotations

import io
from datetime import date
from typing import Any

import numpy as np
import pytest

pytest.importorskip("reportlab")

from pypdf import PdfReader

from carpal.anatomy import REGIONS
from carpal.errors import ConfigError
from carpal.report.child import Child, Earlier, Signature
from carpal.report.pdf import render
from carpal.types import Assessment, Box, Interval, ModelId, Radiograph, Refusal, Region, Sex

CHILD = Child.with_dates(None, date(2010, 1, 1), date(2020, 7, 1), 140.0, "Müller, Jane", "4711")


@pytest.fixture(scope="module")
def radiograph() -> Radiograph:
    rows, columns = np.mgrid[:120, :100]
    return Radiograph(((rows * columns) % 251).astype(np.uint8), "hand.png")


def assessment(**changed: Any) -> Assessment:
    regions = tuple(
        Region(name, Box(2 * i, 3 * i, 2 * i + 20, 3 * i + 20), 0.9, 100.0 + i) for i, name in enumerate(REGIONS)
    )
    values = {
        "image": "hand.png",
        "sex": Sex.FEMALE,
        "months": 120.0,
        "regions": regions,
        "model": ModelId("told", "1", "ab" * 32),
        "probabilities": tuple(np.clip((180 - np.arange(228)) / 120, 0, 1)),
        "interval": Interval(108, 132, 0.9),
    }
    return Assessment(**(values | changed))


def text_of(pdf: bytes) -> str:
    pages = PdfReader(io.BytesIO(pdf)).pages
    assert len(pages) == 1
    return pages[0].extract_text()


def test_it_says_everything(radiograph: Radiograph) -> None:
    text = text_of(render(assessment(), radiograph, CHILD))
    for words in (
        "Bone age report", "Müller, Jane", "4711", "2010-01-01", "10 years 6 months", "120.0 months",
        "90 % interval: 9 years - 11 years", "z-score", "Greulich", "Adult height", "Pinneau", "Asynchrony",
        "Research only, not a medical device", "ab" * 32, "docs/cards/told.md", *REGIONS,
    ):  # fmt: skip
        assert words in text, words


def test_the_same_input_gives_the_same_bytes(radiograph: Radiograph) -> None:
    assert render(assessment(), radiograph, CHILD) == render(assessment(), radiograph, CHILD)


def test_it_speaks_german(radiograph: Radiograph) -> None:
    text = text_of(render(assessment(), radiograph, CHILD, "de"))
    for words in ("Befund Knochenalter", "10 Jahre", "weiblich", "Lebensalter", "kein Medizinprodukt"):
        assert words in text


def test_markup_is_text_and_foreign_letters_do_not_break_it(radiograph: Radiograph) -> None:
    name = "<b>bold</b> & <script>x</script>"
    text = text_of(render(assessment(warnings=(name,)), radiograph, Child(name=f"{name[:30]} 山田")))
    assert "<b>bold</b> & <script>x" in text
    assert "??" in text
    assert name in text.replace("\n", " ")


def test_without_facts_it_says_what_is_missing(radiograph: Radiograph) -> None:
    text = text_of(render(assessment(interval=None, probabilities=()), radiograph))
    assert "not known" in text
    assert "No interval: these weights are not calibrated." in text
    assert "there is no comparison" in text


def test_a_velocity_has_its_error(radiograph: Radiograph) -> None:
    child = Child(months=126.0, earlier=(Earlier(102.0, 96.0),))
    text = text_of(render(assessment(), radiograph, child)).replace("\n", " ")
    assert "Since the reading before: 1.0 years of bone age a year (95 % interval" in text


def test_a_signature_names_the_machines_answer(radiograph: Radiograph) -> None:
    signature = Signature("anna", "2024-09-01T10:00:00+00:00", "adjust", 114.0, "carpals", 110.0, 120.0, "ab" * 32)
    text = text_of(render(assessment(), radiograph, CHILD, signature=signature)).replace("\n", " ")
    assert "Adjusted: 9 years 6 months. signed by anna on 2024-09-01T10:00:00+00:00. Reason: carpals." in text
    assert "Read blind first: 9 years 2 months. The machine read: 120.0 months (abababababab)." in text


def test_however_much_there_is_to_say_a_page_is_enough(radiograph: Radiograph) -> None:
    text = text_of(render(assessment(warnings=("careful " * 40,) * 30), radiograph, CHILD))
    assert "the JSON report holds all of it" in text
    assert "Research only" in text


def test_without_regions_there_is_no_table(radiograph: Radiograph) -> None:
    assert "Region" not in text_of(render(assessment(regions=()), radiograph, CHILD))


def test_what_has_no_age_or_no_language_is_refused(radiograph: Radiograph) -> None:
    with pytest.raises(ValueError, match="needs an age"):
        render(assessment(months=None, refused=Refusal("not-a-hand", "no")), radiograph)
    with pytest.raises(ConfigError, match="no language"):
        render(assessment(), radiograph, language="fr")
