"""`carpal assess FILE.dcm --sr --capture --gsps --pdf --fhir --hl7 DIR`: which forms, where to, and writing them."""

from __future__ import annotations

import argparse
import sys
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from carpal.errors import BadIdentity, CarpalError, ConfigError

if TYPE_CHECKING:
    from carpal.growth.reference import Reference
    from carpal.types import Header, ModelId, Radiograph, Result, Sex

FLAGS: Final = {
    "sr": "DICOM structured report (TID 1500)",
    "capture": "DICOM secondary capture of the overlay",
    "gsps": "DICOM presentation state: the regions over the radiograph itself",
    "pdf": "one page, as PDF and as encapsulated PDF",
    "fhir": "FHIR R4 bundle",
    "hl7": "HL7 v2 message ORU^R01",
}


def add(parser: argparse.ArgumentParser) -> None:
    """The flags. Each may be followed by the folder, so that the last of them can name it for all; True without."""
    group = parser.add_argument_group(
        "reports (of DICOM files; DIR is named once, after the last flag or by --reports)"
    )
    for flag, text in FLAGS.items():
        group.add_argument(f"--{flag}", nargs="?", const=True, metavar="DIR", help=text)
    group.add_argument("--reports", metavar="DIR", help="folder for the reports; made where it does not exist")
    group.add_argument("--uid-root", metavar="ROOT", help="of the UIDs of new DICOM objects (default: 2.25, by UUID)")


@dataclass
class Reports:
    """The forms asked for, their folder, and a name for each image. `failed` says that a radiograph got none."""

    kinds: tuple[str, ...]
    folder: Path
    names: dict[str, str]
    uid_root: str | None
    reference: Reference | None = None
    failed: bool = False

    def write(self, image: str, radiograph: Radiograph, results: Sequence[Result]) -> None:
        """Writes the forms of one radiograph. What is not DICOM gets a PDF only, and an error where more was asked."""
        from carpal.inference.assess import cut_out
        from carpal.report import forms, write_atomically
        from carpal.types import has_age

        header, hands = radiograph.header, [cut_out(radiograph, result) for result in results]
        if "pdf" in self.kinds and any(map(has_age, results)):
            write_atomically(self._path(image, ".pdf"), forms.page(hands, self.reference))
        if header is not None:
            try:
                made = forms.make_all(self.kinds, results, header, hands, self.uid_root, self.reference)
            except BadIdentity as error:
                self._say(f"{image}: {error}")
            else:
                self._save(image, made)
        elif self.kinds != ("pdf",):
            self._say(f"{image}: not a DICOM file, and the reports refer to one. Give the radiograph as DICOM")

    def write_refusal(
        self, image: str, header: Header | None, error: CarpalError, model: ModelId, sex: Sex | None
    ) -> None:
        """Writes that a radiograph could not be read and why, where at least its header can be."""
        from carpal.report import forms
        from carpal.report.content import refused

        if header is None:
            return
        try:
            made = forms.make(self.kinds, refused(error, model, sex), header, uid_root=self.uid_root)
        except BadIdentity as unfit:
            self._say(f"{image}: {unfit}")
        else:
            self._save(image, made)

    def _say(self, message: str) -> None:
        """Tells why a radiograph gets no report, or not all."""
        self.failed = True
        print(f"carpal: error: {message}", file=sys.stderr, flush=True)

    def _save(self, image: str, made: dict[str, Any]) -> None:
        from carpal.report import write_atomically

        for form in made.values():
            write_atomically(self._path(image, form.suffix), form.content)

    def _path(self, image: str, suffix: str) -> Path:
        return self.folder / f"{self.names[image]}{suffix}"


def plan_reports(arguments: Namespace, reference: Reference | None = None) -> Reports | None:
    """What the flags ask for, to be compared with `reference`; None where there are none. Makes the folder.

    Raises ConfigError.
    """
    values = {kind: getattr(arguments, kind) for kind in FLAGS}
    kinds = tuple(kind for kind, value in values.items() if value is not None)
    folders = {value for value in (*values.values(), arguments.reports) if isinstance(value, str)}
    if not kinds:
        if folders or arguments.uid_root:
            raise ConfigError(f"--reports and --uid-root need a form to write - add --{', --'.join(FLAGS)}")
        return None
    if len(folders) != 1:
        found = "none" if not folders else ", ".join(sorted(folders))
        raise ConfigError(
            f"The reports need one folder - got {found} - name it once, after the last flag: --{kinds[-1]} DIR"
        )
    from carpal.imaging.exam import check_uid_root

    check_uid_root(arguments.uid_root)
    folder = Path(folders.pop())
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{folder} cannot be made - {error.strerror} - choose another folder") from error
    return Reports(kinds, folder, _names(arguments.images), arguments.uid_root, reference)


def _names(images: list[str]) -> dict[str, str]:
    """The images' stems, numbered where two are alike."""
    from carpal.imaging.read import file_name

    names: dict[str, str] = {}
    for image in images:
        stem, number = Path(file_name(image)).stem, 1
        name = stem
        while name in names.values():
            number += 1
            name = f"{stem}-{number}"
        names[image] = name
    return names
