"""The overlay as a Secondary Capture: what every viewer opens, in a series of its own beside the radiograph."""

from __future__ import annotations

import numpy as np
from PIL import Image

from carpal.optional import need
from carpal.report.dicom_common import new_object, to_bytes
from carpal.report.findings import Findings
from carpal.types import Header


def write(found: Findings, source: Header, picture: Image.Image, uid_root: str | None = None) -> bytes:
    """The picture (RGB, from `overlay.draw`) as a DICOM file. Raises BackendError without pydicom, ConfigError.

    The age and the warning are burnt in, the patient's name is not; BurnedInAnnotation says YES all the same.
    """
    need("pydicom", "A Secondary Capture", extra="dicom")
    rgb_HWC = np.asarray(picture.convert("RGB"))
    dataset = new_object("capture", "OT", found, source, uid_root)
    dataset.ImageType = ["DERIVED", "SECONDARY"]
    dataset.DerivationDescription = found.summary[:1024]
    dataset.BurnedInAnnotation = "YES"
    dataset.PatientOrientation, dataset.Laterality = "", found.laterality(source)
    dataset.Rows, dataset.Columns = rgb_HWC.shape[:2]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation, dataset.PlanarConfiguration = 3, "RGB", 0
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 8, 8, 7, 0
    pixels = rgb_HWC.tobytes()
    dataset.add_new("PixelData", "OB", pixels + b"\0" * (len(pixels) % 2))
    return to_bytes(dataset, source)
