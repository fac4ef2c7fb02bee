"""The rule of directions, the sizes and the light start of docs/architecture.md, read from the source with `ast`."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src"
FILES = sorted((SOURCE / "carpal").rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))

BASE = {"types", "errors", "anatomy", "optional", "checkout"}
EVERYTHING = {"*"}
WITH_TORCH = ("inference.eager", "inference.export", "inference.parity")

# Left may import right, and itself; nothing else inside the package. The longest name that fits a module counts.
MAY_IMPORT: dict[str, set[str]] = {
    "": EVERYTHING,  # carpal/__init__.py: inside functions, see LAZY
    "__main__": {"cli"},
    "cli": EVERYTHING,  # inside functions, see LAZY
    "errors": set(),
    "anatomy": set(),
    "checkout": set(),
    "optional": {"errors"},
    "types": {"anatomy"},
    "imaging": BASE,
    "model": BASE,
    "baselines": BASE | {"model"},
    "data": BASE | {"imaging"},
    "evaluation": BASE | {"data"},  # its readers of tables
    "evaluation.gate": BASE | {"inference", "imaging", "data"},
    "evaluation.quantised": BASE | {"inference", "imaging", "data"},
    "evaluation.run": BASE | {"inference", "imaging", "data", "trust"},
    "evaluation.pool": BASE | {"inference", "data"},
    "evaluation.gallery": BASE | {"imaging", "report"},
    "evaluation.proposals": BASE | {"imaging", "data", "model"},  # model.mean_hand, which needs no torch
    "evaluation.compare_latency": BASE | {"inference"},
    "evaluation.figures": BASE | {"inference", "imaging", "data"},
    "evaluation.intervals": BASE | {"data", "trust"},
    "evaluation.readout": BASE | {"data", "trust"},
    "evaluation.calibrate": BASE | {"inference", "imaging", "data", "trust"},
    "inference": BASE | {"imaging", "trust", "growth"},
    **dict.fromkeys(WITH_TORCH, BASE | {"imaging", "trust", "model", "baselines"}),
    "training": BASE | {"imaging", "data", "model", "baselines", "evaluation"},
    "growth": BASE,
    "trust": BASE | {"imaging"},
    "trust.sex_fit": BASE | {"growth"},
    "trust.shape": BASE | {"model"},  # model.mean_hand, which needs no torch
    "trust.fit": BASE | {"imaging", "inference", "data"},
    "trust.cases": BASE | {"imaging", "inference", "data"},
    "trust.stress": BASE | {"imaging", "inference", "evaluation", "data"},
    "report": BASE | {"imaging", "growth"},
    "service": BASE | {"imaging", "inference", "report", "growth", "trust"},
}

# The only places that may name an optional dependency, even inside a function.
HEAVY: dict[str, set[str]] = {
    "torch": {"model", "baselines", "training", "data.dataset", *WITH_TORCH},
    "safetensors": {"model", "training"},
    "pydicom": {"imaging", "report", "service"},
    "pynetdicom": {"service"},
    "dicomweb_client": {"service"},
    "requests": {"service"},
    "highdicom": {"report"},
    "dicomanonymizer": {"imaging"},
    "fastapi": {"service"},
    "reportlab": {"report"},
    "uharfbuzz": {"report"},
    "onnxruntime": {"inference"},
    "openvino": {"inference"},
    "onnx": {"inference.export", "model.unfold"},
    "onnxscript": {"inference.export"},
    "matplotlib": {"evaluation"},
    "pycocotools": {"evaluation"},
    "pyarrow": {"imaging", "inference", "report"},
    "ray": {"inference"},
}

# Modules that start the command: outside functions they import nothing of ours but these, and nothing heavy.
LAZY: dict[str, set[str]] = {"": set(), "__main__": {"cli"}, "cli": {"cli", "errors"}}

LONGEST_FILE, LONGEST_TEST_FILE = 600, 600
LONGEST_FUNCTION, LONGEST_FORWARD = 60, 30


def module_name(path: Path) -> str:
    """src/carpal/lab/model/rpn.py -> "model.rpn"; src/carpal/__init__.py -> ""."""
    parts = path.relative_to(SOURCE / "carpal").with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in FILES}


def imports(tree: ast.AST, module: str, is_package: bool) -> Iterator[tuple[ast.AST, str]]:
    """(node, full dotted name) of every import, relative ones resolved, `from carpal import x` down to x."""
    package = ["carpal", *(module.split(".") if module else [])]
    package = package if is_package else package[:-1]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = [*package[: len(package) - node.level + 1]] if node.level else []
            base += node.module.split(".") if node.module else []
            yield from ((node, ".".join([*base, alias.name])) for alias in node.names)


def row(table: dict[str, set[str]], module: str) -> set[str] | None:
    """The row of the longest name in the table that is the module or a package around it."""
    parts = module.split(".")
    names = (".".join(parts[:end]) for end in range(len(parts), 0, -1))
    return next((table[name] for name in names if name in table), None)


def within(module: str, packages: set[str]) -> bool:
    return any(module == package or module.startswith(package + ".") for package in packages)


def broken_rules(source: str, module: str, is_package: bool = False) -> list[str]:
    """What the table forbids in this source: one sentence for each import."""
    tree = ast.parse(source)
    allowed = row(MAY_IMPORT, module)
    if allowed is None:
        return [f"{module} has no row in MAY_IMPORT: decide what it may import"]
    at_the_top = {id(node) for node in _outside_functions(tree)}
    found = []
    for node, name in imports(tree, module, is_package):
        where = f"{module or '__init__'}:{getattr(node, 'lineno', 0)}"
        top, _, rest = name.partition(".")
        if top in HEAVY and not within(module, HEAVY[top]):
            found.append(f"{where} imports {name}, which belongs to {sorted(HEAVY[top])}")
        if top != "carpal" or rest in ("", "__version__"):
            continue
        target = rest.split(".")[0]
        if target not in allowed | {module.split(".")[0]} and allowed != EVERYTHING:
            found.append(f"{where} imports {name}; allowed are {sorted(allowed)}")
        lazy = row(LAZY, module)
        if lazy is not None and id(node) in at_the_top and target not in lazy:
            found.append(f"{where} imports {name} at the top; do it inside the function that needs it")
    return found


def _outside_functions(tree: ast.AST) -> Iterator[ast.AST]:
    """Nodes that run when the module is imported: not those in functions, nor below `if TYPE_CHECKING:`."""
    for child in ast.iter_child_nodes(tree):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        yield child
        yield from _outside_functions(child)


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module or "__init__")
def test_imports_follow_the_table(module: str) -> None:
    path = MODULES[module]
    assert broken_rules(path.read_text(encoding="utf-8"), module, path.name == "__init__.py") == []


@pytest.mark.parametrize(
    ("source", "module"),
    [
        ("from carpal.training import loop", "inference.assess"),
        ("from ..training import loop", "inference.assess"),
        ("def f():\n    import carpal.lab.data.sources", "model.rpn"),
        ("from carpal import report", "evaluation.age"),
        ("import torch.nn as nn", "evaluation.age"),
        ("def f():\n    import torch", "imaging.read"),
        ("from carpal.imaging.read import read_radiograph", "cli"),
        ("import numpy", "unheard_of.module"),
    ],
)
def test_a_forbidden_import_is_found(source: str, module: str) -> None:
    assert len(broken_rules(source, module)) == 1


@pytest.mark.parametrize(
    ("source", "module"),
    [
        ("from carpal import __version__\nfrom carpal.types import Box", "report.text"),
        ("from .boxes import iou\nfrom . import roi", "model.rpn"),
        ("import torch\nfrom carpal.lab.model.alanet import ALANet", "inference.eager"),
        ("def main():\n    from carpal.training import loop", "cli"),
    ],
)
def test_an_allowed_import_passes(source: str, module: str) -> None:
    assert broken_rules(source, module) == []


@pytest.mark.parametrize("path", FILES + TESTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_files_stay_short(path: Path) -> None:
    lines = len(path.read_text(encoding="utf-8").splitlines())
    limit = LONGEST_TEST_FILE if path in TESTS else LONGEST_FILE
    assert lines <= limit, f"{path.name} has {lines} lines: it is two files"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_functions_stay_short(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    lengths = {f"{f.name} (line {f.lineno})": (f.end_lineno or 0) - f.lineno + 1 for f in functions}
    too_long = {
        name: length
        for name, length in lengths.items()
        if length > (LONGEST_FORWARD if name.startswith("forward ") else LONGEST_FUNCTION)
    }
    assert too_long == {}


def modules_after(statement: str) -> set[str]:
    """Top-level names in sys.modules of a fresh interpreter after the statement."""
    code = f"{statement}; import sys; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    return {name.partition(".")[0] for name in run.stdout.split()}


def test_import_carpal_is_light() -> None:
    heavy = {"torch", "pydicom", "PIL", "onnxruntime", "numpy", "matplotlib", "onnx", "pyarrow", "ray"}
    assert modules_after("import carpal") & heavy == set()
    assert "numpy" in modules_after("import carpal, numpy")  # the list above can fail


@pytest.mark.parametrize("module", ["carpal.inference.assess", "carpal.inference.engine", "carpal.lab.evaluation.run"])
def test_reading_a_radiograph_needs_no_torch(module: str) -> None:
    assert "torch" not in modules_after(f"import {module}")
