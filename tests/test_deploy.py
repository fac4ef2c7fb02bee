"""What `deploy/` installs: the lines that matter are there and name what exists. No container engine is needed."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from configparser import RawConfigParser
from pathlib import Path

import node_fixtures
import node_kit as kit
import tools
from bench_kit import bench_script
from carpal.cli.parser import build_parser
from carpal.node.config import load

_quiet = node_fixtures.log
ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"


def unit() -> RawConfigParser:
    parser = RawConfigParser(strict=True)
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read_string((DEPLOY / "carpal-node.service").read_text(encoding="utf-8"))
    return parser


def instructions() -> list[tuple[str, str]]:
    """(INSTRUCTION, rest) of the Dockerfile, continued lines joined, comments left out."""
    text = (DEPLOY / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [(line.split(None, 1)[0], line.split(None, 1)[1]) for line in lines]


def test_the_unit_runs_a_command_that_exists_as_nobody_special() -> None:
    service = unit()["Service"]
    words = service["ExecStart"].split()[1:]
    arguments = build_parser().parse_args(words)
    assert (arguments.command, arguments.config) == ("node", Path("/etc/carpal/carpal-node.toml"))
    assert service["User"] == "carpal"
    assert service["Restart"] == "always"
    assert f"/var/lib/{service['StateDirectory']}" == str(load(DEPLOY / "carpal-node.toml").node.folder)
    for setting in ("NoNewPrivileges", "PrivateTmp", "ProtectHome"):
        assert service[setting] == "yes"
    assert service["ProtectSystem"] == "strict"


def test_systemd_understands_the_unit() -> None:
    run = tools.run("systemd-analyze", "verify", "--man=no", DEPLOY / "carpal-node.service")
    complaints = [line for line in run.stderr.splitlines() if "carpal-node" in line and "not executable" not in line]
    assert complaints == []


def test_the_image_runs_the_node_from_a_wheel_as_a_user_of_its_own() -> None:
    found = instructions()
    names = [name for name, _ in found]
    last_stage = found[len(names) - 1 - names[::-1].index("FROM") :]
    runs = [rest for name, rest in last_stage if name == "RUN"]
    assert not any("pip" in rest or "apt" in rest or "curl" in rest for rest in runs), "nothing is fetched there"
    assert ("USER", "carpal") in last_stage
    assert ("ENTRYPOINT", '["carpal"]') in last_stage
    command = re.findall(r'"([^"]+)"', dict(last_stage)["CMD"])
    assert build_parser().parse_args(command).command == "node"
    build = " ".join(rest for name, rest in found if name in ("COPY", "RUN"))
    assert "carpal-*.whl" in build
    assert "-c /build/constraints.txt" in build
    assert "carpal info alanet" in build, "the weights are in the wheel, and their hash is checked"


def test_the_image_is_built_from_what_a_clean_checkout_has_or_builds() -> None:
    """What it copies is in the repository, but for the wheel, which the command at its top builds."""
    copied = [word for name, rest in instructions() if name == "COPY" for word in rest.split()[:-1]]
    assert [word for word in copied if not word.startswith("--from")] == [
        "constraints.txt", "dist/carpal-*.whl", "/opt/carpal"
    ]  # fmt: skip
    known = subprocess.run(["git", "ls-files", "constraints.txt"], cwd=ROOT, capture_output=True, text=True)
    assert known.stdout.split() == ["constraints.txt"]
    assert "pip wheel --no-deps --wheel-dir dist . && docker build" in (DEPLOY / "Dockerfile").read_text("utf-8")
    assert ("COPY", "--from=build /opt/carpal /opt/carpal") in instructions()


def test_the_image_s_health_check_asks_the_node_where_it_answers(tmp_path: Path) -> None:
    command = next(rest for name, rest in instructions() if name == "HEALTHCHECK").partition("CMD ")[2]
    python, *words = json.loads(command)
    config = load(DEPLOY / "carpal-node.toml")
    assert f"'http://{config.health.host}:{config.health.port}/health'" in words[-1]
    assert python == "python"
    port = tools.free_port()
    words[-1] = words[-1].replace(f":{config.health.port}/", f":{port}/")
    path = kit.write_config(tmp_path / "node.toml", 104)
    path.write_text(path.read_text().replace("[health]\nport = 0", f"[health]\nport = {port}"))
    assert subprocess.run([sys.executable, *words], capture_output=True).returncode != 0, "nobody answers"
    with kit.running(load(path)):
        assert subprocess.run([sys.executable, *words], capture_output=True).returncode == 0


def test_the_image_names_what_the_project_has() -> None:
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert re.search(r"^node = \[", project, re.MULTILINE)
    assert '"src/carpal/released/*.onnx"' in project
    port = str(load(DEPLOY / "carpal-node.toml").node.port)
    assert dict(instructions())["EXPOSE"] == port


def test_the_demonstration_of_orthanc_and_the_annotated_file_know_each_other() -> None:
    orthanc = json.loads((DEPLOY / "orthanc-demo.json").read_text(encoding="utf-8"))
    config = load(DEPLOY / "carpal-node.toml")
    [pacs] = config.peer
    assert (orthanc["DicomAet"], orthanc["DicomPort"]) == (pacs.ae_title, pacs.port)
    assert orthanc["DicomModalities"]["carpal"] == [config.node.ae_title, config.node.host, config.node.port]


def test_the_walk_with_orthanc_finds_its_commands_in_the_documentation() -> None:
    walk = bench_script("orthanc_walk")
    blocks = walk.blocks()
    assert blocks[0].startswith("apt-get install")
    servers = [block.removeprefix(walk.SERVER) for block in blocks if block.startswith(walk.SERVER)]
    assert servers == ["Orthanc orthanc.json", "../.venv/bin/carpal node --config carpal-node.toml"]
    assert sum("storescu" in block for block in blocks) == 1
    for name in ("orthanc-demo.json", "orthanc-route.lua", "carpal-node.toml"):
        assert f"deploy/{name}" in blocks[1]
