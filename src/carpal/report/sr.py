"""Findings to a DICOM Comprehensive SR: TID 1500, the hand as TID 1501, each region as TID 1410 with its box.

The bone age is (37362-1, LN) in months; its interval, z-score and reference hang below it (TID 310, 311); the algorithm
is TID 4019 with the weights' hash. A refusal is a report, too: the bone age without a value, and why. Several readings
(two hands, a sex that nobody stated) are one report: first a group whose bone age is indeterminate, so that no machine
takes the first number for the answer, then a group for each.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from carpal.errors import need
from carpal.imaging.dicom import quiet
from carpal.imaging.exam import from_parts
from carpal.report import codes
from carpal.report.content import Finding, Findings, was_attempted
from carpal.report.dicom_common import coded, derive, equipment, identity, to_bytes
from carpal.types import Header, Score


def write(found: Findings, source: Header, uid_root: str | None = None) -> bytes:
    """The report as a DICOM file. Raises BackendError without highdicom, ConfigError for a wrong root."""
    need("highdicom", "A structured report", extra="dicom")
    from highdicom.sr import ComprehensiveSR

    where = identity("sr", found, source, uid_root)
    with quiet():
        document = ComprehensiveSR(
            evidence=[source.copy()],
            content=_report(found, source, uid_root)[0],
            series_instance_uid=where.series_uid,
            series_number=where.series_number,
            sop_instance_uid=where.sop_instance_uid,
            instance_number=1,
            is_complete=True,
            is_final=False,
            series_description=where.title,
            content_date=source.date,
            content_time=source.time,
            **equipment(found),
        )
    _empty_qualified(document)
    return to_bytes(document, source)


def _empty_qualified(item: Any) -> None:
    """A number that is qualified as missing has no value; highdicom cannot copy one without, so it goes last."""
    for child in item.get("ContentSequence", ()):
        if "NumericValueQualifierCodeSequence" in child:
            child.MeasuredValueSequence = []
        _empty_qualified(child)


def _report(found: Findings, source: Header, uid_root: str | None) -> Any:
    """TID 1500."""
    from highdicom.sr import MeasurementReport

    hands = [_hand(reading, found, source, uid_root) for reading in (found, *found.readings)]
    groups = [*hands, *(_region(region, of, source, uid_root) for of, region in found.each_region())]
    return MeasurementReport(
        observation_context=_observer(found, uid_root),
        procedure_reported=coded(codes.PROCEDURE),
        imaging_measurements=groups,
    )


def _observer(found: Findings, uid_root: str | None) -> Any:
    """TID 1001 and 1004: a device looked, and which."""
    from highdicom.sr import DeviceObserverIdentifyingAttributes, ObservationContext, ObserverContext

    device = DeviceObserverIdentifyingAttributes(
        uid=from_parts(("device", found.model.sha256), uid_root),
        name="carpal",
        manufacturer_name="carpal",
        model_name=found.algorithm,
        serial_number=found.model.sha256,
    )
    context = ObserverContext(observer_type=coded(codes.DEVICE), observer_identifying_attributes=device)
    return ObservationContext(observer_device_context=context)


def _algorithm(found: Findings) -> Any:
    """TID 4019."""
    from highdicom.sr import AlgorithmIdentification

    return AlgorithmIdentification(found.algorithm, found.model.version, parameters=list(found.parameters))


def _hand(found: Findings, whole: Findings, source: Header, uid_root: str | None) -> Any:
    """TID 1501: the hand, or one reading of the `whole`, and the sentences for people."""
    from highdicom.sr import (
        FindingSite,
        MeasurementsAndQualitativeEvaluations,
        QualitativeEvaluation,
        SourceImageForMeasurementGroup,
        TrackingIdentifier,
    )

    evaluations = []
    if found.refusal is not None and was_attempted(found):
        evaluations.append(QualitativeEvaluation(coded(codes.QUALITY), coded(codes.REJECTED)))
    if found is not whole and found.sex is not None:
        evaluations.append(QualitativeEvaluation(coded(codes.SEX), coded(codes.SEXES[found.sex])))
    name = ", ".join(["Bone age", *([] if found is whole else [whole.label(found)])])
    group = MeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(derive("hand", found, source, uid_root), name),
        algorithm_id=_algorithm(found),
        finding_sites=[FindingSite(coded(codes.HANDS[found.side(source)]))],
        measurements=[_bone_age(found)],
        qualitative_evaluations=evaluations or None,
        source_images=[SourceImageForMeasurementGroup(*_image(source))],
    )
    group[0].ContentSequence.extend(_comment(remark) for remark in found.remarks)
    return group


def _bone_age(found: Findings) -> Any:
    """TID 300 with its properties; without an age the number is qualified (CID 42) and emptied by `write`."""
    from highdicom.sr import Measurement, MeasurementProperties

    name, unit = coded(codes.BONE_AGE), coded(codes.MONTH)
    if found.months is None:
        qualifier = codes.FAILED if was_attempted(found) else codes.NOT_ATTEMPTED
        qualifier = codes.INDETERMINATE if found.readings else qualifier
        return Measurement(name, 0, unit, qualifier=coded(qualifier))
    statistics = None if found.score is None else _statistics(found.score)
    properties = MeasurementProperties(measurement_statistical_properties=statistics)
    if found.interval is not None:  # not by highdicom's own arguments, which give them no unit
        properties.append(_property(codes.UPPER, round(found.interval.high - found.months, 1), codes.MONTH))
        properties.append(_property(codes.LOWER, round(found.months - found.interval.low, 1), codes.MONTH))
    return Measurement(name, found.months, unit, properties=properties if len(properties) else None)


def _statistics(score: Score) -> Any:
    """TID 311: the reference's mean and SD, the z-score, and whose table it is."""
    from highdicom.sr import MeasurementStatisticalProperties, RelationshipTypeValues, TextContentItem

    mean, sd, z = score.numbers
    properties = MeasurementStatisticalProperties(
        values=[
            _property(codes.POPULATION_MEAN, mean, codes.MONTH),
            _property(codes.POPULATION_SD, sd, codes.MONTH),
            _property(codes.Z_SCORE, z, codes.NO_UNITS),
        ],
        description=f"{score.reference}, chronological age {score.chronological_months:.1f} months",
        authority=score.reference,
    )
    has = RelationshipTypeValues.HAS_PROPERTIES
    properties.append(TextContentItem(coded(codes.CITATION), score.citation, relationship_type=has))
    return properties


