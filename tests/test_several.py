"""Two hands, and a sex that nobody stated: one object of each kind that holds every reading, and none as the answer."""

from __future__ import annotations

import json
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from carpal.imaging.read import read_radiograph
from carpal.inference.assess import cut_out
from carpal.report import codes, forms
from carpal.report.content import each, refused, together
from carpal.types import Assessment, BothSexes, Radiograph, Refusal, Result, Sex
from dicom_kit import assessment, child_file, errors_of, header_of, pydicom, run_tool

pytestmark = pytest.mark.slow

pytest.importorskip("highdicom")

Results = list[Result]
UNKNOWN = child_file(PatientSex="O")
REFUSED = Refusal("not-a-hand", "hand.dcm: no hand was found")


def both(side: str | None = None, months: float = 126.04) -> BothSexes:
    girl, boy = assessment(Sex.FEMALE, months), assessment(Sex.MALE, months + 5.4)
    return BothSexes(replace(girl, side_in_image=side), replace(boy, side_in_image=side))


def hands(*months: float) -> Results:
    sides = ("left", "right")
    return [replace(assessment(months=age), side_in_image=side) for age, side in zip(months, sides, strict=True)]


def no_age(of: Assessment) -> Assessment:
    return replace(of, months=None, regions=(), interval=None, warnings=(), refused=REFUSED)


CASES: dict[str, Results] = {
    "both sexes": [both()],
    "two hands": hands(126.0, 131.0),
    "two hands, both sexes": [both("left"), both("right", 130)],
    "one of two hands": [no_age(hands(1, 2)[0]), hands(1, 131)[1]],  # type: ignore[arg-type]
}


def made(results: Results, kinds: tuple[str, ...] = ("sr", "gsps", "fhir", "hl7"), data: bytes = UNKNOWN) -> Any:
    return forms.make_all(kinds, results, header_of(data), shown(results, data))


def shown(results: Results, data: bytes = UNKNOWN) -> list[tuple[Radiograph, Result]]:
    return [cut_out(read_radiograph(data), result) for result in results]


def groups(report: bytes) -> list[Any]:
    """The measurement groups of a report: TID 1501 or 1410."""
    document = pydicom.dcmread(BytesIO(report))
    (measurements,) = (item for item in document.ContentSequence if concept(item) == "126010")
    return list(measurements.ContentSequence)


def concept(item: Any) -> str:
    return str(item.ConceptNameCodeSequence[0].CodeValue)


def ages(group: Any) -> list[str]:
    found = [item for item in group.ContentSequence if concept(item) == codes.BONE_AGE.value]
    return [str(item.MeasuredValueSequence[0].NumericValue) if item.MeasuredValueSequence else "none" for item in found]


def sexes(group: Any) -> list[str]:
    return [item.ConceptCodeSequence[0].CodeValue for item in group.ContentSequence if concept(item) == "121032"]


@pytest.mark.parametrize(
    ("name", "values", "given", "regions"),
    [
        ("both sexes", ["none", "126.0", "131.4"], ["", "F", "M"], 17),
        ("two hands", ["none", "126.0", "131.0"], ["", "F", "F"], 34),
        ("two hands, both sexes", ["none", "126.0", "131.4", "130.0", "135.4"], ["", "F", "M", "F", "M"], 34),
        ("one of two hands", ["none", "none", "131.0"], ["", "F", "F"], 17),
    ],
)
def test_the_first_number_is_none_and_each_reading_has_its_own_group(
    name: str, values: list[str], given: list[str], regions: int, tmp_path: Path
) -> None:
    report = made(CASES[name], ("sr",))["sr"].content
    hand_groups = groups(report)[: len(values)]
    assert [ages(group)[0] for group in hand_groups] == values
    assert ["".join(sexes(group)) for group in hand_groups] == given
    assert len(groups(report)) == len(values) + regions
    path = tmp_path / "hand.sr.dcm"
    path.write_bytes(report)
    assert errors_of(path) == []
    printed = run_tool("dsrdump", "+Pl", path)
    assert '"XR Bone age")=empty (114011,DCM,"Value indeterminate")' in printed
    assert "error" not in printed.lower()


def test_neither_of_two_hands_is_the_one_that_the_file_names() -> None:
    report = made(CASES["two hands"], ("sr",))["sr"].content
    assert b"of left" not in report
    assert b"MCP1, hand at the right of the picture" in report
    assert b"of left" in made(CASES["both sexes"], ("sr",))["sr"].content


def test_a_reading_for_an_unknown_sex_says_so_and_names_the_other() -> None:
    girl, boy = each([both()])
    assert girl.warnings[0].endswith("one of two readings: as female; as male it is 131.4 months")
    assert boy.warnings[0].endswith("one of two readings: as male; as female it is 126.0 months")


