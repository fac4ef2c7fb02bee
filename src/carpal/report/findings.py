"""What every form says, decided and rounded once: SR, FHIR and HL7 cannot differ, because none of them computes.

Ages have one decimal, boxes two, z-scores two. An error before there was an assessment has its findings, too: a study
that was sent is never answered by silence.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import carpal
from carpal.errors import CarpalError, MissingSex
from carpal.growth.reference import classify, reference, score
from carpal.report.codes import ADVANCED, DELAYED, Code
from carpal.types import Assessment, Box, Header, Interval, ModelId, Refusal, Result, Score, Sex, Side

NOTICE: Final = "Research only, not a medical device"


@dataclass(frozen=True)
class Finding:
    """One region: its name, its box in pixels of the radiograph, and the age that it shows by itself."""

    name: str
    box: Box
    months: float


@dataclass(frozen=True)
class Findings:
    """The content of a report. `months` is None where `refusal` says why, and where `readings` have ages of their own;
    `sex` only where nobody stated it."""

    model: ModelId
    sex: Sex | None
    months: float | None
    interval: Interval | None = None
    score: Score | None = None
    apart: str | None = None
    """What the comparison rests on, where that is not the default reference and the age that the file states."""
    regions: tuple[Finding, ...] = ()
    warnings: tuple[str, ...] = ()
    refusal: Refusal | None = None
    raw_months: float | None = None
    """The network's own age, where a hospital's calibration gave `months`, and the calibration's name."""
    site: str | None = None
    part: str | None = None
    """ "left", "right", "top" or "bottom" of the picture for one of two hands in it; not which hand it is."""
    revision: str | None = None
    """A hash of what people changed in the reading, such as regions put right by hand; it enters every UID."""
    readings: tuple[Findings, ...] = ()
    """All readings of a radiograph that has several: of two hands, for both sexes. It has no age of its own then."""

    @property
    def maturation(self) -> Code | None:
        """Delayed or advanced, as `growth.reference.classify` calls it; otherwise None."""
        if self.score is None or self.score.z is None:
            return None
        return {"delayed": DELAYED, "advanced": ADVANCED}.get(classify(self.score.z))

    @property
    def algorithm(self) -> str:
        """The algorithm's name as the forms print it."""
        return f"carpal {self.model.name}"

    @property
    def parameters(self) -> tuple[str, ...]:
        """What else identifies the computation: the weights' hash, the software, the sex it was told."""
        sex = "not stated" if self.sex is None else str(self.sex)
        named = (f"weights SHA-256 {self.model.sha256}", f"software carpal {carpal.__version__}", *self._computed)
        named = (*named, f"sex {sex}")
        if self.site is None:
            return named
        raw = "" if self.raw_months is None else f", age before it {self.raw_months:.1f} months"
        return (*named, f"calibration {self.site}{raw}")

    @property
    def _computed(self) -> tuple[str, ...]:
        """Precision and runtime, where they are not the reference's."""
        model = self.model
        reference = (model.backend, model.precision) == ("onnx", "fp32")
        return () if reference else (f"computed in {model.precision} by {model.backend}",)

    @property
    def summary(self) -> str:
        """The result in one sentence."""
        if self.readings:
            why = [*(["sex not stated"] if self.sex is None else []), *(["two hands"] if self.has_parts else [])]
            ages = "; ".join(f"{self.label(r)} {_months(r)}" for r in self.readings)
            return f"{len(self.readings)} bone ages ({', '.join(why)}): {ages}{self._calibrated}"
        if self.months is None:
            assert self.refusal is not None
            return f"No bone age: {self.refusal.message}"
        sentence = f"Bone age {self.months:.1f} months ({self.sex})"
        sentence += _span(self.interval)
        if self.score is not None and self.score.z is not None:
            sentence += f", z-score {self.score.z:+.2f} ({self.score.reference})"
        return sentence + self._calibrated

    @property
    def _calibrated(self) -> str:
        return "" if self.site is None else f", calibrated by {self.site}"

    @property
    def remarks(self) -> tuple[str, ...]:
        """Sentences for a person: the result, every warning, what this is not."""
        return (self.summary, *(f"Warning: {warning}" for warning in self.warnings), NOTICE)

    @property
    def has_parts(self) -> bool:
        """Whether the picture holds two hands, so that the file's side is that of neither."""
        return self.part is not None or any(reading.part is not None for reading in self.readings)

    def side(self, source: Header) -> Side | None:
        """Which hand it is, as the file states it."""
        return None if self.has_parts else source.exam.side

    def laterality(self, source: Header) -> str:
        """Laterality (0020,0060) for objects that show the hand: L, R or, unknown, empty."""
        return "" if self.has_parts else source.laterality

    def label(self, reading: Findings) -> str:
        """What tells one of the readings from the others; empty for an only one."""
        where = [] if reading.part is None else [f"hand at the {reading.part} of the picture"]
        return ", ".join([*where, *([f"as {reading.sex}"] if self.readings and self.sex is None else [])])

    def each_region(self) -> list[tuple[Findings, Finding]]:
        """Every region with the reading that it is of, once: those of a hand do not depend on the sex."""
        found: dict[tuple[str | None, Finding], Findings] = {}
        for reading in self.readings or (self,):
            for region in reading.regions:
                found.setdefault((reading.part, region), reading)
        return [(reading, region) for (_, region), reading in found.items()]


