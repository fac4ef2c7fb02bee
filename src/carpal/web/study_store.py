"""The way of a radiograph through the service: taken, kept, queued, read, shown, forgotten.

A study is one radiograph. Its file lies in `uploads/<id>` of the data folder; its job in the durable queue carries only
the id, the sex and the hash of the weights, so that deleting the study deletes what is known of the child. The queue
keeps results whole and unrounded (`to_plain`), so that every form of report can be made of them later.
"""

from __future__ import annotations

import json
import threading
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from datetime import date
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np
from numpy.typing import NDArray

from carpal.anatomy import INDEX, REGIONS
from carpal.errors import CarpalError, InputError, UnreadableImage
from carpal.growth.reference import Reference, reference
from carpal.imaging.read import is_dicom, read_radiograph
from carpal.inference.assess import Facts, assess, choose_sex, judge, read_hands, to_sex
from carpal.inference.engine import Engine
from carpal.quality.site import Site
from carpal.quality.thresholds import ADULT_MONTHS
from carpal.queue.jobs import Job, Jobs, Limits, State
from carpal.report.child import Child, Earlier, spelled
from carpal.types import Assessment, BothSexes, Box, Interval, ModelId, Radiograph, Refusal, Region, Result, Score, Sex
from carpal.web.review import Correction, Decision, Readings, Study, new_id, now
from carpal.web.turns import Turns

KIND: Final = "web"
LEASE_SECONDS: Final = 120.0
IDLE_SECONDS: Final = 0.5
NAME: Final = "the radiograph"
"""What a file is called in errors: its own name may hold a patient's."""
SMALLEST_BOX: Final = 4
AT_ONCE: Final = 4
"""Radiographs that are read at the same time: while one is decoded or prepared, the network reads another."""
UNKNOWN: Final = "unknown"
"""The sex of a study that somebody said nobody knows: it is read for both."""
ROUNDING: Final = 0.01
"""Months that a signed age may differ from the machine's that was accepted: it is kept with two decimals."""
KEPT: Final = 4
"""Decoded radiographs that are kept in memory, for the viewer's next question."""


@dataclass(frozen=True)
class UploadFacts:
    """What came with an upload; what is empty is taken from the file."""

    sex: str | None = None
    """One of "female", "male", and "unknown" for both ages."""
    birth_date: str | None = None
    study_date: str | None = None
    height_cm: float | None = None
    patient_name: str = ""
    patient_id: str = ""
    blind: bool | None = None
    """None: nobody said, so it is as the service was started; a study that is kept without it is not blind."""


