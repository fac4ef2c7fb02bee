"""Results as lines of text, for the terminal, the page and the PDF. The only place where months become years.

Here stand, too, the names of what there is more than one of: two hands in a radiograph, a girl's and a boy's age.
"""

from __future__ import annotations

from collections.abc import Mapping
from gettext import NullTranslations
from typing import Any

from carpal.report.language import Words
from carpal.types import Assessment, BothSexes, Interval, Result, Sex, each_of


def years(months: float, words: NullTranslations | None = None) -> str:
    """135.2 months -> "11 years 3 months": rounded to whole months, in the language of `words` (default: English)."""
    words, (full, rest) = words or NullTranslations(), divmod(round(months), 12)
    parts = [words.ngettext("%d year", "%d years", full) % full] if full else []
    if rest or not parts:
        parts.append(words.ngettext("%d month", "%d months", rest) % rest)
    return " ".join(parts)


def signed(number: float, plus: bool = True) -> str:
    """One decimal for people: with a minus sign instead of a hyphen, and with a plus sign unless told otherwise."""
    return f"{round(number, 1) + 0.0:{'+' if plus else ''}.1f}".replace("-", "\N{MINUS SIGN}")


def one_line(assessment: Assessment) -> str:
    """One line: the image, the age with its interval, the sex, how many regions and warnings."""
    if assessment.refused is not None or assessment.months is None:
        reason = assessment.refused.message if assessment.refused else ""
        return f"{_name(assessment)}: no age ({reason})"
    facts = [f"{years(assessment.months)} ({assessment.months:.1f} months)", *details(assessment)]
    facts.append(str(assessment.sex))
    if assessment.regions:
        facts.append(f"{len(assessment.regions)} regions")
    if assessment.warnings:
        facts.append(_count(len(assessment.warnings), "warning"))
    return f"{_name(assessment)}: {', '.join(facts)}"


def line_of(result: Result) -> str:
    """One line for a hand, whether its sex is known or not."""
    return line_of_both(result) if isinstance(result, BothSexes) else one_line(result)


def line_of_both(both: BothSexes) -> str:
    """One line for a radiograph whose sex is unknown: the age as a girl's and as a boy's, each with its interval."""
    if both.female.months is None or both.male.months is None:
        return one_line(both.female if both.female.months is None else both.male)
    ages = []
    for each, months in ((both.female, both.female.months), (both.male, both.male.months)):
        ages.append(", ".join([f"{years(months)} ({months:.1f} months) as {each.sex}", *details(each)]))
    return f"{_name(both.female)}: sex unknown, so both: {'; '.join(ages)}"


def _name(assessment: Assessment) -> str:
    """The image, and for one of two hands in a frame where it lies."""
    side = assessment.side_in_image
    return f"{assessment.image} ({side} in the image)" if side else assessment.image


def details(assessment: Assessment) -> list[str]:
    """What belongs to the age: the interval, a hospital's calibration with the network's own age, the z-score.

    Each only where there is one.
    """
    parts = []
    if assessment.interval is not None:
        parts.append(span(assessment.interval))
    if assessment.raw_months is not None:
        parts.append(f"calibrated by {assessment.site} from {assessment.raw_months:.1f}")
    return [*parts, *z_score(assessment)]


def z_score(assessment: Assessment) -> list[str]:
    """ "z-score +1.46 (greulich-pyle-brush)"; empty where the chronological age is not known or not in the table."""
    growth = assessment.growth
    return [] if growth is None or growth.z is None else [f"z-score {growth.z:+.2f} ({growth.reference})"]


def span(interval: Interval) -> str:
    """ "90 % interval 104 to 140 months"."""
    return f"{100 * interval.coverage:.0f} % interval {interval.low:.0f} to {interval.high:.0f} months"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def facts(values: Mapping[str, Any], indent: str = "") -> str:
    """Names and values below each other, nested ones indented; empty ones are left out."""
    plain = {name: value for name, value in values.items() if value not in ({}, "", None)}
    width = max((len(name) for name, value in plain.items() if not isinstance(value, Mapping)), default=0)
    lines = []
    for name, value in plain.items():
        if isinstance(value, Mapping):
            lines.append(f"{indent}{name}\n{facts(value, indent + '  ')}")
        else:
            lines.append(f"{indent}{name:<{width}}  {value}")
    return "\n".join(lines)


def hand_name(side: str, words: Words) -> str:
    """The name of one of two hands by its place in the picture, which does not say which hand it is."""
    return {
        "left": words.gettext("Hand on the left of the picture"),
        "right": words.gettext("Hand on the right of the picture"),
        "top": words.gettext("Upper hand in the picture"),
        "bottom": words.gettext("Lower hand in the picture"),
    }[side]


def as_sex(sex: Sex, words: Words) -> str:
    """The title of an age that holds for one sex only."""
    return {"female": words.gettext("Bone age as a girl"), "male": words.gettext("Bone age as a boy")}[sex]


def for_sex(sex: Sex, words: Words) -> str:
    """The same, in front of a sentence."""
    return {"female": words.gettext("As a girl"), "male": words.gettext("As a boy")}[sex]


def spoken(result: Result, words: Words) -> str:
    """The age or ages of a hand in words; where there is none, that it was refused."""
    parts = []
    for each in each_of(result):
        age = words.gettext("refused") if each.months is None else years(each.months, words)
        parts.append(f"{for_sex(each.sex, words)}: {age}" if len(each_of(result)) > 1 else age)
    return "; ".join(parts)
