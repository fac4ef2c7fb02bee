"""What the node's tests share: small radiographs, a reader that answers at once, a PACS that counts, a configuration.

As a script, `python node_kit.py CONFIG`, it runs a node with that reader: what the tests kill. As `python node_kit.py
reading SETTINGS` it is a reader's process whose network answers the same for every hand, so that no weights are needed.
"""

from __future__ import annotations

import ssl
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE, evt
from pynetdicom.sop_class import ComprehensiveSRStorage, DigitalXRayImageStorageForPresentation, Verification

from carpal.inference.engine import Reading
from carpal.node import reading
from carpal.node.app import Node
from carpal.node.config import NodeConfig, load
from carpal.node.reader import Answer, Outcome, Reader
from carpal.types import ModelId

MODEL = "f" * 64
ROOT = "1.2.826.0.1.3680043.10.999"
"""A root for test objects, under pydicom's."""


def radiograph(number: int, **tags: Any) -> Dataset:
    """A small DX object of a hand; tags replace or, with None, remove."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = DigitalXRayImageStorageForPresentation
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = f"{ROOT}.1.{number}"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = f"{ROOT}.2.{number}", f"{ROOT}.3.{number}"
    dataset.Modality, dataset.BodyPartExamined, dataset.PatientSex = "DX", "HAND", "F"
    dataset.PatientName, dataset.PatientID, dataset.StudyDate = "Planted^Name", "PLANTED-ID", "20260101"
    dataset.Rows = dataset.Columns = 64
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 8, 8, 7, 0
    dataset.PixelData = np.random.default_rng(number).integers(0, 255, (64, 64), np.uint8).tobytes()
    for keyword, value in tags.items():
        setattr(dataset, keyword, value) if value is not None else delattr(dataset, keyword)
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    return dataset


def as_bytes(dataset: Dataset) -> bytes:
    """The data set as a DICOM file."""
    buffer = BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def read(
    reader: Reader, folder: Path, content: Dataset | bytes, instance: str | None = None, known: Any = ()
) -> Answer:
    """What the reader makes of an object or of any bytes."""
    path = folder / "payload"
    if isinstance(content, Dataset):
        instance = instance or str(content.SOPInstanceUID)
        content = as_bytes(content)
    path.write_bytes(content)
    return reader.read(path, instance or f"{ROOT}.1.1", list(known))


def changed(dataset: Dataset, **tags: Any) -> Dataset:
    """A copy with other tags."""
    copy = dcmread(BytesIO(as_bytes(dataset)))
    for keyword, value in tags.items():
        setattr(copy, keyword, value)
    return copy


def report_uid(instance: str) -> str:
    """The SOP instance UID of the result that `InstantReader` makes of this instance."""
    return instance.replace(f"{ROOT}.1.", f"{ROOT}.4.")


class InstantReader:
    """Answers each radiograph with a small structured report whose UID follows from the radiograph's."""

    def __init__(self, _: NodeConfig | None = None) -> None:
        self.asked: list[str] = []

    def read(self, payload: Path, instance: str, known_pixels: list[str]) -> Answer:
        self.asked.append(instance)
        source = dcmread(payload, stop_before_pixels=True)
        report = Dataset()
        report.file_meta = FileMetaDataset()
        report.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        report.SOPClassUID = report.file_meta.MediaStorageSOPClassUID = ComprehensiveSRStorage
        report.SOPInstanceUID = report.file_meta.MediaStorageSOPInstanceUID = report_uid(instance)
        report.StudyInstanceUID, report.SeriesInstanceUID = source.StudyInstanceUID, f"{source.SeriesInstanceUID}.1"
        report.Modality, report.PatientID = "SR", source.PatientID
        return Answer(Outcome.READ, result={"instance": instance}, files={"sr.dcm": as_bytes(report)})

    def close(self) -> None:
        pass


def write_config(
    path: Path, pacs_port: int, port: int = 0, more: str = "", delay: float = 0.1, association_seconds: float = 30
) -> Path:
    """A node for tests: the sender TESTER and the archive PACS, both on loopback.

    It waits long for a request: a process that stands still for a second, as on a busy machine, must not be hung up on.
    """
    path.write_text(
        f"""
[node]
folder = "{path.parent / "node"}"
port = {port}
[limits]
min_free_mb = 0
association_seconds = {association_seconds}
[results]
objects = ["sr"]
first_delay_seconds = {delay}
longest_delay_seconds = {delay}
[health]
port = 0
[[peer]]
name = "tester"
ae_title = "TESTER"
addresses = ["127.0.0.1/32"]
[[peer]]
name = "pacs"
ae_title = "PACS"
host = "127.0.0.1"
port = {pacs_port}
results = true
{more}
"""
    )
    return path


