"""The reader's process: two hands in a frame, a sex that nobody stated, a hospital's calibration."""

from __future__ import annotations

import dataclasses
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset

import node_fixtures
import node_kit as kit
from carpal.errors import ConfigError
from carpal.node.config import NodeConfig
from carpal.node.reader import Outcome, Reader
from carpal.quality.site import Check, Line, Site, read_site
from carpal.types import ModelId, Radiograph, Sex
from node_kit import changed, read

pytestmark = pytest.mark.slow

reader_config, reader = node_fixtures.reader_config, node_fixtures.reader


@pytest.fixture(scope="module")
def hand(drawn_hand: Radiograph) -> Dataset:
    pixels_HW = drawn_hand.pixels_HW
    return kit.radiograph(1, Rows=pixels_HW.shape[0], Columns=pixels_HW.shape[1], PixelData=pixels_HW.tobytes())


@pytest.mark.parametrize("sex", ["O", "", "X", None])
def test_without_a_sex_one_report_holds_both_readings(
    reader: Reader, tmp_path: Path, hand: Dataset, sex: str | None
) -> None:
    unknown = changed(hand, PatientSex=sex)
    if sex is None:
        del unknown.PatientSex
    answer = read(reader, tmp_path, unknown)
    assert (answer.outcome, answer.code) == (Outcome.READ, None)
    assert [entry["sex"] for entry in answer.result["assessments"]] == ["female", "male"]
    report = answer.files["sr.dcm"].decode("utf-8", "replace")
    for text in ("Value indeterminate", "Bone age, as female", "Bone age, as male", "Subject Sex"):
        assert text in report
    assert read(reader, tmp_path, unknown).files == answer.files


def test_where_the_hospital_says_so_an_unknown_sex_is_a_reason_and_no_age(
    reader_config: NodeConfig, tmp_path: Path, hand: Dataset
) -> None:
    strict = kit.FakeNetworkReader(
        dataclasses.replace(reader_config, reading=dataclasses.replace(reader_config.reading, unknown_sex="refuse"))
    )
    answer = read(strict, tmp_path, changed(hand, PatientSex="O"))
    strict.close()
    assert (answer.outcome, answer.code) == (Outcome.REFUSED, "missing-sex")
    assert "assessments" not in answer.result
    assert dcmread(BytesIO(answer.files["sr.dcm"])).Modality == "SR"


def test_two_hands_in_a_frame_are_two_readings_of_one_report(reader: Reader, tmp_path: Path, hand: Dataset) -> None:
    hand_HW = hand.pixel_array
    frame_HW = np.concatenate([hand_HW, hand_HW[:, ::-1]], axis=1)
    two = changed(hand, Columns=frame_HW.shape[1], PixelData=frame_HW.tobytes(), Laterality="L")
    answer = read(reader, tmp_path, two)
    assert (answer.outcome, answer.code) == (Outcome.READ, None)
    assert [entry["side_in_image"] for entry in answer.result["assessments"]] == ["left", "right"]
    report = answer.files["sr.dcm"].decode("utf-8", "replace")
    assert "Bone age, hand at the left of the picture" in report
    assert "Bone age, hand at the right of the picture" in report
    assert "Structure of left hand" not in report, "neither is known to be it"


def test_a_hospital_s_calibration_moves_the_age_and_is_named(
    reader_config: NodeConfig, tmp_path: Path, hand: Dataset
) -> None:
    model = ModelId("fake", "1", kit.MODEL)
    line = Line(shift=5, slope=0, centre=120, low=60, high=180, n=40)
    site = Site("Ward 7", "2026-11-24", model, dict.fromkeys(Sex, line), Check(8, 6, 2, (1, 3)))
    path = tmp_path / "site.json"
    path.write_text(site.as_text())
    settings = dataclasses.replace(reader_config.reading, calibration=str(path))
    calibrated = kit.FakeNetworkReader(dataclasses.replace(reader_config, reading=settings))
    answer = read(calibrated, tmp_path, hand)
    calibrated.close()
    [assessment] = answer.result["assessments"]
    assert (assessment["months"], assessment["site"]["raw_months"]) == (125, 120)
    assert read_site(path).label.startswith("Ward 7 (2026-11-24, n = 80, ")
    assert read_site(path).label in answer.files["sr.dcm"].decode("utf-8", "replace")
    path.write_text(dataclasses.replace(site, model=ModelId("other", "1", "0" * 64)).as_text())
    with pytest.raises(ConfigError, match="belongs to other"):
        calibrated.start()


def test_a_reference_of_one_s_own_is_compared_with_and_named(
    reader_config: NodeConfig, tmp_path: Path, hand: Dataset
) -> None:
    path = tmp_path / "ours.csv"
    rows = "".join(f"{sex},{age},{age},10\n" for sex in ("male", "female") for age in (12, 228))
    path.write_text(f"# name: ours-2026\nsex,age_months,mean_months,sd_months\n{rows}")
    settings = dataclasses.replace(reader_config.reading, reference=str(path))
    compared = kit.FakeNetworkReader(dataclasses.replace(reader_config, reading=settings))
    answer = read(compared, tmp_path, changed(hand, PatientBirthDate="20140105", StudyDate="20240105"))
    compared.close()
    [assessment] = answer.result["assessments"]
    assert assessment["growth"]["reference"] == "ours-2026"
    assert assessment["growth"]["z_score"] == pytest.approx(0, abs=0.05), "120 months at 120 months"
    assert "ours-2026" in answer.files["sr.dcm"].decode("utf-8", "replace")
    path.write_text("nothing")
    with pytest.raises(ConfigError, match="lacks the columns"):
        compared.start()
