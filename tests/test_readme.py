"""The README's commands: they parse, name what exists, run, and are the ones that CI runs."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import carpal

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SH_BLOCKS = re.findall(r"^```sh\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
PYTHON_BLOCKS = re.findall(r"^```python\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
SETUPS = [block.strip() for block in SH_BLOCKS if block.startswith("python3 -m venv")]
RELEASED = ROOT / "src" / "carpal" / "released" / "alanet.onnx"
needs_weights = pytest.mark.skipif(not RELEASED.is_file(), reason="no released weights in this checkout")


def steps(block: str) -> list[list[str]]:
    """The commands of a line `a && b`, each as its words."""
    return [shlex.split(part) for part in block.split(" && ")]


def carpal_calls() -> list[list[str]]:
    """Every `carpal ...` of the README's shell blocks, as words after `carpal`."""
    lines = [part for block in SH_BLOCKS for part in re.split(r"\n| && ", block.replace("\\\n", " "))]
    words = [shlex.split(line, comments=True) for line in lines]
    return [word[1:] for word in words if word and word[0] in ("carpal", ".venv/bin/carpal")]


def run(*words: str, cwd: Path) -> str:
    """Standard output of `carpal ...`, which must succeed."""
    done = subprocess.run(
        [sys.executable, "-m", "carpal", *words], capture_output=True, text=True, cwd=cwd, timeout=120
    )
    assert done.returncode == 0, f"carpal {' '.join(words)} returned {done.returncode}:\n{done.stderr}"
    return done.stdout


def test_the_readme_is_short() -> None:
    assert len(README.split()) <= 700, "as `wc -w` counts"


def test_the_one_result_is_the_model_cards() -> None:
    """Its number, interval, n, weights, command and day; a new card without a new line here fails."""
    (result,) = re.findall(r"<!-- result: begin.*?-->\n(.*?)<!-- result: end -->", README, re.DOTALL)
    card = (ROOT / "docs" / "cards" / "alanet.md").read_text(encoding="utf-8")
    mae, interval, n = re.findall(r"\*\*([\d.]+) months\*\* \(95 % interval ([\d.-]+); n = (\d+)\)", result)[0]
    assert f"| all | {n} | {mae} ({interval}) |" in card
    (weights,) = re.findall(r"`alanet` (\d[\d.]*)", result)
    assert card.startswith(f"# Model card: alanet {weights}\n")
    (command,) = re.findall(r"`(carpal evaluate [^`]+)`", result)
    (measured,) = re.findall(r"`(carpal evaluate [^`]+)`", card)
    told, done = shlex.split(command)[2:], shlex.split(measured)[2:]
    assert set(done) - set(told) <= {"--backend", "--weights", "alanet", "alanet.onnx", "onnx"}, "defaults at most"
    assert set(told) <= set(done)
    (day,) = re.findall(r"\d{4}-\d\d-\d\d", result)
    assert f"Measured {day}" in card
    assert re.search(r"\bcommit [0-9a-f]{7,40}\b", result)


@pytest.mark.parametrize(
    ("name", "left", "right"),
    [("python", "Python", "3.11 or later"), ("licence", "code", "Apache-2.0"), ("weights", "weights", "research only"),
     ("device", "not a", "medical device")],
)  # fmt: skip
def test_badges_are_true(name: str, left: str, right: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    badge = (ROOT / "docs" / "images" / f"badge-{name}.svg").read_text(encoding="utf-8")
    assert re.findall(r"<text[^>]*>([^<]*)<", badge) == [left, right]
    assert "http" not in badge.replace("http://www.w3.org/2000/svg", ""), "loads nothing"
    assert project["requires-python"] == ">=3.11"
    assert project["license"] == "Apache-2.0"
    assert "non-commercial" in (ROOT / "LICENSE-WEIGHTS.md").read_text(encoding="utf-8")


def test_the_citation_names_this_version_and_both_works() -> None:
    yaml = pytest.importorskip("yaml")
    cff = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert cff["cff-version"] == "1.2.0"
    assert cff["version"] == carpal.__version__
    assert cff["authors"] == [{"name": "The carpal developers"}]
    assert [(work["authors"][0]["family-names"], work["year"]) for work in cff["references"]] == [
        ("Wang", 2020), ("Halabi", 2019)
    ]  # fmt: skip
    for work in cff["references"]:
        assert " ".join(work["title"].split()) in " ".join(README.replace("> ", "").split())
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"## {cff['version']} - {cff['date-released']}\n" in changes


def test_two_commands_set_up_a_fresh_machine() -> None:
    assert len(SETUPS) == 2
    for block in SETUPS:
        assert "\n" not in block
        venv, install, _ = steps(block)
        assert venv == ["python3", "-m", "venv", ".venv"]
        assert install[:4] == [".venv/bin/pip", "install", "-c", "constraints.txt"]


def test_extras_of_the_commands_exist() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    asked = {name for block in SETUPS for group in re.findall(r"\.\[([^]]+)\]", block) for name in group.split(",")}
    assert asked <= set(project["optional-dependencies"])
    assert asked >= {"onnx", "all", "test"}


def test_the_first_command_installs_no_torch() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = extras["dependencies"] + extras["optional-dependencies"]["onnx"]
    assert "'.[onnx]'" in SETUPS[0]
    assert not any("torch" in requirement or "carpal[" in requirement for requirement in wanted)


@pytest.mark.parametrize("number", [0, 1])
def test_ci_runs_the_same_commands(number: int) -> None:
    lines = (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    assert SETUPS[number] in lines


@pytest.mark.parametrize("words", carpal_calls(), ids=" ".join)
def test_flags_and_files_exist(words: list[str]) -> None:
    command, *arguments = words
    help_text = run(command, "--help", cwd=ROOT)
    flags = [word for word in arguments if word.startswith("--")]
    assert [flag for flag in flags if not re.search(rf"{flag}\b", help_text)] == []
    examples = [word for word in arguments if word.startswith("examples")]
    assert [name for name in examples if not (ROOT / name).exists()] == []


@needs_weights
def test_the_first_command_reads_the_example(tmp_path: Path) -> None:
    words = steps(SETUPS[0])[-1][1:]
    image, overlay = ROOT / words[1], words[words.index("--overlay") + 1]
    answer = run(words[0], str(image), *words[2:], cwd=tmp_path)
    assert re.search(r"\d+(\.\d+)? months", answer)
    assert (tmp_path / overlay).read_bytes().startswith(b"\x89PNG")


@needs_weights
@pytest.mark.parametrize("block", PYTHON_BLOCKS)
def test_the_python_lines_run(block: str) -> None:
    done = subprocess.run([sys.executable, "-W", "error", "-c", block], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
