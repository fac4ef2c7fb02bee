"""What comes in and what goes out: no pickle anywhere, weights of known hash, a wheel that two builds make alike."""

from __future__ import annotations

import ast
import hashlib
import inspect
import json
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import carpal
from carpal.errors import MissingSex

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
SOURCES = sorted((ROOT / "src" / "carpal").rglob("*.py"))
FORBIDDEN = {"pickle", "cPickle", "dill", "joblib", "shelve", "marshal", "cloudpickle"}
HARMLESS = {"UnpicklingError"}  # an error to catch; torch raises it where weights_only refuses a file


def unsafe(source: str) -> list[str]:
    """Ways of running code from a file: pickle and its kin, torch.load without weights_only, numpy with pickles."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) in FORBIDDEN and node.attr not in HARMLESS:
            found.append(ast.unparse(node))
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in FORBIDDEN:
            found.append(str(node.module))
        elif isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            given = {word.arg: ast.unparse(word.value) for word in node.keywords}
            if name == "torch.load" and given.get("weights_only") != "True":
                found.append(ast.unparse(node))
            if given.get("allow_pickle") == "True" or name in ("eval", "exec", "os.system"):
                found.append(ast.unparse(node))
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_file_can_run_code(path: Path) -> None:
    assert unsafe(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "source",
    ["import pickle\npickle.load(f)", "from joblib import load", "torch.load(p)", "torch.load(p, weights_only=False)",
     "np.load(p, allow_pickle=True)", "eval(x)"],
)  # fmt: skip
def test_an_unsafe_way_is_found(source: str) -> None:
    assert len(unsafe(source)) == 1


def test_released_weights_are_onnx_of_the_stated_hash() -> None:
    folder = ROOT / "src" / "carpal" / "released"
    assert {path.suffix for path in folder.iterdir()} - {".npz"} == {".onnx", ".json"}
    assert all(path.name.endswith(".cases.npz") for path in folder.glob("*.npz"))  # read without pickle
    for sidecar in folder.glob("*.json"):
        stated = json.loads(sidecar.read_text(encoding="utf-8"))["sha256"]
        assert hashlib.sha256(sidecar.with_suffix(".onnx").read_bytes()).hexdigest() == stated


def test_the_bill_of_materials_is_of_this_version_and_of_what_is_pinned() -> None:
    """`deploy/sbom.sh` makes it anew: after every change of the version, the dependencies or constraints.txt."""
    bill = json.loads((ROOT / "deploy" / "sbom.json").read_text(encoding="utf-8"))
    assert (bill["bomFormat"], bill["metadata"]["component"]["name"]) == ("CycloneDX", "carpal")
    assert bill["metadata"]["component"]["version"] == carpal.__version__
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = dict(line.split("==", 1) for line in lines if "==" in line and not line.startswith("#"))
    pinned = {canonical(name): version.split(";")[0].strip() for name, version in pinned.items()}
    listed = {canonical(part["name"]): part["version"] for part in bill["components"]}
    assert {name: pinned.get(name) for name in listed} == listed
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    needed = [*project["dependencies"], *extras["onnx"], *extras["dicom"]]
    assert {canonical(re.split(r"[\[<>=~! ;]", each)[0]) for each in needed} <= set(listed)


def licences(names: list[str]) -> dict[str, str]:
    """What every package says of its licence that these requirements bring, as far as it is installed here."""
    found: dict[str, str] = {}
    waiting, seen = [Requirement(name) for name in names], set[tuple[str, str]]()
    while waiting:
        needed = waiting.pop()
        if needed.name == "carpal":
            continue  # its own extras are all asked for
        for extra in {"", *needed.extras} - {extra for name, extra in seen if name == needed.name}:
            seen.add((needed.name, extra))
            try:
                about = metadata.metadata(needed.name)
            except metadata.PackageNotFoundError:
                continue
            said = [about.get("License-Expression") or "", *(about.get("License") or "").splitlines()[:1]]
            said += [line for line in about.get_all("Classifier") or [] if line.startswith("License")]
            found[canonical(needed.name)] = "; ".join(said)
            below = map(Requirement, metadata.requires(needed.name) or [])
            waiting += [each for each in below if each.marker is None or each.marker.evaluate({"extra": extra})]
    return found


COPYLEFT = re.compile(r"(?<!L)A?GPL|(?<!Lesser )General Public", re.IGNORECASE)


def test_nothing_that_users_install_is_under_the_gpl() -> None:
    """Every extra but those for work on carpal, and all that they bring. The bill of materials says the same."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = {name: needs for name, needs in project["optional-dependencies"].items() if name not in ("test", "lint")}
    found = licences([each for needs in (project["dependencies"], *extras.values()) for each in needs])
    assert {"numpy", "python-gdcm", "pydicom"} <= set(found)
    assert {name: said for name, said in found.items() if COPYLEFT.search(said) or not said.strip("; ")} == {}
    bill = json.loads((ROOT / "deploy" / "sbom.json").read_text(encoding="utf-8"))
    assert [part["name"] for part in bill["components"] if COPYLEFT.search(json.dumps(part.get("licenses")))] == []
    assert not any("pylibjpeg-libjpeg" in line for line in (ROOT / "constraints.txt").read_text().splitlines())


@pytest.mark.parametrize("said", ["GPL-3.0-only", "GPL V3.0", "License :: GNU General Public License v3", "AGPL-3.0"])
def test_a_copyleft_licence_is_seen(said: str) -> None:
    assert COPYLEFT.search(said)
    assert not COPYLEFT.search("LGPL-2.1; GNU Lesser General Public License; MPL-2.0 AND MIT")


def canonical(name: str) -> str:
    """As package indexes compare names."""
    return re.sub(r"[-_.]+", "-", name).lower()


def test_no_public_door_gives_an_age_without_a_sex(hand_png: Path) -> None:
    """Every public function that can return an age needs a sex: `read` raises, the others have no default for it."""
    from carpal.inference import assess, explain

    with pytest.raises(MissingSex):
        carpal.read(hand_png, weights=object())  # type: ignore[arg-type]
    doors = [
        function
        for module in (assess, explain)
        for name, function in inspect.getmembers(module, inspect.isfunction)
        if not name.startswith("_") and function.__module__ == module.__name__
        and any(kind in str(inspect.signature(function).return_annotation) for kind in ("Assessment", "Explanation"))
    ]  # fmt: skip
    assert {door.__name__ for door in doors} == {"read", "assess", "explain", "read_hands", "read_frame"}
    for door in doors:
        sex = inspect.signature(door).parameters["sex"]
        assert sex.default is inspect.Parameter.empty or door.__name__ == "read"
    types = [
        inspect.signature(door).parameters["sex"].annotation
        for door in doors
        if "None" in str(door.__annotations__["sex"])
    ]
    assert len(types) == 2  # read, which raises, and read_hands, whose result then has two ages


@pytest.mark.slow
def test_two_builds_make_the_same_wheel_which_holds_weights_and_the_mark_of_types(tmp_path: Path) -> None:
    environment = os.environ | {"SOURCE_DATE_EPOCH": "1700000000"}
    hashes = []
    for name in ("one", "two"):
        words = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path / name)]
        subprocess.run(words, cwd=ROOT, env=environment, check=True, capture_output=True)
        (wheel,) = (tmp_path / name).glob("*.whl")
        hashes.append(hashlib.sha256(wheel.read_bytes()).hexdigest())
    assert hashes[0] == hashes[1]
    held = set(zipfile.ZipFile(wheel).namelist())
    assert {"carpal/py.typed", "carpal/released/alanet.onnx", "carpal/released/alanet.json"} <= held
