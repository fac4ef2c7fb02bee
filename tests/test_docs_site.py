"""The documents as a site, and the Python page: all that `import carpal` offers is explained, as in the code."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import carpal
from bench_kit import bench_script
from carpal import errors

ROOT = Path(__file__).parents[1]
MKDOCS = ROOT / "mkdocs.yml"


SITE = bench_script("docs_site")
FUNCTIONS = [path for paths in SITE.OFFERED.values() for path in paths if path.rpartition(".")[2].islower()]
CLASSES = [path for paths in SITE.OFFERED.values() for path in paths if path not in FUNCTIONS]


def thing(path: str) -> object:
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)


def test_all_that_is_offered_is_on_the_python_page() -> None:
    offered = {carpal._HOMES[name] for name in carpal.__all__ if name not in ("__version__", "CarpalError")}
    assert offered <= {tuple(path.rsplit(".", 1)) for path in [*FUNCTIONS, *CLASSES]}
    named = set(re.findall(r"[A-Z]\w+", " ".join(kind for path in CLASSES for _, kind, _ in fields_of(path))))
    known = {path.rpartition(".")[2] for path in CLASSES}
    assert named - known - {"None", "NDArray", "Any"} == {"Calibration", "Limits"}, "of Engine, and not for users"


def fields_of(path: str) -> list[tuple[str, str, str]]:
    module, _, name = path.rpartition(".")
    tree = ast.parse(inspect.getsource(importlib.import_module(module)))
    (node,) = [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef) and node.name == name]
    return list(SITE.fields(node))


@pytest.mark.parametrize("path", [*FUNCTIONS, "carpal.inference.engine.Engine.run"])
def test_every_parameter_result_and_error_is_told(path: str) -> None:
    holder = thing("carpal.inference.engine.Engine") if path.endswith("Engine.run") else None
    function = thing(path) if holder is None else holder.run  # type: ignore[attr-defined]
    prose, parts = SITE.sections(inspect.getdoc(function))
    assert prose
    parameters = [name for name in inspect.signature(function).parameters if name != "self"]  # type: ignore[arg-type]
    told = SITE.items(parts["Args"])
    assert list(told) == parameters
    assert all(len(meaning.split()) >= 3 for meaning in told.values()), told
    assert parts["Returns"]
    raised = SITE.items(parts["Raises"])
    assert raised
    assert all(issubclass(getattr(errors, name), errors.CarpalError) for name in raised)


@pytest.mark.parametrize("path", CLASSES)
def test_every_field_has_its_meaning(path: str) -> None:
    assert inspect.getdoc(thing(path))
    assert [name for name, _, said in fields_of(path) if not said.strip()] == []


def test_errors_raised_for_wrong_words_are_the_told_ones() -> None:
    with pytest.raises(errors.ConfigError):
        carpal.read("examples/6456.jpg", sex="girl")
    with pytest.raises(errors.ConfigError):
        carpal.load(backend="abacus")
    with pytest.raises(errors.ConfigError):
        carpal.load(precision="fp8")
    with pytest.raises(errors.WeightsError):
        carpal.load("nowhere.onnx")
    with pytest.raises(errors.UnreadableImage):
        carpal.read(b"no image", sex="female")


def test_the_python_page_is_what_the_code_says() -> None:
    assert SITE.PYTHON_PAGE.read_text(encoding="utf-8") == SITE.python_page(), "run python bench/docs_site.py"


@pytest.mark.parametrize(
    ("markdown", "folder", "page", "expected"),
    [
        ("[a](page.md#x) [b](#y) [c](https://x.y)", "docs", "node.md", "[a](page.md#x) [b](#y) [c](https://x.y)"),
        ("[card](docs/cards/alanet.md#data)", "", "index.md", "[card](cards/alanet.md#data)"),
        ("[terms](../LICENSE-WEIGHTS.md) [all](../README.md#limits)", "docs", "data.md",
         "[terms](LICENSE-WEIGHTS.md) [all](index.md#limits)"),
        ("[back](../decisions.md)", "docs/cards", "cards/alanet.md", "[back](../decisions.md)"),
        ("[`intensity.py`](../src/carpal/imaging/intensity.py) [the law](LICENSE)", "docs", "inference.md",
         "`intensity.py` [the law](LICENSE)"),
        ("[the law](LICENSE)", "", "index.md", "the law"),
        ('<img src="docs/images/a.png"> ![b](examples/6456-read.png)', "", "index.md",
         '<img src="images/a.png"> ![b](examples/6456-read.png)'),
        ("`[a](../src/x.py)`\n```\n[b](../src/y.py)\n```\n", "docs", "x.md",
         "`[a](../src/x.py)`\n```\n[b](../src/y.py)\n```\n"),
    ],
)  # fmt: skip
def test_links_lead_to_pages_of_the_site(markdown: str, folder: str, page: str, expected: str) -> None:
    assert SITE.site_text(markdown, ROOT / folder, page) == expected


def test_every_page_is_in_the_navigation() -> None:
    text = MKDOCS.read_text(encoding="utf-8")
    parts = re.findall(r"^  - ([^:\n]+):$", text, re.MULTILINE)
    assert parts == ["Use", "Clinic and PACS", "Research", "Reference", "Decisions"]
    listed = re.findall(r"^      - [^:\n]+: (\S+\.md)$", text, re.MULTILINE)
    pages = {path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")}
    assert sorted(listed) == sorted(pages | set(SITE.ROOT_PAGES.values()))


def test_the_site_builds_without_a_warning_and_loads_nothing(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs")
    words = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    pages = [page for page in (tmp_path / "site").rglob("*.html") if page.name != "404.html"]  # its links begin with /
    assert len(pages) > 25
    for page in pages:
        text = page.read_text(encoding="utf-8")
        loaded = re.findall(r"<(?:script|img|iframe)[^>]*\bsrc=\"([^\"]+)\"|<link[^>]*\bhref=\"([^\"]+)\"", text)
        targets = [one or other for one, other in loaded]
        assert [target for target in targets if re.match(r"(https?:)?//", target)] == [], page.name
        lost = [t for t in targets if not (page.parent / t.partition("?")[0].partition("#")[0]).exists()]
        assert lost == [], page.name
