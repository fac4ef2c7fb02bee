"""The languages of the page and of the PDF: gettext catalogues in `locale/`, English in the code itself.

    pybabel extract -F babel.cfg -o carpal.pot src && pybabel update -i carpal.pot -d src/carpal/locale -D carpal
    pybabel compile -d src/carpal/locale -D carpal

Warnings of the reader and messages of errors stay English: they are part of the result and are quoted in reports. On
the page a refusal's reason stands above its message, translated (`quality.thresholds`).
"""

from __future__ import annotations

import gettext
from functools import cache
from pathlib import Path
from typing import Final

from carpal.errors import ConfigError

LOCALE: Final = Path(__file__).parents[1] / "locale"
LANGUAGES: Final = {"en": "English", "de": "Deutsch"}
Words = gettext.NullTranslations
"""A catalogue: `gettext` and `ngettext`; English answers with its question."""


@cache
def words_of(language: str) -> Words:
    """The catalogue of a language. Raises ConfigError for one that we do not have."""
    if language not in LANGUAGES:
        raise ConfigError(f"{language!r} is no language that we have - choose one of {', '.join(LANGUAGES)}")
    return Words() if language == "en" else gettext.translation("carpal", LOCALE, [language])


def preferred(accept_language: str) -> str:
    """The first of our languages in a browser's Accept-Language header; English where it names none."""
    ranked = []
    for place, part in enumerate(accept_language.split(",")[:20]):
        tag, _, quality = part.partition(";q=")
        try:
            weight = float(quality) if quality else 1.0
        except ValueError:
            continue
        ranked.append((-weight, place, tag.strip().lower().split("-")[0]))
    return next((tag for _, _, tag in sorted(ranked) if tag in LANGUAGES), "en")
