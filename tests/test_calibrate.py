"""`carpal calibrate` and what it changes: from labelled radiographs to a file, a sidecar, an assessment, a report."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from carpal.cli import main
from carpal.errors import WeightsError
from carpal.inference.assess import assess
from carpal.inference.engine import Reading, open_engine
from carpal.inference.weights import read_info, sha256_of, write_calibration
from carpal.lab.evaluation import run
from carpal.lab.evaluation.calibrate import weak
from carpal.quality.intervals import Calibration, Cell
from carpal.types import Radiograph, Sex

COUNT = 100


class Reader:
    """Gives the i-th radiograph the i-th age, with a logistic spread of 6 months; each is read twice, mirrored too."""

    long_side = 64
    refusal = None
    view_scale, flip = 1.0, True

    def __init__(self, months: NDArray[np.float64], weights: Path) -> None:
        self.months, self.asked, self._weights = months, 0, weights

    @property
    def model(self) -> Any:
        return read_info(self._weights).model

    @property
    def calibration(self) -> Calibration | None:
        return read_info(self._weights).calibration

    def run(self, image_HW: NDArray[np.uint8], male: bool, boxes_R4: Any = None) -> Reading:
        months = self.months[self.asked // 2 % COUNT]
        self.asked += 1
        probabilities_K = (1 / (1 + np.exp((np.arange(228) - months) / 6))).astype(np.float32)
        boxes_R4 = np.tile(np.array([4, 4, 12, 12], np.float32), (17, 1))
        scores_R = np.full(17, 0.9, np.float32)
        return Reading(float(probabilities_K.sum()), probabilities_K, boxes_R4, scores_R, np.full(17, 99.0, np.float32))


class Hospital:
    """A folder of 100 radiographs, a table of its readers' ages, and weights."""

    def __init__(self, root: Path, reader_months: NDArray[np.float64]) -> None:
        self.images, self.labels, self.weights = root / "ours", root / "ours.csv", root / "some.onnx"
        self.images.mkdir()
        Image.fromarray(np.random.default_rng(1).integers(0, 255, (64, 48)).astype(np.uint8)).save(root / "one.png")
        for i in range(COUNT):
            shutil.copy(root / "one.png", self.images / f"{i}.png")
        rows = [f"{i},{age:.1f},{i % 2}\n" for i, age in enumerate(reader_months)]
        self.labels.write_text("id,boneage,male\n" + "".join(rows))
        self.weights.write_bytes(b"weights")
        values = {"name": "some", "version": "1", "sha256": sha256_of(self.weights), "licence": "none"}
        self.weights.with_suffix(".json").write_text(json.dumps(values))

    @property
    def words(self) -> list[str]:
        return ["--images", str(self.images), "--labels", str(self.labels), "--weights", str(self.weights)]


@pytest.fixture
def open_hospital(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[float], Hospital]:
    """A hospital whose readers differ from the network by so many months, and by 8 months of noise."""

    def build(shift: float) -> Hospital:
        months = np.random.default_rng(0).uniform(40, 190, COUNT)
        hospital = Hospital(tmp_path, months + shift + 8 * np.random.default_rng(1).standard_normal(COUNT))
        engine = Reader(months, hospital.weights)
        monkeypatch.setattr("carpal.lab.evaluation.calibrate.open_engine", lambda *_: engine)
        monkeypatch.setattr("carpal.inference.engine.open_engine", lambda *_: engine)
        return hospital

    return build


