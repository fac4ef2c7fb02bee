"""A PDF in a DICOM envelope (Encapsulated PDF), so that the archive keeps the page beside the radiograph."""

from __future__ import annotations

from carpal.optional import need
from carpal.report.dicom_common import TITLES, new_object, to_bytes
from carpal.report.findings import Findings
from carpal.types import Header


def write(found: Findings, source: Header, pdf: bytes, uid_root: str | None = None) -> bytes:
    """The page as a DICOM file (PS3.3 A.45.1). Raises BackendError without pydicom, ConfigError for a wrong root."""
    need("pydicom", "An encapsulated PDF", extra="dicom")
    dataset = new_object("pdf", "DOC", found, source, uid_root)
    dataset.SourceInstanceSequence = dataset.SourceImageSequence
    del dataset.SourceImageSequence
    dataset.AcquisitionDateTime = ""
    dataset.BurnedInAnnotation = "YES"
    dataset.DocumentTitle = TITLES["pdf"]
    dataset.ConceptNameCodeSequence = []
    dataset.MIMETypeOfEncapsulatedDocument = "application/pdf"
    dataset.EncapsulatedDocumentLength = len(pdf)
    dataset.EncapsulatedDocument = pdf + b"\0" * (len(pdf) % 2)
    return to_bytes(dataset, source)
