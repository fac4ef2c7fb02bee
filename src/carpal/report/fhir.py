"""Findings to a FHIR R4 bundle: a DiagnosticReport, its Observations, and the patient, device and study they speak of.

The bone age is LOINC 37362-1 in months, which growth charts read as a number. Dates have no time, for DICOM seldom
states a time zone and FHIR wants one with every time.
"""

from __future__ import annotations

import json
from typing import Any, Final
from uuid import UUID, uuid5

import carpal
from carpal.imaging.exam import NO_DATE
from carpal.report import codes
from carpal.report.content import Finding, Findings, was_attempted
from carpal.report.dicom_common import derive
from carpal.types import Header, Side

Resource = dict[str, Any]
SYSTEMS: Final = {
    "SCT": "http://snomed.info/sct",
    "LN": "http://loinc.org",
    "DCM": "http://dicom.nema.org/resources/ontology/DCM",
    "UCUM": "http://unitsofmeasure.org",
    "HPO": "http://human-phenotype-ontology.org",
}
TERMINOLOGY: Final = "http://terminology.hl7.org/CodeSystem"
NAMESPACE: Final = UUID("6ba7b812-9dad-11d1-80b4-00c04fd430c8")
"""That of ISO OIDs (RFC 4122, appendix C): resources are named after DICOM UIDs."""
GENDERS: Final = {"M": "male", "F": "female", "O": "other"}


def write(found: Findings, source: Header, uid_root: str | None = None) -> bytes:
    """The bundle as JSON. Raises ConfigError for a wrong root."""
    return (json.dumps(bundle(found, source, uid_root), indent=2, ensure_ascii=False) + "\n").encode()


def bundle(found: Findings, source: Header, uid_root: str | None = None) -> Resource:
    """The bundle (type "collection"), whose resources refer to each other by urn:uuid. Raises ConfigError."""
    hands = {"bone age": found} | {f"bone age {n}": reading for n, reading in enumerate(found.readings, start=1)}
    regions = {_region_name(reading, region, found): (reading, region) for reading, region in found.each_region()}
    names = ("report", "patient", "study", "device", *hands, *regions)
    urls = {name: _url(name, found, source, uid_root) for name in names}
    resources = {
        "report": _report(found, source, urls),
        "patient": _patient(source),
        "study": _study(source, urls),
        "device": _device(found),
        **{name: _bone_age(reading, found, source, urls) for name, reading in hands.items()},
        **{name: _region(region, reading, source, urls) for name, (reading, region) in regions.items()},
    }
    entries = [{"fullUrl": urls[name], "resource": resource} for name, resource in resources.items()]
    uid = derive("fhir", found, source, uid_root)
    identifier = {"system": "urn:ietf:rfc:3986", "value": f"urn:oid:{uid}"}
    return {"resourceType": "Bundle", "identifier": identifier, "type": "collection", "entry": entries}


def _region_name(reading: Findings, region: Finding, whole: Findings) -> str:
    return region.name if reading is whole else f"{whole.readings.index(reading)} {region.name}"


def _members(found: Findings, whole: Findings) -> list[str]:
    """The names of what an observation has below it: its regions or, of a whole, its readings."""
    if found.readings:
        return [f"bone age {n}" for n in range(1, len(found.readings) + 1)]
    return [
        _region_name(reading, region, whole)
        for reading, region in whole.each_region()
        if reading.part == found.part and region in found.regions
    ]


def _url(name: str, found: Findings, source: Header, uid_root: str | None) -> str:
    """Patient and study are the same for every result of the radiograph."""
    shared = {"patient": source.study_uid + ".patient", "study": source.study_uid}
    return f"urn:uuid:{uuid5(NAMESPACE, shared.get(name) or derive(f'fhir {name}', found, source, uid_root))}"


def _report(found: Findings, source: Header, urls: dict[str, str]) -> Resource:
    accession = source.text("AccessionNumber")
    kind = {"coding": [{"system": f"{TERMINOLOGY}/v2-0203", "code": "ACSN"}]}
    return _without_empty(
        {
            "resourceType": "DiagnosticReport",
            "identifier": [{"type": kind, "value": accession}] if accession else [],
            "status": "preliminary",
            "category": [{"coding": [{"system": f"{TERMINOLOGY}/v2-0074", "code": "RAD"}]}],
            "code": _concept(codes.BONE_AGE),
            "subject": {"reference": urls["patient"]},
            "effectiveDateTime": _day(source.date),
            "result": [{"reference": urls["bone age"]}],
            "imagingStudy": [{"reference": urls["study"]}],
            "conclusion": found.summary,
        }
    )


def _patient(source: Header) -> Resource:
    name = source.text("PatientName").split("=")[0]
    family, given, middle, *_ = [*name.split("^"), "", "", ""]
    first = [part for part in (given, middle) if part]
    shown: Resource = {"text": " ".join([*first, family]).strip(), "family": family, "given": first}
    birth = source.text("PatientBirthDate")
    return _without_empty(
        {
            "resourceType": "Patient",
            "identifier": [{"value": source.text("PatientID")}] if source.text("PatientID") else [],
            "name": [_without_empty(shown)] if name.strip("^ ") else [],
            "gender": GENDERS.get(source.text("PatientSex"), "unknown"),
            "birthDate": _day(birth) if birth else "",
        }
    )