@contextmanager
def running(config: NodeConfig, reader: Callable[[NodeConfig], Any] = InstantReader) -> Iterator[Node]:
    """A node within this process."""
    node = Node(config, reader, MODEL)
    try:
        node.start()
        yield node
    finally:
        node.stop()


class Pacs:
    """An archive that keeps what it is sent: by UID, and how often."""

    def __init__(self, port: int = 0, status: int = 0, security: ssl.SSLContext | None = None) -> None:
        self.received: Counter[str] = Counter()
        self.status = status
        entity = AE("PACS")
        for context in self.contexts():
            entity.add_supported_context(context)
        entity.maximum_associations = 50
        self._server: Any = entity.start_server(
            ("127.0.0.1", port), block=False, evt_handlers=self.handlers(), ssl_context=security
        )
        self.port = int(self._server.server_address[1])

    def contexts(self) -> list[str]:
        """Classes that it takes."""
        return [Verification, ComprehensiveSRStorage]

    def handlers(self) -> list[Any]:
        """What it does."""
        return [(evt.EVT_C_STORE, self._store)]

    def _store(self, event: Any) -> int:
        if self.status == 0:
            self.received[str(event.request.AffectedSOPInstanceUID)] += 1
        return self.status

    def close(self) -> None:
        if self._server:
            self._server.shutdown()
        self._server = None


def associate(port: int, title: str = "TESTER", seconds: float = 10) -> Any:
    """An association with the node, whether it was accepted or not."""
    entity = AE(title)
    entity.acse_timeout = entity.dimse_timeout = entity.connection_timeout = seconds
    entity.add_requested_context(Verification)
    entity.add_requested_context(DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian)
    return entity.associate("127.0.0.1", port, ae_title="CARPAL")


ASKED = 10
"""Times that an association is asked for."""


def established(ask: Callable[[], Any]) -> Any:
    """The association, established; the last one tried, if none was.

    One that is not, since all places are taken for a moment or the machine is slow, is asked for again, as a modality
    does.
    """
    for _ in range(ASKED):
        association = ask()
        if association.is_established:
            break
        time.sleep(0.5)
    return association


def send(port: int, datasets: Sequence[Dataset], title: str = "TESTER") -> list[int | None]:
    """The status of each C-STORE; None where nobody answered."""
    association = established(lambda: associate(port, title))
    if not association.is_established:
        return [None] * len(datasets)
    statuses: list[int | None] = []
    for dataset in datasets:
        try:
            statuses.append(association.send_c_store(dataset).get("Status"))
        except RuntimeError:  # the association has ended
            statuses.append(None)
    if association.is_established:
        association.release()
    return statuses


def echo(port: int, title: str = "TESTER", seconds: float = 30) -> bool:
    """Whether a C-ECHO succeeds."""
    association = associate(port, title, seconds)
    if not association.is_established:
        return False
    answered = association.send_c_echo().get("Status") == 0
    association.release()
    return answered


def wait_for(condition: Callable[[], bool], seconds: float = 120) -> bool:
    """Whether it comes true in time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.02)
    return condition()


class FakeNetworkReader(Reader):
    """The real reader's process, real decoders and real reports; only the network is a fake."""

    command = (__file__, "reading")


def fake_network(*_: Any) -> SimpleNamespace:
    """An engine that answers ten years and seventeen boxes for everything."""
    boxes_R4 = np.array([[4 * i, 3 * i, 4 * i + 16, 3 * i + 16] for i in range(17)], np.float32)
    scores_R, months_R = np.full(17, 0.9, np.float32), np.arange(100, 117, dtype=np.float32)
    answer = Reading(120.0, np.full(228, 120 / 228, np.float32), boxes_R4, scores_R, months_R)
    return SimpleNamespace(
        model=ModelId("fake", "1", MODEL), long_side=128, calibration=None, refusal=None, run=lambda *_, **__: answer
    )


def main(arguments: list[str]) -> int:
    """See the top of this file."""
    if arguments[0] == "reading":
        reading.open_engine = fake_network
        return reading.main(arguments[1:])
    Node(load(Path(arguments[0])), InstantReader, MODEL).run()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
