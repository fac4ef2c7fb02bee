"""Every DICOM form, on every kind of radiograph: valid for dicom3tools, readable by DCMTK, the same each time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from carpal.errors import ConfigError, MissingSex, UnsuitableImage
from carpal.imaging.read import read_radiograph
from carpal.report import dicom_objects, forms
from carpal.report.content import Findings, findings, refused
from carpal.types import Assessment, Header, Sex
from dicom_kit import CHILD, assessment, child_file, encode, errors_of, header_of, pydicom, ramp, run_tool, study

pytest.importorskip("highdicom")
RF_IMAGE, MULTI_FRAME_CAPTURE = (f"1.2.840.10008.5.1.4.1.1.{end}" for end in ("12.2", "7.2"))
QUICK = ("sr", "gsps", "fhir", "hl7")
"""The forms that need no picture."""
NO_UTF_8 = "W: The VR checker does not support this Specific Character Set: ISO_IR 192"
"""DCMTK's own gap, and no fault of a report."""
FRAMES = {"NumberOfFrames": 2, "PixelData": ramp(height=256, width=200).tobytes() * 2}


def table(step: int, bits: int) -> Any:
    """A lookup table of 4096 rising entries."""
    item = pydicom.Dataset()
    item.add_new("LUTDescriptor", "US", [4096, 0, bits])
    item.add_new("LUTData", "US", list(range(0, 4096 * step, step)))
    item.ModalityLUTType = "US"
    return item


RADIOGRAPHS: dict[str, dict[str, Any]] = {
    "plain": {},
    "right, MONOCHROME1": {"Laterality": "R", "PhotometricInterpretation": "MONOCHROME1"},
    "window": {"RescaleSlope": "-2", "RescaleIntercept": "4095", "WindowCenter": "2000", "WindowWidth": "3000"},
    "tables": {"ModalityLUTSequence": [table(16, 16)], "VOILUTSequence": [table(1, 12)]},
    "frames of RF": {"SOPClassUID": RF_IMAGE, "Modality": "RF", **FRAMES},
    "frames of SC": {"SOPClassUID": MULTI_FRAME_CAPTURE, "Modality": "OT", **FRAMES},
    "frames of CR, an error": FRAMES,
    "another script": {"SpecificCharacterSet": "GB18030", "PatientName": "王^小東"},
    "anonymous": dict.fromkeys(CHILD),
}


def made(data: bytes, kinds: tuple[str, ...] = QUICK, **given: Any) -> dict[str, forms.Form]:
    source, result = header_of(data), assessment()
    radiograph = read_radiograph(data)
    return forms.make(kinds, findings(result, source), source, hands=[(radiograph, result)], **given)


def refusals(source: Header) -> dict[str, Findings]:
    model = assessment().model
    refusal = refused(UnsuitableImage("hand.dcm: a foot"), model).refusal
    given = Assessment("hand.dcm", Sex.MALE, None, (), model, refused=refusal)
    return {"sex": refused(MissingSex("hand.dcm: no sex"), model), "foot": findings(given, source)}


@pytest.mark.parametrize("name", RADIOGRAPHS)
def test_every_object_is_valid(name: str, tmp_path: Path) -> None:
    data = child_file(**RADIOGRAPHS[name])
    pictures = ("capture",) if name in ("plain", "anonymous") else ()
    for form in made(data, ("sr", "gsps", *pictures)).values():
        path = tmp_path / f"hand{form.suffix}"
        path.write_bytes(form.content)
        assert errors_of(path) == []
        written = pydicom.dcmread(path)
        assert (written.SOPInstanceUID, written.SOPClassUID) == (form.sop_instance_uid, form.sop_class_uid)
        assert written.StudyInstanceUID == header_of(data).study_uid
        assert written.SeriesInstanceUID != header_of(data).series_uid


@pytest.mark.parametrize("name", RADIOGRAPHS)
def test_dcmtk_reads_every_report(name: str, tmp_path: Path) -> None:
    path = tmp_path / "hand.sr.dcm"
    path.write_bytes(made(child_file(**RADIOGRAPHS[name]), ("sr",))["sr"].content)
    report = run_tool("dsrdump", "+Pl", path)
    assert '(,,"XR Bone age")="126.0" (mo,UCUM,"month")' in report
    assert report.count("SCOORD") == 17
    faults = [line for line in report.splitlines() if line.startswith(("E:", "F:", "W:")) or "error" in line.lower()]
    assert [line for line in faults if line != NO_UTF_8] == []


def test_dcmtk_reads_state_and_picture(tmp_path: Path) -> None:
    paths = {}
    for kind, form in made(child_file(), ("gsps", "capture")).items():
        paths[kind] = tmp_path / f"hand{form.suffix}"
        paths[kind].write_bytes(form.content)
    assert "Test passed" in run_tool("dcmpschk", paths["gsps"])
    run_tool("dcmj2pnm", "--write-raw-pnm", paths["capture"], tmp_path / "picture.ppm")
    assert (tmp_path / "picture.ppm").stat().st_size > 1_000_000


