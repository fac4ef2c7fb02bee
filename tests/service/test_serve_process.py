"""`carpal serve` as it is started by hand: a process with the released weights, asked over the network."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from node_kit import as_bytes, radiograph
from serve_kit import Served, served

pytestmark = pytest.mark.slow

pytest.importorskip("onnxruntime")

EXAMPLE = Path(__file__).parents[2] / "examples" / "6456.jpg"
HTML = {"Accept": "text/html"}
PLANTED = "PLANTED"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("serve")) as running:
        yield running


def test_from_start_to_an_age_on_the_page(service: Served, capsys: pytest.CaptureFixture[str]) -> None:
    home = service.client.get("/", headers=HTML).text
    (token,) = set(re.findall(r'name="form_token" value="([^"]+)"', home))
    answer = service.client.post(
        "/studies",
        files={"files": ("6456.jpg", EXAMPLE.read_bytes())},
        data={"form_token": token, "sex": "female"},
        headers={"Accept": "application/json"},  # as upload.js asks
    )
    address = answer.json()["location"]
    job = service.wait(address.rpartition("/")[2])
    seconds = time.monotonic() - service.server.started
    page = service.client.get(address, headers=HTML).text
    found = re.search(r'<p class="big">(\d+) years.*?<small>(\d+\.\d) months</small>', page)
    assert job["state"] == "done"
    assert found, page
    assert 24 < float(found.group(2)) < 216
    assert float(found.group(2)) == pytest.approx(12 * int(found.group(1)), abs=12)
    with capsys.disabled():
        print(f"\n{seconds:.1f} s from the start of carpal serve to the age on the page")


def test_what_arrives_waits_in_the_data_folder_and_goes(service: Served) -> None:
    """Half an upload, then a look at the files that the process holds open: none lies in the system's own folder."""
    if not sys.platform.startswith("linux"):
        pytest.skip("needs /proc to see the files of another process")
    half = (
        b'--x\r\nContent-Disposition: form-data; name="file"; filename="hand.png"\r\n'
        b"Content-Type: image/png\r\n\r\n" + b"\x89PNG\r\n\x1a\n" + b"\0" * (3 * 2**20)
    )
    head = (
        f"POST /api/v1/assess HTTP/1.1\r\nHost: 127.0.0.1:{service.server.port}\r\nContent-Length: {2 * len(half)}\r\n"
    )
    place = str((service.server.data / "partial").resolve())
    with socket.create_connection(("127.0.0.1", service.server.port), timeout=60) as connection:
        connection.sendall(head.encode() + b"Content-Type: multipart/form-data; boundary=x\r\n\r\n" + half)
        end = time.monotonic() + 60
        while not (spooled := [path for path in open_files(service) if "(deleted)" in path]):
            assert time.monotonic() < end, "nothing was spooled"
            time.sleep(0.05)
        assert {str(Path(path).parent) for path in spooled} == {place}
    end = time.monotonic() + 60
    while any(path.startswith(place) for path in open_files(service)):
        assert time.monotonic() < end, "an upload that broke off stays"
        time.sleep(0.05)
    assert list((service.server.data / "partial").iterdir()) == []


def open_files(service: Served) -> list[str]:
    found = []
    for link in Path(f"/proc/{service.server.process.pid}/fd").iterdir():
        try:
            found.append(str(link.readlink()))
        except OSError:  # closed meanwhile
            continue
    return found


def test_nothing_of_a_patient_is_in_the_output(service: Served) -> None:
    """Values that break their VR, of which pydicom warns and quotes them."""
    dataset = radiograph(1)
    dataset.PatientName, dataset.PatientID = f"{PLANTED}^Jane", PLANTED
    data = as_bytes(dataset).replace(b"20260101", PLANTED.encode() + b"X")  # StudyDate, same length
    assert PLANTED.encode() + b"X" in data
    for _ in range(3):
        answer = service.client.post("/api/v1/jobs", files={"files": (f"{PLANTED}.dcm", data)}, data={"sex": "female"})
        assert answer.status_code == 202, answer.text
        job = answer.json()["jobs"][0]["id"]
        service.wait(job)
        assert PLANTED in service.client.get(f"/studies/{job}", headers=HTML).text
        service.client.get(f"/api/v1/jobs/{job}/report.sr.dcm")
    output = service.server.log.read_text()
    assert "POST /api/v1/jobs 202" in output
    assert PLANTED not in output


def test_libraries_are_silent_in_the_whole_process(tmp_path: Path) -> None:
    """Warnings and log lines outside of every `quiet()`, as another thread may cause them, go nowhere."""
    script = f"""
import logging, sys, warnings, tempfile
from pathlib import Path
import pydicom, uvicorn
from carpal.web.app import serve
from carpal.web.settings import Settings

def provoke(app, **_):
    warnings.warn("{PLANTED} by a library")
    pydicom.config.logger.warning("{PLANTED} in the log")
    logging.getLogger("pydicom").error("{PLANTED} in the log")
    print("spooled in", tempfile.gettempdir())

uvicorn.run = provoke
if sys.argv[1] == "before":
    provoke(None)
serve(Settings(Path(sys.argv[2])), None)
"""
    for when, quiet in (("before", False), ("serving", True)):
        command = [sys.executable, "-c", script, when, str(tmp_path / "data")]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
        assert (PLANTED in done.stderr) is not quiet, "without serve() they are seen, so this test can fail"
        assert done.stdout.splitlines()[-1] == f"spooled in {(tmp_path / 'data' / 'partial').resolve()}"
