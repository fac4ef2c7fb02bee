"""What runs inside the reader's process: one object in, an outcome and result files out. See `reader.py`."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import resource
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from carpal.errors import BadIdentity, CarpalError, InputError, UnreadableImage, UnsuitableImage, need
from carpal.growth.reference import find_reference
from carpal.imaging.exam import can_carry
from carpal.imaging.header import stated, text
from carpal.imaging.read import DICOM_MAGIC, ImageFile, open_image
from carpal.inference.assess import Facts, choose_sex, cut_out, read_hands
from carpal.inference.engine import Engine, open_engine
from carpal.node.config import TAGS, Route, fits
from carpal.node.reader import Answer, Outcome
from carpal.quality.site import read_site
from carpal.report import results as as_json
from carpal.types import Radiograph

MAX_INFLATED: Final = 64 * 2**20
"""Two bytes a pixel make 32 megapixels: more than the largest detectors have."""
OURS: Final = "carpal"
"""Manufacturer (0008,0070) of every object that `report` writes."""
HEADER: Final = (*TAGS, "SOPInstanceUID", "SOPClassUID", "Manufacturer")
NAME: Final = "the object"
"""How messages call what arrived: a file name or a UID could point to the patient."""


class Reading:
    """The network, the hospital's calibration, the growth reference and the settings of one reader. Raises ConfigError
    for a calibration of other weights and a reference that is none."""

    def __init__(self, settings: dict[str, Any], engine: Engine) -> None:
        self.settings, self.engine = settings, engine
        path = settings["calibration"]
        self.site = read_site(Path(path)).for_model(engine.model) if path else None
        self.table = find_reference(settings["reference"])
        self.routes = [Route(**{**route, **_tuples(route)}) for route in settings["routes"]]

    def read(self, data: bytes, instance: str, known_pixels: list[str]) -> Answer:
        """The outcome of one DICOM file, whatever it holds."""
        try:
            file = _opened(data)
            tags, pixels = _routing_tags(file)
        except UnreadableImage as error:
            return Answer(Outcome.IGNORED, error.code, str(error))
        result = {"instance": instance, "pixels": pixels}
        if tags["SOPInstanceUID"] != instance and can_carry(tags["SOPInstanceUID"]):  # not a UID: the command's holds
            return Answer(Outcome.IGNORED, "other-uid", "the data set and the command name different instances", result)
        if known_pixels and pixels not in known_pixels and _picture(file) not in known_pixels:
            message = "another picture was received under the same SOP instance UID: the first one stands"
            return Answer(Outcome.IGNORED, "duplicate-uid", message, result)
        if tags["Manufacturer"] == OURS:
            return Answer(Outcome.IGNORED, "own-result", "it is a result of ours that came back", result)
        if not fits(tags, self.routes):
            return Answer(Outcome.IGNORED, "no-route", "no [[route]] wants this kind of study", result)
        try:
            return self._assess(file, result)
        except InputError as error:
            return self._refuse(file, error, result)
        except CarpalError as error:
            return Answer(Outcome.FAILED, error.code, str(error), result)

    def _assess(self, file: ImageFile, result: dict[str, Any]) -> Answer:
        from carpal.report import forms
        from carpal.report.content import each, together

        radiograph = file.decode()
        header = radiograph.header
        assert header is not None
        may_be_unknown = self.settings["unknown_sex"] == "both"
        sex = radiograph.sex if may_be_unknown else choose_sex(radiograph, None)
        results = read_hands(radiograph, sex, self.engine, Facts(radiograph.age_months, self.site, self.table))
        hands = [cut_out(radiograph, result) for result in results]
        kinds, uid_root = self.settings["objects"], self.settings["uid_root"]
        made = forms.make_all(kinds, results, header, hands, uid_root, self.table)
        result = {**result, "picture": _hash(radiograph), "assessments": [as_json.entry(one) for one in each(results)]}
        refusal = together(results, header).refusal
        if refusal is None:
            return Answer(Outcome.READ, result=result, files=_files(made))
        files = _files(made) if self.settings["refusals"] else {}
        return Answer(Outcome.REFUSED, refusal.code, refusal.message, result, files)

    def _refuse(self, file: ImageFile, error: InputError, result: dict[str, Any]) -> Answer:
        """A reason instead of an age; still told to the archive, where the file says whose it is."""
        from carpal.report import forms
        from carpal.report.content import refused

        files: dict[str, bytes] = {}
        if self.settings["refusals"]:
            try:
                header = file.header
                assert header is not None
                found = refused(error, self.engine.model)
                made = forms.make(self.settings["objects"], found, header, uid_root=self.settings["uid_root"])
                files = _files(made)
            except (UnreadableImage, BadIdentity):
                pass  # no patient and no study to attach it to
        return Answer(Outcome.REFUSED, error.code, str(error), result, files)


def _picture(file: ImageFile) -> str | None:
    """The hash of the picture itself: an archive may have compressed it anew, without loss. None for no picture."""
    try:
        return _hash(file.decode())
    except InputError:
        return None


def _hash(radiograph: Radiograph) -> str:
    pixels_HW = np.ascontiguousarray(radiograph.pixels_HW)
    return hashlib.sha256(f"{pixels_HW.shape} {pixels_HW.dtype.str}".encode() + pixels_HW.tobytes()).hexdigest()


def _opened(data: bytes) -> ImageFile:
    """The object, parsed once for everything that is asked of it. Raises UnreadableImage."""
    wrong = ""
    try:
        file = open_image(data, NAME, MAX_INFLATED)
        if file.dicom is None or data[128:132] != DICOM_MAGIC:  # what came over the network always has a preamble
            wrong = "no DICOM file"
    except (UnreadableImage, UnsuitableImage) as error:
        wrong = str(error).removeprefix(f"{NAME}: ")
    if wrong:
        raise UnreadableImage(f"{NAME} is damaged or no DICOM file ({len(data)} bytes; {wrong}) - send it again")
    return file


def _routing_tags(file: ImageFile) -> tuple[dict[str, str], str]:
    """The tags of HEADER as strings, and the SHA-256 of the pixels. Several values stay apart by a backslash, what
    cannot be read is "", and a class that the data set lacks is that of the command. Raises UnreadableImage."""
    from carpal.imaging.dicom import damaged, quiet

    assert file.dicom is not None
    dataset = file.dicom.dataset
    try:
        with quiet():
            pixels = hashlib.sha256(dataset["PixelData"].value if "PixelData" in dataset else b"").hexdigest()
            found = {tag: stated(dataset, tag) for tag in HEADER}
        found["SOPClassUID"] = found["SOPClassUID"] or text(dataset.file_meta, "MediaStorageSOPClassUID")
        return found, pixels
    except Exception as error:  # pydicom raises what its converters meet; its text may quote a patient's tags
        raise damaged(file.data, NAME, error) from None


def _files(made: dict[str, Any]) -> dict[str, bytes]:
    return {f"{kind}.dcm": form.content for kind, form in made.items()}


def _tuples(route: dict[str, Any]) -> dict[str, tuple[str, ...]]:
    return {key: tuple(value) for key, value in route.items() if isinstance(value, list)}


def _limit_memory(more: int) -> None:
    """From now on at most `more` bytes of address space beyond what the loaded network takes; no core dumps."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + more
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def open_reading(settings: dict[str, Any]) -> Reading:
    """Loads the network, reads a blank picture once so that all it needs is there, and imports what a report takes.

    Raises WeightsError, BackendError (a package that the runtime or one of the objects needs), ConfigError.
    """
    engine = open_engine(settings["weights"], settings["backend"], settings["threads"], settings["precision"])
    engine.run(np.zeros((engine.long_side, engine.long_side), np.uint8), True)
    reading = Reading(settings, engine)
    for module in ("carpal.imaging.dicom", "carpal.report.forms", "pydicom.pixels"):
        need(module, feature="The node", extra="node")
    from carpal.report.forms import check_packages

    check_packages(settings["objects"])  # else each study would fail, and with it every other form
    return reading


