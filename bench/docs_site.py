"""What mkdocs.yml cannot say: how the documents, written for a code host, become a site.

mkdocs calls `on_config`, `on_files` and `on_page_markdown`. The README becomes the first page, and the other documents
of the root become pages; a link to any other file outside docs/ becomes the file's name, because no address of the
repository is known here that such a link could lead to.

    python bench/docs_site.py

writes docs/python.md from the docstrings of what `import carpal` offers.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import os
import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PYTHON_PAGE = DOCS / "python.md"
ROOT_PAGES = {"README.md": "index.md"} | {
    name: name for name in ("CHANGELOG.md", "CONTRIBUTING.md", "LICENSE-WEIGHTS.md")
}
"""Documents of the root, and the page that each becomes."""
CODE = re.compile(r"(^```.*?^```|`[^`\n]*`)", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(!?)\[((?:[^\[\]]|!\[[^\]]*\]\([^)]*\))*)\]\(([^)\s]+)\)")
SOURCE = re.compile(r"(\bsrc=\")([^\"]+)(\")")


def anchor(title: str, separator: str = "-") -> str:
    """A heading's address within its page, as code hosts make it; mkdocs' own differs where signs meet blanks."""
    return re.sub(r"[^\w\- ]", "", title.strip().lower()).replace(" ", separator)


def on_config(config: Any) -> Any:
    """Headings get the addresses that the documents link to."""
    config.mdx_configs.setdefault("toc", {})["slugify"] = anchor
    return config


def on_files(files: Any, config: Any) -> Any:
    """Adds the documents of the root, and the pictures that they show."""
    from mkdocs.structure.files import File

    for name, page in ROOT_PAGES.items():
        text = (ROOT / name).read_text(encoding="utf-8")
        files.append(File.generated(config, page, content=site_text(text, ROOT, page)))
    for picture in sorted((ROOT / "examples").glob("*.png")):
        files.append(File.generated(config, f"examples/{picture.name}", abs_src_path=str(picture)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """The page with links that hold in the site."""
    if page.file.generated_by:  # done above
        return markdown
    return site_text(markdown, (DOCS / page.file.src_uri).parent, page.file.src_uri)


def site_text(markdown: str, folder: Path, page: str) -> str:
    """A document of `folder` as the site's `page`: links written for the code host lead to the site's pages."""

    def link(found: re.Match[str]) -> str:
        mark, text, target = found.groups()
        moved = _moved(target, folder, page)
        text = LINK.sub(link, text)
        return text if moved is None else f"{mark}[{text}]({moved})"

    def source(found: re.Match[str]) -> str:
        return f"{found[1]}{_moved(found[2], folder, page) or found[2]}{found[3]}"

    parts = CODE.split(markdown)
    # Code in a link's text, as in [`raster.py`](../src/...), is put aside while links are looked for.
    aside = {f"\0{number}\0": part for number, part in enumerate(parts) if number % 2}
    text = "".join(f"\0{number}\0" if number % 2 else part for number, part in enumerate(parts))
    text = SOURCE.sub(source, LINK.sub(link, text))
    return re.sub(r"\0\d+\0", lambda found: aside[found[0]], text)


def _moved(target: str, folder: Path, page: str) -> str | None:
    """Where a link leads in the site; None for a file that the site does not hold."""
    if re.match(r"[a-z]+:|#", target):
        return target
    name, _, fragment = target.partition("#")
    path = Path(os.path.normpath(folder / name))
    if path.is_relative_to(DOCS):
        inside = path.relative_to(DOCS).as_posix()
    else:
        inside = path.relative_to(ROOT).as_posix()
        if inside not in ROOT_PAGES and not re.fullmatch(r"examples/[^/]+\.png", inside):
            return None
        inside = ROOT_PAGES.get(inside, inside)
    return os.path.relpath(inside, Path(page).parent) + (f"#{fragment}" if fragment else "")


OFFERED: dict[str, tuple[str, ...]] = {
    "Read": ("carpal.inference.assess.read", "carpal.inference.engine.open_engine"),
    "What comes back": tuple(
        f"carpal.types.{name}"
        for name in ("Assessment", "Region", "Box", "Interval", "Score", "Refusal", "ModelId", "Sex")
    ),
    "The network": ("carpal.inference.engine.Engine", "carpal.inference.engine.Reading"),
}
"""What the Python page documents, in its order: what `import carpal` offers, and what that returns."""
RENAMED = {"carpal.inference.assess.read": "carpal.read", "carpal.inference.engine.open_engine": "carpal.load"}
HEAD = """\
# From Python

<!-- Written by `python bench/docs_site.py` from the docstrings: change those, not this page. -->

`import carpal` offers `read`, `load`, `Assessment`, `CarpalError` and `__version__`. The rest of this page is what they
take and give. Ages are months; boxes are (x1, y1, x2, y2) in pixels of the original radiograph. All values are
frozen and checked when they are built. What is not on this page may change with any version.