def _study(source: Header, urls: dict[str, str]) -> Resource:
    sop_class = {"system": "urn:ietf:rfc:3986", "code": f"urn:oid:{source.sop_class_uid}"}
    series = {
        "uid": source.series_uid,
        "modality": {"system": SYSTEMS["DCM"], "code": source.text("Modality") or "CR"},
        "instance": [{"uid": source.sop_instance_uid, "sopClass": sop_class}],
    }
    return _without_empty(
        {
            "resourceType": "ImagingStudy",
            "identifier": [{"system": "urn:dicom:uid", "value": f"urn:oid:{source.study_uid}"}],
            "status": "available",
            "subject": {"reference": urls["patient"]},
            "started": _day(source.text("StudyDate")) if source.text("StudyDate") else "",
            "series": [series],
        }
    )


def _device(found: Findings) -> Resource:
    return {
        "resourceType": "Device",
        "identifier": [{"system": "urn:ietf:rfc:3986", "value": f"urn:hash:sha256:{found.model.sha256}"}],
        "manufacturer": "carpal",
        "deviceName": [{"name": found.algorithm, "type": "model-name"}],
        "version": [{"value": found.model.version}, {"value": f"carpal {carpal.__version__}"}],
    }


def _bone_age(found: Findings, whole: Findings, source: Header, urls: dict[str, str]) -> Resource:
    maturation = found.maturation
    observation = _observation(found.months, codes.HANDS[found.side(source)], source, urls)
    label = [whole.label(found)] if found is not whole else []
    observation |= {
        "interpretation": [_concept(maturation)] if maturation else [],
        "note": [{"text": remark} for remark in (*label, *found.remarks, *found.parameters)],
        "hasMember": [{"reference": urls[name]} for name in _members(found, whole)],
        "component": [*(_sex(found) if found is not whole else []), *_components(found)],
    }
    if found.months is None:
        reason = "error" if was_attempted(found) else "not-performed"
        reason = "unknown" if found.readings else reason
        observation["dataAbsentReason"] = {"coding": [{"system": f"{TERMINOLOGY}/data-absent-reason", "code": reason}]}
    return _without_empty(observation)


def _region(region: Finding, found: Findings, source: Header, urls: dict[str, str]) -> Resource:
    side = found.side(source)
    observation = _observation(region.months, codes.site(region.name, side).code, source, urls)
    box = region.box
    where = f"{region.name}, box {box.x1:g}, {box.y1:g}, {box.x2:g}, {box.y2:g} pixels of the radiograph"
    where = where if found.part is None else f"{where}, {found.label(found)}"
    return _without_empty(observation | {"note": [{"text": where if side is None else f"{where}, {_hand(side)}"}]})


def _hand(side: Side) -> str:
    return f"{side} hand"


def _observation(months: float | None, site: codes.Code, source: Header, urls: dict[str, str]) -> Resource:
    """What the whole hand and one region have in common."""
    return {
        "resourceType": "Observation",
        "status": "preliminary",
        "category": [{"coding": [{"system": f"{TERMINOLOGY}/observation-category", "code": "imaging"}]}],
        "code": _concept(codes.BONE_AGE),
        "subject": {"reference": urls["patient"]},
        "effectiveDateTime": _day(source.date),
        "valueQuantity": None if months is None else _quantity(months, codes.MONTH),
        "bodySite": _concept(site),
        "device": {"reference": urls["device"]},
        "derivedFrom": [{"reference": urls["study"]}],
    }


def _sex(found: Findings) -> list[Resource]:
    """Which sex one of several readings is for."""
    return (
        []
        if found.sex is None
        else [{"code": _concept(codes.SEX), "valueCodeableConcept": _concept(codes.SEXES[found.sex])}]
    )


def _components(found: Findings) -> list[Resource]:
    """The interval as a range, and the z-score with the reference that it rests on."""
    components: list[Resource] = []
    if found.interval is not None:
        low, high = (_quantity(age, codes.MONTH) for age in (found.interval.low, found.interval.high))
        name = f"{round(100 * found.interval.coverage)} % prediction interval"
        components.append({"code": {"text": name}, "valueRange": {"low": low, "high": high}})
    if found.score is not None:
        mean, sd, z = found.score.numbers
        for code, value, unit in (
            (codes.Z_SCORE, z, codes.NO_UNITS),
            (codes.POPULATION_MEAN, mean, codes.MONTH),
            (codes.POPULATION_SD, sd, codes.MONTH),
        ):
            components.append({"code": _concept(code), "valueQuantity": _quantity(value, unit)})
        components.append({"code": _concept(codes.CITATION), "valueString": found.score.citation})
    return components


def _concept(code: codes.Code) -> Resource:
    return {"coding": [{"system": SYSTEMS[code.scheme], "code": code.value, "display": code.meaning}]}


def _quantity(value: float, unit: codes.Code) -> Resource:
    return {"value": value, "unit": unit.meaning, "system": SYSTEMS[unit.scheme], "code": unit.value}


def _day(date: str) -> str:
    """DICOM's 20240105 as 2024-01-05; "" for a radiograph without a date."""
    return "" if date == NO_DATE else f"{date[:4]}-{date[4:6]}-{date[6:8]}"


def _without_empty(resource: Resource) -> Resource:
    """FHIR forbids empty values: keys without one are left out."""
    return {key: value for key, value in resource.items() if value not in (None, "", [], {})}