def test_a_shifted_hospital_gets_its_file_and_assess_applies_it(
    open_hospital: Callable[[float], Hospital], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hospital, out = open_hospital(9.0), tmp_path / "ours.json"
    assert main(["calibrate", *hospital.words, "--out", str(out), "--name", "Spital"]) == 0
    assert "Spital" in capsys.readouterr().out
    shift = json.loads(out.read_text())["lines"]["female"]["shift"]
    assert shift == pytest.approx(9 * 50 / 60, abs=2)
    words = [str(hospital.images / "0.png"), "--sex", "female", "--weights", str(hospital.weights), "--json", "-"]
    main(["assess", *words])
    (raw,) = json.loads(capsys.readouterr().out)
    main(["assess", *words, "--calibration", str(out)])
    (done,) = json.loads(capsys.readouterr().out)
    assert raw["site"] is None
    assert done["site"]["calibration"].startswith("Spital (")
    assert done["site"]["raw_months"] > 0
    assert done["months"] - done["site"]["raw_months"] == pytest.approx(shift, abs=3)
    assert any("calibrated by Spital" in warning for warning in done["warnings"])


def test_an_unshifted_hospital_is_told_so_and_gets_no_file(
    open_hospital: Callable[[float], Hospital], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hospital, out = open_hospital(0.0), tmp_path / "ours.json"
    assert main(["calibrate", *hospital.words, "--out", str(out)]) == 3
    assert "shows no gain on readings left out" in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.parametrize("more", [["--out", "nowhere/ours.json"], ["--out", "ours.json", "--name", "x" * 41]])
def test_what_cannot_be_written_is_said_before_reading(more: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["calibrate", "--images", "not there", "--labels", "not there.csv", *more]) == 2
    assert "choose another" in capsys.readouterr().err


def test_a_calibration_of_other_weights_is_refused_before_reading(
    open_hospital: Callable[[float], Hospital], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hospital, out = open_hospital(9.0), tmp_path / "ours.json"
    main(["calibrate", *hospital.words, "--out", str(out)])
    out.write_text(out.read_text().replace(read_info(hospital.weights).sha256, "cd" * 32))
    words = [str(hospital.images / "0.png"), "--sex", "male", "--weights", str(hospital.weights)]
    assert main(["assess", *words, "--calibration", str(out)]) == 2
    assert "make one for these weights" in capsys.readouterr().err


def test_strata_that_hold_too_seldom_are_said() -> None:
    def part(n: int, coverage: float | None) -> dict[str, Any]:
        return {"n": n, "coverage": coverage}

    strata = {"male 14-19": part(40, 0.8499), "male 10-14": part(400, 0.85), "female 0-2": part(39, 0.2)}
    check = {"nominal": 0.9, "by_sex": {"male": part(440, 0.849)}, "by_stratum": strata | {"male 0-2": part(0, None)}}
    sex, stratum = weak(check)
    assert sex.startswith("below 85 %: male, coverage 84.9 %, n 440 - ")
    assert stratum.startswith("below 85 %: male 14-19, coverage 85.0 %, n 40 - ")
    assert weak(check | {"nominal": 0.8}) == []


def test_the_command_says_which_strata_hold_too_seldom(
    open_hospital: Callable[[float], Hospital], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    hospital = open_hospital(0.0)
    main(["calibrate", *hospital.words, "--interval"])
    assert "below" not in capsys.readouterr().out
    monkeypatch.setattr("carpal.lab.evaluation.calibrate.SHORT", -0.1)  # no stratum holds all
    main(["calibrate", *hospital.words, "--interval"])
    assert "below 100 %: male, coverage " in capsys.readouterr().out


def test_intervals_go_into_the_sidecar_and_into_every_evaluation(
    open_hospital: Callable[[float], Hospital], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hospital = open_hospital(0.0)
    assert main(["calibrate", *hospital.words, "--interval"]) == 0
    printed = capsys.readouterr().out
    assert "quantiles moved by" in printed
    assert "90 % intervals, cross-fitted" in printed
    sidecar = json.loads(hospital.weights.with_suffix(".json").read_text())
    assert (sidecar["licence"], sidecar["calibration"]["n"]) == ("none", COUNT)
    assert sidecar["calibration"]["check"]["coverage"] == pytest.approx(0.9, abs=0.05)

    main(["evaluate", *hospital.words, "--out", str(tmp_path / "out")])
    report = json.loads((tmp_path / "out" / "report.json").read_text())["interval"]
    assert (report["nominal"], report["crossfitted"], report["n"]) == (0.9, True, COUNT)
    assert report == sidecar["calibration"]["check"]
    with (tmp_path / "out" / "intervals.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["id", "low", "high"]
    assert [row["id"] for row in rows] == [str(i) for i in range(COUNT)]
    assert (tmp_path / "out" / "predictions.csv").read_text().startswith("id,male,boneage,predicted\n")


def test_other_radiographs_are_judged_by_the_intervals_as_they_are(
    open_hospital: Callable[[float], Hospital], tmp_path: Path
) -> None:
    """The same radiographs but one: their own coverage is counted from the intervals in the table."""
    hospital = open_hospital(0.0)
    main(["calibrate", *hospital.words, "--interval"])
    lines = hospital.labels.read_text().splitlines()
    hospital.labels.write_text("\n".join(lines[:-1]) + "\n")
    main(["evaluate", *hospital.words, "--out", str(tmp_path / "out")])
    report = json.loads((tmp_path / "out" / "report.json").read_text())["interval"]
    reference = {row["id"]: float(row["boneage"]) for row in csv.DictReader(lines)}
    with (tmp_path / "out" / "intervals.csv").open() as file:
        held = [float(row["low"]) <= reference[row["id"]] <= float(row["high"]) for row in csv.DictReader(file)]
    assert not report["crossfitted"]
    assert report["coverage"] == pytest.approx(np.mean(held), abs=1e-4)


def test_without_a_calibration_there_is_no_interval_anywhere(
    open_hospital: Callable[[float], Hospital], tmp_path: Path
) -> None:
    hospital = open_hospital(0.0)
    main(["evaluate", *hospital.words, "--out", str(tmp_path / "out")])
    assert json.loads((tmp_path / "out" / "report.json").read_text())["interval"] is None
    assert not (tmp_path / "out" / run.INTERVALS).exists()


def test_an_opened_onnx_file_brings_its_calibration(tiny_onnx: Path, tmp_path: Path) -> None:
    path = tmp_path / "tiny.onnx"
    for suffix in (".onnx", ".json"):
        shutil.copy(tiny_onnx.with_suffix(suffix), path.with_suffix(suffix))
    assert open_engine(path).calibration is None
    calibration = Calibration(0.8, tuple(Cell(sex, 0, 228, 3.0, 50) for sex in Sex))
    write_calibration(path, calibration)
    assert open_engine(path, threads=1).calibration == calibration


def test_assess_gives_the_interval_of_the_engine(drawn_hand: Radiograph, fake_engine: Callable[..., Any]) -> None:
    engine = fake_engine(months=120.0)
    assert assess(drawn_hand, Sex.MALE, engine).interval is None
    engine.calibration = Calibration(0.8, tuple(Cell(sex, 0, 228, 3.0, 50) for sex in Sex))
    assessment = assess(drawn_hand, Sex.MALE, engine)
    assert assessment.interval == engine.calibration.interval(Sex.MALE, 120.0, assessment.probabilities)


@pytest.mark.parametrize("coverage", ["0.3", "1", "nan"])
def test_a_coverage_that_is_none_is_wrong_usage(coverage: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["calibrate", "--images", "x", "--labels", "y", "--interval", "--coverage", coverage])
    assert stopped.value.code == 2
    assert "from 0.5 to below 1" in capsys.readouterr().err


def test_a_sidecar_that_cannot_be_written_stays_whole(
    open_hospital: Callable[[float], Hospital], monkeypatch: pytest.MonkeyPatch
) -> None:
    hospital = open_hospital(0.0)
    before = hospital.weights.with_suffix(".json").read_text()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    calibration = Calibration(0.9, tuple(Cell(sex, 0, 228, 3.0, 50) for sex in Sex))
    with pytest.raises(WeightsError, match="cannot be written - No space left"):
        write_calibration(hospital.weights, calibration)
    assert hospital.weights.with_suffix(".json").read_text() == before
    assert list(hospital.weights.parent.glob(".*")) == []


def test_a_sidecar_with_a_broken_calibration_does_not_open(open_hospital: Callable[[float], Hospital]) -> None:
    hospital = open_hospital(0.0)
    sidecar = hospital.weights.with_suffix(".json")
    sidecar.write_text(json.dumps(json.loads(sidecar.read_text()) | {"calibration": {"method": "guess"}}))
    with pytest.raises(WeightsError, match="calibration cannot be used"):
        read_info(hospital.weights)
