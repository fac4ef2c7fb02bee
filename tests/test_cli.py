"""The command: its words, its exit codes, one bad image among good ones, and the whole way with an exported network."""

from __future__ import annotations

import ast
import io
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import carpal
from carpal.anatomy import FOUND, MEAN_HAND, REGIONS
from carpal.cli import commands, main
from carpal.cli.parser import build_parser, recipes
from carpal.errors import BackendError
from carpal.inference.align import aligned_size
from carpal.lab.data.store import open_store

NAMES = ("assess", "evaluate", "prepare", "train", "export", "info")


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch, fake_engine: Callable[..., Any]) -> Any:
    """A fake engine behind every name of weights."""
    fake = fake_engine()
    monkeypatch.setattr("carpal.inference.engine.open_engine", lambda *_: fake)
    return fake


def help_of(name: str, capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as left:
        main([name, "--help"])
    assert left.value.code == 0
    return capsys.readouterr().out


def test_the_version_is_quick_and_light() -> None:
    code = (
        "import sys, time; start = time.perf_counter(); from carpal.cli import main\n"
        "try: main(['--version'])\n"
        "except SystemExit: pass\n"
        "print(time.process_time(), *sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    version, rest = run.stdout.splitlines()
    seconds, *modules = rest.split()
    assert version == f"carpal {carpal.__version__}"
    assert {"numpy", "torch", "PIL", "onnxruntime"} & set(modules) == set()
    assert float(seconds) < 0.3  # of processor time: a busy machine does not count


@pytest.mark.parametrize("name", NAMES)
def test_help_has_a_sentence_two_examples_and_exit_codes(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = help_of(name, capsys)
    _, description, *_ = text.split("\n\n")
    assert description[0].isupper()
    examples = re.findall(rf"^  carpal {name} .+$", text, re.MULTILINE)
    assert len(examples) == 2
    assert "exit codes:\n  0  done\n  2  " in text
    assert max(map(len, text.splitlines())) <= 100


@pytest.mark.parametrize("name", NAMES)
def test_the_examples_of_the_help_parse(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    for example in re.findall(rf"^  carpal ({name} .+?)(?:   .*)?$", help_of(name, capsys), re.MULTILINE):
        assert build_parser().parse_args(shlex.split(example)).command == name


def test_every_option_with_a_choice_states_its_default(capsys: pytest.CaptureFixture[str]) -> None:
    for name in NAMES:
        text = " ".join(help_of(name, capsys).split())
        choices = re.findall(r"(--[a-z]+) \{[a-z0-9,]+\} (?!\[)(.*?)(?= --|$)", text)
        assert [flag for flag, meaning in choices if "(default: " not in meaning] == []


def test_the_recipes_of_the_help_are_those_of_the_code() -> None:
    pytest.importorskip("torch")
    from carpal.lab.training.recipes import RECIPES

    assert list(recipes()) == list(RECIPES)


@pytest.mark.parametrize("words", [[], ["asses"], ["assess"], ["assess", "a.png", "--sex", "m"], ["train", "smoke"]])
def test_wrong_usage_is_2(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(words)
    assert left.value.code == 2
    assert "usage: carpal" in capsys.readouterr().err


def test_assess_prints_a_line_for_each_image(engine: Any, hand_png: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["assess", str(hand_png), str(hand_png), "--sex", "male"]) == 0
    out, err = capsys.readouterr()
    assert out == f"{hand_png}: 10 years (120.0 months), male, 17 regions\n" * 2
    assert err == ""
    assert [male for _, male in engine.asked] == [True] * 4  # two images, each and its mirror image


def test_one_bad_image_does_not_stop_the_others(
    engine: Any, hand_png: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = tmp_path / "bad.png"
    bad.write_bytes(hand_png.read_bytes()[:500])
    words = [str(bad), str(hand_png), str(tmp_path / "none.png")]
    assert main(["assess", *words, "--sex", "female", "--json", str(tmp_path / "out.json")]) == 3
    out, err = capsys.readouterr()
    assert out.startswith(str(hand_png))
    assert [line.split(": ")[:2] for line in err.splitlines()] == [["carpal", "error"], ["carpal", "error"]]
    assert "bad.png" in err.splitlines()[0]
    entries = json.loads((tmp_path / "out.json").read_text())
    assert [entry["image"] for entry in entries] == words
    assert [entry["months"] for entry in entries] == [None, 120.0, None]
    assert [entry["refused"] and entry["refused"]["code"] for entry in entries] == [
        "unreadable-image",
        None,
        "unreadable-image",
    ]
    assert entries[0]["regions"] == []
    assert "bad.png" in entries[0]["refused"]["message"]


def test_a_name_that_is_not_utf_8_loses_no_result(
    engine: Any, hand_png: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """ "Müller" in Latin 1, as old shares hold it: a name in Python with a lone surrogate, which no file can."""
    odd, bad = (tmp_path / os.fsdecode(name) for name in (b"M\xfcller.png", b"K\xfchn.png"))
    odd.write_bytes(hand_png.read_bytes())
    bad.write_bytes(b"")
    words = [str(odd), str(bad), str(hand_png)]
    assert main(["assess", *words, "--sex", "female", "--json", str(tmp_path / "out.json")]) == 3
    out, err = capsys.readouterr()
    assert [line.split(":")[0] for line in out.splitlines()] == [str(odd).replace("\udcfc", "\\udcfc"), str(hand_png)]
    assert "K\\udcfchn.png: the file is empty" in err
    written = (tmp_path / "out.json").read_bytes().decode("utf-8")
    assert "M\\udcfcller.png" in written
    assert [entry["image"] for entry in json.loads(written)] == words
    assert [entry["months"] for entry in json.loads(written)] == [120.0, None, 120.0]
    assert main(["assess", str(odd), "--sex", "female", "--json", "-"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["image"] == str(odd)


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "utf-8"])
def test_a_terminal_that_lacks_a_letter_ends_no_run(
    engine: Any, hand_png: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoding: str
) -> None:
    """cp1252 is what Python on Windows writes to a file; it has no Cyrillic."""
    russian = tmp_path / "рука.png"
    russian.write_bytes(hand_png.read_bytes())
    output = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr("sys.stdout", output)
    assert main(["assess", str(russian), str(hand_png), "--sex", "female"]) == 0
    said = output.buffer.getvalue().decode(encoding).splitlines()  # type: ignore[attr-defined]
    assert [line.endswith("120.0 months), female, 17 regions") for line in said] == [True, True]
    assert ("рука" in said[0]) == (encoding == "utf-8")
    output.buffer.truncate(0)
    output.buffer.seek(0)
    assert main(["assess", str(russian), "--sex", "female", "--json", "-"]) == 0
    output.flush()
    assert json.loads(output.buffer.getvalue())[0]["image"] == str(russian)  # type: ignore[attr-defined]


def test_a_missing_codec_costs_one_image_only(
    engine: Any, hand_png: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from carpal.imaging import read

    decode = read.ImageFile.decode

    def without_codec(file: read.ImageFile) -> Any:
        if file.name == "a.dcm":
            raise BackendError("a.dcm needs pydicom")
        return decode(file)

    monkeypatch.setattr(read.ImageFile, "decode", without_codec)
    monkeypatch.setattr(read, "read_bytes", lambda path, name: hand_png.read_bytes())
    assert main(["assess", "a.dcm", str(hand_png), "--sex", "male"]) == 3
    assert len(capsys.readouterr().out.splitlines()) == 1


def test_without_a_sex_the_image_is_refused_by_name(
    engine: Any, hand_png: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["assess", str(hand_png), "--json", "-"]) == 3
    out, err = capsys.readouterr()
    (entry,) = json.loads(out)
    assert (entry["sex"], entry["refused"]["code"]) == (None, "missing-sex")
    assert f"{hand_png}: sex is needed" in err


def test_json_on_the_output_is_alone_there(engine: Any, hand_png: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["assess", str(hand_png), "--sex", "female", "--json", "-"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)[0]["sex"] == "female"
    assert "10 years" in err


def test_warnings_go_to_the_error_output(
    engine: Any, tmp_path: Path, drawn_hand: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.fromarray(255 - drawn_hand.pixels_HW).save(tmp_path / "negative.png")
    assert main(["assess", str(tmp_path / "negative.png"), "--sex", "female"]) == 0
    out, err = capsys.readouterr()
    assert out.endswith("17 regions, 1 warning\n")
    assert "negative.png: the background is bright" in err


def test_overlays_of_several_images_have_names_of_their_own(tmp_path: Path) -> None:
    overlay = tmp_path / "out.png"
    assert commands.overlay_paths(None, ["a.png", "b.png"]) == [None, None]
    assert commands.overlay_paths(overlay, ["a.png"]) == [overlay]
    paths = commands.overlay_paths(overlay, ["x/a.png", "b.dcm", "y/a.png"])
    assert [path.name for path in paths if path] == ["out-a.png", "out-b.png", "out-a-2.png"]


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--overlay", "out.jpg"], "name it FILE.png"),
        (["--overlay", "none/out.png"], "cannot be written"),
        (["--json", "."], "cannot be written"),
        (["--overlay", "hand.png"], "would be overwritten"),
    ],
)
def test_what_cannot_be_written_is_said_before_reading(
    words: list[str],
    complaint: str,
    engine: Any,
    hand_png: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(hand_png.parent)
    before = hand_png.read_bytes()
    assert main(["assess", "hand.png", "--sex", "male", *words]) == 2
    assert complaint in capsys.readouterr().err
    assert hand_png.read_bytes() == before
    assert engine.asked == []


def test_errors_have_no_stack_trace_unless_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["info", str(tmp_path / "none.onnx")]
    assert main(words) == 4
    err = capsys.readouterr().err
    assert err.startswith("carpal: error: ")
    assert err.count("\n") == 1
    with pytest.raises(carpal.CarpalError):
        main([*words, "--debug"])


def test_our_own_mistakes_say_so(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def broken(_: object) -> int:
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr(commands, "run_info", broken)
    assert main(["info", "x"]) == 4
    assert "ZeroDivisionError: division by zero. This is a mistake of ours" in capsys.readouterr().err


def test_train_will_not_touch_a_run_without_resume(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torch")
    (tmp_path / "checkpoint.pt").touch()
    assert main(["train", "smoke", "--data", "store", "--out", str(tmp_path)]) == 2
    assert "add --resume" in capsys.readouterr().err
    assert main(["train", "smokee", "--data", "store", "--out", str(tmp_path)]) == 2
    assert "no recipe 'smokee'" in capsys.readouterr().err


@pytest.mark.parametrize("switch", ["--align", "--upright"], ids=["now", "before 0.6"])
def test_prepare_aligns_hands_at_any_size(
    switch: str, hand_png: Path, tmp_path: Path, fake_engine: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(hand_png, tmp_path / "7.png")
    (tmp_path / "labels.csv").write_text("id,boneage,male\n7,120,1\n")
    monkeypatch.setattr("carpal.inference.engine.open_engine", lambda *_, **__: fake_engine(boxes_R4=_hand_R4(128)))
    words = ["prepare", str(tmp_path), "--labels", str(tmp_path / "labels.csv"), switch, "alanet"]
    for side in (128, 192):  # the network reads 128
        assert main([*words, "--out", str(tmp_path / f"store{side}"), "--long-side", str(side)]) == 0
        store = open_store(tmp_path / f"store{side}")
        assert store.pixels(0).shape == aligned_size(side)
        assert not store.points.any()
    assert main([*words, "--out", str(tmp_path / "pseudo"), "--long-side", "128", "--pseudo-regions"]) == 0
    store = open_store(tmp_path / "pseudo")
    assert store.manifest.counts["points"] == 0
    assert 10 <= store.manifest.counts["points_found"] == int((store.points[0, :, 2] == FOUND).sum())


def test_pseudo_regions_need_weights_that_find_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["prepare", str(tmp_path), "--out", str(tmp_path / "store"), "--pseudo-regions"]
    assert main(words) == 2
    assert "give the weights, as --align alanet" in capsys.readouterr().err


def _hand_R4(side: int) -> Any:
    middles_R2 = np.array(MEAN_HAND) * 0.2 * side + np.array([0.4 * side, 0.45 * side])
    return np.concatenate([middles_R2 - 8, middles_R2 + 8], 1).astype(np.float32)


def test_the_whole_way_with_an_exported_network(
    tiny_onnx: Path, hand_png: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--weights", str(tiny_onnx), "--json", str(tmp_path / "o.json"), "--overlay", str(tmp_path / "o.png")]
    assert main(["assess", str(hand_png), "--sex", "female", *words]) == 0
    (entry,) = json.loads((tmp_path / "o.json").read_text())
    assert f"({entry['months']:.1f} months)" in capsys.readouterr().out
    assert [region["name"] for region in entry["regions"]] == list(REGIONS)
    boxes_R4 = np.array([region["box"] for region in entry["regions"]])
    assert (boxes_R4 >= 0).all()
    assert (boxes_R4 <= [200, 256, 200, 256]).all()
    with Image.open(tmp_path / "o.png") as picture:
        assert picture.height > 1200
    assert entry["model"]["sha256"] == json.loads(tiny_onnx.with_suffix(".json").read_text())["sha256"]


def test_info_needs_no_runtime(tiny_onnx: Path) -> None:
    code = f"import sys; from carpal.cli import main; main(['info', {str(tiny_onnx)!r}, '--json']); print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    text, _, modules = run.stdout.rstrip().rpartition("\n")
    assert json.loads(text)["name"] == "tiny"
    assert {"torch", "onnxruntime"} & set(modules.split()) == set()


def test_every_command_has_its_function() -> None:
    tree = ast.parse(Path(commands.__file__).read_text(encoding="utf-8"))
    functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    assert {f"run_{name}" for name in NAMES} == {name for name in functions if name.startswith("run_")}