def findings(assessment: Assessment, source: Header) -> Findings:
    """An assessment's findings, with the z-score that it was judged by, or one by the default reference where nobody
    judged it and the file states the chronological age."""
    interval = assessment.interval
    months = None if assessment.months is None else round(assessment.months, 1)
    score, apart, missing = _score(assessment, source.exam.age_months)
    return Findings(
        model=assessment.model,
        sex=assessment.sex,
        months=months,
        interval=interval and Interval(round(interval.low, 1), round(interval.high, 1), interval.coverage),
        score=score,
        apart=apart,
        regions=tuple(
            Finding(r.name, _rounded(r.box, source.exam.square_scale), round(r.months, 1)) for r in assessment.regions
        ),
        warnings=_joined(assessment.warnings, source.assumed, missing),
        refusal=assessment.refused,
        raw_months=None if assessment.raw_months is None else round(assessment.raw_months, 1),
        site=assessment.site,
        part=assessment.side_in_image,
    )


def each(results: Sequence[Result]) -> list[Assessment]:
    """Every assessment among the results of one radiograph. One for a sex that nobody stated says so, and names the
    other age, so that it is never mistaken for the answer."""
    flat: list[Assessment] = []
    for result in results:
        if isinstance(result, Assessment):
            flat.append(result)
            continue
        for one, other in ((result.female, result.male), (result.male, result.female)):
            age = "no age is given" if other.months is None else f"it is {other.months:.1f} months"
            said = f"the sex is not stated, so this is one of two readings: as {one.sex}; as {other.sex} {age}"
            flat.append(replace(one, warnings=(said, *one.warnings)))
    return flat


def together(results: Sequence[Result], source: Header) -> Findings:
    """The findings of all results of one radiograph: of the only one itself, of several a whole that holds each."""
    readings = tuple(findings(assessment, source) for assessment in each(results))
    first, sexes = readings[0], {reading.sex for reading in readings}
    if len(readings) == 1:
        return first
    apart = next((reading.apart for reading in readings if reading.apart), None)
    whole = Findings(first.model, first.sex if len(sexes) == 1 else None, None, site=first.site, apart=apart)
    refusals = list(dict.fromkeys(reading.refusal for reading in readings if reading.refusal is not None))
    if len(refusals) and all(reading.months is None for reading in readings):
        message = "; ".join(dict.fromkeys(refusal.message for refusal in refusals))
        return replace(
            whole, refusal=Refusal(refusals[0].code, message), warnings=_joined(*(r.warnings for r in readings))
        )
    return replace(whole, readings=readings)


def refused(error: CarpalError, model: ModelId, sex: Sex | None = None) -> Findings:
    """The findings of a radiograph that could not be read: why, and no age."""
    return Findings(model, sex, None, refusal=Refusal(error.code, str(error)))


def was_attempted(found: Findings) -> bool:
    """False where the radiograph was not even looked at, because nobody stated the sex."""
    return found.refusal is None or found.refusal.code != MissingSex.code


def _score(assessment: Assessment, age: float | None) -> tuple[Score | None, str | None, tuple[str, ...]]:
    """The comparison that the reading was judged by, or where nobody judged it one by the default reference at the
    `age` that the file states. With it what sets it apart from the latter, and a warning outside the table.
    """
    if assessment.months is None or (assessment.growth is None and age is None):
        return None, None, ()
    usual = reference()
    growth = assessment.growth
    if growth is None:
        assert age is not None
        growth = score(assessment.sex, assessment.months, age, usual)
    at_usual = (usual.name, usual.citation, None if age is None else round(age, 1))
    basis = (growth.reference, growth.citation, growth.chronological_months)
    apart = None if basis == at_usual else str(basis)
    if growth.z is None:
        return None, apart, (growth.note,)
    return growth, apart and f"{apart} {growth.mean} {growth.sd}", ()


def _months(found: Findings) -> str:
    return "none" if found.months is None else f"{found.months:.1f} months{_span(found.interval)}"


def _span(interval: Interval | None) -> str:
    if interval is None:
        return ""
    share = round(100 * interval.coverage)
    return f", {share} % interval {interval.low:.1f} to {interval.high:.1f} months"


def _rounded(box: Box, scale: tuple[float, float]) -> Box:
    """The box in the file's own pixels, of which the decoded picture has `scale` across and down."""
    across, down = scale
    return Box(*(round(side, 2) for side in (box.x1 / across, box.y1 / down, box.x2 / across, box.y2 / down)))


def _joined(*groups: tuple[str, ...]) -> tuple[str, ...]:
    """All of them in order, each once."""
    return tuple(dict.fromkeys(text for group in groups for text in group))
