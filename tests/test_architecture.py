"""The house as docs/architecture.md shows it: directions of imports, the wall around the laboratory, and budgets.

All is read from the source with `ast`. The tree and the tables of that page are made from what stands here:

    python tests/test_architecture.py
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src"
PAGE = ROOT / "docs" / "architecture.md"
FILES = sorted((SOURCE / "carpal").rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))

BASE = {"types", "errors", "anatomy", "checkout"}
EVERYTHING = {"*"}

# Left may import right, the base and itself; nothing else inside the package. The longest name that fits a module
# counts. Nothing stands here that the source does not use.
MAY_IMPORT: dict[str, set[str]] = {
    "errors": set(),
    "anatomy": set(),
    "checkout": set(),
    "types": {"anatomy"},
    "imaging": BASE,
    "growth": BASE,
    "quality": BASE | {"imaging", "growth"},
    "inference": BASE | {"imaging", "growth", "quality"},
    "report": BASE | {"imaging", "growth"},
    "queue": BASE,
    "node": BASE | {"imaging", "growth", "quality", "inference", "report", "queue"},
    "web": BASE | {"imaging", "growth", "quality", "inference", "report", "queue"},
    "lab.model": BASE,
    "lab.baselines": BASE | {"lab.model"},
    "lab.data": BASE | {"imaging"},
    "lab.training": BASE | {"imaging", "lab.model", "lab.baselines", "lab.data"},
    "lab.evaluation": BASE | {"imaging", "quality", "inference", "report", "lab.data"},
    "lab.export": BASE
    | {"imaging", "quality", "inference", "lab.model", "lab.baselines", "lab.data", "lab.evaluation"},
    "lab": set(),  # lab/__init__.py
    "cli": EVERYTHING,  # inside functions, see LAZY
    "__main__": {"cli"},
    "": EVERYTHING,  # carpal/__init__.py: inside functions, see LAZY
}

# The one way from the product into the laboratory besides the command line, inside a function: the torch backend.
DOORS = {("inference.engine", "lab.export.torch_runtime")}

# Modules that start the command: outside functions they import nothing of ours but these, and nothing heavy.
LAZY: dict[str, set[str]] = {"": set(), "__main__": {"cli"}, "cli": {"cli", "errors"}}

# The only places that may name an optional dependency, even inside a function or as a word in need("...").
HEAVY: dict[str, set[str]] = {
    "torch": {"lab.model", "lab.baselines", "lab.training", "lab.data.dataset"}
    | {"lab.export.export", "lab.export.parity", "lab.export.torch_runtime"},
    "safetensors": {"lab.model"},
    "onnx": {"lab.export", "lab.model.unfold"},
    "onnxscript": {"lab.export"},
    "matplotlib": {"lab.evaluation"},
    "pycocotools": {"lab.evaluation"},
    "onnxruntime": {"inference.onnx", "lab.export.int8"},
    "openvino": {"inference.openvino"},
    "ray": {"inference.on_ray", "inference.ray_actor"},
    "pyarrow": {"imaging.read", "inference.on_ray", "report.results"},
    "pydicom": {"imaging", "report", "node"},
    "dicomanonymizer": {"imaging.deidentify"},
    "highdicom": {"report"},
    "reportlab": {"report"},
    "uharfbuzz": {"report"},
    "pynetdicom": {"node"},
    "dicomweb_client": {"node.dicomweb"},
    "requests": {"node.dicomweb"},
    "prometheus_client": {"node.monitoring", "web"},
    "fastapi": {"web"},
    "starlette": {"web"},
    "uvicorn": {"web"},
    "pydantic": {"web"},
    "jinja2": {"web"},
    "itsdangerous": {"web.auth"},
}

# Ceilings: what was measured on 2026-11-30. They only fall; beside each what we want (issue 19).
MOST_MODULES = 170  # 130; files that hold a statement besides their docstring: an empty __init__.py is no module
LONGEST_CHAIN = 16  # 12; modules, each of which imports the next one at its top
MOST_LINES = 30_300  # 25,500; of all files of src/carpal
LONGEST_FILE, LONGEST_TEST_FILE = 600, 600
LONGEST_FUNCTION, LONGEST_FORWARD = 60, 30
# A ceiling further above the measure than this no longer holds anything: lower it.
SLACK_MODULES, SLACK_LINES = 5, 500


def module_name(path: Path) -> str:
    """src/carpal/lab/model/rpn.py -> "lab.model.rpn"; src/carpal/__init__.py -> ""."""
    parts = path.relative_to(SOURCE / "carpal").with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in FILES}


@cache
def parsed(module: str) -> ast.Module:
    return ast.parse(MODULES[module].read_text(encoding="utf-8"))


BY_NAME = {"need", "import_module"}


def imports(tree: ast.AST, module: str, is_package: bool) -> Iterator[tuple[ast.AST, str]]:
    """(node, full dotted name) of every import: relative ones resolved, `from carpal import x` and need("x") too."""
    package = ["carpal", *(module.split(".") if module else [])]
    package = package if is_package else package[:-1]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = [*package[: len(package) - node.level + 1]] if node.level else []
            base += node.module.split(".") if node.module else []
            yield from ((node, ".".join([*base, alias.name])) for alias in node.names)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in BY_NAME:
            yield from ((node, str(word.value)) for word in node.args[:1] if isinstance(word, ast.Constant))


def outside_functions(tree: ast.AST) -> Iterator[ast.AST]:
    """Nodes that run when the module is imported: not those in functions, nor below `if TYPE_CHECKING:`."""
    waiting = [tree]
    while waiting:
        for child in ast.iter_child_nodes(waiting.pop()):
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
                continue
            yield child
            waiting.append(child)


def within(module: str, packages: set[str]) -> bool:
    return any(module == package or module.startswith(package + ".") for package in packages)


def row(module: str) -> str | None:
    """The longest name in MAY_IMPORT that is the module or a package around it."""
    parts = module.split(".")
    names = (".".join(parts[:end]) for end in range(len(parts), 0, -1))
    return next((name for name in names if name in MAY_IMPORT), None)


def broken_rules(source: str, module: str, is_package: bool = False) -> list[str]:
    """What the tables forbid in this source: one sentence for each import."""
    tree = ast.parse(source)
    home = row(module)
    if home is None:
        return [f"{module} has no row in MAY_IMPORT: decide what it may import"]
    allowed = MAY_IMPORT[home]
    at_the_top = {id(node) for node in outside_functions(tree)}
    found = []
    for node, name in imports(tree, module, is_package):
        where = f"{module or '__init__'}:{getattr(node, 'lineno', 0)}"
        top, _, target = name.partition(".")
        if top in HEAVY and not within(module, HEAVY[top]):
            found.append(f"{where} imports {name}, which belongs to {sorted(HEAVY[top])}")
        if top != "carpal" or target in ("", "__version__"):
            continue
        lazily = id(node) not in at_the_top
        if lazily and any(module == start and within(target, {end}) for start, end in DOORS):
            continue
        if not within(target, allowed | {home}) and allowed != EVERYTHING:
            found.append(f"{where} imports {name}; allowed are {sorted(allowed)}")
        if home in LAZY and not lazily and not within(target, LAZY[home]):
            found.append(f"{where} imports {name} at the top; do it inside the function that needs it")
    return found


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module or "__init__")
def test_imports_follow_the_table(module: str) -> None:
    path = MODULES[module]
    assert broken_rules(path.read_text(encoding="utf-8"), module, path.name == "__init__.py") == []


@pytest.mark.parametrize(
    ("source", "module"),
    [
        ("from carpal.report import text", "inference.assess"),
        ("from ..report import text", "inference.assess"),
        ("def f():\n    import carpal.lab.data.sources", "lab.model.rpn"),
        ("from carpal import inference", "report.text"),
        ("from carpal.web import auth", "node.app"),
        ("from carpal.node import config", "web.app"),
        ("from carpal.lab.data.tables import read_table", "imaging.read"),
        ("def f():\n    from carpal.lab.model import rpn", "inference.engine"),
        ("from carpal.lab.export.torch_runtime import TorchEngine", "inference.engine"),  # not inside a function
        ("from carpal.lab.evaluation import run", "cli.commands"),
        ("import torch.nn as nn", "lab.evaluation.age"),
        ("def f():\n    import torch", "imaging.read"),
        ("def f():\n    need('torch', feature='All', extra='torch')", "inference.engine"),
        ("from carpal.imaging.read import read_radiograph", "cli"),
        ("from importlib import import_module\nx = import_module('carpal.node.app')", "imaging.read"),
        ("import numpy", "unheard_of.module"),
    ],
)
def test_a_forbidden_import_is_found(source: str, module: str) -> None:
    assert len(broken_rules(source, module)) == 1


@pytest.mark.parametrize(
    ("source", "module"),
    [
        ("from carpal import __version__\nfrom carpal.types import Box", "report.text"),
        ("from .boxes import iou\nfrom . import roi", "lab.model.rpn"),
        ("import torch\nfrom carpal.lab.model.alanet import ALANet", "lab.export.torch_runtime"),
        ("def f():\n    from carpal.lab.export.torch_runtime import TorchEngine", "inference.engine"),
        ("def main():\n    from carpal.lab.training import loop", "cli"),
    ],
)
def test_an_allowed_import_passes(source: str, module: str) -> None:
    assert broken_rules(source, module) == []


@cache
def graph(with_functions: bool = False) -> dict[str, set[str]]:
    """Module -> the modules that it imports at its top; with those inside its functions, except doors."""
    edges: dict[str, set[str]] = {}
    for module, path in MODULES.items():
        tree = parsed(module)
        at_the_top = {id(node) for node in outside_functions(tree)}
        edges[module] = set()
        for node, name in imports(tree, module, path.name == "__init__.py"):
            if not name.startswith("carpal.") or not (with_functions or id(node) in at_the_top):
                continue
            parts = name.split(".")[1:]
            target = next((t for t in (".".join(parts[:n]) for n in range(len(parts), 0, -1)) if t in MODULES), "")
            if target not in ("", module) and (module, target) not in DOORS:
                edges[module].add(target)
    return edges


def package_graph() -> dict[str, set[str]]:
    """Row of MAY_IMPORT -> the rows that its modules import, inside functions as well."""
    edges: dict[str, set[str]] = {name: set() for name in MAY_IMPORT}
    for module, targets in graph(with_functions=True).items():
        home = row(module)
        assert home is not None
        edges[home] |= {target_row for target in targets if (target_row := row(target)) and target_row != home}
    return edges


def longest_chain(edges: dict[str, set[str]]) -> list[str]:
    """The longest way along the edges. Raises ValueError, which names them, where they go in a circle."""
    known: dict[str, list[str]] = {}

    def chain(name: str, above: tuple[str, ...]) -> list[str]:
        if name in above:
            raise ValueError(" -> ".join([*above[above.index(name) :], name]))
        if name not in known:
            below = [chain(target, (*above, name)) for target in sorted(edges[name])]
            known[name] = [name, *max(below, key=len, default=[])]
        return known[name]

    return max((chain(name, ()) for name in edges), key=len)


def test_a_chain_is_measured_and_a_circle_found() -> None:
    edges = {"a": {"b", "c"}, "b": {"c"}, "c": set(), "d": {"c"}}
    assert longest_chain(edges) == ["a", "b", "c"]
    with pytest.raises(ValueError, match=r"^b -> c -> b"):
        longest_chain({**edges, "c": {"b"}})


def test_the_graph_is_the_source() -> None:
    assert graph()["__main__"] == {"cli"}
    assert "lab.data.prepare" in graph(with_functions=True)["cli.commands"] - graph()["cli.commands"]
    assert {"imaging", "quality", "growth"} <= package_graph()["inference"]
    assert "lab.export" not in package_graph()["inference"], "the door is left out"


def test_no_circle_of_packages() -> None:
    longest_chain(package_graph())


def test_the_table_allows_nothing_that_is_not_used() -> None:
    used = package_graph()
    assert {name: sorted(may - BASE - used[name] - EVERYTHING) for name, may in MAY_IMPORT.items()} == {
        name: [] for name in MAY_IMPORT
    }


def test_no_circle_of_modules_and_no_long_chain() -> None:
    chain = longest_chain(graph())
    assert len(chain) <= LONGEST_CHAIN, " -> ".join(chain)
    assert len(chain) == LONGEST_CHAIN, f"well done: LONGEST_CHAIN is {len(chain)} from now on"


def holds_code(module: str) -> bool:
    tree = parsed(module)
    return len(tree.body) > (ast.get_docstring(tree) is not None)


def test_modules_stay_few() -> None:
    modules = sum(map(holds_code, MODULES))
    assert modules <= MOST_MODULES, "a new module has to earn its room: which one goes?"
    assert modules >= MOST_MODULES - SLACK_MODULES, f"well done: MOST_MODULES is {modules} from now on"


def test_the_source_stays_short() -> None:
    lines = sum(len(path.read_text(encoding="utf-8").splitlines()) for path in FILES)
    assert lines <= MOST_LINES
    assert lines >= MOST_LINES - SLACK_LINES, f"well done: MOST_LINES is {lines} from now on"


@pytest.mark.parametrize("path", FILES + TESTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_files_stay_short(path: Path) -> None:
    lines = len(path.read_text(encoding="utf-8").splitlines())
    limit = LONGEST_TEST_FILE if path in TESTS else LONGEST_FILE
    assert lines <= limit, f"{path.name} has {lines} lines: it is two files"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_functions_stay_short(path: Path) -> None:
    tree = parsed(module_name(path))
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


WITHOUT_LAB = """
import importlib, sys