def main(arguments: Sequence[str]) -> int:
    """Answers one line of JSON with one line, until the input ends."""
    from carpal.queue.logs import silence_libraries

    silence_libraries()
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # nothing that a library prints gets between our lines
    settings = json.loads(arguments[0])
    try:
        reading = open_reading(settings)
    except CarpalError as error:
        _say(out, {"ready": False, "code": error.code, "message": str(error)})
        return error.exit_code
    _limit_memory(settings["memory"])
    _say(out, {"ready": True})
    for line in sys.stdin:
        request = json.loads(line)
        answer = _answer(reading, request)
        files = {name: base64.b64encode(content).decode() for name, content in answer.files.items()}
        _say(out, {**answer.__dict__, "files": files})
    return 0


def _answer(reading: Reading, request: dict[str, Any]) -> Answer:
    try:
        data = Path(request["payload"]).read_bytes()
        return reading.read(data, request["instance"], request["known_pixels"])
    except MemoryError:
        message = f"{NAME} needs more memory than [reading] memory_mb allows - send the radiograph alone"
        return Answer(Outcome.IGNORED, "too-much-memory", message)
    except Exception as error:  # a mistake of ours: the type says where to look, the text could quote a tag
        return Answer(Outcome.FAILED, "internal", f"{type(error).__name__} while reading - a mistake of ours")


def _say(out: Any, message: dict[str, Any]) -> None:
    out.write(json.dumps(message).encode() + b"\n")
    out.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
