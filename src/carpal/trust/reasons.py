"""Why an image gets no age: every code, and the sentence that goes with it. The only list of them."""

from __future__ import annotations

from gettext import NullTranslations
from types import MappingProxyType
from typing import Final

from carpal.types import Refusal


def N_(text: str) -> str:
    """gettext's name for a mark: the catalogues of `locale/` have this text, too."""
    return text


REASONS: Final = MappingProxyType(
    {
        "too-small": N_("the picture is too small to show growth plates. Give the radiograph itself, not its preview"),
        "too-dark": N_("the picture has almost no contrast. Export the radiograph with its full range of grey values"),
        "not-a-radiograph": N_(
            "this does not look like a radiograph. Give a radiograph of one hand, without photographs of the film, "
            "colour or text pages"
        ),
        "adult": N_("the patient is an adult. Bone age is defined for children only"),
        "two-hands": N_(
            "there is more than one hand in the picture. `carpal assess` reads two hands apart where it can; else crop "
            "the picture to one hand"
        ),
        "not-a-hand": N_("no hand was found. Give a posterior-anterior radiograph of one whole hand"),
        "cropped": N_("a part of the hand lies outside the picture. Give one that shows all fingers and the wrist"),
        "hidden-regions": N_(
            "regions that the age is read from cannot be seen. A cast, a splint or an implant must not cover the hand"
        ),
        "implausible-regions": N_(
            "the regions found do not lie to each other as in a hand. Give a posterior-anterior radiograph of one hand "
            "with its fingers spread"
        ),
        "age-disagreement": N_(
            "the hand as a whole and its single regions show different ages. Look at the radiograph: disease, a wrong "
            "projection or hidden bones can be the cause"
        ),
    }
)
"""Code -> what is wrong and what to do. Codes are for machines and never change."""


def refuse(code: str, name: str, got: str) -> Refusal:
    """The refusal of the image `name`: what is wrong, what was measured, what to do. KeyError for an unknown code."""
    wrong, _, mend = REASONS[code].partition(". ")
    return Refusal(code, f"{name}: {wrong} ({got}). {mend}")


def translated(refusal: Refusal, words: NullTranslations) -> str:
    """What is wrong and what to do, in the language of `words`; empty in English, where the message itself says it."""
    english = REASONS.get(refusal.code, "")
    said = words.gettext(english) if english else ""
    return "" if said == english else f"{said[0].upper()}{said[1:]}."
