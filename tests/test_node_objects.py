"""Every object that `[results] objects` may name: the node writes all four, and their packages are checked."""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pynetdicom.sop_class import (
    EncapsulatedPDFStorage,
    GrayscaleSoftcopyPresentationStateStorage,
    SecondaryCaptureImageStorage,
)

import node_fixtures
import node_kit as kit
from carpal.errors import BackendError
from carpal.node import doctor, reading
from carpal.node.config import OBJECTS, NodeConfig, load
from carpal.node.reader import _settings
from carpal.queue.jobs import State
from carpal.report.forms import DICOM_KINDS, PACKAGES
from carpal.types import Radiograph

_quiet = node_fixtures.log
PAGE = "reportlab.pdfgen.canvas"


class Viewer(kit.Pacs):
    """An archive that takes every object of ours."""

    def contexts(self) -> list[str]:
        pictures = (SecondaryCaptureImageStorage, GrayscaleSoftcopyPresentationStateStorage, EncapsulatedPDFStorage)
        return [*super().contexts(), *pictures]


def config_of(folder: Path, port: int, objects: str) -> NodeConfig:
    path = kit.write_config(folder / "node.toml", port)
    path.write_text(path.read_text().replace('objects = ["sr"]', f"objects = {objects}"))
    return load(path)


def hand(drawn: Radiograph, number: int, **tags: str) -> Dataset:
    rows, columns = drawn.pixels_HW.shape
    return kit.radiograph(number, Rows=rows, Columns=columns, PixelData=drawn.pixels_HW.tobytes(), **tags)


def test_the_node_writes_all_four_objects(tmp_path: Path, drawn_hand: Radiograph) -> None:
    archive = Viewer()
    config = config_of(tmp_path, archive.port, str(list(OBJECTS)))
    with kit.running(config, kit.FakeNetworkReader) as node:
        assert kit.send(node.port, [hand(drawn_hand, 1), hand(drawn_hand, 2, PatientSex="O")]) == [0, 0]
        assert kit.wait_for(lambda: node.jobs.counts()[State.DELIVERED] == 2), node.jobs.latest()
        for job in node.jobs.latest():
            written = [dcmread(path) for path in sorted((config.node.folder / "results" / job.id).iterdir())]
            assert sorted(each.Modality for each in written) == ["DOC", "OT", "PR", "SR"]
            assert all(each.StudyInstanceUID.startswith(f"{kit.ROOT}.2.") for each in written)
    archive.close()
    assert sorted(archive.received.values()) == [1] * 8


def test_a_package_that_one_object_needs_is_missed_before_the_port_opens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "open_engine", kit.fake_network)
    monkeypatch.setitem(sys.modules, PAGE, None)  # as if it were not installed
    reading.open_reading(_settings(config_of(tmp_path, 104, '["sr", "capture", "gsps"]')))
    with pytest.raises(BackendError, match=r"'pdf' of a report needs the package reportlab.*carpal\[pdf\]"):
        reading.open_reading(_settings(config_of(tmp_path, 104, '["sr", "pdf"]')))


@pytest.mark.parametrize("kind", OBJECTS)
def test_doctor_misses_the_package_of_each_object(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.setattr(doctor, "open_engine", kit.fake_network)
    config_of(tmp_path, 104, f'["{kind}"]')

    def of_objects() -> doctor.Finding:
        return next(found for found in doctor.examine(tmp_path / "node.toml") if found.check == "objects")

    assert of_objects().ok
    module, extra = PACKAGES[kind][-1]
    monkeypatch.setitem(sys.modules, module, None)
    assert not of_objects().ok
    assert f"The form '{kind}' of a report needs the package" in of_objects().text
    assert f"carpal[{extra}]" in of_objects().text


def test_the_extra_of_the_node_brings_what_every_object_needs() -> None:
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
    extras, brought = project["optional-dependencies"], set()
    waiting = list(extras["node"])
    while waiting:
        requirement = waiting.pop()
        if own := re.fullmatch(r"carpal\[(.*)\]", requirement):
            waiting += [more for extra in own[1].split(",") for more in extras[extra]]
        else:
            brought.add(re.split(r"[><=\[]", requirement)[0])
    assert set(OBJECTS) == set(DICOM_KINDS) <= set(PACKAGES)
    needed = {module.partition(".")[0].replace("_", "-") for kind in OBJECTS for module, _ in PACKAGES[kind]}
    assert needed <= brought
