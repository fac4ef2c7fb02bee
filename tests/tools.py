"""Programs that nobody here wrote, on loopback: DCMTK, Orthanc, OpenSSL. Without them tests skip, in CI they fail."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import pytest
from serving import free_port

DICOMWEB = "/usr/share/orthanc/plugins/libOrthancDicomWeb.so"
ROUTE = Path(__file__).parents[1] / "deploy" / "orthanc-route.lua"


def missing(why: str) -> NoReturn:
    """The test skips, or fails where `.ci/run` has promised what it needs."""
    if os.environ.get("CARPAL_CI_TOOLS") == "1":
        pytest.fail(f"{why}, though CARPAL_CI_TOOLS promises it")
    pytest.skip(why)


def tool(name: str) -> str:
    """The system's program: pynetdicom installs a storescu and other namesakes of its own beside our Python."""
    ours = Path(sys.prefix) / "bin"
    path = shutil.which(name, path=os.pathsep.join(each for each in os.get_exec_path() if Path(each) != ours))
    if path is None:
        missing(f"{name} is not installed")
    return path


def run(name: str, *words: str | Path, seconds: float = 180) -> subprocess.CompletedProcess[str]:
    """Runs a program to its end; output and exit code are the caller's business."""
    return subprocess.run([tool(name), *map(str, words)], capture_output=True, text=True, timeout=seconds)


@contextmanager
def program(port: int, name: str, *words: str | Path) -> Iterator[None]:
    """A server that listens on `port` while the block runs."""
    with open(os.devnull, "w") as nowhere:
        process = subprocess.Popen([tool(name), *map(str, words)], stdout=nowhere, stderr=nowhere)
        try:
            end = time.monotonic() + 60
            while time.monotonic() < end and process.poll() is None:
                with socket.socket() as probe:
                    if probe.connect_ex(("127.0.0.1", port)) == 0:
                        break
                time.sleep(0.05)
            assert process.poll() is None, f"{name} has ended with {process.returncode}"
            yield
        finally:
            process.terminate()
            process.wait(30)


@contextmanager
def dcmqrscp(folder: Path, port: int) -> Iterator[Path]:
    """DCMTK's archive PACS; gives the folder in which it stores."""
    store = folder / "store"
    store.mkdir(parents=True)
    config = folder / "dcmqrscp.cfg"
    config.write_text(
        f"NetworkTCPPort = {port}\nMaxPDUSize = 131072\nMaxAssociations = 16\n"
        "HostTable BEGIN\nHostTable END\nVendorTable BEGIN\nVendorTable END\n"
        f"AETable BEGIN\nPACS {store} RW (500, 1024mb) ANY\nAETable END\n"
    )
    with program(port, "dcmqrscp", "-c", config):
        yield store


def held(port: int) -> list[tuple[str, str]]:
    """Study and instance UID of every object in dcmqrscp's index, as findscu is told."""
    keys = ("QueryRetrieveLevel=IMAGE", "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
    words = [word for key in keys for word in ("-k", key)]
    found = run("findscu", "-S", "-aec", "PACS", "127.0.0.1", str(port), *words)
    assert found.returncode == 0, found.stderr
    told = found.stdout + found.stderr
    studies, instances = (
        re.findall(rf"\({tag}\) UI \[([0-9.]+)", told, re.IGNORECASE) for tag in ("0020,000d", "0008,0018")
    )
    return list(zip(studies, instances, strict=True))


class Orthanc:
    """Orthanc with its DICOMweb plugin; `route` sends each new radiograph to the node at `node_port`."""

    def __init__(self, folder: Path, node_port: int, route: bool = True) -> None:
        self.folder, self.dicom, self.http = folder, free_port(), free_port()
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROUTE, folder / "route.lua")
        self.config = folder / "orthanc.json"
        self.config.write_text(
            json.dumps(
                {
                    "Name": "PACS",
                    "StorageDirectory": str(folder / "storage"),
                    "IndexDirectory": str(folder / "storage"),
                    "DicomAet": "PACS",
                    "DicomPort": self.dicom,
                    "HttpPort": self.http,
                    "RemoteAccessAllowed": False,
                    "AuthenticationEnabled": False,
                    "DicomModalities": {"carpal": ["CARPAL", "127.0.0.1", node_port]},
                    "LuaScripts": [str(folder / "route.lua")] if route else [],
                    "Plugins": [DICOMWEB],
                    "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
                    "StableAge": 1,
                }
            )
        )

    @contextmanager
    def running(self) -> Iterator[Orthanc]:
        with program(self.http, "Orthanc", self.config):
            yield self

    def call(self, path: str, body: bytes | None = None, accept: str = "application/json") -> Any:
        """Orthanc's answer to GET, or to POST where there is a body, as JSON."""
        asked = urllib.request.Request(f"http://127.0.0.1:{self.http}{path}", data=body, headers={"Accept": accept})
        with urllib.request.urlopen(asked, timeout=30) as answer:
            return json.loads(answer.read() or b"null")

    def modalities(self) -> list[str]:
        """The modality of every series that it holds."""
        return sorted(series["MainDicomTags"]["Modality"] for series in self.call("/series?expand"))


def certificates(folder: Path) -> None:
    """An authority, and certificates for the node and for a sender; plus one that signed itself."""
    common = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "1")
    self_signed = ("req", "-x509", *common)
    for name in ("ca", "stranger"):
        run(
            "openssl",
            *self_signed,
            "-subj",
            f"/CN={name}",
            "-keyout",
            folder / f"{name}.key",
            "-out",
            folder / f"{name}.pem",
        )
    for name in ("node", "sender"):
        key, request, pem = (folder / f"{name}.{ending}" for ending in ("key", "csr", "pem"))
        alternative = ("-addext", "subjectAltName=IP:127.0.0.1")
        run("openssl", "req", *common[:-2], "-subj", f"/CN={name}", *alternative, "-keyout", key, "-out", request)
        signing = ("-CA", folder / "ca.pem", "-CAkey", folder / "ca.key", "-CAcreateserial", "-days", "1")
        made = run("openssl", "x509", "-req", "-in", request, *signing, "-copy_extensions", "copy", "-out", pem)
        assert made.returncode == 0, made.stderr
