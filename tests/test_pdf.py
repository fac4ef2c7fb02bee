"""The one-page report: what it says, that its bytes do not change, and that a page is enough."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("reportlab")

from pypdf import PdfReader

from carpal.anatomy import REGIONS
from carpal.errors import ConfigError
from carpal.report.child import Child, Earlier, Signature
from carpal.report.pdf import render, render_hands
from carpal.types import Assessment, BothSexes, Box, Interval, ModelId, Radiograph, Refusal, Region, Sex

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
        "90 % interval: 9 years \N{EN DASH} 11 years", "z-score", "Greulich", "Adult height", "Pinneau", "Asynchrony",
        "Research only, not a medical device", "ab" * 32, "docs/cards/told.md", *REGIONS,
    ):  # fmt: skip
        assert words in text, words


def test_the_same_input_gives_the_same_bytes(radiograph: Radiograph) -> None:
    assert render(assessment(), radiograph, CHILD) == render(assessment(), radiograph, CHILD)


def test_a_long_name_is_written_in_smaller_letters_and_not_cut(radiograph: Radiograph) -> None:
    name = "Müller-Lüdenscheidt-Wallenstein, Anna-Katharina"
    assert name in text_of(render(assessment(), radiograph, replace(CHILD, name=name)))
    assert "…" in text_of(render(assessment(), radiograph, replace(CHILD, name=3 * name)))


def test_it_speaks_german(radiograph: Radiograph) -> None:
    text = text_of(render(assessment(), radiograph, CHILD, "de"))
    rule = "Gruppe: das Knochenalter 120.0 liegt höchstens 12 Monate vom Lebensalter 126.0 entfernt: durchschnittlich."
    assert rule in text.replace("\n", " ")
    for words in ("Befund Knochenalter", "10 Jahre", "weiblich", "Lebensalter", "kein Medizinprodukt"):
        assert words in text


def test_markup_is_text(radiograph: Radiograph) -> None:
    name = "<b>bold</b> & <script>x</script>"
    text = text_of(render(assessment(warnings=(name,)), radiograph, Child(name=name[:30])))
    assert "<b>bold</b> & <script>x" in text
    assert name in text.replace("\n", " ")


NAMES = ("Łukasz Żółciński", "Ελένη Παπαδοπούλου", "Дмитрий Ёжиков", "Nguyễn Thị Mỹ", "Jiří Čapek", "Gülşah Doğan")


@pytest.mark.parametrize("name", NAMES)
def test_names_beyond_western_europe_are_drawn(radiograph: Radiograph, name: str) -> None:
    signature = Signature(name, "2024-09-01", "reject", None, f"read by {name}")
    pdf = render(assessment(warnings=(f"told by {name}",)), radiograph, Child(name=name), signature=signature)
    text = text_of(pdf).replace("\n", " ")
    for words in (name, f"signed by {name}", f"Reason: read by {name}", f"told by {name}"):
        assert words in text
    assert "Letters without a font" not in text
    assert pdf == render(assessment(warnings=(f"told by {name}",)), radiograph, Child(name=name), signature=signature)


def test_another_reader_finds_the_names_too(radiograph: Radiograph, tmp_path: Path) -> None:
    program = shutil.which("pdftotext")
    if program is None:
        (pytest.fail if os.environ.get("CARPAL_CI_TOOLS") else pytest.skip)("poppler-utils is not installed")
    (tmp_path / "report.pdf").write_bytes(render(assessment(), radiograph, Child(name="Żółć, Ἑλένη Ёж")))
    text = subprocess.run([program, tmp_path / "report.pdf", "-"], check=True, capture_output=True).stdout.decode()
    assert "Żółć, Ἑλένη Ёж" in text


def test_every_font_is_embedded(radiograph: Radiograph) -> None:
    (page,) = PdfReader(io.BytesIO(render(assessment(), radiograph, CHILD))).pages
    fonts = [font.get_object() for font in page["/Resources"]["/Font"].values()]
    assert fonts
    for font in fonts:
        assert "/FontFile2" in font["/FontDescriptor"], font["/BaseFont"]
        assert "+Roboto" in font["/BaseFont"]


@pytest.mark.parametrize("name", ["王小明", "山田太郎"])
def test_chinese_and_japanese_names_are_drawn_with_a_font_of_the_system(radiograph: Radiograph, name: str) -> None:
    if not any(path.is_file() for path in letters.EAST_ASIAN):
        missing = "fonts-droid-fallback is not installed"
        (pytest.fail if os.environ.get("CARPAL_CI_TOOLS") else pytest.skip)(missing)
    text = text_of(render(assessment(warnings=(name,)), radiograph, Child(name=f"Anna {name}")))
    assert text.count(name) == 2
    assert "Letters without a font" not in text


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("דוד", "U+05D3 Hebrew Letter Dalet, U+05D5 Hebrew Letter Vav"),
        ("ⵉⵎⵎⴰ", "U+2D49 Tifinagh Letter Yi, U+2D4E Tifinagh Letter Yam, U+2D30 Tifinagh Letter Ya"),
        ("الأميرة الجميلة", "…"),
    ],
)
def test_letters_without_a_font_are_named(radiograph: Radiograph, name: str, said: str) -> None:
    text = text_of(render(assessment(), radiograph, Child(name=name))).replace("\n", " ")
    assert "?" * len(name.split()[0]) in text
    assert "Letters without a font here stand as ?:" in text
    assert said in text


def test_the_sex_is_unknown_so_the_page_has_both_ages(radiograph: Radiograph) -> None:
    girl = assessment(site="ours (2026)", raw_months=118.0)
    boy = assessment(sex=Sex.MALE, months=131.0, interval=Interval(119, 143, 0.9), site="ours (2026)", raw_months=130.0)
    text = text_of(render(BothSexes(girl, boy), radiograph, CHILD)).replace("\n", " ")
    for words in (
        "Bone age as a girl 10 years 120.0 months", "Bone age as a boy 10 years 11 months 131.0 months",
        "90 % interval: 9 years \N{EN DASH} 11 years",
        "90 % interval: 9 years 11 months \N{EN DASH} 11 years 11 months",
        "Sex not known Date of birth", "The sex is not known: of the two ages, only one can be this child's.",
        "As a girl: Calibrated by ours (2026); the network itself read 9 years 10 months.",
        "As a boy: Expected at this age", "Its own age", *REGIONS,
    ):  # fmt: skip
        assert words in text, words
    assert text.count("Adult height") == 2
    assert "female" not in text.replace("as female", "")
    assert text.count("Asynchrony") == 1, "what is the same for both is said once"
    older = tuple(replace(region, months=region.months + 7) for region in boy.regions)
    text = text_of(render(BothSexes(girl, replace(boy, regions=older)), radiograph, CHILD)).replace("\n", " ")
    assert "Region As a girl As a boy score" in text
    assert "MCP1 100 107 0.90" in text


def test_two_hands_have_a_page_each(radiograph: Radiograph) -> None:
    left, right = assessment(side_in_image="left"), assessment(side_in_image="right", months=126.0)
    signature = Signature("anna", "2024-09-01", "accept", 126.0, hand="right")
    pdf = render_hands([(radiograph, left), (radiograph, right)], CHILD, "en", signature)
    first, second = (page.extract_text().replace("\n", " ") for page in PdfReader(io.BytesIO(pdf)).pages)
    assert "Hand on the left of the picture (this page). Hand on the right of the picture: 10 years 6 months." in first
    assert "Hand on the right of the picture (this page). Hand on the left of the picture: 10 years." in second
    assert ("120.0 months" in first, "126.0 months" in second) == (True, True)
    for text in (first, second):
        assert "Accepted: 10 years 6 months, Hand on the right of the picture, signed by anna" in text


def test_a_refused_hand_has_no_page_and_is_named_on_the_other(radiograph: Radiograph) -> None:
    refused = assessment(
        months=None, interval=None, regions=(), probabilities=(), refused=Refusal("not-a-hand", "no"),
        side_in_image="right",
    )  # fmt: skip
    text = text_of(render_hands([(radiograph, assessment(side_in_image="left")), (radiograph, refused)], CHILD))
    assert "Hand on the right of the picture: refused." in text.replace("\n", " ")


def test_a_calibrated_age_names_its_calibration(radiograph: Radiograph) -> None:
    text = text_of(render(assessment(site="Klinik Łódź (2026)", raw_months=118.0), radiograph, CHILD))
    assert "Calibrated by Klinik Łódź (2026); the network itself read 9 years 10 months." in text


def test_without_facts_it_says_what_is_missing(radiograph: Radiograph) -> None:
    text = text_of(render(assessment(interval=None, probabilities=()), radiograph))
    assert "not known" in text
    assert "No interval: these weights are not calibrated." in text
    assert "there is no comparison" in text


def test_a_velocity_has_its_error(radiograph: Radiograph) -> None:
    child = Child(months=126.0, earlier=(Earlier(102.0, 96.0),))
    text = text_of(render(assessment(), radiograph, child)).replace("\n", " ")
    assert "Since the reading before: 1.0 years of bone age a year (95 % interval" in text
    assert "The reading before has no interval; its error is taken to be today's." in text


def test_a_signature_names_the_machines_answer(radiograph: Radiograph) -> None:
    signature = Signature("anna", "2024-09-01T10:00:00+00:00", "adjust", 114.0, "carpals", 110.0, 120.0, "ab" * 32)
    text = text_of(render(assessment(), radiograph, CHILD, signature=signature)).replace("\n", " ")
    assert "Adjusted: 9 years 6 months, signed by anna on 2024-09-01 10:00 UTC. Reason: carpals." in text
    assert "Read blind first: 9 years 2 months. The machine read: 120.0 months (abababababab)." in text


def test_however_much_there_is_to_say_a_page_is_enough(radiograph: Radiograph) -> None:
    text = text_of(render(assessment(warnings=tuple(f"careful {i} " * 40 for i in range(30))), radiograph, CHILD))
    assert "the JSON report holds all of it" in text
    assert "Research only" in text


def test_without_regions_there_is_no_table(radiograph: Radiograph) -> None:
    assert "Region" not in text_of(render(assessment(regions=()), radiograph, CHILD))


def test_what_has_no_age_or_no_language_is_refused(radiograph: Radiograph) -> None:
    with pytest.raises(ValueError, match="needs an age"):
        render(assessment(months=None, refused=Refusal("not-a-hand", "no")), radiograph)
    with pytest.raises(ConfigError, match="no language"):
        render(assessment(), radiograph, language="fr")
