"""Lines in every script: their order by UAX 9, the forms that their letters take, where they are broken."""

# ruff: noqa: RUF001 - letters of other scripts are what this is about

from __future__ import annotations

import pytest

pytest.importorskip("uharfbuzz")

from carpal.report.typeset import Paragraph, base_level, clean, drawable, levels_of, missing

CASES = [
    ("0061 0028 0029", 0, "0 0 0"),
    ("05D0 0028 0029", 0, "1 0 0"),
    ("062A 0031 002F 0032", 1, "1 2 2 2"),
    ("0661 002D 0031", 0, "2 0 0"),
    ("05D0 0020 0031 002D 0032", 0, "1 1 2 2 2"),
    ("0028 0627 0029 0020 0031 002D 0032", 0, "0 1 0 0 2 1 2"),
    ("05D0 0028 0661 0029", 0, "1 1 2 1"),
    ("0627 0028 06F1 0029", 0, "1 1 2 1"),
    ("0061 0028 0062 0029 0331", 1, "2 2 2 2 2"),
    ("05D0 0029 0028 0301 0031 0029", 0, "1 1 1 1 2 1"),
    ("0025 0661 0028 0662 0029", 0, "0 2 1 2 1"),
    ("0061 0020 0031 0020 0032 002D 0033", 1, "2 2 2 2 2 2 2"),
    ("0627 0028 0661 003F 0020 0029 005D", 0, "1 1 2 1 1 1 0"),
    ("0061 0028 05D0 005B 05D1 005D 0021 0029 0062", 0, "0 0 1 1 1 1 0 0 0"),
]
"""Letters, base level and levels: lines of Unicode's BidiCharacterTest.txt (of fribidi 1.0.8), a few for each rule."""


@pytest.mark.parametrize(("letters", "base", "levels"), CASES)
def test_levels_are_those_of_unicode(letters: str, base: int, levels: str) -> None:
    text = "".join(chr(int(each, 16)) for each in letters.split())
    assert levels_of(text, base) == [int(each) for each in levels.split()]


@pytest.mark.parametrize(
    ("text", "order"),
    [
        ("abc", "abc"),
        ("אבג", "גבא"),
        ("Jane אבג 4711", "Jane 4711 גבא"),
        ("אבג 4711", "4711 גבא"),
        ("אבג (1990) דהו", "והד )1990( גבא"),
        ("2026-11-27", "2026-11-27"),
        ("אבג 1.5-3 cm", "cm 1.5-3 גבא"),
    ],
)
def test_runs_stand_in_the_order_in_which_they_are_seen(text: str, order: str) -> None:
    paragraph = Paragraph(text, 10)
    seen = [(paragraph.text[run.start : run.end], run.level % 2) for run in paragraph.runs(0, len(text))]
    assert "".join(part[::-1] if backwards else part for part, backwards in seen) == order


def test_our_sentences_run_from_left_to_right_whatever_name_begins_them() -> None:
    assert base_level("123 אבג Jane") == 1
    assert Paragraph("אבג, signed", 10, base=0).runs(0, 11)[-1].level == 0


def test_directional_controls_do_not_turn_a_number_round() -> None:
    assert clean("\u202e4711\u202c\u2067x\u2069") == "4711x"
    assert clean("علی\u200cرضا") == "علی\u200cرضا", "this one shapes its neighbours"


def glyphs(text: str) -> list[int]:
    """Numbers of the glyphs of a word in one font, in the order of its letters."""
    paragraph = Paragraph(text, 10)
    (run,) = paragraph.runs(0, len(paragraph.text))
    return [glyph.number for glyph in reversed(paragraph._shaped(run))]


def test_arabic_letters_join() -> None:
    word, alone = glyphs("محمد"), [glyphs(letter)[0] for letter in "محمد"]
    assert len(word) == 4
    assert all(joined != isolated for joined, isolated in zip(word, alone, strict=True))
    assert word[0] != word[2], "the first form of a letter is not its middle one"
    assert glyphs("محمد") == glyphs("محمد")


def test_a_zero_width_non_joiner_parts_letters_and_has_no_width() -> None:
    apart, joined = glyphs("علی\u200cرضا"), glyphs("علیرضا")
    assert apart[2] != joined[2], "yeh is final before it and in the middle without it"
    assert apart[2] == glyphs("علی")[2]
    paragraph = Paragraph("علی\u200cرضا", 10)
    parts = Paragraph("علی", 10).width(0, 3) + Paragraph("رضا", 10).width(0, 3)
    assert paragraph.width(0, 7) == pytest.approx(parts)


NAMES = (
    "Łukasz Żółciński", "Nguyễn Thị Mỹ Hạnh", "Ἑλένη Παπαδοπούλου", "Дмитрий Ёжиков", "الأميرة الجميلة", "دَاوُد مُحَمَّد",
    "علی\u200cرضا پورمحمدی", "שָׁלוֹם עֲלֵיכֶם", "王小明", "歐陽娜娜", "やまだ タロウ", "홍 길동", "अमिताभ श्रीवास्तव", "სოფიო",
    "Արամ Խաչատրյան", "สมชาย ใจดี", "z −1.5 ≤ 2 → ± 3 °",
)  # fmt: skip


@pytest.mark.parametrize("bold", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_every_letter_has_a_glyph(name: str, bold: bool) -> None:
    paragraph = Paragraph(name, 10, bold)
    assert missing([name]) == []
    assert paragraph.text == clean(name)
    for run in paragraph.runs(0, len(paragraph.text)):
        assert all(glyph.number != 0 for glyph in paragraph._shaped(run)), "glyph 0 is the box of a missing letter"


def test_a_letter_without_a_font_keeps_its_number() -> None:
    assert drawable("aⵉ") == "a[U+2D49]"
    assert missing(["aⵉ", "ⵉ"]) == ["ⵉ"]


@pytest.mark.parametrize(
    "text", ["word " * 60, "W" * 300, "王" * 120, "احمد " * 60, "a\u0301" * 200, "x" * 90 + " y", "", " "]
)
def test_lines_hold_every_letter_and_fit(text: str) -> None:
    paragraph = Paragraph(text, 10)
    lines = paragraph.lines(150)
    assert [end for _, end in lines[:-1]] == [start for start, _ in lines[1:]], "no letter between two lines"
    assert (lines[0][0], lines[-1][1]) == (0, len(paragraph.text))
    for start, end in lines:
        assert paragraph.width(start, len(paragraph.text[:end].rstrip())) <= 150 + 1e-6
    if text.startswith("word"):
        assert all(paragraph.text[start:].startswith("word") for start, _ in lines)