class Wall:
    def find_spec(self, name, path=None, target=None):
        if (name + ".").startswith(("carpal.lab.", "torch.", "matplotlib.")):
            raise AssertionError(f"{name} is imported")

sys.meta_path.insert(0, Wall())
from carpal.errors import BackendError
for module in sys.argv[1:]:
    try:
        importlib.import_module(module)
    except BackendError as error:  # an extra that is not installed here
        print(module, error)
    except ModuleNotFoundError as error:
        print(module, error)
"""


def without_lab(*modules: str) -> subprocess.CompletedProcess[str]:
    """The modules imported by an interpreter in which nothing of the laboratory can be."""
    return subprocess.run(
        [sys.executable, "-c", WITHOUT_LAB, *modules], capture_output=True, text=True, cwd=ROOT, timeout=120
    )


def test_the_product_starts_without_the_laboratory() -> None:
    product = ["carpal", *(f"carpal.{name}" for name in MODULES if name not in ("", "__main__"))]
    run = without_lab(*(name for name in product if not within(name, {"carpal.lab"})))
    assert run.returncode == 0, run.stderr
    assert "carpal.lab is imported" in without_lab("carpal.lab.data.tables").stderr  # the wall stands


def summary(module: str) -> str:
    """The first line of a module's docstring, which is a whole sentence."""
    return (ast.get_docstring(parsed(module)) or "").partition("\n")[0]


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module or "__init__")
def test_the_first_line_of_a_module_says_what_it_is(module: str) -> None:
    assert summary(module).endswith((".", ":")), "the tree of docs/architecture.md shows this line"