class Studies:
    """Studies of one data folder, read by one engine in one thread, and calibrated by `site` where there is one.

    Children are compared with `table`, by default with the default reference. Raises ConfigError for a
    calibration of other weights.
    """

    def __init__(self, folder: Path, engine: Engine, site: Site | None = None, table: Reference | None = None) -> None:
        self.table = table or reference()
        self.site = site.for_model(engine.model) if site else None
        self.uploads = folder / "uploads"
        self.uploads.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.readings = Readings(folder / "readings.sqlite")
        self.jobs = Jobs(folder, Limits(min_free=256 * 2**20, first_delay=5))
        self.engine = engine
        self._turns, self._wake = Turns(AT_ONCE), threading.Event()
        self._radiographs: OrderedDict[str, Radiograph] = OrderedDict()
        self._cache_lock = threading.Lock()
        self._stop, self._settled = threading.Event(), threading.Condition()
        self._thread: threading.Thread | None = None
        self._name = "web-worker"

    def start(self) -> None:
        """Starts the worker; jobs that an earlier process left half done are queued again."""
        self.jobs.release(self._name)
        self.jobs.spool.clear_partial()
        self._thread = threading.Thread(target=self._work, name=self._name, daemon=True)
        self._thread.start()

    @property
    def working(self) -> bool:
        """Whether the worker lives."""
        return self._thread is not None and self._thread.is_alive()

    def close(self) -> None:
        """Stops the worker after its current radiograph and closes the queue."""
        self._stop.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join()
        self.jobs.close()

    def receive(self, content: BinaryIO, file: str, facts: UploadFacts, owner: str) -> Study:
        """Keeps a radiograph that can be read, and queues it where the sex is known. Raises CarpalError otherwise.

        `file` is the name that it was uploaded under.
        """
        with self.jobs.spool.copied(content) as path:
            radiograph = read_radiograph(path, NAME)
            study = self._study(radiograph, file, facts, owner)
            self.jobs.spool.move(path, self.path(study))
        self._remember(study.id, radiograph)
        self.readings.add(study)
        return self.queue(study) if study.sex else study

    @staticmethod
    def _study(radiograph: Radiograph, file: str, facts: UploadFacts, owner: str) -> Study:
        """What is known of the child: what came with the upload, else what the file states."""
        own, exam, header = Child.of(radiograph), radiograph.exam, radiograph.header
        name, identifier = ("", "") if header is None else (header.text("PatientName"), header.text("PatientID"))
        return Study(
            id=new_id(),
            created=now(),
            owner=owner,
            file=file[:200],
            sex=facts.sex or (str(radiograph.sex) if radiograph.sex else None),
            file_sex=str(radiograph.sex) if radiograph.sex else None,
            birth_date=facts.birth_date or _iso(own.birth_date),
            study_date=facts.study_date or _iso(own.study_date),
            age_months=exam.age_months if exam else None,
            height_cm=facts.height_cm,
            patient_name=facts.patient_name or spelled(name, ", "),
            patient_id=facts.patient_id or identifier,
            blind=bool(facts.blind),
            file_birth_date=_iso(own.birth_date),
            file_study_date=_iso(own.study_date),
        )

    def queue(self, study: Study) -> Study:
        """Queues a study whose sex is known; the same question is never asked twice."""
        assert study.sex is not None
        key = ":".join((study.id, study.sex, self.engine.model.identity, *([self.site.label] if self.site else [])))
        meta = {"study": study.id, "sex": study.sex}
        job = self.jobs.put(study.id.encode(), key, KIND, study.owner, meta)
        self._wake.set()
        return self.readings.update(study.id, job=job.id)

    def job(self, study: Study) -> Job | None:
        """The study's job in the queue."""
        return self.jobs.get(study.job) if study.job else None

    def wait_for(self, study: Study, seconds: float) -> None:
        """Waits until the study's job is settled, for so long at most; not at all where it has none."""

        def settled() -> bool:
            job = self.job(study)
            return job is None or job.settled

        with self._settled:
            self._settled.wait_for(settled, seconds)

    def results(self, study: Study) -> tuple[Result, ...]:
        """The machine's answer as soon as there is one, with one result for each hand; empty before."""
        job = self.job(study)
        if job is None or job.result is None or job.state not in (State.DONE, State.DELIVERED):
            return ()
        return self._judged(study, from_plain(job.result, study.file))

    def _judged(self, study: Study, results: Sequence[Result]) -> tuple[Result, ...]:
        """The results compared with other children by the dates, given with the upload or later; none of an adult."""
        facts = Facts(study.chronological_months, reference=self.table)
        return tuple(judge(result, facts) for result in results)

    def shown(self, study: Study) -> tuple[Result, ...]:
        """What a reader sees: the answer from regions that were put right, else the machine's own."""
        corrected = self.corrected(study)
        return (corrected[0],) if corrected else self.results(study)

    def corrected(self, study: Study) -> tuple[Assessment, Correction] | None:
        """The age from regions that a reader put right, and who did."""
        found = self.readings.correction(study)
        if found is None:
            return None
        assessment = single(self._judged(study, from_plain(json.loads(found.assessment), study.file)))
        return (assessment, found) if assessment is not None else None

    def correct(self, study: Study, boxes: Mapping[str, Sequence[float]], reader: str) -> Assessment:
        """Reads again with these regions (original pixels) in place of the network's. Raises InputError."""
        assert study.sex is not None
        radiograph = self.radiograph(study)
        boxes_R4 = np.full((len(REGIONS), 4), np.nan)
        for name, box in boxes.items():
            boxes_R4[INDEX[name]] = box
        check_boxes(boxes_R4, radiograph.pixels_HW.shape)
        with self._turns.turn():
            raw = assess(_of_a_child(radiograph), Sex(study.sex), self.engine, boxes_R4)
        assessment = judge(raw, Facts(site=self.site))
        note = f"regions put right by hand: {', '.join(name for name in REGIONS if name in boxes)}"
        assessment = replace(assessment, warnings=(*assessment.warnings, note))
        texts = json.dumps(dict(boxes)), json.dumps(to_plain([assessment]))
        self.readings.keep_correction(Correction(study.id, reader, now(), study.sex, *texts))
        (shown,) = self._judged(study, [replace(assessment, image=study.file)])
        assert isinstance(shown, Assessment)
        return shown

    def radiograph(self, study: Study) -> Radiograph:
        """The decoded radiograph of a study. Raises UnreadableImage where its file is gone."""
        with self._cache_lock:
            if study.id in self._radiographs:
                self._radiographs.move_to_end(study.id)
                return self._radiographs[study.id]
        radiograph = read_radiograph(self.path(study), NAME)
        self._remember(study.id, radiograph)
        return radiograph

    def is_dicom(self, study: Study) -> bool:
        """Whether the upload is a DICOM file, so that a report can refer to it."""
        with self.path(study).open("rb") as file:
            return is_dicom(file.read(132))

    def path(self, study: Study) -> Path:
        """Where the upload lies."""
        return self.uploads / study.id

    def child(self, study: Study) -> Child:
        """What is known of the child, with the earlier readings that the service holds."""
        earlier = []
        for other in self.readings.of_patient(study):
            if other.id == study.id or not _before(other, study):
                continue
            found, age = self._age_of(other), other.chronological_months
            if found is not None and age is not None:
                earlier.append(Earlier(age, *found))
        return Child(
            months=study.chronological_months,
            name=study.patient_name,
            identifier=study.patient_id,
            birth_date=_date(study.birth_date),
            study_date=_date(study.study_date),
            height_cm=study.height_cm,
            reference=self.table,
            earlier=tuple(sorted(earlier, key=lambda reading: reading.chronological_months)),
        )

    def _age_of(self, study: Study) -> tuple[float, Interval | None] | None:
        """What was signed, else what the machine read; nothing of a study that is still blind or has two ages.

        With the machine's interval, where the age is the machine's: read, or accepted as it was.
        """
        signed = self.readings.signed(study.id)
        if signed is None:
            one = None if study.blind else single(self.shown(study))
            return None if one is None or one.months is None else (one.months, one.interval)
        if signed.months is None:
            return None
        accepted = signed.decision == Decision.ACCEPT
        return signed.months, self._interval_of(study, signed.hand, signed.months) if accepted else None

    def _interval_of(self, study: Study, hand: str, months: float) -> Interval | None:
        """The interval of the hand whose age is still `months`; other weights may have read it since."""
        for one in self.shown(study):
            if isinstance(one, Assessment) and one.months is not None and (one.side_in_image or "") == hand:
                return one.interval if abs(one.months - months) < ROUNDING else None
        return None

    def read_now(self, content: BinaryIO, file: str, sex: str | None, patience: float | None = None) -> list[Result]:
        """Reads a radiograph without keeping anything: one result for each hand.

        Raises CarpalError, and TimeoutError where the network is not free within `patience` seconds.
        `content` goes through a file as an upload does, and is in memory only when its turn has come.
        """
        with self._turns.turn(patience):  # decoding is in the turn, else who decodes faster passes who came earlier
            with self.jobs.spool.copied(content, durable=False) as path:
                radiograph = read_radiograph(path, NAME)
            stated = None if sex == UNKNOWN else choose_sex(radiograph, to_sex(sex))
            facts = Facts(radiograph.age_months, self.site, self.table)
            results = read_hands(radiograph, stated, self.engine, facts)
        return [renamed(result, file) for result in results]

    def delete(self, study: Study) -> None:
        """Deletes the radiograph, the facts and the readings; the queue keeps an age without a child."""
        self.path(study).unlink(missing_ok=True)
        with self._cache_lock:
            self._radiographs.pop(study.id, None)
        self.readings.delete(study.id)

    def _remember(self, identifier: str, radiograph: Radiograph) -> None:
        with self._cache_lock:
            self._radiographs[identifier] = radiograph
            while len(self._radiographs) > KEPT:
                self._radiographs.popitem(last=False)

    def _work(self) -> None:
        while not self._stop.is_set():
            self._wake.clear()
            job = self._lease()
            if job is None:
                self._wake.wait(IDLE_SECONDS)
                continue
            try:
                self._read(job)
            except CarpalError as error:
                settle = self.jobs.reject if isinstance(error, InputError) else self.jobs.fail
                settle(job, error.code, str(error))
            except Exception as error:  # a mistake of ours must not end the thread; its text may hold anything
                self.jobs.fail(job, "internal", f"the reader failed with {type(error).__name__}")
            with self._settled:
                self._settled.notify_all()

    def _lease(self) -> Job | None:
        try:
            return self.jobs.lease(self._name, LEASE_SECONDS, (KIND,))
        except CarpalError:  # the disk is full, or the queue is locked: it recovers by itself
            time.sleep(IDLE_SECONDS)
            return None

    def _read(self, job: Job) -> None:
        study = self.readings.study(job.meta["study"])
        if study is None:
            raise UnreadableImage(f"{NAME}: it was deleted before it was read. Upload it again")
        radiograph = self.radiograph(study)
        sex = job.meta["sex"]
        with self._turns.turn():
            # calibrated here; adult and z-score follow the dates, which may be given later: `_judged`
            stated, facts = None if sex == UNKNOWN else Sex(sex), Facts(site=self.site)
            results = read_hands(_of_a_child(radiograph), stated, self.engine, facts)
        self.jobs.finish(job, to_plain(results))


