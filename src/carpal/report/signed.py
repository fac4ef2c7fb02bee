"""A reader's signature on a result: new FHIR and SR objects that name the machine's own as what they were made from.

The machine's objects stay as they are, also where the reader put regions right before she signed. A signed SR is
another document: verified, with the machine's as predecessor (PS3.3 C.17.2, Verifying Observer and Predecessor
Documents). A signed bundle has one Observation more, derived from the machine's, and its report is final.
"""

from __future__ import annotations

import io
import json
import re
from dataclasses import replace
from typing import Any, Final

from carpal.errors import need
from carpal.imaging.dicom import quiet
from carpal.report import fhir, sr
from carpal.report.child import Signature
from carpal.report.content import Findings
from carpal.report.dicom_common import derive
from carpal.types import Header, Refusal

ORGANISATION: Final = "carpal"
"""Verifying Organization (0040,A027) is required and nobody stated one: the software that took the signature."""


def sentence(signature: Signature) -> str:
    """What was decided, by whom and when, in one English sentence."""
    verb = {"accept": "accepted", "adjust": "adjusted", "reject": "rejected"}[signature.decision]
    hand = f" for the hand at the {signature.hand} of the picture" if signature.hand else ""
    parts = [f"{verb}{hand} by {signature.reader} on {signature.signed}"]
    if signature.machine_months is not None:
        parts.append(f"the machine read {signature.machine_months:.1f} months (weights SHA-256 {signature.machine})")
    if signature.reason:
        parts.append(f"reason: {signature.reason}")
    return "; ".join(parts)


def signed_part(found: Findings, signature: Signature) -> Findings:
    """What the signature is about: of two hands that which it names, otherwise everything."""
    named = [reading for reading in found.readings if reading.part == signature.hand] if signature.hand else []
    return named[0] if len(named) == 1 else found


def signed_findings(found: Findings, signature: Signature) -> Findings:
    """The findings as the reader signed them: of two hands the one that she signed, for she said nothing of the other.

    `found` is what she saw: the machine's, or what it read with the regions that she put right.
    A rejected result has no age; only an accepted one keeps its interval.
    """
    found = signed_part(found, signature)
    warnings = (*found.warnings, sentence(signature))
    if signature.months is None:
        refusal = Refusal("rejected", sentence(signature))
        gone: dict[str, Any] = {"months": None, "interval": None, "score": None, "regions": (), "readings": ()}
        return replace(found, **gone, warnings=(), refusal=refusal)
    if signature.decision == "accept":
        return replace(found, warnings=warnings)
    return replace(found, months=round(signature.months, 1), interval=None, score=None, warnings=warnings, refusal=None)


def write_sr(
    unsigned: Findings, source: Header, signature: Signature, uid_root: str | None = None, seen: Findings | None = None
) -> bytes:
    """The verified SR, whose predecessor is the machine's. Raises what `sr.write` raises.

    `seen` is what was signed, where regions were put right before: it has a `revision` of its own.
    """
    pydicom = need("pydicom", feature="A structured report", extra="dicom")
    from pydicom.dataset import Dataset

    machine = pydicom.dcmread(io.BytesIO(sr.write(unsigned, source, uid_root)))
    found = seen or unsigned
    document = pydicom.dcmread(io.BytesIO(sr.write(signed_findings(found, signature), source, uid_root)))
    uid = derive(f"sr signed {signature.reader} {signature.signed}", found, source, uid_root)
    document.SOPInstanceUID = document.file_meta.MediaStorageSOPInstanceUID = uid
    document.SeriesInstanceUID = machine.SeriesInstanceUID
    document.InstanceNumber = 2
    document.VerificationFlag = "VERIFIED"
    observer, earlier, series, instance = Dataset(), Dataset(), Dataset(), Dataset()
    observer.VerifyingObserverName = re.sub(r"[\\^=]", " ", signature.reader)[:64]
    observer.VerifyingOrganization = ORGANISATION
    observer.VerificationDateTime = re.sub(r"[^0-9]", "", signature.signed[:19])
    observer.VerifyingObserverIdentificationCodeSequence = []
    instance.ReferencedSOPClassUID, instance.ReferencedSOPInstanceUID = machine.SOPClassUID, machine.SOPInstanceUID
    series.SeriesInstanceUID, series.ReferencedSOPSequence = machine.SeriesInstanceUID, [instance]
    earlier.StudyInstanceUID, earlier.ReferencedSeriesSequence = machine.StudyInstanceUID, [series]
    document.VerifyingObserverSequence, document.PredecessorDocumentsSequence = [observer], [earlier]
    buffer = io.BytesIO()
    with quiet():
        document.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def write_fhir(
    unsigned: Findings, source: Header, signature: Signature, uid_root: str | None = None, seen: Findings | None = None
) -> bytes:
    """The machine's bundle with the reader's Observation, which is derived from the machine's. Raises ConfigError.

    `seen` is what was signed, where regions were put right before: its warnings, which name them, become notes.
    """
    bundle = fhir.bundle(unsigned, source, uid_root)
    report, *_ = (entry["resource"] for entry in bundle["entry"] if _is(entry, "DiagnosticReport"))
    machine = [entry for entry in bundle["entry"] if _is(entry, "Observation")][_place(unsigned, signature)]
    found = seen or unsigned
    uid = derive(f"fhir signed {signature.reader} {signature.signed}", found, source, uid_root)
    said = (sentence(signature), *(found.warnings if seen and signature.months is not None else ()))
    url = f"urn:oid:{uid}"
    observation: dict[str, Any] = {
        "resourceType": "Observation",
        "status": "final",
        "code": machine["resource"]["code"],
        "subject": report["subject"],
        "performer": [{"display": signature.reader}],
        "issued": signature.signed,
        "derivedFrom": [{"reference": machine["fullUrl"]}],
        "note": [{"text": remark} for remark in said],
    }
    if signature.months is None:
        absent = {"system": f"{fhir.TERMINOLOGY}/data-absent-reason", "code": "error"}
        observation["dataAbsentReason"] = {"coding": [absent]}
    else:
        unit = {"unit": "mo", "system": fhir.SYSTEMS["UCUM"], "code": "mo"}
        observation["valueQuantity"] = {"value": round(signature.months, 1)} | unit
    report["status"] = "final"
    report["resultsInterpreter"] = [{"display": signature.reader}]
    report["result"] = [{"reference": url}, *report.get("result", [])]
    report["conclusion"] = sentence(signature)
    bundle["identifier"]["value"] = url
    bundle["entry"].append({"fullUrl": url, "resource": observation})
    return (json.dumps(bundle, indent=2, ensure_ascii=False) + "\n").encode()


def _is(entry: dict[str, Any], kind: str) -> bool:
    return bool(entry["resource"]["resourceType"] == kind)


def _place(found: Findings, signature: Signature) -> int:
    """Which Observation of `fhir.bundle` is the machine's: the whole comes first, its readings follow."""
    part = signed_part(found, signature)
    return 0 if part is found else 1 + found.readings.index(part)