def _property(name: codes.Code, value: float, unit: codes.Code) -> Any:
    from highdicom.sr import NumContentItem, RelationshipTypeValues

    return NumContentItem(coded(name), value, coded(unit), relationship_type=RelationshipTypeValues.HAS_PROPERTIES)


def _region(region: Finding, found: Findings, source: Header, uid_root: str | None) -> Any:
    """TID 1410: the box as a closed polyline, the bone that it shows, the age by itself."""
    from highdicom.sr import (
        FindingSite,
        GraphicTypeValues,
        ImageRegion,
        Measurement,
        PlanarROIMeasurementsAndQualitativeEvaluations,
        SourceImageForRegion,
        TrackingIdentifier,
    )

    site = codes.site(region.name, found.side(source))
    x1, y1, x2, y2 = region.box.x1, region.box.y1, region.box.x2, region.box.y2
    outline_N2 = np.array([(x1, y1), (x2, y1), (x2, y2), (x1, y2), (x1, y1)])
    name = region.name if found.part is None else f"{region.name}, {found.label(found)}"
    return PlanarROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(derive(region.name, found, source, uid_root), name),
        referenced_region=ImageRegion(GraphicTypeValues.POLYLINE, outline_N2, SourceImageForRegion(*_image(source))),
        algorithm_id=_algorithm(found),
        finding_sites=[FindingSite(coded(site.code), laterality=site.laterality and coded(site.laterality))],
        measurements=[Measurement(coded(codes.BONE_AGE), region.months, coded(codes.MONTH))],
    )


def _image(source: Header) -> tuple[str, str, list[int] | None]:
    """The radiograph as highdicom's references want it: of several frames, the first was read."""
    return source.sop_class_uid, source.sop_instance_uid, None if source.frame is None else [source.frame]


def _comment(text: str) -> Any:
    from highdicom.sr import RelationshipTypeValues, TextContentItem

    return TextContentItem(coded(codes.COMMENT), text, relationship_type=RelationshipTypeValues.CONTAINS)
