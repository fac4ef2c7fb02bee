"""How the page and the PDF name what there is more than one of: two hands in a picture, a girl's and a boy's age."""

from __future__ import annotations

from carpal.report.language import Words
from carpal.report.text import years
from carpal.types import Result, Sex, each_of


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
