"""A bone age among other children: by the reference that was asked for, named and the same number in every output."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from carpal.cli import main, words
from carpal.errors import ConfigError
from carpal.growth.reference import DEFAULT, find_reference, reference, score
from carpal.imaging.read import read_radiograph
from carpal.inference.assess import Facts, cut_out, judge
from carpal.report import forms, overlay, results, text
from carpal.report.child import Child
from carpal.report.content import summarise, together
from carpal.report.language import words_of
from carpal.types import Assessment, BothSexes, Score, Sex
from dicom_kit import assessment, child_file, header_of

HEADER = "sex,age_months,mean_months,sd_months\n"
ROWS = "male,60,60,10\nmale,180,180,10\nfemale,60,50,10\nfemale,180,170,10\n"
"""Girls' bones are ten months behind: not a child of a real table."""
NAMED = f"# name: Łódź 2026\n# citation: Our hospital, n = 1,200\n{HEADER}{ROWS}"


@pytest.fixture
def ours(tmp_path: Path) -> Path:
    path = tmp_path / "ours.csv"
    path.write_text(NAMED, encoding="utf-8")
    return path


def girl(months: float = 126.04) -> Assessment:
    return assessment(Sex.FEMALE, months)


def test_the_flag_has_the_default_of_the_library() -> None:
    assert words.REFERENCE == DEFAULT
    assert find_reference(DEFAULT) is reference()


