"""What the documents promise: each error, command and recipe has its place; every link leads somewhere."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from carpal import errors

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(p for p in ROOT.rglob("*.md") if not any(part.startswith(".") for part in p.relative_to(ROOT).parts))
SOURCES = sorted((ROOT / "src" / "carpal").rglob("*.py"))
RECIPES = ROOT / "src" / "carpal" / "lab" / "training" / "recipes.py"

LINK = re.compile(r"\]\(([^)\s]+)\)|<img[^>]*\bsrc=\"([^\"]+)\"")
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


def read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def headings(text: str) -> list[str]:
    """Titles of all headings, without `#` and backticks, code blocks left out."""
    return [
        line.lstrip("#").strip().replace("`", "") for line in FENCE.sub("", text).splitlines() if line.startswith("#")
    ]


def anchor(heading: str) -> str:
    """The heading's address within its page, as code hosts make it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def links(text: str) -> list[str]:
    """Targets of all links and pictures that are not addresses of the web."""
    found = (first or second for first, second in LINK.findall(FENCE.sub("", text)))
    return [target for target in found if not re.match(r"[a-z]+:", target)]


def dead_links(page: Path, text: str) -> list[str]:
    """Links of a page whose file or heading does not exist."""
    dead = []
    for target in links(text):
        name, _, fragment = target.partition("#")
        file = (page.parent / name) if name else page
        lost_heading = fragment and file.suffix == ".md" and file.is_file()
        if not file.exists() or (lost_heading and fragment not in map(anchor, headings(read(file)))):
            dead.append(target)
    return dead


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    assert dead_links(page, read(page)) == []


def test_a_dead_link_is_found(tmp_path: Path) -> None:
    (tmp_path / "other.md").write_text("# One `code` heading\n", encoding="utf-8")
    text = (
        "[a](other.md) [b](other.md#one-code-heading) [c](other.md#none) [d](none.md) ![e](none.png) [f](https://x.y)"
    )
    assert dead_links(tmp_path / "page.md", text) == ["other.md#none", "none.md", "none.png"]


class Kind(NamedTuple):
    """An error class, read from the source, so that modules which need PyTorch count without it."""

    name: str
    code: str
    exit_code: int


def error_classes() -> list[Kind]:
    """CarpalError and all below it, wherever they are defined; attributes are inherited as Python does."""
    nodes = [node for path in SOURCES for node in ast.walk(ast.parse(read(path))) if isinstance(node, ast.ClassDef)]
    known = {"CarpalError": Kind("CarpalError", errors.CarpalError.code, errors.CarpalError.exit_code)}
    for _ in nodes:  # as often as a chain can be long
        for node in nodes:
            bases = [known[base.id] for base in node.bases if isinstance(base, ast.Name) and base.id in known]
            if bases and node.name not in known:
                known[node.name] = bases[0]._replace(name=node.name, **class_values(node))
    return sorted(known.values())


def class_values(node: ast.ClassDef) -> dict[str, Any]:
    """`code` and `exit_code` as far as the class states them itself."""
    found = {}
    for line in node.body:
        target = line.targets[0] if isinstance(line, ast.Assign) else getattr(line, "target", None)
        value = getattr(line, "value", None)
        if isinstance(target, ast.Name) and target.id in ("code", "exit_code") and isinstance(value, ast.Constant):
            found[target.id] = value.value
    return found


def test_error_classes_are_read_as_python_reads_them() -> None:
    kinds = {kind.name: kind for kind in error_classes()}
    for name in ("InputError", "MissingSex", "ConfigError", "DataError"):
        kind = getattr(errors, name)
        assert kinds[name] == (name, kind.code, kind.exit_code)


@pytest.mark.parametrize("kind", error_classes(), ids=lambda kind: kind.name)
def test_every_error_is_explained(kind: Kind) -> None:
    text = read(DOCS / "errors.md")
    assert kind.name in headings(text)
    section = re.split(r"^#+ ", text.partition(f"# {kind.name}\n")[2], maxsplit=1, flags=re.MULTILINE)[0]
    assert f"ode `{kind.code}`, exit code {kind.exit_code}." in section


def test_no_error_is_explained_that_does_not_exist() -> None:
    classes = [h for h in headings(read(DOCS / "errors.md")) if re.fullmatch(r"[A-Z]\w+", h)]
    assert set(classes) - {"Errors"} == {kind.name for kind in error_classes()}


def commands() -> list[str]:
    """The subcommands that `carpal --help` names."""
    run = subprocess.run([sys.executable, "-m", "carpal", "--help"], capture_output=True, text=True, check=True)
    listed = re.search(r"\{([a-z,]+)\}", run.stdout)
    assert listed, f"carpal --help names no subcommands:\n{run.stdout}"
    return listed.group(1).split(",")


def test_every_command_is_documented() -> None:
    text = "\n".join(read(page) for page in PAGES)
    assert len(commands()) >= 6
    assert [name for name in commands() if f"carpal {name} " not in text] == []


def recipes() -> list[str]:
    """Names of the public functions of lab/training/recipes.py that take nothing and return a Run."""
    functions = [node for node in ast.parse(read(RECIPES)).body if isinstance(node, ast.FunctionDef)]
    makers = [f for f in functions if f.returns and ast.unparse(f.returns) == "Run" and not f.args.args]
    return [f.name for f in makers if not f.name.startswith("_")]


def test_every_recipe_is_documented() -> None:
    text = read(DOCS / "training.md")
    assert "alanet" in recipes()
    assert [name for name in recipes() if f"`{name}`" not in text] == []


def test_constraints_are_names_and_versions() -> None:
    lines = [line for line in read(ROOT / "constraints.txt").splitlines() if not line.startswith("#")]
    assert [line for line in lines if not re.fullmatch(r"[a-z0-9-]+==[0-9][0-9a-z.]*", line)] == []
    assert "torch==2.13.0" in lines


AMERICAN = re.compile(
    r"\b(\w*(?:colors?|grays?|centers?|behavior|neighbor|labeled|judgment|defense|modeling)"
    r"|(?:analy|normal|optim|quant|recogn|organ|summar|serial|initial|minim|maxim|general)(?:y?i?z)\w*)\b",
    re.IGNORECASE,
)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_spelling_is_british(page: Path) -> None:
    """In prose; names of commands, of other people's code and of files stand between backticks."""
    prose = re.sub(r"`[^`]*`|\]\([^)]*\)", "", FENCE.sub("", read(page)))
    assert [found[0] for found in AMERICAN.finditer(prose)] == []


def test_american_spelling_is_found() -> None:
    words = "color gray centers behavior normalized optimizer analyze quantization"
    assert len(AMERICAN.findall(words)) == len(words.split())
    assert not AMERICAN.findall(
        "colour grey centre behaviour normalised optimiser analyse size Grayscale organ general"
    )
