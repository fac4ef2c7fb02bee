"""No age without its interval: in every output, of one hand, of two, and as a girl's and as a boy's."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from typing import Any

import pytest
from PIL import ImageDraw

from carpal.imaging.read import read_radiograph
from carpal.inference.assess import cut_out
from carpal.report import codes, forms, overlay, text
from carpal.report import overlay as age_map
from carpal.report import results as as_json
from carpal.report import results as parquet
from carpal.report.content import together
from carpal.types import Assessment, BothSexes, Explanation, Interval, Result, Sex
from dicom_kit import assessment, child_file, header_of, pydicom

pytest.importorskip("highdicom")
pytest.importorskip("reportlab")

Spans = list[tuple[int, int, int]]
"""Age, low and high of each reading, months; no number of one is that of another."""
FILE = child_file(PatientSex="O")
ONE: Spans = [(126, 98, 143)]
TWO: Spans = [(126, 98, 143), (135, 119, 151)]


def read(months: int, low: int, high: int, sex: Sex = Sex.FEMALE, side: str | None = None) -> Assessment:
    return replace(assessment(sex, months), interval=Interval(float(low), float(high), 0.9), side_in_image=side)


def unknown(spans: Spans) -> BothSexes:
    return BothSexes(read(*spans[0], Sex.FEMALE), read(*spans[1], Sex.MALE))


CASES: dict[str, tuple[list[Result], Spans]] = {
    "one hand": ([read(*ONE[0])], ONE),
    "two hands": ([read(*TWO[0], side="left"), read(*TWO[1], side="right")], TWO),
    "unknown sex": ([unknown(TWO)], TWO),
}


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was written into pictures."""
    found: list[str] = []
    write = ImageDraw.ImageDraw.text

    def note(self: ImageDraw.ImageDraw, place: tuple[float, float], text: str, *words: Any, **options: Any) -> None:
        found.append(text)
        write(self, place, text, *words, **options)

    monkeypatch.setattr(ImageDraw.ImageDraw, "text", note)
    return found


def of_line(results: list[Result], drawn: list[str]) -> str:
    return "\n".join(map(text.line_of, results))


def of_json(results: list[Result], drawn: list[str]) -> str:
    return json.dumps([as_json.entry_of(result) for result in results])


def of_frame(results: list[Result], drawn: list[str]) -> str:
    return json.dumps(as_json.frame(results))


def of_columns(results: list[Result], drawn: list[str]) -> str:
    rows = [parquet.as_row(as_json.entry_of(result)) for result in results]
    assert all(row["interval_coverage"] == 0.9 for row in rows)
    return str([{name: value for name, value in row.items() if name != "json"} for row in rows])


def of_overlay(results: list[Result], drawn: list[str]) -> str:
    for result in results:
        overlay.draw(read_radiograph(FILE), result)
    return "\n".join(drawn)


def of_map(results: list[Result], drawn: list[str]) -> str:
    for result in results:
        assert isinstance(result, Assessment)
        age_map.draw_age_map(read_radiograph(FILE), Explanation(result, (0.0,) * 17))
    return "\n".join(drawn)


def form(kind: str, results: list[Result]) -> bytes:
    hands = [cut_out(read_radiograph(FILE), result) for result in results]
    return forms.make_all([kind], results, header_of(FILE), hands)[kind].content


def of_capture(results: list[Result], drawn: list[str]) -> str:
    form("capture", results)
    return "\n".join(drawn)


def of_description(results: list[Result], drawn: list[str]) -> str:
    return str(pydicom.dcmread(BytesIO(form("capture", results))).DerivationDescription)


def of_gsps(results: list[Result], drawn: list[str]) -> str:
    state = pydicom.dcmread(BytesIO(form("gsps", results)))
    return str(state.GraphicAnnotationSequence[0].TextObjectSequence[0].UnformattedTextValue)


def of_fhir(results: list[Result], drawn: list[str]) -> str:
    bundle = json.loads(form("fhir", results))
    parts = [part for entry in bundle["entry"] for part in entry["resource"].get("component", [])]
    return json.dumps([part["valueRange"] for part in parts if "valueRange" in part])


