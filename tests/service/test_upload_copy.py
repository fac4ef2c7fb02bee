"""An upload on its way to its place: in pieces, within the data folder, and nothing of it stays where it fails."""

from __future__ import annotations

import io
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from carpal.errors import OutOfResources, UnreadableImage
from carpal.queue.spool import CHUNK, Spool
from carpal.web.study_store import Facts, Studies


class Pieces(io.BytesIO):
    """A stream that is never read whole."""

    def read(self, size: int | None = -1, /) -> bytes:
        assert size is not None
        assert 0 < size <= CHUNK, "read whole"
        return super().read(size)


@pytest.fixture
def studies(tmp_path: Path, engine: Any) -> Studies:
    (tmp_path / "data").mkdir()
    return Studies(tmp_path / "data", engine)


def test_a_stream_is_copied_in_pieces_wherever_it_stands(studies: Studies, png: bytes) -> None:
    stream = Pieces(png)
    stream.seek(7)  # as a parser may leave it
    study = studies.receive(stream, "hand.png", Facts(sex="male"), "anna")
    assert studies.path(study).read_bytes() == png
    assert studies.path(study).stat().st_mode & 0o777 == 0o600
    assert list(studies.jobs.spool.partial.iterdir()) == []


def test_what_is_assessed_at_once_goes_the_same_way_and_is_not_kept(studies: Studies, png: bytes) -> None:
    stream = Pieces(png)
    stream.seek(7)
    (result,) = studies.read_now(stream, "hand.png", "male")
    assert result.months == pytest.approx(120)
    with pytest.raises(UnreadableImage):
        studies.read_now(Pieces(b"no radiograph"), "a.txt", None)
    assert list(studies.jobs.spool.partial.iterdir()) == list(studies.uploads.iterdir()) == []


def test_what_is_no_radiograph_leaves_nothing(studies: Studies) -> None:
    with pytest.raises(UnreadableImage):
        studies.receive(Pieces(b"no radiograph"), "a.txt", Facts(), "anna")
    assert list(studies.jobs.spool.partial.iterdir()) == list(studies.uploads.iterdir()) == []
    assert studies.readings.studies() == []


@pytest.mark.parametrize(("path", "field"), [("/api/v1/assess", "file"), ("/api/v1/jobs", "files")])
def test_a_full_disk_is_told_and_leaves_nothing(
    build: Callable[..., TestClient],
    png: bytes,
    problem: Callable[..., bool],
    monkeypatch: pytest.MonkeyPatch,
    path: str,
    field: str,
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    client = build()
    monkeypatch.setattr("carpal.queue.spool.shutil.copyfileobj", full)
    answer = client.post(path, files={field: ("Doe.png", png)}, data={"sex": "male"})
    assert problem(answer, 507, "out-of-resources")
    assert "No space left" in answer.json()["error"]
    spool = client.app.app.state.desk.studies.jobs.spool  # type: ignore[attr-defined]
    assert list(spool.partial.iterdir()) == []


def test_too_little_room_is_seen_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(OutOfResources, match="is full"), Spool(tmp_path, 2**62).copied(io.BytesIO(b"x")):
        raise AssertionError("it was copied")
    assert list((tmp_path / "partial").iterdir()) == []


def test_what_a_killed_process_left_half_written_goes_at_the_next_start(studies: Studies) -> None:
    old, young = (studies.jobs.spool.partial / name for name in ("old", "young"))
    for path in (old, young):
        path.write_bytes(b"half")
    os.utime(old, (time.time() - 7200,) * 2)
    studies.start()
    studies.close()
    assert [path.name for path in studies.jobs.spool.partial.iterdir()] == ["young"], "another process may write it"
