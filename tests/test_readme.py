"""The README's commands: they parse, name what exists, run, and are the ones that CI runs."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

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
