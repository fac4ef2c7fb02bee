"""`carpal evaluate` from files to files, with an engine that reads what the test wrote into the pictures."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from carpal.anatomy import REGIONS
from carpal.errors import BackendError, ConfigError, DataError
from carpal.inference.engine import Reading
from carpal.lab.evaluation import age, labels, run
from carpal.types import RANKS, ModelId

WIDTH, HEIGHT = 96, 128
"""The pictures' size; annotations are drawn on originals of ten times that."""
CENTRES = np.stack([0.2 + 0.035 * np.arange(17), 0.2 + 0.03 * np.arange(17)], axis=-1)
"""Shares of width and height."""


class FakeEngine:
    """Female hands are read as 100 months, male ones as 130; every region at CENTRES moved by `shift` pixels."""

    model = ModelId("fake", "0", "00" * 32)
    long_side = 256
    calibration = None
    refusal = None
    view_scale, flip = 1.0, True

    def __init__(self, shift: tuple[float, float] = (0.0, 0.0)) -> None:
        self.shift, self.calls = shift, 0

    def run(self, image_HW: NDArray[np.uint8], male: bool) -> Reading:
        centres_R2 = CENTRES * [WIDTH * 2, HEIGHT * 2] + self.shift
        self.calls += 1
        if self.calls % 2 == 0:  # every second view is the mirror image of the first
            centres_R2 = np.stack([image_HW.shape[1] - centres_R2[:, 0], centres_R2[:, 1]], axis=-1)
        boxes_R4 = np.concatenate([centres_R2 - 16, centres_R2 + 16], axis=-1).astype(np.float32)
        months = 130.0 if male else 100.0
        probabilities_K = (np.arange(RANKS - 1) < months).astype(np.float32)
        return Reading(months, probabilities_K, boxes_R4, np.full(17, 0.9, np.float32), np.full(17, 99.0, np.float32))


class Folder:
    """Images, labels and regions of an evaluation in a temporary folder."""

    def __init__(self, root: Path) -> None:
        self.root, self.images, self.out = root, root / "images", root / "out"
        self.images.mkdir()

    def image(self, name: str) -> Path:
        pixels = np.random.default_rng(1).integers(0, 255, (HEIGHT, WIDTH)).astype(np.uint8)
        Image.fromarray(pixels).save(self.images / name)
        return self.images / name

    def labels(self, text: str) -> Path:
        path = self.root / "labels.csv"
        path.write_text(text)
        return path

    def regions(self, ids: dict[str, str], names: tuple[str, ...] = REGIONS) -> Path:
        """A table as rois17_points.csv from {"id/any": source}; a non-expert puts every point at the corner."""
        path = self.root / "regions.csv"
        lines = ["dataset,id,source,width,height,roi,x,y,v"]
        for name, source in ((key.split("/")[0], source) for key, source in ids.items()):
            for region in names:
                x, y = CENTRES[REGIONS.index(region)] * [10 * WIDTH, 10 * HEIGHT] if "non" not in source else (0, 0)
                lines.append(f"rsna,{name},{source},{10 * WIDTH},{10 * HEIGHT},{region},{x},{y},2")
        path.write_text("\n".join(lines) + "\n")
        return path


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def three(folder: Folder) -> Path:
    for name in ("1.png", "2.JPG", "3.webp", "unlabelled.png"):
        folder.image(name)
    return folder.labels("id,boneage,male\n1,90,False\n2,140,True\n3,104,False\n")


def test_it_writes_what_the_issue_asks_for(folder: Folder) -> None:
    report = run.evaluate(folder.images, three(folder), folder.out, engine=FakeEngine())
    assert (folder.out / "predictions.csv").read_text().splitlines() == [
        "id,male,boneage,predicted",
        "1,False,90,100.0000",
        "2,True,140,130.0000",
        "3,False,104,100.0000",
    ]
    assert json.loads((folder.out / "report.json").read_text()) == report
    assert (report["n"], report["mae"], report["bias"]) == (3, pytest.approx(8.0), pytest.approx(-4 / 3))
    assert report["by_sex"]["female"]["mae"] == pytest.approx(7.0)
    assert report["by_age"]["5-10"]["n"] == 2
    assert report["regions"] is None
    assert report["median"]["mae"] == pytest.approx(report["mae"])
    model = {"name": "fake", "version": "0", "sha256": "00" * 32, "backend": "onnx", "precision": "fp32"}
    assert report["model"] == model
    assert report["command"].startswith("carpal evaluate --images ")
    assert report["date"][:2] == "20"
    assert (run.exit_code(report), report["failures"]) == (0, [])
    for plot in ("bland_altman.png", "error_by_age.png"):
        with Image.open(folder.out / plot) as image:
            assert image.size == (1200, 750)