def of_pdf(results: list[Result], drawn: list[str]) -> str:
    pages = pytest.importorskip("pypdf").PdfReader(BytesIO(form("pdf", results))).pages
    return " ".join("".join(page.extract_text() for page in pages).split())


def of_summary(results: list[Result], drawn: list[str]) -> str:
    return together(results, header_of(FILE)).summary


def plain(low: int, high: int) -> list[str]:
    return [f"90 % interval {low} to {high} months"]


def exact(low: int, high: int) -> list[str]:
    return [f"90 % interval {low}.0 to {high}.0 months"]


def numbers(low: int, high: int) -> list[str]:
    return [f" {low}.0", f" {high}.0"]


def of_years(low: int, high: int) -> list[str]:
    return [f"90 % interval: {text.years(low)} \N{EN DASH} {text.years(high)}"]


OUTPUTS: dict[str, tuple[Callable[[list[Result], list[str]], str], Callable[[int, int], list[str]]]] = {
    "line": (of_line, plain),
    "JSON": (of_json, numbers),
    "JSON of a frame": (of_frame, numbers),
    "Parquet": (of_columns, numbers),
    "overlay": (of_overlay, plain),
    "age map": (of_map, plain),
    "capture": (of_capture, plain),
    "capture's description": (of_description, exact),
    "GSPS": (of_gsps, exact),
    "FHIR": (of_fhir, numbers),
    "PDF": (of_pdf, of_years),
    "summary": (of_summary, exact),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("output", OUTPUTS)
def test_every_reading_has_its_interval_in_every_output(output: str, case: str, drawn: list[str]) -> None:
    results, spans = CASES[case]
    if output == "age map" and case != "one hand":
        pytest.skip("an explanation is that of one reading")
    made, wanted = OUTPUTS[output]
    said = made(results, drawn)
    for _, low, high in spans:
        for each in wanted(low, high):
            assert each in said


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("kind", ["sr", "hl7"])
def test_reports_that_give_the_distance_from_the_age_give_it_of_each_reading(kind: str, case: str) -> None:
    results, spans = CASES[case]
    content = form(kind, results)
    found = _numbers_of_sr(content) if kind == "sr" else _numbers_of_hl7(content)
    for months, low, high in spans:
        assert (codes.UPPER.value, high - months) in found
        assert (codes.LOWER.value, months - low) in found


def _numbers_of_sr(content: bytes) -> set[tuple[str, float]]:
    found: set[tuple[str, float]] = set()

    def look(item: Any) -> None:
        for child in item.get("ContentSequence", ()):
            if child.get("MeasuredValueSequence"):
                code = str(child.ConceptNameCodeSequence[0].CodeValue)
                found.add((code, float(child.MeasuredValueSequence[0].NumericValue)))
            look(child)

    look(pydicom.dcmread(BytesIO(content)))
    return found


def _numbers_of_hl7(content: bytes) -> set[tuple[str, float]]:
    lines = [line.split("|") for line in content.decode().split("\r") if line.startswith("OBX")]
    return {(line[3].split("^")[0], float(line[5])) for line in lines if line[2] == "NM" and line[5]}


def test_a_long_line_below_the_title_is_wrapped_and_the_picture_grows(drawn: list[str]) -> None:
    from carpal.report.overlay import EDGE, SMALL_ROW, SMALL_SIZE, STRIP, _font

    site = {"site": "x" * 40 + " (2026-11-25, n = 100)", "raw_months": 120.0, "side_in_image": "left"}
    one, other = (replace(read(*span), **site) for span in TWO)  # type: ignore[arg-type]
    short = overlay.draw(read_radiograph(FILE), unknown(TWO))
    drawn.clear()
    picture = overlay.draw(read_radiograph(FILE), BothSexes(one, replace(other, sex=Sex.MALE)))
    lines = [line for line in drawn if "interval" in line or "calibrated" in line]
    assert len(lines) > 1
    assert all(_font(SMALL_SIZE).getlength(line) <= picture.width - 2 * EDGE for line in lines)
    assert (picture.height - short.height) % SMALL_ROW == 0
    assert picture.height > short.height >= overlay.LONG_SIDE + 2 * STRIP
