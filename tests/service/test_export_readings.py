"""Signed readings leave the service for training: as a table, and as a folder that `carpal prepare` reads."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from carpal.anatomy import INDEX
from carpal.cli import main
from carpal.imaging.read import read_radiograph
from carpal.lab.data.store import open_store
from carpal.types import Radiograph
from node_kit import as_bytes, radiograph

Queue = Callable[..., dict[str, Any]]
BOXES = {"Radius": [10.0, 20.0, 50.0, 60.0], "Wrist": [-0.5, 20.0, 52.0, 60.0]}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


def sign(client: TestClient, job: str, **reading: Any) -> None:
    assert client.post(f"/api/v1/jobs/{job}/sign", json=reading).status_code == 200


@pytest.fixture
def signed(client: TestClient, queue: Queue) -> dict[str, str]:
    """Four signed studies: regions put right and accepted, adjusted, rejected, and one that nobody signed."""
    jobs = {name: str(queue(client, sex="male")["id"]) for name in ("corrected", "adjusted", "rejected", "open")}
    assert client.put(f"/api/v1/jobs/{jobs['corrected']}/regions", json={"boxes": BOXES}).status_code == 200
    sign(client, jobs["corrected"], decision="accept")
    sign(client, jobs["adjusted"], decision="adjust", months=114, reason="carpals")
    sign(client, jobs["rejected"], decision="reject", reason="moved")
    return jobs


def test_the_table_has_the_regions_that_were_put_right(client: TestClient, signed: dict[str, str]) -> None:
    text = client.get("/api/v1/readings.csv").text
    rows = {row["study"]: row for row in csv.DictReader(io.StringIO(text))}
    assert json.loads(rows[signed["corrected"]]["corrected_boxes"]) == BOXES
    assert rows[signed["corrected"]]["signed_months"] == "126.0"
    assert rows[signed["corrected"]]["machine_months"] == "120.0"
    assert rows[signed["adjusted"]]["corrected_boxes"] == ""


def test_from_signed_readings_to_a_store(
    client: TestClient, signed: dict[str, str], data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, store = tmp_path / "signed", tmp_path / "store"
    assert main(["serve", "--data", str(data), "--export", str(out)]) == 0
    assert "2 signed radiographs, 1 of them with regions that were put right; 1 left out" in capsys.readouterr().out
    given = ["--labels", str(out / "labels.csv"), "--regions", str(out / "regions.csv")]
    assert main(["prepare", str(out), *given, "--out", str(store), "--long-side", "128"]) == 0
    found = open_store(store)
    rows = {row.id: place for place, row in enumerate(found.rows)}
    assert set(rows) == {signed["corrected"], signed["adjusted"]}
    row = found.rows[rows[signed["corrected"]]]
    assert (row.boneage, row.male) == (126.0, True)
    assert found.rows[rows[signed["adjusted"]]].boneage == 114.0
    points_R3 = np.load(store / "points.npy")[rows[signed["corrected"]]]
    assert {int(region) for region in np.flatnonzero(points_R3[:, 2])} == {INDEX[name] for name in BOXES}
    assert not np.load(store / "points.npy")[rows[signed["adjusted"]]].any()


def test_pictures_leave_without_the_header_and_with_every_grey_value(
    client: TestClient, settle: Queue, drawn_hand: Radiograph, data: Path, tmp_path: Path
) -> None:
    pixels_HW = drawn_hand.pixels_HW.astype(np.uint16) * 200
    shape = {"Rows": pixels_HW.shape[0], "Columns": pixels_HW.shape[1], "PixelData": pixels_HW.tobytes()}
    bits = {"BitsAllocated": 16, "BitsStored": 16, "HighBit": 15}
    sent = as_bytes(radiograph(1, **shape, **bits, PatientName="Doe^Jane", PatientID="4711"))
    job = client.post("/api/v1/jobs", files={"files": ("Doe.dcm", sent)}).json()["jobs"][0]["id"]
    settle(client, job)
    sign(client, job, decision="accept")
    assert main(["serve", "--data", str(data), "--export", str(tmp_path / "out")]) == 0
    np.testing.assert_array_equal(read_radiograph(tmp_path / "out" / f"{job}.png").pixels_HW, pixels_HW)
    with Image.open(tmp_path / "out" / f"{job}.png") as picture:
        assert picture.info == {}
    for path in (tmp_path / "out").iterdir():
        assert not any(word in path.read_bytes() for word in (b"Doe", b"Jane", b"4711", b"PLANTED")), path.name


def test_what_is_wrong_is_said(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "--data", str(data), "--export", str(tmp_path / "out")]) == 2
    assert "holds no readings" in capsys.readouterr().err
    assert not data.exists(), "nothing is made on the way"


def test_an_export_never_mixes_with_another(client: TestClient, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "--data", str(data), "--export", str(data)]) == 2
    assert "exists" in capsys.readouterr().err
