"""What every form says, decided and rounded once: SR, FHIR and HL7 cannot differ, because none of them computes.

`Findings` holds the result: ages have one decimal, boxes two, z-scores two. An error before there was an assessment has
its findings, too: a study that was sent is never answered by silence.

`Summary` holds what a reading means beside the age: against other children, over time, in height, region by region.
Every number carries its source in the sentence beside it. Where a table does not reach, the sentence says so and no
number stands.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import carpal
from carpal.anatomy import GROUPS, group_of
from carpal.errors import CarpalError, GrowthError, MissingSex
from carpal.growth.height import WITHIN, AdultHeight, adult_height
from carpal.growth.reference import Maturity, Reference, classify, reference, score
from carpal.growth.reference import score as score_of
from carpal.growth.velocity import Study, Velocity, standard_error, velocity
from carpal.report import charts
from carpal.report.charts import Chart
from carpal.report.child import Child
from carpal.report.codes import ADVANCED, DELAYED, Code
from carpal.report.language import Words
from carpal.report.text import signed, years
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


FINGERS: Final = (*GROUPS["MCP"], *GROUPS["PIP"], *GROUPS["DIP"])


@dataclass(frozen=True)
class Summary:
    """An assessment with what it means; a note is empty where there is nothing to say."""

    assessment: Assessment
    child: Child
    own_months: float | None
    score: Score | None
    maturity: Maturity | None
    """What the z-score is called; `verdict` is the same in the reader's language."""
    verdict: str
    score_note: str
    interval_note: str
    site_note: str
    """That a hospital's calibration gave the age, and the network's own; empty without."""
    growth: Chart | None
    growth_caption: str
    distribution: Chart | None
    velocity: Velocity | None
    velocity_note: str
    height: AdultHeight | None
    height_note: str
    groups: tuple[tuple[str, float], ...]
    groups_note: str
    words: Words

    @property
    def height_span(self) -> str:
        """The adult height in cm, as a range where the bone age has an interval."""
        return "" if self.height is None else span(self.height.low, self.height.high)

    @property
    def height_sentence(self) -> str:
        """The adult height in one sentence, for the PDF."""
        if self.height is None:
            return self.height_note
        title = self.words.gettext("Adult height")
        return f"{title}: {self.height_span} cm. {self.height_note}"

    @staticmethod
    def group_of(region: str) -> str:
        """The region's group, which gives its colour."""
        return group_of(region)


def summarise(assessment: Assessment, child: Child, words: Words, own_months: float | None = None) -> Summary:
    """Everything that a report says of a reading. An assessment without an age has no comparison."""
    table = child.reference or reference()
    score, score_note = _summary_score(assessment, child, table, words)
    maturity = None if score is None or score.z is None else classify(score.z)
    speed, velocity_note = _velocity(assessment, child, words)
    height, height_note = _height(assessment, child, words)
    groups = _groups(assessment, words)
    return Summary(
        assessment=assessment,
        child=child,
        own_months=own_months,
        score=score,
        maturity=maturity,
        verdict=_verdict(maturity, words),
        score_note=score_note,
        interval_note=_interval_note(assessment, words),
        site_note=_site_note(assessment, words),
        growth=_growth(assessment, child, table, words),
        growth_caption=words.gettext("Mean ± 2 SD: %s") % table.citation,
        distribution=_distribution(assessment, words),
        velocity=speed,
        velocity_note=velocity_note,
        height=height,
        height_note=height_note,
        groups=groups,
        groups_note=_groups_note(groups, words),
        words=words,
    )


def span(low: float, high: float) -> str:
    """Like 161 to 167 with a dash between, or one number where both are the same."""
    return f"{low:.0f} \N{EN DASH} {high:.0f}" if round(low) != round(high) else f"{low:.0f}"


def _summary_score(assessment: Assessment, child: Child, table: Reference, words: Words) -> tuple[Score | None, str]:
    if assessment.months is None:
        return None, ""
    if child.months is None:
        return None, words.gettext("Without the date of birth and the date of the radiograph there is no comparison.")
    found = assessment.growth
    judged_by = found and (found.reference, found.citation, found.chronological_months)
    if found is None or judged_by != (table.name, table.citation, round(child.months, 1)):  # not judged for this child
        found = score_of(assessment.sex, assessment.months, child.months, table)
    if found.z is None or found.mean is None:
        return None, found.note
    note = words.gettext("Expected at this age: %(mean)s, SD %(sd).1f months (%(source)s). Normal: within ± 2 SD.")
    return found, note % {
        "mean": years(found.mean, words),
        "sd": found.sd,
        "source": table.citation,
    }


def _verdict(maturity: Maturity | None, words: Words) -> str:
    names = {
        "delayed": words.gettext("delayed"),
        "normal": words.gettext("normal"),
        "advanced": words.gettext("advanced"),
    }
    return names[maturity] if maturity else ""


def _interval_note(assessment: Assessment, words: Words) -> str:
    interval = assessment.interval
    if interval is None:
        return words.gettext("No interval: these weights are not calibrated.")
    title = words.gettext("%(share)s interval:") % {"share": f"{interval.coverage * 100:.0f} %"}
    return f"{title} {years(interval.low, words)} \N{EN DASH} {years(interval.high, words)}"