def test_switches_reach_the_network_and_the_report(folder: Folder) -> None:
    """Two runs an image where no hand is aligned; the command in the report says so."""
    engine, table = FakeEngine(), three(folder)
    manner = run.Manner(may_refuse=False, align=False)
    report = run.evaluate(folder.images, table, folder.out, engine=engine, manner=manner)
    assert engine.calls == 2 * 3
    assert {name: report[name] for name in manner._fields} == manner._asdict()
    assert " --no-refusal --no-align --weights " in report["command"]


def test_the_worst_readings_are_listed_and_shown(folder: Folder) -> None:
    report = run.evaluate(folder.images, three(folder), folder.out, engine=FakeEngine())
    worst = report["largest_errors"]
    assert {row["id"]: (row["boneage"], row["predicted"]) for row in worst[:2]} == {"1": (90, 100.0), "2": (140, 130.0)}
    assert (worst[2]["id"], worst[2]["predicted"] - worst[2]["boneage"]) == ("3", -4.0), "the best of them last"
    assert worst[0]["weakest_region"] == {"name": "MCP1", "score": 0.9}
    with Image.open(folder.out / "largest_errors.png") as image:
        assert image.size == (1600, 460)
        tiles = [np.asarray(image.crop((x, 0, x + 400, 460)).convert("L")) for x in (0, 400, 800, 1200)]
    assert [bool((tile < 128).any()) for tile in tiles] == [True, True, True, False]


def test_predictions_reproduce_the_report(folder: Folder) -> None:
    report = run.evaluate(folder.images, three(folder), folder.out, engine=FakeEngine())
    again = age.summary(age.read_predictions(folder.out / "predictions.csv"))
    assert again == {key: report[key] for key in again}


def test_a_bad_image_costs_that_image(folder: Folder, capsys: pytest.CaptureFixture[str]) -> None:
    table = three(folder)
    (folder.images / "2.JPG").write_bytes(b"\xff\xd8\xff not much more")
    report = run.evaluate(folder.images, table, folder.out, engine=FakeEngine())
    assert run.exit_code(report) == 3
    assert report["n"] == 2
    (failure,) = report["failures"]
    assert (failure["id"], failure["image"], failure["code"]) == ("2", "2.JPG", "unreadable-image")
    assert "2.JPG" in capsys.readouterr().err
    assert "1, listed in report.json" in run.summary(report)


def test_all_images_bad(folder: Folder) -> None:
    table = three(folder)
    for path in folder.images.iterdir():
        path.write_bytes(b"")
    report = run.evaluate(folder.images, table, folder.out, engine=FakeEngine())
    assert (report["n"], report["mae"], len(report["failures"])) == (0, None, 3)
    assert "n 0" in run.summary(report)


def test_regions_at_another_size_than_annotated(folder: Folder) -> None:
    table, regions = three(folder), folder.regions({"1/a": "x", "3/a": "x", "77/a": "x"})
    report = run.evaluate(folder.images, table, folder.out, regions=regions, engine=FakeEngine())["regions"]
    assert (report["n"], report["points"]) == (2, 34)
    assert report["mean_centre_error"] == pytest.approx(0, abs=1e-6)
    assert [report[key] for key in ("pck", "ap", "ap50", "ap75")] == pytest.approx([1, 1, 1, 1])


def test_a_shift_of_the_boxes_is_measured_in_lengths(folder: Folder) -> None:
    table, regions = three(folder), folder.regions({"1/a": "x"})
    shifted = FakeEngine(shift=(6.0, 8.0))  # 10 px at long side 256
    report = run.evaluate(folder.images, table, folder.out, regions=regions, engine=shifted)
    span = (CENTRES[-1] - CENTRES[0]) * [WIDTH * 2, HEIGHT * 2]
    assert report["regions"]["mean_centre_error"] == pytest.approx(10 / np.hypot(*span), rel=1e-5)
    assert report["regions"]["ap75"] == 0
    assert "centre error" in run.summary(report)


