"""`carpal assess FILE.dcm --sr --capture --pdf --fhir --hl7 DIR`: the words, the files, and what happens otherwise."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from carpal.cli import main
from carpal.cli.parser import build_parser
from carpal.cli.reports import plan_reports
from carpal.errors import ConfigError
from dicom_kit import child_file

pytest.importorskip("highdicom")


@pytest.fixture(autouse=True)
def _engine(fake_engine: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("carpal.inference.engine.open_engine", lambda *_: fake_engine())


@pytest.fixture
def hand(tmp_path: Path) -> Path:
    path = tmp_path / "hand.dcm"
    path.write_bytes(child_file())
    return path


def plan(*words: str) -> Any:
    return plan_reports(build_parser().parse_args(["assess", *words]))


def test_the_last_flag_names_the_folder_for_all(tmp_path: Path) -> None:
    reports = plan("a.dcm", "x/a.dcm", "--sr", "--capture", "--pdf", "--fhir", "--hl7", str(tmp_path / "new" / "out"))
    assert reports.kinds == ("sr", "capture", "pdf", "fhir", "hl7")
    assert reports.folder == tmp_path / "new" / "out"
    assert reports.folder.is_dir()
    assert reports.names == {"a.dcm": "a", "x/a.dcm": "a-2"}


@pytest.mark.parametrize("words", [["--sr", "--reports", "OUT"], ["--sr", "OUT"], ["--sr", "OUT", "--reports", "OUT"]])
def test_other_ways_to_name_the_folder(words: list[str], tmp_path: Path) -> None:
    given = [word.replace("OUT", str(tmp_path)) for word in words]
    assert plan("a.dcm", *given).folder == tmp_path


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--sr"], "need one folder - got none"),
        (["--sr", "a", "--hl7", "b"], "need one folder - got a, b"),
        (["--reports", "a"], "need a form to write"),
        (["--uid-root", "1.2"], "need a form to write"),
        (["--sr", "a", "--uid-root", "x"], "UID root"),
    ],
)
def test_wrong_words_are_refused_before_anything_is_read(words: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        plan("a.dcm", *words)


def test_no_flag_means_no_reports() -> None:
    assert plan("a.dcm") is None


def test_a_file_in_the_folder_s_place_is_left_alone(hand: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = hand.read_bytes()
    assert main(["assess", str(hand), "--sr", str(hand)]) == 2
    assert "cannot be made" in capsys.readouterr().err
    assert hand.read_bytes() == before


def test_every_form_is_written_beside_the_others(hand: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert main(["assess", str(hand), "--sr", "--gsps", "--fhir", "--hl7", str(out)]) == 0
    written = {path.name: path.read_bytes() for path in out.iterdir()}
    assert set(written) == {"hand.sr.dcm", "hand.gsps.dcm", "hand.fhir.json", "hand.hl7"}
    assert main(["assess", str(hand), "--fhir", "--hl7", str(out)]) == 0
    assert {path.name: path.read_bytes() for path in out.iterdir()} == written


def test_a_page_is_written_for_people_and_for_the_archive(hand: Path, tmp_path: Path) -> None:
    pytest.importorskip("reportlab")
    assert main(["assess", str(hand), "--pdf", str(tmp_path)]) == 0
    assert (tmp_path / "hand.pdf").read_bytes() in (tmp_path / "hand.pdf.dcm").read_bytes()


def test_without_a_sex_the_reports_say_so(tmp_path: Path) -> None:
    path = tmp_path / "hand.dcm"
    path.write_bytes(child_file(PatientSex="O"))
    assert main(["assess", str(path), "--fhir", "--hl7", "--capture", str(tmp_path)]) == 3
    assert "sex is needed" in (tmp_path / "hand.fhir.json").read_text()
    assert (tmp_path / "hand.hl7").exists()
    assert not (tmp_path / "hand.capture.dcm").exists()


def test_a_picture_that_is_not_dicom_is_read_but_gets_no_report(
    hand_png: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["assess", str(hand_png), "--sex", "male", "--hl7", str(tmp_path / "out")]) == 3
    out, err = capsys.readouterr()
    assert "10 years" in out
    assert "not a DICOM file" in err
    assert list((tmp_path / "out").iterdir()) == []


def test_the_capture_holds_the_overlay(hand: Path, tmp_path: Path) -> None:
    pydicom = pytest.importorskip("pydicom")
    assert main(["assess", str(hand), "--capture", str(tmp_path), "--overlay", str(tmp_path / "hand.png")]) == 0
    stored = pydicom.dcmread(tmp_path / "hand.capture.dcm").pixel_array
    with Image.open(tmp_path / "hand.png") as picture:
        assert stored.tobytes() == picture.tobytes()
