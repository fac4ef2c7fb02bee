"""The PDF: what it says, that its bytes do not change, and that nothing which it was given is left out."""

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


def everything_of(pdf: bytes) -> str:
    """The text of all pages without any white space: a long name is broken anywhere."""
    return "".join("".join(page.extract_text() for page in PdfReader(io.BytesIO(pdf)).pages).split())


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


def test_a_long_name_is_broken_and_not_cut(radiograph: Radiograph) -> None:
    for parts, pages in ((3, 1), (12, 1), (160, 2), (1600, 7)):  # in its column; over the page's width; over pages
        name = "-".join(f"Lüdenscheidt{number:04}" for number in range(parts))
        pdf = render(assessment(), radiograph, replace(CHILD, name=name))
        found = everything_of(pdf)
        assert all(part in found for part in name.split("-"))
        assert len(PdfReader(io.BytesIO(pdf)).pages) == pages


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
    assert "[U+" not in text
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
    assert {font["/BaseFont"].partition("+")[2] for font in fonts} == {
        "NotoSans-Regular", "NotoSans-Bold", "NotoSansMath-Regular",
    }  # fmt: skip
    for font in fonts:
        (inner,) = (each.get_object() for each in font["/DescendantFonts"])
        assert len(inner["/FontDescriptor"]["/FontFile2"].get_data()) < 100_000, "only the letters that are used"


ELSEWHERE = ("王小明", "山田太郎", "홍길동", "Արամ", "სოფიო", "אברהם בן־דוד", "الأميرة الجميلة", "Doe, מרים (Miriam)")


@pytest.mark.parametrize("name", ELSEWHERE)
def test_names_beyond_europe_are_drawn(radiograph: Radiograph, name: str) -> None:
    signature = Signature(name, "2024-09-01", "reject", None, f"read by {name}.")
    text = text_of(render(assessment(warnings=(name,)), radiograph, Child(name=name), signature=signature))
    assert "".join(text.split()).count("".join(name.split())) == 4
    assert "[U+" not in text


# Without lam-alef: poppler 22.12 takes the two letters of that ligature in the order in which it reads glyphs.
@pytest.mark.parametrize("name", ["محمد بن سليم", "علی\u200cرضا پورمحمدی", "דוד בן־גוריון"])  # noqa: RUF001
def test_another_reader_finds_names_from_right_to_left(radiograph: Radiograph, name: str, tmp_path: Path) -> None:
    program = shutil.which("pdftotext")
    if program is None:
        (pytest.fail if os.environ.get("CARPAL_CI_TOOLS") else pytest.skip)("poppler-utils is not installed")
    (tmp_path / "report.pdf").write_bytes(render(assessment(), radiograph, Child(name=name)))
    run = subprocess.run([program, "-layout", tmp_path / "report.pdf", "-"], check=True, capture_output=True)
    words = run.stdout.decode().translate(dict.fromkeys(map(ord, "\u202a\u202b\u202c")))
    assert name in words, "poppler puts the letters back into the order in which they are read"


def test_letters_without_a_font_stand_as_their_numbers(radiograph: Radiograph) -> None:
    text = text_of(render(assessment(), radiograph, Child(name="ⵉⵎⵎⴰ"))).replace("\n", " ")
    assert "[U+2D49][U+2D4E][U+2D4E][U+2D30]" in text.replace(" ", "")
    named = "U+2D49 Tifinagh Letter Yi, U+2D4E Tifinagh Letter Yam, U+2D30 Tifinagh Letter Ya."
    assert f"Letters without a font stand here as their Unicode numbers: {named}" in text


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


@pytest.mark.parametrize("decision", ["accept", "adjust", "reject"])
def test_a_long_remark_begins_a_second_page_and_is_whole(radiograph: Radiograph, decision: str) -> None:
    remark = " ".join(f"word{number}" for number in range(240))[:2000]
    signature = Signature("anna", "2024-09-01", decision, None if decision == "reject" else 114.0, remark)
    pdf = render(assessment(warnings=("it is turned",)), radiograph, CHILD, "de", signature)
    first, second = (page.extract_text() for page in PdfReader(io.BytesIO(pdf)).pages)
    assert "".join(remark.split()) in everything_of(pdf)
    assert first.index("120.0 Monate") < first.index("it is turned") < first.index("word0")
    assert second.startswith("Befund Knochenalter · Name: Müller, Jane · Patientennummer: 4711")
    assert "Seite 1 von 2" in first
    assert "Seite 2 von 2" in second
    for words in ("Wrist", "Asynchronie", "ab" * 32, "docs/cards/told.md"):
        assert words in first + second


def test_however_many_warnings_there_are_each_is_said(radiograph: Radiograph) -> None:
    warnings = tuple(f"careful{number:02} " * 40 for number in range(30))
    pdf = render(assessment(warnings=warnings), radiograph, CHILD)
    pages = PdfReader(io.BytesIO(pdf)).pages
    assert len(pages) == 3
    assert all("Müller, Jane" in page.extract_text() for page in pages)
    assert "Be careful: careful00" in pages[0].extract_text()
    found = everything_of(pdf)
    assert [found.count(f"careful{number:02}") for number in range(30)] == [40] * 30
    assert found.count("Becareful:") == 30


def test_without_regions_there_is_no_table(radiograph: Radiograph) -> None:
    assert "Region" not in text_of(render(assessment(regions=()), radiograph, CHILD))


def test_what_has_no_age_or_no_language_is_refused(radiograph: Radiograph) -> None:
    with pytest.raises(ValueError, match="needs an age"):
        render(assessment(months=None, refused=Refusal("not-a-hand", "no")), radiograph)
    with pytest.raises(ConfigError, match="no language"):
        render(assessment(), radiograph, language="fr")