def test_the_expert_wins(folder: Folder) -> None:
    sources = {"1/a": "razorx89_eval_nonexpert", "1/b": "razorx89_eval_expert"}
    regions = folder.regions(sources)
    report = run.evaluate(folder.images, three(folder), folder.out, regions=regions, engine=FakeEngine())
    assert report["regions"]["n"] == 1
    assert report["regions"]["mean_centre_error"] == pytest.approx(0, abs=1e-6)


def test_length_needs_a_finger_and_the_wrist(folder: Folder) -> None:
    fingers = tuple(name for name in REGIONS if name[:3] in ("MCP", "PIP", "DIP"))
    path = folder.regions({"1/a": "x"}, names=fingers)
    assert np.isnan(labels.read_references(path, ["1"])["1"].length)
    with path.open("a") as file:
        file.write(f"rsna,1,x,{10 * WIDTH},{10 * HEIGHT},RadiocarpalPoint,900,1200,2\n")
    expected = np.hypot(*(CENTRES[0] * [10 * WIDTH, 10 * HEIGHT] - [900, 1200]))
    assert labels.read_references(path, ["1"])["1"].length == pytest.approx(expected)


@pytest.mark.parametrize(
    "text",
    [
        "Image ID,male,Bone Age (months)\n1,FALSE,90\n2,TRUE,140\n",
        "Case ID,Sex,Ground truth bone age (months)\n1,F,90\n2,M,140\n",
        "boneage,id,male,extra\n90,1,0,?\n140,2,1,?\n",
    ],
)
def test_official_columns(folder: Folder, text: str) -> None:
    rows = labels.read_labels(folder.labels(text))
    assert [(row.id, row.boneage, row.male) for row in rows] == [("1", 90, False), ("2", 140, True)]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("id,age,male\n1,90,False\n", "line 1.*boneage"),
        ("id,boneage,male\n", "no lines"),
        ("id,boneage,male\n1,,False\n", "line 2.*boneage.*''"),
        ("id,boneage,male\n1,nan,False\n", "line 2.*boneage.*'nan'"),
        ("id,boneage,male\n1,90,False\n2,4000,True\n", "line 3.*0 to 228.*'4000'"),
        ("id,boneage,male\n1,90,unknown\n", "line 2.*male.*'unknown'"),
        ("id,boneage,male\n1,90,False\n2,90,True\n1,90,False\n", "line 4.*'1'.*line 2"),
        ("id,boneage,male\n,90,False\n", "line 2.*no id"),
        ("id,boneage,male\n1,90,False\n8,90,True\n9,90,True\n", "lacks the images.*2: 8 .line 3., 9 .line 4."),
    ],
)
def test_broken_labels_are_refused_before_anything_is_written(folder: Folder, text: str, complaint: str) -> None:
    folder.image("1.png")
    folder.image("2.png")
    with pytest.raises(DataError, match=complaint) as caught:
        run.evaluate(folder.images, folder.labels(text), folder.out, engine=FakeEngine())
    assert "labels.csv" in str(caught.value)
    assert not folder.out.exists()


def test_broken_folders_are_refused(folder: Folder) -> None:
    table = three(folder)
    with pytest.raises(DataError, match="nowhere"):
        run.evaluate(folder.root / "nowhere", table, folder.out, engine=FakeEngine())
    with pytest.raises(ConfigError, match=r"labels\.csv"):
        run.evaluate(folder.images, table, table, engine=FakeEngine())
    regions = folder.regions({"77/a": "x"})
    with pytest.raises(DataError, match=r"none of the labels' ids"):
        run.evaluate(folder.images, table, folder.out, regions=regions, engine=FakeEngine())
    folder.image("1.jpg")
    with pytest.raises(DataError, match=r"1\.jpg and 1\.png"):
        run.evaluate(folder.images, table, folder.out, engine=FakeEngine())


def test_a_missing_extra_is_named_first(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(BackendError, match=r"matplotlib and pycocotools.*carpal\[eval\]"):
        run.evaluate(folder.images, folder.root / "x.csv", folder.out, regions=folder.root, engine=FakeEngine())