def test_an_encapsulated_page_is_valid_and_comes_out_again(tmp_path: Path) -> None:
    source = header_of(child_file())
    pdf = b"%PDF-1.4\n% a page of odd length\n"
    path = tmp_path / "hand.pdf.dcm"
    path.write_bytes(dicom_objects.write_encapsulated(findings(assessment(), source), source, pdf))
    assert errors_of(path) == []
    run_tool("dcm2pdf", path, tmp_path / "hand.pdf")
    assert (tmp_path / "hand.pdf").read_bytes().rstrip(b"\0") == pdf


def test_the_page_is_one_of_the_forms() -> None:
    pytest.importorskip("reportlab")
    form = made(child_file(), ("pdf",))["pdf"]
    written = pydicom.dcmread(pydicom.filebase.DicomBytesIO(form.content))
    assert written.EncapsulatedDocument.startswith(b"%PDF-")
    assert written.EncapsulatedDocumentLength == len(written.EncapsulatedDocument.rstrip(b"\0"))


def test_the_page_has_every_spelling_of_a_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pdf = pytest.importorskip("carpal.report.pdf")
    from carpal.service.patient import patient_of

    seen: list[str] = []
    monkeypatch.setattr(pdf, "render_hands", lambda _, child: seen.append(child.name) or b"%PDF-")
    for name in (
        "Yamada^Tarou=山田^太郎=やまだ^たろう",
        "Pour^Ali==علی\u200cرضا",  # noqa: RUF001
        "Doe^Jane",
        "=".join(("A" * 60, "王" * 60, "び" * 60)),
    ):
        data = child_file(PatientName=name, SpecificCharacterSet="ISO_IR 192")
        made(data, ("pdf",))
        (tmp_path / "hand.dcm").write_bytes(data)
        seen.append(patient_of(tmp_path / "hand.dcm")[0])
    assert seen == [
        "Yamada Tarou = 山田 太郎 = やまだ たろう", "Yamada, Tarou = 山田, 太郎 = やまだ, たろう",
        "Pour Ali = علی\u200cرضا", "Pour, Ali = علی\u200cرضا", "Doe Jane", "Doe, Jane",  # noqa: RUF001
        *2 * (" = ".join(("A" * 60, "王" * 60, "び" * 60)),),
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["sex", "foot"])
def test_a_refusal_is_a_report(name: str, tmp_path: Path) -> None:
    source = header_of(child_file())
    found = refusals(source)[name]
    written = forms.make(forms.KINDS, found, source)
    assert set(written) == {"sr", "fhir", "hl7"}
    path = tmp_path / "hand.sr.dcm"
    path.write_bytes(written["sr"].content)
    assert errors_of(path) == []
    report = run_tool("dsrdump", "+Pl", path)
    qualifier = "Measurement not attempted" if name == "sex" else "Measurement failure"
    assert f'"XR Bone age")=empty (11400{7 if name == "sex" else 6},DCM,"{qualifier}")' in report
    assert ("Rejected for Quality Reasons" in report) == (name == "foot")


def test_the_same_radiograph_gives_the_same_bytes() -> None:
    data = child_file(StudyInstanceUID=None, StudyDate=None)
    first, other = made(data), made(data, uid_root="1.2.826.0.1.3680043.10.99")
    assert made(data) == first
    for kind, form in first.items():
        assert form.content != other[kind].content


def test_picture_and_page_in_their_envelopes_are_the_same_each_time() -> None:
    source = header_of(child_file())
    found, picture = findings(assessment(), source), Image.fromarray(ramp(255, np.uint8)).convert("RGB")
    assert dicom_objects.write_capture(found, source, picture) == dicom_objects.write_capture(found, source, picture)
    first, second = (dicom_objects.write_encapsulated(found, source, b"%PDF-") for _ in range(2))
    assert first == second


def test_a_coloured_picture_has_no_presentation_state() -> None:
    grey_HW = ramp(255, np.uint8)
    tags: dict[str, Any] = {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "PlanarConfiguration": 0}
    coloured = encode(study(np.stack([grey_HW] * 3, axis=2), 8, **tags))
    assert set(made(coloured)) == {"sr", "fhir", "hl7"}


def test_unknown_forms_are_refused_by_name() -> None:
    source = header_of(child_file())
    with pytest.raises(ConfigError, match="'fax' is no form"):
        forms.make(("sr", "fax"), findings(assessment(), source), source)
    with pytest.raises(ConfigError, match="pass `hands`"):
        forms.make(("capture",), findings(assessment(), source), source)
