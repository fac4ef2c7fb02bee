"""What a reading means beside the age: against other children, over time, in height, region by region.

Every number carries its source in the sentence beside it. Where a table does not reach, the sentence says so and no
number stands.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from carpal.anatomy import GROUPS, group_of
from carpal.errors import GrowthError
from carpal.growth.height import WITHIN, AdultHeight, adult_height
from carpal.growth.reference import Maturity, Reference, classify, reference
from carpal.growth.reference import score as score_of
from carpal.growth.velocity import Study, Velocity, standard_error, velocity
from carpal.report import charts
from carpal.report.charts import Chart
from carpal.report.child import Child
from carpal.report.language import Words
from carpal.report.text import signed, years
from carpal.types import Assessment, Score

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
    score, score_note = _score(assessment, child, table, words)
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


def _score(assessment: Assessment, child: Child, table: Reference, words: Words) -> tuple[Score | None, str]:
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