def single(results: Sequence[Result]) -> Assessment | None:
    """The one assessment of one hand of a stated sex; None where there are two hands, two ages, or none yet."""
    if len(results) != 1 or isinstance(results[0], BothSexes):
        return None
    return results[0]


def check_boxes(boxes_R4: NDArray[np.float64], shape: Sequence[int]) -> None:
    """Refuses given boxes that are no rectangles within the radiograph, with InputError."""
    x1, y1, x2, y2 = boxes_R4[np.isfinite(boxes_R4).all(1)].T
    height, width = shape
    inside = (x1 >= -1) & (y1 >= -1) & (x2 <= width + 1) & (y2 <= height + 1)
    if not (inside & (x2 - x1 >= SMALLEST_BOX) & (y2 - y1 >= SMALLEST_BOX)).all():
        raise InputError(
            f"A region lies outside the radiograph or is smaller than {SMALLEST_BOX} pixels. Draw it on the hand"
        )


def _of_a_child(radiograph: Radiograph) -> Radiograph:
    """Without the age of an adult, where the file states one: a reader may know better. `_judged` has the last word."""
    exam = radiograph.exam
    if exam is None or exam.age_months is None or exam.age_months < ADULT_MONTHS:
        return radiograph
    return replace(radiograph, exam=replace(exam, age_months=None))


