"""The catalogue: complete, compiled from what lies beside it, and every word in the code is in it."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

pytest.importorskip("babel")

from babel.messages.catalog import Catalog
from babel.messages.extract import extract_from_dir
from babel.messages.pofile import read_po

from carpal.errors import ConfigError
from carpal.report.language import LANGUAGES, LOCALE, preferred, words_of
from carpal.report.text import years

SOURCE = Path(__file__).parents[1] / "src" / "carpal"
PO = LOCALE / "de" / "LC_MESSAGES" / "carpal.po"
METHODS = [("**.py", "python"), ("**/templates/**.html", "jinja2")]
OPTIONS = {"**/templates/**.html": {"trim_blocks": "true", "newstyle_gettext": "true"}}


def catalogue() -> Catalog:
    with PO.open("rb") as file:
        return read_po(file, locale="de")


def asked() -> set[str]:
    """Every English text that the code or a template asks to be translated."""
    found = extract_from_dir(str(SOURCE), METHODS, OPTIONS)
    return {message if isinstance(message, str) else message[0] for _, _, message, *_ in found}


def test_every_text_has_a_german_one() -> None:
    translated = {(m.id if isinstance(m.id, str) else m.id[0]) for m in catalogue() if m.id and m.string}
    assert asked() - translated == set()
    assert translated - asked() == set(), "texts that nobody asks for any more"
    assert len(translated) > 100


def test_the_compiled_catalogue_is_the_one_beside_it() -> None:
    words = words_of("de")
    for message in catalogue():
        if isinstance(message.id, str) and message.id:
            assert words.gettext(message.id) == message.string


def test_translations_keep_their_places() -> None:
    places = re.compile(r"%\(\w+\)|%[.\d]*[sdf%]")
    for message in catalogue():
        if isinstance(message.id, str) and isinstance(message.string, str):
            assert sorted(places.findall(message.id)) == sorted(places.findall(message.string)), message.id


def test_no_text_hides_in_an_f_string() -> None:
    """The extractor of Python 3.11 does not look into f-strings."""
    hidden = [
        f"{path.name}:{inner.lineno}"
        for path in SOURCE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.JoinedStr)
        for inner in ast.walk(node)
        if isinstance(inner, ast.Attribute) and inner.attr in ("gettext", "ngettext")
    ]
    assert hidden == []


@pytest.mark.parametrize(
    ("months", "english", "german"),
    [
        (0, "0 months", "0 Monate"),
        (1, "1 month", "1 Monat"),
        (12, "1 year", "1 Jahr"),
        (135.2, "11 years 3 months", "11 Jahre 3 Monate"),
        (13, "1 year 1 month", "1 Jahr 1 Monat"),
    ],
)
def test_ages_in_words(months: float, english: str, german: str) -> None:
    assert years(months) == english
    assert years(months, words_of("de")) == german


@pytest.mark.parametrize(
    ("header", "language"),
    [
        ("", "en"),
        ("de-AT,de;q=0.9,en;q=0.5", "de"),
        ("fr,en;q=0.3,de;q=0.8", "de"),
        ("en-GB", "en"),
        ("fr;q=x,,;q=", "en"),
        ("*", "en"),
    ],
)
def test_the_browser_chooses_the_language(header: str, language: str) -> None:
    assert preferred(header) == language


def test_other_languages_are_refused() -> None:
    assert set(LANGUAGES) == {"en", "de"}
    with pytest.raises(ConfigError, match="choose one of en, de"):
        words_of("../../etc")