def test_a_table_says_its_name_and_citation_or_is_called_by_its_file(ours: Path, tmp_path: Path) -> None:
    table = find_reference(str(ours))
    assert (table.name, table.citation) == ("Łódź 2026", "Our hospital, n = 1,200")
    assert table.expected(Sex.FEMALE, 120) == (110, 10)
    plain = tmp_path / "ward-7.CSV"
    plain.write_text(HEADER + ROWS)
    table = find_reference(str(plain))
    assert table.name == "ward-7"
    assert table.citation.startswith("ward-7.CSV, SHA-256 ")
    plain.write_text(HEADER + ROWS.replace("male,60,60,10", "male,60,61,10"))
    assert find_reference(str(plain)).citation != table.citation, "another table is told apart"


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("greulich", None, rf"'greulich' is no reference - choose one of {DEFAULT}, or name a FILE.csv"),
        ("none.csv", None, "cannot be read"),
        ("a.csv", "sex,age\n", "lacks the columns"),
        ("a.csv", f"# name: {DEFAULT}\n{HEADER}{ROWS}", "give it another name by a line `# name"),
        ("a.csv", f"# name: {'x' * 41}\n{HEADER}{ROWS}", "1 to 40 printable characters - got 41"),
        ("a.csv", f"# citation: a\tb\n{HEADER}{ROWS}", "`# citation: ...` above the header"),
    ],
)
def test_what_is_no_reference_is_refused_with_a_mend(
    tmp_path: Path, name: str, content: str | None, complaint: str
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_text(content)
    with pytest.raises(ConfigError, match=complaint):
        find_reference(str(path) if name.endswith(".csv") else name)


def test_a_comparison_is_that_of_the_printed_age_and_empty_outside_the_table(ours: Path) -> None:
    table = find_reference(str(ours))
    found = score(Sex.FEMALE, 126.04, 120.04, table)
    assert found == Score("Łódź 2026", "Our hospital, n = 1,200", 120.0, 110.04, 10.0, 1.6)
    outside = score(Sex.FEMALE, 126.04, 200.0, table)
    assert (outside.mean, outside.sd, outside.z) == (None, None, None)
    assert "of 60 to 180 months - got 200" in outside.note


def test_both_sexes_are_compared_and_a_refusal_is_not(ours: Path) -> None:
    table, boy = find_reference(str(ours)), assessment(Sex.MALE, 126.04)
    both = judge(BothSexes(girl(), boy), Facts(120.0, reference=table))
    assert [each.growth.z for each in (both.female, both.male) if each.growth] == [1.6, 0.6]
    refused = replace(girl(), months=None, regions=(), interval=None, refused=forms_refusal())
    assert judge(refused, Facts(120.0, reference=table)) == refused
    assert judge(girl(), Facts(reference=table)) == girl()


def forms_refusal() -> Any:
    from carpal.quality.thresholds import refuse

    return refuse("not-a-hand", "a.png", "0.1")


def test_json_has_the_block_and_null_where_no_age_is_known(ours: Path) -> None:
    assert results.entry(girl())["growth"] is None
    block = results.entry(one(ours))["growth"]
    assert block == {
        "reference": "Łódź 2026",
        "citation": "Our hospital, n = 1,200",
        "chronological_months": 120.0,
        "mean_months": 110.0,
        "sd_months": 10.0,
        "z_score": 1.6,
        "maturity": "normal",
        "note": None,
    }
    late = judge(girl(140.0), Facts(200.0, reference=find_reference(str(ours))))
    block = results.entry(late)["growth"]
    assert (block["z_score"], block["maturity"]) == (None, None)
    assert "got 200" in block["note"]
    assert "z-score" not in text.one_line(late)


def one(ours: Path) -> Assessment:
    return judge(girl(), Facts(120.0, reference=find_reference(str(ours))))


FILE = child_file()
"""A girl of ten years."""


@pytest.mark.parametrize("kind", ["sr", "fhir", "hl7", "gsps", "capture", "pdf"])
def test_every_form_names_the_second_reference_and_not_the_first(kind: str, ours: Path) -> None:
    pytest.importorskip("highdicom")
    source, table = header_of(FILE), find_reference(str(ours))
    hands = [cut_out(read_radiograph(FILE), one(ours))]
    content = forms.make_all([kind], [one(ours)], source, hands, None, table)[kind].content
    if kind == "pdf":
        pages = pytest.importorskip("pypdf").PdfReader(BytesIO(content)).pages
        content = " ".join(pages[0].extract_text().split()).encode()
    named = "Our hospital, n = 1,200" if kind == "pdf" else "Łódź 2026"
    assert named.encode() in content
    assert b"Greulich WW" not in content
    assert b"greulich-pyle-brush" not in content


def test_another_reference_makes_another_object_and_the_default_the_same_as_ever(ours: Path) -> None:
    source = header_of(FILE)
    usual = judge(girl(), Facts(source.exam.age_months))

    def uid(result: Any) -> str | None:
        return forms.make(["sr"], together([result], source), source)["sr"].sop_instance_uid

    pytest.importorskip("highdicom")
    assert uid(usual) == uid(girl()), "what nobody judged is compared by the file"
    assert uid(one(ours)) != uid(usual)
    assert together([usual], source) == together([girl()], source)
    assert uid(BothSexes(one(ours), assessment(Sex.MALE))) != uid(BothSexes(girl(), assessment(Sex.MALE)))


def test_the_line_and_the_picture_name_it(ours: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "z-score +1.60 (Łódź 2026), female, 17 regions" in text.one_line(one(ours))
    assert overlay._title(one(ours))[1][-1] == "z-score +1.60 (Łódź 2026)"
    both = BothSexes(one(ours), replace(one(ours), sex=Sex.MALE))
    assert "z-score +1.60 (Łódź 2026) as male" in overlay._title(both)[1]


def test_the_page_s_numbers_are_those_of_the_reference(ours: Path) -> None:
    table = find_reference(str(ours))
    summary = summarise(girl(), Child(months=120.0, reference=table), words_of("en"))
    assert summary.score is not None
    assert summary.score.z == 1.6
    assert "9 years 2 months, SD 10.0 months (Our hospital, n = 1,200)" in summary.score_note
    assert summary.growth_caption.endswith("Our hospital, n = 1,200")
    assert summarise(girl(), Child(months=120.0), words_of("en")).score_note != summary.score_note


@pytest.fixture
def command(tmp_path: Path, fake_engine: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A DICOM file of a girl of ten years, and an engine that reads 120 months."""
    monkeypatch.setattr("carpal.inference.engine.open_engine", lambda *_, **__: fake_engine())
    path = tmp_path / "girl.dcm"
    path.write_bytes(FILE)
    return path


@pytest.mark.parametrize("out", ["o.json", "o.jsonl"])
def test_assess_compares_with_the_reference_of_the_flag(
    command: Path, ours: Path, tmp_path: Path, out: str, capsys: pytest.CaptureFixture[str]
) -> None:
    to = ["--json" if out.endswith("json") else "--out", str(tmp_path / out)]
    for flag, name in (([], DEFAULT), (["--reference", str(ours)], "Łódź 2026")):
        (tmp_path / out).unlink(missing_ok=True)
        assert main(["assess", str(command), *to, *flag]) == 0
        (entry,) = (
            json.loads((tmp_path / out).read_text())
            if out == "o.json"
            else map(json.loads, (tmp_path / out).read_text().splitlines())
        )
        assert entry["growth"]["reference"] == name
        assert entry["growth"]["chronological_months"] == pytest.approx(119.9, abs=0.2)
        assert out != "o.json" or name in capsys.readouterr().out
    assert main(["assess", str(command), *to, "--reference", "greulich"]) == 2
    assert "name a FILE.csv" in capsys.readouterr().err


def test_report_and_explain_take_it_too(
    command: Path, ours: Path, tmp_path: Path, fake_engine: Callable[..., Any], monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    pypdf = pytest.importorskip("pypdf")
    assert main(["report", str(command), "--reference", str(ours), "--out", str(tmp_path / "r.pdf")]) == 0
    assert "z-score +1.00 (Łódź 2026)" in capsys.readouterr().out
    page = " ".join(pypdf.PdfReader(tmp_path / "r.pdf").pages[0].extract_text().split())
    assert "(Our hospital, n = 1,200)" in page
    fake = fake_engine()
    answer = fake.run
    fake.run = lambda image_HW, male, boxes_R4=None: answer(image_HW, male)
    monkeypatch.setattr("carpal.inference.engine.open_engine", lambda *_: fake)
    assert main(["explain", str(command), "--reference", str(ours), "--out", str(tmp_path / "out")]) == 0
    assert json.loads((tmp_path / "out" / "explanation.json").read_text())["growth"]["reference"] == "Łódź 2026"