@pytest.mark.parametrize("name", CASES)
def test_picture_and_state_are_valid_and_hold_all(name: str, tmp_path: Path) -> None:
    one = made([assessment()], ("capture",), child_file())["capture"].content
    for kind, form in made(CASES[name], ("capture", "gsps")).items():
        path = tmp_path / f"hand{form.suffix}"
        path.write_bytes(form.content)
        assert errors_of(path) == []
        written = pydicom.dcmread(path)
        assert written.Laterality == ("L" if name == "both sexes" else "")
        if kind == "capture":
            assert written.DerivationDescription == together(CASES[name], header_of(UNKNOWN)).summary
            single = pydicom.dcmread(BytesIO(one))
            assert written.Columns == len(CASES[name]) * single.Columns
            assert written.Rows > single.Rows, "what they are stands above"
    assert "131.4 months" in together(CASES["both sexes"], header_of(UNKNOWN)).summary


def test_the_pdf_has_a_page_for_each_hand_with_both_ages() -> None:
    pytest.importorskip("reportlab")
    pypdf = pytest.importorskip("pypdf")
    pdf = forms.page(shown(CASES["two hands, both sexes"]))
    pages = [" ".join(page.extract_text().split()) for page in pypdf.PdfReader(BytesIO(pdf)).pages]
    assert len(pages) == 2
    for page, side, months in zip(pages, ("left", "right"), (("126.0", "131.4"), ("130.0", "135.4")), strict=True):
        assert f"Hand on the {side} of the picture (this page)" in page
        assert "The sex is not known" in page
        assert all(f"{age} months" in page for age in months)
    single = forms.page(shown([assessment()]))
    assert "this page" not in pypdf.PdfReader(BytesIO(single)).pages[0].extract_text()


@pytest.mark.parametrize("name", CASES)
def test_fhir_and_hl7_hold_each_reading_too(name: str) -> None:
    resources = pytest.importorskip("fhir.resources.R4B.bundle")
    written = made(CASES[name], ("fhir", "hl7"))
    bundle = json.loads(written["fhir"].content)
    resources.Bundle.model_validate(bundle)
    urls = [entry["fullUrl"] for entry in bundle["entry"]]
    assert len(urls) == len(set(urls))
    (first, *others) = (e["resource"] for e in bundle["entry"] if "hasMember" in e["resource"])
    assert first["dataAbsentReason"]["coding"][0]["code"] == "unknown"
    assert {member["reference"] for member in first["hasMember"]} <= set(urls)
    assert len(others) == sum(result.months is not None for result in each(CASES[name]))
    segments = [line.split("|") for line in written["hl7"].content.decode().split("\r") if line.startswith("OBX")]
    numbers = [line for line in segments if line[3].startswith(codes.BONE_AGE.value)]
    assert (numbers[0][4], numbers[0][5], numbers[0][11]) == ("", "", "X")
    parts = [line[4] for line in numbers]
    assert len(parts) == len(set(parts))
    assert all(len(part) <= 20 for part in parts)


def test_uids_are_those_of_no_other_result_and_the_same_each_time() -> None:
    source = header_of(UNKNOWN)
    uids = {name: made(results, ("sr",))["sr"].sop_instance_uid for name, results in CASES.items()}
    uids["girl"] = made([assessment()], ("sr",))["sr"].sop_instance_uid
    uids["none"] = forms.make(("sr",), refused(refusal(), assessment().model), source)["sr"].sop_instance_uid
    del uids["one of two hands"]  # of the same hands
    assert len(set(uids.values())) == len(uids)
    for results in CASES.values():
        assert made(results) == made(results)


def refusal() -> Any:
    from carpal.errors import MissingSex

    return MissingSex("no sex")


def test_where_no_reading_has_an_age_the_whole_is_one_refusal() -> None:
    girl, boy = both().female, both().male
    found = together([BothSexes(no_age(girl), no_age(boy))], header_of(UNKNOWN))
    assert (found.refusal, found.readings, found.sex) == (REFUSED, (), None)
    assert set(made([BothSexes(no_age(girl), no_age(boy))])) == {"sr", "fhir", "hl7"}


def test_a_calibration_is_named_in_every_form() -> None:
    site = "Ward 7 (2026-11-24, n = 80)"
    one = replace(assessment(), raw_months=120.0, site=site)
    for results in ([one], [BothSexes(one, replace(one, sex=Sex.MALE))]):
        for kind, form in made(results, ("sr", "gsps", "fhir", "hl7", "capture")).items():
            assert site.encode() in form.content, kind
