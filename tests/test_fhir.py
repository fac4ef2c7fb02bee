"""The FHIR bundle against fhir.resources (R4B, for these resources the same as R4), and as a growth chart reads it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from carpal.anatomy import REGIONS
from carpal.errors import MissingSex
from carpal.report import fhir
from carpal.report.content import Findings, findings, refused
from carpal.types import Header
from dicom_kit import assessment, child_file, header_of

bundles = pytest.importorskip("fhir.resources.R4B.bundle")


def parts(**tags: Any) -> tuple[Findings, Header]:
    source = header_of(child_file(**tags))
    return findings(assessment(), source), source


def resources(bundle: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    return [entry["resource"] for entry in bundle["entry"] if entry["resource"]["resourceType"] == kind]


@pytest.mark.parametrize(
    "tags",
    [
        {},
        dict.fromkeys(["PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "AccessionNumber"]),
        {"Laterality": "R", "PatientSex": "O", "PatientName": "王^小東", "SpecificCharacterSet": "GB18030"},
    ],
)
def test_a_maintained_library_accepts_it_whole(tags: dict[str, Any]) -> None:
    written = fhir.bundle(*parts(**tags))
    parsed = bundles.Bundle.model_validate(written)
    assert json.loads(parsed.model_dump_json()) == written
    assert json.loads(fhir.write(*parts(**tags))) == written


def test_every_reference_is_in_the_bundle() -> None:
    text = fhir.write(*parts()).decode()
    urls = {entry["fullUrl"] for entry in json.loads(text)["entry"]}
    assert len(urls) == 5 + len(REGIONS)
    assert {word.strip('",') for word in text.split() if word.startswith('"urn:uuid')} == urls


def test_the_observation_is_what_growth_charts_look_for() -> None:
    bundle = fhir.bundle(*parts())
    age, *regions = resources(bundle, "Observation")
    assert age["code"]["coding"][0] == {"system": "http://loinc.org", "code": "37362-1", "display": "XR Bone age"}
    assert age["valueQuantity"] == {
        "value": 126.0,
        "unit": "month",
        "system": "http://unitsofmeasure.org",
        "code": "mo",
    }
    assert (age["effectiveDateTime"], age["status"]) == ("2024-01-05", "preliminary")
    assert age["bodySite"]["coding"][0]["code"] == "85151006"
    interval = next(part for part in age["component"] if "valueRange" in part)
    assert (interval["code"]["text"], interval["valueRange"]["low"]["value"]) == ("90 % prediction interval", 115.0)
    assert len(age["hasMember"]) == len(regions) == len(REGIONS)
    assert [note["text"].split(",")[0] for region in regions for note in region["note"]] == list(REGIONS)


def test_report_and_patient_are_the_child_s() -> None:
    bundle = fhir.bundle(*parts())
    (report,), (patient,), (study,) = (
        resources(bundle, kind) for kind in ("DiagnosticReport", "Patient", "ImagingStudy")
    )
    assert report["identifier"][0]["value"] == "ACC-99"
    assert report["conclusion"].startswith(
        "Bone age 126.0 months (female), 90 % interval 115.0 to 140.5 months, z-score "
    )
    assert patient["name"] == [{"text": "Qwert Zyx", "family": "Zyx", "given": ["Qwert"]}]
    assert (patient["gender"], patient["birthDate"]) == ("female", "2014-01-05")
    assert study["identifier"][0]["value"] == "urn:oid:1.2.3"


@pytest.mark.parametrize(
    ("birth", "code"), [("20180105", "HP:0005616"), ("20090105", "HP:0002750"), ("20140105", None)]
)
def test_an_unusual_maturation_is_coded(birth: str, code: str | None) -> None:
    age = resources(fhir.bundle(*parts(PatientBirthDate=birth)), "Observation")[0]
    found = [concept["coding"][0]["code"] for concept in age.get("interpretation", [])]
    assert found == ([] if code is None else [code])


def test_a_refusal_says_why_and_has_no_value() -> None:
    source = header_of(child_file())
    bundle = fhir.bundle(refused(MissingSex("hand.dcm: no sex"), assessment().model), source)
    bundles.Bundle.model_validate(bundle)
    (age,) = resources(bundle, "Observation")
    assert "valueQuantity" not in age
    assert age["dataAbsentReason"]["coding"][0]["code"] == "not-performed"
    assert age["note"][0]["text"] == "No bone age: hand.dcm: no sex"