def tree_of_source() -> str:
    """Every file by its folder, with the first line of its docstring."""
    lines = ["```text", "src/carpal/"]
    for module, path in sorted(MODULES.items(), key=lambda item: tree_order(item[1])):
        parts = path.relative_to(SOURCE / "carpal").parts
        if parts[-1] == "__init__.py":
            name, depth = f"{parts[-2]}/" if len(parts) > 1 else "__init__.py", max(len(parts) - 1, 1)
        else:
            name, depth = parts[-1], len(parts)
        lines.append(f"{'    ' * depth + name:<32}{summary(module).rstrip('.:')}")
    return "\n".join([*lines, f"{'    released/':<32}The weights and their sidecar", "```"])


def tree_order(path: Path) -> list[tuple[bool, int, str]]:
    """Files of a folder before its folders; the folders of src/carpal from the ground up, as MAY_IMPORT names them."""
    parts = path.relative_to(SOURCE / "carpal").parts
    rows = list(MAY_IMPORT)
    folders = [".".join(parts[: n + 1]) for n in range(len(parts) - 1)]
    order = [(True, rows.index(name) if name in rows else len(rows), name) for name in folders]
    return [*order, (False, 0, "" if parts[-1] == "__init__.py" else parts[-1])]


def table_of_directions() -> str:
    """MAY_IMPORT and HEAVY as one table of the page."""
    lines = ["| package | may import, besides the base | optional packages |", "|---|---|---|"]
    for name, allowed in MAY_IMPORT.items():
        if name in ("", "__main__", "lab"):
            continue
        ours = [f"`{other}`" for other in MAY_IMPORT if other in allowed - (BASE if name not in BASE else set())]
        ours += [f"`{end}` inside a function" for start, end in sorted(DOORS) if within(start, {name})]
        told = "everything, inside functions" if allowed == EVERYTHING else " ".join(ours) or "nothing"
        lines.append(f"| `{name}` | {told} | {', '.join(optional_packages(name))} |")
    return "\n".join(lines)


