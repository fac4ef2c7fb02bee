"""`carpal serve` and `carpal report` from the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pypdf import PdfReader

from carpal.cli import main
from carpal.types import Refusal


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch, engine: Any) -> None:
    """The command line gets the engine that answers what it is told."""
    monkeypatch.setattr("carpal.inference.engine.open_engine", lambda *args, **kwargs: engine)


@pytest.mark.usefixtures("told")
def test_report_writes_the_same_page_twice(tmp_path: Path, hand_png: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dates = ["--birth-date", "2010-01-01", "--study-date", "2020-07-01", "--height", "140", "--language", "de"]
    for name in ("a.pdf", "b.pdf"):
        assert main(["report", str(hand_png), "--sex", "female", *dates, "--out", str(tmp_path / name)]) == 0
    assert "10 years (120.0 months)" in capsys.readouterr().out
    first = (tmp_path / "a.pdf").read_bytes()
    assert first.startswith(b"%PDF-")
    assert first == (tmp_path / "b.pdf").read_bytes()


@pytest.mark.usefixtures("told")
@pytest.mark.parametrize(
    ("extra", "code", "words"),
    [
        ([], 3, "sex is needed"),
        (["--sex", "male", "--birth-date", "1.2.2010"], 2, "is no date"),
        (["--sex", "male", "--birth-date", "2020-01-01", "--study-date", "2010-01-01"], 2, "before the birth"),
        (["--sex", "male", "--height", "1.4"], 2, "lies between"),
    ],
)
def test_report_says_what_is_wrong(
    tmp_path: Path, hand_png: Path, capsys: pytest.CaptureFixture[str], extra: list[str], code: int, words: str
) -> None:
    assert main(["report", str(hand_png), *extra, "--out", str(tmp_path / "r.pdf")]) == code
    assert words in capsys.readouterr().err
    assert not (tmp_path / "r.pdf").exists()


@pytest.mark.usefixtures("told")
def test_report_of_an_unknown_sex_has_both_ages(
    tmp_path: Path, hand_png: Path, site: Any, engine: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    engine.more_for_boys = 11.0
    (tmp_path / "site.json").write_text(site.as_text())
    given = ["--sex", "unknown", "--calibration", str(tmp_path / "site.json")]
    assert main(["report", str(hand_png), *given, "--out", str(tmp_path / "r.pdf")]) == 0
    line = capsys.readouterr().out
    assert f"(126.0 months) as female, calibrated by {site.label} from" in line
    assert "; 10 years 5 months (125.0 months) as male, calibrated by" in line
    text = PdfReader(tmp_path / "r.pdf").pages[0].extract_text().replace("\n", " ")
    assert "Bone age as a girl 10 years 6 months" in text
    assert f"As a boy: Calibrated by {site.label}; the network itself read 10 years 11 months." in text


@pytest.mark.usefixtures("told")
def test_no_report_of_an_adult(tmp_path: Path, hand_png: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["report", str(hand_png), "--sex", "female", "--out", str(tmp_path / "r.pdf")]
    born = ["--birth-date", "1980-01-01", "--study-date"]
    assert main([*words, *born, "2020-07-01"]) == 3
    out, err = capsys.readouterr()
    assert "no age" in out
    assert "the patient is an adult (the stated age is 20 years or more)" in out
    assert "without an age there is no report" in err
    assert "120" not in out + err
    assert not (tmp_path / "r.pdf").exists()
    assert main([*words, *born, "1999-12-01"]) == 0


@pytest.mark.usefixtures("told")
def test_report_of_two_hands_has_two_pages(tmp_path: Path, two_hands_png: bytes) -> None:
    (tmp_path / "two.png").write_bytes(two_hands_png)
    assert main(["report", str(tmp_path / "two.png"), "--sex", "male", "--out", str(tmp_path / "r.pdf")]) == 0
    assert len(PdfReader(tmp_path / "r.pdf").pages) == 2


@pytest.mark.usefixtures("told")
def test_no_report_is_written_without_an_age(
    tmp_path: Path, hand_png: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    refused = Refusal("not-a-hand", "there is no hand")
    monkeypatch.setattr("carpal.inference.assess._refuse_picture", lambda *_: refused)
    assert main(["report", str(hand_png), "--sex", "male", "--out", str(tmp_path / "r.pdf")]) == 3
    printed = capsys.readouterr()
    assert "there is no hand" in printed.out
    assert "without an age there is no report" in printed.err
    assert not (tmp_path / "r.pdf").exists()


@pytest.mark.usefixtures("told")
def test_serve_refuses_a_calibration_of_other_weights(
    tmp_path: Path, site: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "site.json").write_text(site.as_text().replace("ab" * 32, "cd" * 32))
    assert main(["serve", "--data", str(tmp_path / "d"), "--calibration", str(tmp_path / "site.json")]) == 2
    assert "make one for these weights" in capsys.readouterr().err


def test_report_never_overwrites_the_radiograph(hand_png: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(hand_png), "--sex", "male", "--out", str(hand_png)]) == 2
    assert "would be overwritten" in capsys.readouterr().err


def test_tokens_are_made_listed_and_removed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = ["--data", str(tmp_path / "data")]
    assert main(["serve", *data, "--add-token", "anna", "--role", "admin"]) == 0
    token = capsys.readouterr().out.strip()
    assert len(token) >= 43
    assert main(["serve", *data, "--tokens"]) == 0
    assert capsys.readouterr().out == "anna  admin\n"
    assert main(["serve", *data, "--add-token", "anna"]) == 2
    assert "already" in capsys.readouterr().err
    assert main(["serve", *data, "--remove-token", "anna"]) == 0
    assert main(["serve", *data, "--remove-token", "anna"]) == 2


@pytest.mark.usefixtures("told")
@pytest.mark.parametrize(
    ("extra", "words"),
    [(["--host", "0.0.0.0"], "nobody has a token"), (["--port", "99999"], "port"), (["--rate", "0"], "rate")],
)
def test_serve_refuses_what_is_unsafe_or_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], extra: list[str], words: str
) -> None:
    assert main(["serve", "--data", str(tmp_path / "data"), *extra]) == 2
    assert words in capsys.readouterr().err