```python
import carpal

engine = carpal.load()
assessment = carpal.read("examples/6456.jpg", sex="female", weights=engine)
if assessment.refused:
    print(assessment.refused.message)
else:
    print(assessment.months, assessment.interval, [region.name for region in assessment.regions])
```
"""


def python_page() -> str:
    """docs/python.md, from the docstrings."""
    parts = [HEAD]
    for title, paths in OFFERED.items():
        parts += [f"## {title}\n", *(_entry(path) for path in paths)]
    return "\n".join([*parts, _errors()])


def _entry(path: str) -> str:
    """A function or class: its heading, its first words, and a table of what it takes or holds."""
    module, _, name = path.rpartition(".")
    thing = getattr(importlib.import_module(module), name)
    text = inspect.getdoc(thing) or ""
    heading = f"### `{RENAMED.get(path, name)}`\n\n"
    if inspect.isfunction(thing):
        return heading + _function(thing, text)
    node = next(node for node in ast.walk(_tree(module)) if isinstance(node, ast.ClassDef) and node.name == name)
    rows = [f"| `{field}` | {_code(kind)} | {_cell(said)} |" for field, kind, said in fields(node)]
    table = "\n".join(["| holds | type | meaning |", "|---|---|---|", *rows])
    methods = [
        f"\n#### `{name}.{found.name}`\n\n{_function(getattr(thing, found.name), ast.get_docstring(found) or '')}"
        for found in node.body
        if isinstance(found, ast.FunctionDef) and not found.name.startswith("_") and not found.decorator_list
    ]
    return "\n".join([f"{heading}{text}\n", table, *methods, ""])


def fields(node: ast.ClassDef) -> list[tuple[str, str, str]]:
    """(name, type, meaning) of a class's fields, members and properties; the meaning is the string below it."""
    found = []
    for line, following in zip(node.body, [*node.body[1:], None], strict=True):
        below = following.value if isinstance(following, ast.Expr) else None
        said = below.value if isinstance(below, ast.Constant) and isinstance(below.value, str) else ""
        if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name):
            found.append((line.target.id, ast.unparse(line.annotation), inspect.cleandoc(said)))
        elif isinstance(line, ast.Assign):
            found.append((ast.unparse(line.targets[0]), "str", said or f"`{ast.unparse(line.value)}`"))
        elif isinstance(line, ast.FunctionDef) and line.decorator_list and line.returns:
            found.append((line.name, ast.unparse(line.returns), ast.get_docstring(line) or ""))
    return found


def sections(text: str) -> tuple[str, dict[str, str]]:
    """A docstring's prose, and the text of its sections: Args, Returns, Raises."""
    prose, *rest = re.split(r"^(Args|Returns|Raises):\n", text, flags=re.MULTILINE)
    return prose.strip(), {name: inspect.cleandoc(body) for name, body in zip(rest[::2], rest[1::2], strict=True)}


def items(section: str) -> dict[str, str]:
    """`name: meaning` of each entry of a section."""
    found = re.findall(r"^(\w+): (.*?)(?=^\w+: |\Z)", section, re.MULTILINE | re.DOTALL)
    return {name: " ".join(meaning.split()) for name, meaning in found}


def _function(thing: Any, text: str) -> str:
    prose, parts = sections(inspect.cleandoc(text))
    meanings = items(parts.get("Args", ""))
    rows = []
    for name, parameter in inspect.signature(thing).parameters.items():
        if name != "self":
            default = "" if parameter.default is parameter.empty else f"`{_value(parameter.default)}`"
            rows.append(
                f"| `{name}` | {_code(str(parameter.annotation))} | {default} | {_cell(meanings.get(name, ''))} |"
            )
    table = ["| takes | type | default | meaning |", "|---|---|---|---|", *rows]
    raised = [f"- `{name}`: {meaning}" for name, meaning in items(parts.get("Raises", "")).items()]
    gives = _code(str(inspect.signature(thing).return_annotation))
    said = " ".join(parts.get("Returns", "").split())
    return "\n".join([prose, "", *table, "", f"**Returns** {gives}: {said}", "", "**Raises**", "", *raised, ""])


def _errors() -> str:
    from carpal import errors

    tree = (inspect.getdoc(errors) or "").partition("\n\n")[2].partition("\n\n`code`")[0]
    return (
        "## Errors\n\nEvery error that a user can cause is a `carpal.CarpalError` with a `code` for machines and an "
        "`exit_code` for the command; [errors](errors.md) explains each. They live in `carpal.errors`.\n\n"
        f"```text\n{inspect.cleandoc(tree)}\n```\n"
    )


def _tree(module: str) -> ast.Module:
    return ast.parse(inspect.getsource(importlib.import_module(module)))


def _value(default: object) -> str:
    return f'"{default}"' if isinstance(default, str) else str(default)


def _code(kind: str) -> str:
    """A type as code in a cell of a table."""
    kind = kind.replace("|", "\\|")
    return f"`{kind}`"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def main() -> int:
    """Writes docs/python.md."""
    PYTHON_PAGE.write_text(python_page(), encoding="utf-8")
    print(PYTHON_PAGE.relative_to(ROOT))
    return 0


if __name__ == "__main__":
    sys.exit(main())