def optional_packages(name: str) -> Iterator[str]:
    """The row's optional packages, with the files that may name them where not all may."""
    for package, homes in HEAVY.items():
        mine = sorted(home for home in homes if within(home, {name}))
        files = " ".join(f"`{home.rpartition('.')[2]}.py`" for home in mine)
        if mine:
            yield package if name in mine else f"{package} ({files})"


def table_of_budgets() -> str:
    return "\n".join(
        [
            "| | at most | wanted |",
            "|---|---|---|",
            f"| modules (files with a statement besides their docstring) | {MOST_MODULES} | 130 |",
            f"| longest chain of modules, each importing the next at its top | {LONGEST_CHAIN} | 12 |",
            f"| lines of `src/carpal` | {MOST_LINES:,} | 25,500 |",
            "| circles of modules, by imports at the top | 0 | 0 |",
            "| circles of packages, by all imports but the door to the torch backend | 0 | 0 |",
            f"| lines of a file; of a test file | {LONGEST_FILE}; {LONGEST_TEST_FILE} | |",
            f"| lines of a function; of `forward` | {LONGEST_FUNCTION}; {LONGEST_FORWARD} | |",
        ]
    )


PARTS: dict[str, Callable[[], str]] = {
    "tree": tree_of_source,
    "directions": table_of_directions,
    "budgets": table_of_budgets,
}


def page_of_now(page: str) -> str:
    """The page with each generated part as the source and the tables here have it."""
    for name, make in PARTS.items():
        begin, end = f"<!-- {name}: begin -->\n", f"\n<!-- {name}: end -->"
        before, _, rest = page.partition(begin)
        _, mark, after = rest.partition(end)
        assert mark, f"docs/architecture.md lost its marks for the part {name!r}"
        page = before + begin + make() + end + after
    return page


def test_the_page_shows_the_house() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert page_of_now(page) == page, "run python tests/test_architecture.py"


if __name__ == "__main__":
    PAGE.write_text(page_of_now(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
