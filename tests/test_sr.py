"""The structured report, read back by highdicom and pydicom: templates, codes, numbers, boxes, the weights' hash."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import numpy as np
import pytest

from carpal.anatomy import REGIONS
from carpal.report import codes, sr
from carpal.report.content import findings
from carpal.types import Sex, Side
from dicom_kit import assessment, child_file, header_of, pydicom

highdicom = pytest.importorskip("highdicom")


def report(data: bytes | None = None, **given: Any) -> Any:
    source = header_of(data or child_file())
    written = pydicom.dcmread(BytesIO(sr.write(findings(assessment(**given), source), source)))
    return highdicom.sr.ComprehensiveSR.from_dataset(written)


@pytest.fixture(scope="module")
def document() -> Any:
    return report()


def items(node: Any) -> list[Any]:
    """All content items below a node."""
    return [item for child in node.get("ContentSequence", ()) for item in (child, *items(child))]


def named(node: Any, code: codes.Code) -> list[Any]:
    return [item for item in items(node) if item.ConceptNameCodeSequence[0].CodeValue == code.value]


def number(item: Any) -> tuple[float, str]:
    measured = item.MeasuredValueSequence[0]
    return float(measured.NumericValue), measured.MeasurementUnitsCodeSequence[0].CodeValue


def test_it_is_an_imaging_measurement_report_about_this_child(document: Any) -> None:
    assert document.ContentTemplateSequence[0].TemplateIdentifier == "1500"
    assert (document.PatientID, document.AccessionNumber, document.StudyInstanceUID) == ("PID-4711", "ACC-99", "1.2.3")
    assert (document.CompletionFlag, document.VerificationFlag) == ("COMPLETE", "UNVERIFIED")
    evidence = document.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence[0]
    assert evidence.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == "1.2.3.4.5"


def test_highdicom_finds_one_hand_and_seventeen_planar_regions(document: Any) -> None:
    content = document.content
    assert len(content.get_image_measurement_groups()) == 1
    regions = content.get_planar_roi_measurement_groups()
    assert tuple(region.tracking_identifier for region in regions) == REGIONS


def test_the_bone_age_has_its_code_unit_and_interval(document: Any) -> None:
    age = named(document, codes.BONE_AGE)[0]
    name = age.ConceptNameCodeSequence[0]
    assert (name.CodingSchemeDesignator, name.CodeValue) == ("LN", "37362-1")
    assert number(age) == (126.0, "mo")
    assert number(named(age, codes.UPPER)[0]) == (14.5, "mo")
    assert number(named(age, codes.LOWER)[0]) == (11.0, "mo")


def test_the_z_score_cites_its_table() -> None:
    """Brush, boys of 120 months: mean 125.68, SD 9.79 (printed row)."""
    data = child_file(PatientBirthDate=None, PatientAge="120M", PatientSex="M")
    age = named(report(data, sex=Sex.MALE, months=135.7), codes.BONE_AGE)[0]
    assert number(named(age, codes.POPULATION_MEAN)[0]) == (125.68, "mo")
    assert number(named(age, codes.POPULATION_SD)[0]) == (9.79, "mo")
    assert number(named(age, codes.Z_SCORE)[0]) == (1.02, "1")
    assert "Brush" in named(age, codes.CITATION)[0].TextValue


def test_no_age_no_z_score_and_beyond_the_table_a_warning() -> None:
    unknown = report(child_file(PatientBirthDate=None))
    assert named(unknown, codes.Z_SCORE) == []
    grown = report(child_file(PatientBirthDate="19990105"))
    assert named(grown, codes.Z_SCORE) == []
    assert any("there is no z-score at this age" in item.TextValue for item in named(grown, codes.COMMENT))


def test_a_region_has_box_bone_and_age(document: Any) -> None:
    group = document.content.get_planar_roi_measurement_groups()[5]
    outline = next(item for item in items(group[0]) if item.ValueType == "SCOORD")
    np.testing.assert_allclose(np.reshape(outline.GraphicData, (5, 2))[[0, 2]], [(20, 15), (36.5, 31)])
    site = group.finding_sites[0]
    assert (site.value.scheme_designator, site.value.value) == ("SCT", "762866004")
    assert site.value.meaning == "Distal phalanx of left thumb"
    assert number(named(group[0], codes.BONE_AGE)[0]) == (105.0, "mo")


def test_the_algorithm_is_identified_with_the_hash_of_its_weights(document: Any) -> None:
    texts = [item.TextValue for item in items(document) if item.ValueType == "TEXT"]
    assert "carpal alanet" in texts
    assert f"weights SHA-256 {'ab' * 32}" in texts
    assert "sex female" in texts
    assert "Research only, not a medical device" in texts
    assert "Warning: the image is small" in texts


def test_sites_are_sided_and_of_one_bone_each() -> None:
    for side in Side:
        sites = {region: codes.site(region, side) for region in REGIONS}
        assert len({site.code.value for site in sites.values()}) == len(REGIONS)
        for site in sites.values():
            assert str(side) in site.code.meaning or site.laterality is not None
    left, right = ({codes.site(region, side).code.value for region in REGIONS} for side in Side)
    assert left & right == {codes.CARPUS.value}
    assert {codes.site(region, None).code.value for region in REGIONS} == {
        "85562004",
        "62413002",
        "23416004",
        "8205005",
    }
    with pytest.raises(KeyError):
        codes.site("MCP6", Side.LEFT)


def test_every_snomed_code_has_its_check_digit() -> None:
    """Verhoeff, of the SNOMED CT release file specification."""
    sites = [codes.site(region, side).code for region in REGIONS for side in (*Side, None)]
    checked = [
        *sites,
        *codes.HANDS.values(),
        codes.PROCEDURE,
        codes.POPULATION_MEAN,
        codes.UPPER,
        codes.LOWER,
        codes.LEFT,
    ]
    assert [code for code in checked if code.scheme == "SCT" and not verhoeff(code.value)] == []
    assert not verhoeff("762866005")


def verhoeff(digits: str) -> bool:
    """Multiplication in the dihedral group D5; position-dependent permutation; zero at the end."""

    def product(a: int, b: int) -> int:
        if a < 5:
            return (a + b) % 5 + (5 if b >= 5 else 0)
        return (a - b) % 5 + (5 if b < 5 else 0)

    permutation, total = (1, 5, 7, 6, 2, 8, 3, 0, 9, 4), 0
    for position, letter in enumerate(reversed(digits)):
        digit = int(letter)
        for _ in range(position % 8):
            digit = permutation[digit]
        total = product(total, digit)
    return total == 0
