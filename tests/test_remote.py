"""Radiographs at an address: listed and read through pyarrow, from files and from a small S3 on loopback."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from carpal.cli import main
from carpal.errors import BackendError, ConfigError, UnreadableImage, UnsuitableImage
from carpal.imaging import read as remote
from carpal.imaging.read import open_image, read_radiograph
from carpal.inference.assess import cut_out, read_hands
from carpal.inference.pipeline import find_images
from carpal.report import forms

NAMES = ["a?b#.png", "more/1.2.840", "more/ü %41.png"]


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    """Stores are opened anew for each test; without pyarrow there is nothing to test."""
    pytest.importorskip("pyarrow.fs")
    remote._system.cache_clear()
    yield
    remote._system.cache_clear()


@pytest.fixture
def folder(tmp_path: Path, hand_png: Path) -> Path:
    folder = tmp_path / "the hands"
    (folder / "more").mkdir(parents=True)
    for name in (*NAMES, ".hidden.png", "note.txt"):
        (folder / name).write_bytes(hand_png.read_bytes())
    (folder / "note.txt").write_text("no image")
    return folder


class SmallS3(BaseHTTPRequestHandler):
    """Lists and gives the files of `folder` as the bucket `clinic`; signatures are not checked."""

    folder: Path

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        asked = {name: values[0] for name, values in parse_qs(parts.query).items()}
        self._send(self._listed(asked) if "list-type" in asked else self._content(unquote(parts.path)))

    do_HEAD = do_GET

    def _content(self, path: str) -> bytes | None:
        file = self.folder / path.removeprefix("/clinic").lstrip("/")
        return file.read_bytes() if file.is_file() else None

    def _listed(self, asked: dict[str, str]) -> bytes:
        prefix, items = asked.get("prefix", ""), set()
        for file in self.folder.rglob("*"):
            key = file.relative_to(self.folder).as_posix()
            rest, more, _ = key.removeprefix(prefix).partition(asked.get("delimiter", "\0"))
            if key.startswith(prefix) and more:
                items.add(f"<CommonPrefixes><Prefix>{prefix}{rest}/</Prefix></CommonPrefixes>")
            elif key.startswith(prefix) and file.is_file():
                size = file.stat().st_size
                items.add(f"<Contents><Key>{key}</Key><Size>{size}</Size></Contents>")
        text = f"<ListBucketResult><KeyCount>{len(items)}</KeyCount>{''.join(sorted(items))}</ListBucketResult>"
        return text.encode()

    def _send(self, content: bytes | None) -> None:
        first, last = 0, len(content or b"") - 1
        if wanted := self.headers.get("Range"):
            first, last = (int(number) for number in wanted.removeprefix("bytes=").split("-"))
        part = (content or b"")[first : last + 1]
        self.send_response(404 if content is None else 206 if wanted else 200)
        self.send_header("Content-Length", str(len(part)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(part)

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@pytest.fixture
def s3(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The folder as a bucket; the options that an address needs for it."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (SmallS3,), {"folder": folder}))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"?scheme=http&endpoint_override=127.0.0.1:{server.server_port}&region=none"
    server.shutdown()
    server.server_close()


def test_a_folder_of_files_is_walked_by_name_and_read(folder: Path) -> None:
    images = list(find_images(f"file://{folder}"))
    assert images == [f"file://{folder}/{name}" for name in ("a%3Fb%23.png", "more/1.2.840", "more/%C3%BC%20%2541.png")]
    assert [read_radiograph(image).pixels_HW.shape for image in images] == [(256, 200)] * 3
    assert read_radiograph(images[0]).source == images[0]
    assert list(find_images(images[1])) == [images[1]]


def test_a_bucket_is_walked_and_read(s3: str) -> None:
    images = list(find_images(f"s3://clinic{s3}"))
    assert images == [f"s3://clinic/{name}{s3}" for name in ("a%3Fb%23.png", "more/1.2.840", "more/%C3%BC%20%2541.png")]
    assert [read_radiograph(image).pixels_HW.shape for image in images] == [(256, 200)] * 3
    assert list(find_images(f"s3://clinic/more/{s3}")) == images[1:]
    with pytest.raises(UnreadableImage, match=r"none\.png.* cannot be read"):
        read_radiograph(f"s3://clinic/none.png{s3}")


def test_a_file_that_is_too_large_is_not_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "MAX_BYTES", 100)
    with pytest.raises(UnsuitableImage, match="more than 0"):
        read_radiograph(f"file://{folder}/more/1.2.840")


@pytest.mark.parametrize(
    ("address", "complaint"),
    [
        ("nope://x/y", "nope://x/ cannot be opened - .* mount the store as a folder and give its path"),
        ("file:///no/such/folder", "cannot be listed - .* or mount the store as a folder and give its path"),
    ],
)
def test_what_cannot_be_reached_says_what_to_do(address: str, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        list(find_images(address))


def test_without_pyarrow_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "pyarrow.fs", None)
    with pytest.raises(BackendError, match=r"s3://clinic/.* needs .* pip install 'carpal\[scale\]'"):
        read_radiograph("s3://clinic/hand.png")


@pytest.fixture
def child(folder: Path) -> Path:
    """A DICOM file of a girl with name and number, and one that nobody can decode."""
    kit = pytest.importorskip("dicom_kit")
    (folder / "more" / "a child.dcm").write_bytes(kit.child_file())
    (folder / "more" / "broken.dcm").write_bytes(kit.child_file(PixelData=b""))
    return folder / "more"


def reports_of(image: str, out: Path, monkeypatch: pytest.MonkeyPatch, engine: Any) -> tuple[int, dict[str, bytes]]:
    """What `carpal assess` returns, and every form that it wrote."""
    monkeypatch.setattr("carpal.inference.engine.open_engine", lambda *_: engine)
    code = main(["assess", image, *(f"--{kind}" for kind in forms.KINDS), str(out)])
    return code, {path.name: path.read_bytes() for path in out.iterdir()}


def test_every_form_is_the_same_by_path_by_address_and_by_bytes(
    child: Path, s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fake_engine: Callable[..., Any]
) -> None:
    pytest.importorskip("highdicom")
    pytest.importorskip("reportlab")
    engine = fake_engine()
    code, by_path = reports_of(str(child / "a child.dcm"), tmp_path / "path", monkeypatch, engine)
    assert code == 0
    assert set(by_path) == {f"a child{suffix}" for suffix in (*forms.SUFFIXES.values(), ".pdf")}
    assert b"PID-4711" in by_path["a child.sr.dcm"]
    ways = {"file": f"file://{child}/a%20child.dcm", "s3": f"s3://clinic/more/a%20child.dcm{s3}"}
    for way, address in ways.items():
        assert reports_of(address, tmp_path / way, monkeypatch, engine) == (0, by_path), way
    radiograph = open_image((child / "a child.dcm").read_bytes()).decode()
    assert radiograph.header is not None
    assert radiograph.sex is not None
    results = read_hands(radiograph, radiograph.sex, engine)
    hands = [cut_out(radiograph, result) for result in results]
    made = forms.make_all(forms.KINDS, results, radiograph.header, hands)
    del by_path["a child.pdf"]  # the page as it is; the envelope of the DICOM object holds it, too
    assert {f"a child{form.suffix}": form.content for form in made.values()} == by_path


def test_the_page_names_the_child_at_an_address(
    child: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fake_engine: Callable[..., Any]
) -> None:
    pypdf = pytest.importorskip("pypdf")
    pytest.importorskip("reportlab")
    reports_of(f"file://{child}/a%20child.dcm", tmp_path / "out", monkeypatch, fake_engine())
    page = pypdf.PdfReader(tmp_path / "out" / "a child.pdf").pages[0].extract_text()
    assert "Zyx Qwert" in page
    assert "PID-4711" in page


def test_a_refusal_at_an_address_is_told_under_the_child_s_number(
    child: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fake_engine: Callable[..., Any]
) -> None:
    pytest.importorskip("highdicom")
    engine = fake_engine()
    ways = {"path": str(child / "broken.dcm"), "address": f"file://{child}/broken.dcm"}
    made = {way: reports_of(image, tmp_path / way, monkeypatch, engine) for way, image in ways.items()}
    code, written = made["address"]
    assert code == 3
    assert set(written) == set(made["path"][1]) == {"broken.sr.dcm", "broken.fhir.json", "broken.hl7"}
    assert all(b"PID-4711" in content for content in written.values())