def _before(other: Study, study: Study) -> bool:
    return (other.study_date or other.created) <= (study.study_date or study.created)


def _iso(day: date | None) -> str | None:
    return day.isoformat() if day else None


def _date(day: str | None) -> date | None:
    return date.fromisoformat(day) if day else None


def to_plain(results: Sequence[Result]) -> dict[str, Any]:
    """The results of a frame, one for each hand, as what JSON can hold."""
    plain: dict[str, Any] = json.loads(json.dumps({"hands": [asdict(result) for result in results]}))
    return plain


def from_plain(plain: dict[str, Any], image: str) -> tuple[Result, ...]:
    """The results that `to_plain` was given, of the image that is called so.

    Keys that this version does not know are left out; what version 0.2.0 kept, one assessment, is read too.
    """
    return tuple(renamed(_result(hand), image) for hand in plain.get("hands", [plain]))


def renamed(result: Result, image: str) -> Result:
    """The result with another name of its image."""
    if isinstance(result, BothSexes):
        return BothSexes(replace(result.female, image=image), replace(result.male, image=image))
    return replace(result, image=image)


def _result(plain: dict[str, Any]) -> Result:
    if "female" in plain:
        return BothSexes(_assessment(plain["female"]), _assessment(plain["male"]))
    return _assessment(plain)


def _assessment(plain: dict[str, Any]) -> Assessment:
    known = {field.name for field in fields(Assessment)}
    values = {name: value for name, value in plain.items() if name in known}
    return Assessment(
        **values
        | {
            "sex": Sex(plain["sex"]),
            "regions": tuple(Region(**region | {"box": Box(**region["box"])}) for region in plain["regions"]),
            "model": ModelId(**plain["model"]),
            "probabilities": tuple(plain["probabilities"]),
            "warnings": tuple(plain["warnings"]),
            "refused": Refusal(**plain["refused"]) if plain["refused"] else None,
            "growth": Score(**plain["growth"]) if plain.get("growth") else None,
            "interval": Interval(**plain["interval"]) if plain["interval"] else None,
        }
    )