def _site_note(assessment: Assessment, words: Words) -> str:
    if assessment.site is None or assessment.raw_months is None:
        return ""
    own = years(assessment.raw_months, words)
    return words.gettext("Calibrated by %(site)s; the network itself read %(age)s.") % {
        "site": assessment.site,
        "age": own,
    }


def _growth(assessment: Assessment, child: Child, table: Reference, words: Words) -> Chart | None:
    if assessment.months is None or child.months is None:
        return None
    earlier = [(each.chronological_months, each.bone_months) for each in child.earlier]
    point = child.months, assessment.months
    return charts.growth_chart(table.curve(assessment.sex), point, earlier, assessment.interval, words)


def _distribution(assessment: Assessment, words: Words) -> Chart | None:
    if assessment.months is None or not assessment.probabilities:
        return None
    if assessment.raw_months is not None:  # the network's own answer: a calibration moves neither curve nor sum
        return charts.distribution(assessment.probabilities, assessment.raw_months, None, words)
    return charts.distribution(assessment.probabilities, assessment.months, assessment.interval, words)


def _velocity(assessment: Assessment, child: Child, words: Words) -> tuple[Velocity | None, str]:
    """The speed since the latest earlier reading, each with the standard error of its own interval.

    An earlier reading without one gets today's error, and the note says so.
    """
    if not child.earlier or child.months is None or assessment.months is None:
        return None, ""
    if assessment.interval is None:
        return None, words.gettext("Without an interval the error of a velocity is not known, so none is given.")
    error, last = standard_error(assessment.interval), child.earlier[-1]
    before = error if last.interval is None else standard_error(last.interval)
    try:
        found = velocity(
            Study(last.chronological_months, last.bone_months, before), Study(child.months, assessment.months, error)
        )
    except GrowthError as problem:
        return None, str(problem)
    pace = {
        "slower": words.gettext("slower than the child's age"),
        "faster": words.gettext("faster than the child's age"),
        "not distinguishable": words.gettext("not distinguishable from the child's pace"),
    }[found.pace]
    note = words.gettext(
        "Since the reading before: %(rate)s years of bone age a year (95 %% interval %(low)s to %(high)s): %(pace)s."
    )
    rate, low, high = (signed(number, plus=False) for number in (found.rate, found.low, found.high))
    note %= {"rate": rate, "low": low, "high": high, "pace": pace}
    if last.interval is None:
        note += " " + words.gettext("The reading before has no interval; its error is taken to be today's.")
    return found, note


def _height(assessment: Assessment, child: Child, words: Words) -> tuple[AdultHeight | None, str]:
    if child.height_cm is None or assessment.months is None:
        return None, ""
    if child.months is None:
        return None, words.gettext("Adult height needs the child's age: complete both dates.")
    try:
        found = adult_height(assessment.sex, child.height_cm, child.months, assessment.months, assessment.interval)
    except GrowthError as error:
        return None, str(error)
    lines = [
        words.gettext(
            "From %(height).1f cm and %(factor).1f %% of adult height at this bone age. "
            "Group: %(rule)s. Source: %(source)s."
        )
        % {
            "height": child.height_cm,
            "factor": found.factor,
            "rule": _rule(found, assessment.months, child.months, words),
            "source": found.citation,
        },
        *found.notes,
    ]
    if assessment.interval is None:
        lines.append(words.gettext("Without an interval of the bone age the range of the height is not known."))
    return found, " ".join(lines)


def _rule(found: AdultHeight, bone_months: float, months: float, words: Words) -> str:
    """`found.rule` in the reader's language."""
    rule = {
        "average": words.gettext(
            "bone age %(bone).1f is within %(limit)g months of the chronological age %(age).1f: average"
        ),
        "accelerated": words.gettext(
            "bone age %(bone).1f is more than %(limit)g months above the chronological age %(age).1f: accelerated"
        ),
        "delayed": words.gettext(
            "bone age %(bone).1f is more than %(limit)g months below the chronological age %(age).1f: delayed"
        ),
    }[found.group]
    return rule % {"bone": bone_months, "limit": WITHIN, "age": months}


def _groups(assessment: Assessment, words: Words) -> tuple[tuple[str, float], ...]:
    """Carpals, radius and ulna, fingers: the mean of their regions' own ages."""
    if not assessment.regions:
        return ()
    own = {region.name: region.months for region in assessment.regions}
    kinds: Sequence[tuple[str, Sequence[str]]] = (
        (words.gettext("Carpals"), ("Wrist",)),
        (words.gettext("Radius and ulna"), ("Radius", "Ulna")),
        (words.gettext("Fingers"), FINGERS),
    )
    return tuple((name, sum(own[each] for each in names) / len(names)) for name, names in kinds)


def _groups_note(groups: Sequence[tuple[str, float]], words: Words) -> str:
    if not groups:
        return ""
    ages = [months for _, months in groups]
    note = words.gettext(
        "Asynchrony, the widest difference between the three: %s. Means of the regions' own ages; "
        "there is no published norm for it, and the regions' ages are less certain than the whole."
    )
    return note % years(max(ages) - min(ages), words)
