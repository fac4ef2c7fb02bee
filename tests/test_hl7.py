"""The HL7 message against hl7apy's tables of version 2.5.1, strictly; and that no text can break out of its field."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carpal.errors import MissingSex
from carpal.report import hl7
from carpal.report.content import Findings, findings, refused
from carpal.types import Header
from dicom_kit import assessment, child_file, header_of

parser = pytest.importorskip("hl7apy.parser")
STRICT = 1


def parts(**tags: Any) -> tuple[Findings, Header]:
    source = header_of(child_file(**tags))
    return findings(assessment(), source), source


def parsed(message: bytes) -> Any:
    found = parser.parse_message(message.decode(), find_groups=True, validation_level=STRICT)
    assert found.validate()
    return found


def observations(message: Any) -> list[Any]:
    return [group.obx for group in message.oru_r01_patient_result.oru_r01_order_observation.oru_r01_observation]


@pytest.mark.parametrize("tags", [{}, {"PatientName": None, "PatientID": None, "PatientSex": None, "StudyDate": None}])
def test_a_parser_accepts_it_strictly(tags: dict[str, Any]) -> None:
    message = hl7.write(*parts(**tags))
    parsed(message)
    assert message.endswith(b"\r")
    assert b"\n" not in message


def test_the_first_observation_is_the_bone_age() -> None:
    message = parsed(hl7.write(*parts()))
    age, upper, lower, score = observations(message)[:4]
    assert (age.obx_3.value, age.obx_5.value) == ("37362-1^XR Bone age^LN", "126")
    assert (age.obx_6.value, age.obx_11.value, age.obx_14.value) == ("mo^month^UCUM", "P", "20240105101112")
    assert (upper.obx_5.value, lower.obx_5.value) == ("14.5", "11")
    assert score.obx_3.value.startswith("121416^")
    named = [obx.obx_4.value for obx in observations(message) if obx.obx_4.value]
    assert named[0] == "MCP1"
    assert len(named) == 17


def test_patient_and_order_are_the_child_s() -> None:
    message = parsed(hl7.write(*parts(PatientName="Zyx^Qwert^Middle^Dr^III", IssuerOfPatientID="Ward & Co")))
    patient = message.oru_r01_patient_result.oru_r01_patient.pid
    assert patient.pid_5.value == "Zyx^Qwert^Middle^III^Dr"  # HL7 has the suffix before the prefix
    assert patient.pid_3.value == "PID-4711^^^Ward \\T\\ Co"
    assert (patient.pid_7.value, patient.pid_8.value) == ("20140105", "F")
    order = message.oru_r01_patient_result.oru_r01_order_observation.obr
    assert (order.obr_3.value, order.obr_25.value) == ("ACC-99", "P")


def test_a_resend_has_the_same_control_id() -> None:
    first, second = hl7.write(*parts()), hl7.write(*parts())
    assert first == second
    other = hl7.write(*parts(SOPInstanceUID="1.2.3.4.6"))
    assert parsed(first).msh.msh_10.value != parsed(other).msh.msh_10.value


def test_a_refusal_has_no_value_and_says_why() -> None:
    source = header_of(child_file())
    message = parsed(hl7.write(refused(MissingSex("hand.dcm: no sex"), assessment().model), source))
    age = observations(message)[0]
    assert (age.obx_5.value, age.obx_11.value) == ("", "X")
    assert any("no sex" in obx.obx_5.value for obx in observations(message))


@settings(deadline=None, max_examples=40)
@given(st.text(max_size=40))
def test_no_text_breaks_out_of_its_field(text: str) -> None:
    source = header_of(child_file())
    found = refused(MissingSex(f"x{text}"), assessment().model)
    segments = hl7.write(found, source).decode().split("\r")
    assert [segment[:3] for segment in segments] == ["MSH", "PID", "OBR", *["OBX"] * 7, ""]
    assert segments[5].count("|") == hl7.write(refused(MissingSex("x"), found.model), source).decode().split("\r")[
        5
    ].count("|")
