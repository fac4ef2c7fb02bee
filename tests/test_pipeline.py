"""Many radiographs on several threads: in order, bounded, every failure kept to its image; and the batch command."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from carpal.cli import main
from carpal.cli.batch import Progress
from carpal.errors import MissingSex, UnreadableImage
from carpal.inference import pipeline
from carpal.inference.pipeline import AHEAD, Job, find_images, read_many
from carpal.types import BothSexes, Radiograph, Sex


@pytest.fixture
def folder(tmp_path: Path, drawn_hand: Radiograph) -> Path:
    """Eight links to a hand, one broken image, one note, a hidden file and a folder within."""
    hand = tmp_path / "hand.png"
    Image.fromarray(drawn_hand.pixels_HW).save(hand)
    folder = tmp_path / "hands"
    (folder / "more").mkdir(parents=True)
    for number in range(6):
        (folder / f"{number}.png").symlink_to(hand)
    (folder / "3b.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    (folder / "note.txt").write_text("no image")
    (folder / ".hidden.png").symlink_to(hand)
    (folder / "more" / "1.2.840").symlink_to(hand)
    (folder / "more" / "IM0001").symlink_to(hand)
    (folder / "loop").symlink_to(folder)
    return folder


NAMES = ["0.png", "1.png", "2.png", "3.png", "3b.png", "4.png", "5.png", "more/1.2.840", "more/IM0001"]


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch, fake_engine: Callable[..., Any]) -> Any:
    fake = fake_engine()
    monkeypatch.setattr("carpal.inference.engine.open_engine", lambda *_: fake)
    return fake


def results(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_folder_is_walked_by_name(folder: Path) -> None:
    assert [str(Path(image).relative_to(folder)) for image in find_images(str(folder))] == NAMES
    assert list(find_images("some.png")) == ["some.png"]


def test_the_content_decides_and_what_is_passed_over_is_named(tmp_path: Path) -> None:
    """A CD, and what people leave beside their radiographs."""
    dicom, index = bytes(128) + b"DICM", bytes(128) + b"DICM" + b"\2\0\2\0UI\x14\0" + b"1.2.840.10008.1.3.10"
    images = {
        **dict.fromkeys(("x.dicom", "y.ima", "z.dcm", "w.img", "IM0001", "1.2.840.7", "hand.txt"), dicom),
        **{"a.bmp": b"BM", "b.jp2": b"", "IM0002": b"", "photo.HEIC": b"\0\0\0\x18ftypheic", "scan.pgm": b"P5\n1 1\n"},
    }
    others = {
        "README": (b"Read me", "no image that we know"),
        "DICOMDIR": (index, "the index of a CD"),
        "viewer.exe": (b"MZ", "a program"),
        "report.pdf": (b"%PDF-1.7", "a PDF"),
        "ages.csv": (b"id,age", "no image"),
        "empty.txt": (b"", "no image"),
        ".DS_Store": (b"x", "hidden"),
    }
    for name, data in {**images, **{name: data for name, (data, _) in others.items()}}.items():
        (tmp_path / name).write_bytes(data)
    (tmp_path / "gone.dcm").symlink_to(tmp_path / "nowhere")
    passed: dict[str, str] = {}
    found = list(find_images(str(tmp_path), lambda path, what: passed.update({Path(path).name: what})))
    assert {Path(path).name for path in found} == set(images)
    assert set(passed) == {*others, "gone.dcm"}
    assert all(said in passed[name] for name, (_, said) in others.items())


def test_answers_come_in_order_and_failures_stay_with_their_image(folder: Path, engine: Any) -> None:
    jobs = [Job(image, Sex.FEMALE if image != str(folder / "2.png") else None) for image in find_images(str(folder))]
    done = list(read_many(jobs, engine, 3))
    assert [each.image for each in done] == [job.image for job in jobs]
    errors = {Path(each.image).name: type(each.error) for each in done if each.error}
    assert errors == {"2.png": MissingSex, "3b.png": UnreadableImage}
    assert {result.months for each in done for result in each.results} == {120.0}


def test_a_mistake_of_ours_costs_one_image(folder: Path, engine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    read_hands = pipeline.read_hands

    def sometimes(radiograph: Radiograph, *rest: Any) -> Any:
        if radiograph.source.endswith("1.png"):
            raise ZeroDivisionError
        return read_hands(radiograph, *rest)

    monkeypatch.setattr(pipeline, "read_hands", sometimes)
    done = list(read_many([Job(str(folder / f"{i}.png"), Sex.MALE) for i in range(3)], engine, 2))
    assert [str(each.error) if each.error else "" for each in done][0::2] == ["", ""]
    assert "ZeroDivisionError" in str(done[1].error)


def test_only_a_few_images_are_in_memory(folder: Path, engine: Any) -> None:
    taken = 0

    def jobs() -> Iterator[Job]:
        nonlocal taken
        for _ in range(100):
            taken += 1
            yield Job(str(folder / "0.png"), Sex.MALE)

    workers, furthest = 2, 0
    for number, _ in enumerate(read_many(jobs(), engine, workers)):
        furthest = max(furthest, taken - number)
    assert taken == 100
    assert furthest <= AHEAD * workers + 1


def test_workers_read_at_the_same_time(folder: Path, engine: Any) -> None:
    """Both workers must be within `run` at once, or the barrier breaks."""
    barrier, run = threading.Barrier(2, timeout=30), engine.run

    def together(image_HW: Any, male: bool) -> Any:
        barrier.wait()
        return run(image_HW, male)

    engine.run = together
    done = list(read_many([Job(str(folder / "0.png"), Sex.MALE)] * 4, engine, 2))
    assert [each.error for each in done] == [None] * 4


def test_unknown_sex_is_read_as_both(folder: Path, engine: Any) -> None:
    (done,) = read_many([Job(str(folder / "0.png"))], engine, 1, both_sexes=True)
    assert isinstance(done.results[0], BothSexes)


def test_the_command_writes_a_line_an_image_and_goes_on_where_it_stopped(
    folder: Path, engine: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "results.jsonl"
    words = ["assess", str(folder), "--sex", "female", "--workers", "2", "--out", str(out)]
    assert main(words) == 3  # one image is broken
    said = capsys.readouterr().err
    assert "9 images read" in said
    assert f"carpal: passed over: {folder / 'note.txt'}: no image that we know\n" in said
    assert said.rstrip().endswith("; 3 files passed over")  # the note, the hidden one and the link
    whole = out.read_bytes()
    assert [str(Path(entry["image"]).relative_to(folder)) for entry in results(out)] == NAMES
    assert [entry["refused"]["code"] for entry in results(out) if entry["refused"]] == ["unreadable-image"]
    out.write_bytes(whole[: len(whole) // 2])
    asked = len(engine.asked)
    assert main(words) in (0, 3)
    assert out.read_bytes() == whole
    assert 0 < len(engine.asked) - asked < asked
    assert main(words) == 0  # nothing is left to do
    assert out.read_bytes() == whole


def test_an_interrupted_run_keeps_what_was_read(
    folder: Path, engine: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = iter(range(10))

    def interrupted(_: Progress) -> None:
        if next(steps) == 3:
            raise KeyboardInterrupt

    out = tmp_path / "results.jsonl"
    words = ["assess", str(folder), "--sex", "male", "--out", str(out)]
    with monkeypatch.context() as patch:
        patch.setattr(Progress, "step", interrupted)
        assert main(words) == 130
    assert len(results(out)) == 4
    main(words)
    assert [str(Path(entry["image"]).relative_to(folder)) for entry in results(out)] == NAMES


def test_sexes_come_from_a_table(folder: Path, engine: Any, tmp_path: Path) -> None:
    table = tmp_path / "sexes.csv"
    table.write_text("id,male\n0,1\n1,0\n")
    out = tmp_path / "r.jsonl"
    assert (
        main(["assess", *(str(folder / f"{i}.png") for i in range(3)), "--sexes", str(table), "--out", str(out)]) == 3
    )
    assert [entry["sex"] for entry in results(out)] == ["male", "female", None]
    assert results(out)[2]["refused"]["code"] == "missing-sex"


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--out", "r.json"], "must end in .jsonl"),
        (["--out", "r.jsonl", "--json", "-"], "got --json"),
        (["--out", "r.jsonl", "--sr", "reports"], "got --sr"),
        (["--out", "r.jsonl", "--workers", "many"], "--workers is a number"),
        (["--out", "r.jsonl", "--sexes", "s.csv", "--sex", "male"], "give one of them"),
    ],
)
def test_what_does_not_fit_is_said(
    folder: Path,
    tmp_path: Path,
    words: list[str],
    complaint: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["assess", str(folder), *words]) == 2
    assert complaint in capsys.readouterr().err
    assert not (tmp_path / "r.jsonl").exists()


def test_the_bar_says_how_far_and_how_long() -> None:
    progress = Progress(1000, before=100)
    progress.done, progress.start = 200, 50.0
    assert progress.bar(now=100.0) == f"[{'#' * 9:<30}] 300/1000  4.0/s  175 s left "


def test_threads_and_workers_change_no_bit(tiny_onnx: Path, folder: Path, tmp_path: Path, hand_png: Path) -> None:
    """The promise of the reference backend: the same bytes whatever the threads, the workers and the neighbours."""
    from carpal.inference.engine import open_engine

    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 255, (160, 120), np.uint8)).save(tmp_path / "noise.png")
    jobs = [Job(str(path), Sex.FEMALE) for path in (hand_png, tmp_path / "noise.png", hand_png)]
    one = list(read_many(jobs, open_engine(tiny_onnx, threads=1), 1))
    for threads, workers in ((1, 3), (2, 1)):
        assert list(read_many(jobs, open_engine(tiny_onnx, threads=threads), workers)) == one
