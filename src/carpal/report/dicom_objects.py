"""The DICOM objects beside the SR: the overlay as Secondary Capture, the PDF in an envelope, the regions as a GSPS.

A Secondary Capture is what every viewer opens; it lies in a series of its own beside the radiograph. An Encapsulated
PDF lets the archive keep the page there. A Grayscale Softcopy Presentation State draws the regions over the radiograph
itself, where a key turns them off; it repeats the radiograph's own rescale, tables and window, for a viewer replaces
the image's by the state's.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from PIL import Image

from carpal.errors import need
from carpal.imaging.dicom import quiet
from carpal.imaging.exam import CR_IMAGE
from carpal.report.content import Finding, Findings
from carpal.report.dicom_common import TITLES, derive, equipment, identity, new_object, to_bytes
from carpal.types import Header


def write_capture(found: Findings, source: Header, picture: Image.Image, uid_root: str | None = None) -> bytes:
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


def write_encapsulated(found: Findings, source: Header, pdf: bytes, uid_root: str | None = None) -> bytes:
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


REGIONS_LAYER, RESULT_LAYER = "REGIONS", "RESULT"
RESULT_BOX: Final = (0.02, 0.02, 0.98, 0.08)
"""Left, top, right, bottom of the result's line, as shares of the display; several readings get more height."""


def write_gsps(found: Findings, source: Header, uid_root: str | None = None) -> bytes:
    """The presentation state as a DICOM file, for a grey radiograph. Raises BackendError, ConfigError."""
    need("highdicom", "A presentation state", extra="dicom")
    from highdicom.pr import GraphicLayer, GrayscaleSoftcopyPresentationState

    where = identity("gsps", found, source, uid_root)
    layers = [
        GraphicLayer(REGIONS_LAYER, order=1, description="The 17 regions and their own ages in months"),
        GraphicLayer(RESULT_LAYER, order=2, description="The bone age"),
    ]
    with quiet():
        state = GrayscaleSoftcopyPresentationState(
            referenced_images=[_image(source)],
            series_instance_uid=where.series_uid,
            series_number=where.series_number,
            sop_instance_uid=where.sop_instance_uid,
            instance_number=1,
            content_label="BONE AGE",
            content_description=where.title,
            graphic_layers=layers,
            graphic_annotations=_annotations(found, source, uid_root, layers),
            presentation_lut_transformation=_polarity(source),
            series_description=where.title,
            **equipment(found),
        )
    _add_tables(state, source)
    state.Laterality = found.laterality(source)
    if source.frame is not None:
        _refer_to_frame(state, source, source.frame)
    return to_bytes(state, source)


def _image(source: Header) -> Any:
    """The radiograph as highdicom takes it: a single frame without tables; `write` puts both back."""
    image = source.copy()
    for keyword in ("ModalityLUTSequence", "VOILUTSequence"):
        image.pop(keyword, None)
    if source.frame is not None:
        image.SOPClassUID = CR_IMAGE
        del image.NumberOfFrames
    return image


def _add_tables(state: Any, source: Header) -> None:
    """The radiograph's own lookup tables, whose bits highdicom would take from the type of the array."""
    from pydicom import Dataset

    if "ModalityLUTSequence" in source.dataset:
        state.ModalityLUTSequence = source.copy().ModalityLUTSequence
    if "VOILUTSequence" in source.dataset:
        item = Dataset()
        item.VOILUTSequence = source.copy().VOILUTSequence
        state.SoftcopyVOILUTSequence = [item]


def _refer_to_frame(item: Any, source: Header, frame: int) -> None:
    """Puts the class, and the frame, back into every reference to the radiograph."""
    for element in item:
        for child in element.value if element.VR == "SQ" else ():
            if child.get("ReferencedSOPInstanceUID") == source.sop_instance_uid:
                child.ReferencedSOPClassUID, child.ReferencedFrameNumber = source.sop_class_uid, frame
            _refer_to_frame(child, source, frame)


def _polarity(source: Header) -> Any:
    """A state's shape replaces the image's photometric interpretation (PS3.3 C.11.6): MONOCHROME1 needs INVERSE."""
    from highdicom import PresentationLUTTransformation

    inverse = source.text("PhotometricInterpretation") == "MONOCHROME1"
    return PresentationLUTTransformation(presentation_lut_shape="INVERSE" if inverse else "IDENTITY")


def _annotations(found: Findings, source: Header, uid_root: str | None, layers: list[Any]) -> list[Any]:
    from highdicom.pr import GraphicAnnotation, TextObject

    image = [_image(source)]
    left, top, right, bottom = RESULT_BOX
    box = (left, top, right, top + (bottom - top) * max(len(found.readings), 1))
    result = TextObject(found.summary, "DISPLAY", bounding_box=box, text_justification="LEFT")
    drawn = [GraphicAnnotation(image, layers[1], text_objects=[result])]
    if regions := found.each_region():
        outlines = [_outline(region, reading, source, uid_root) for reading, region in regions]
        names = [_name(region, source) for _, region in regions]
        drawn.append(GraphicAnnotation(image, layers[0], graphic_objects=outlines, text_objects=names))
    return drawn


def _outline(region: Finding, found: Findings, source: Header, uid_root: str | None) -> Any:
    from highdicom.pr import GraphicObject

    x1, y1, x2, y2 = region.box.x1, region.box.y1, region.box.x2, region.box.y2
    outline_N2 = np.array([(x1, y1), (x2, y1), (x2, y2), (x1, y2), (x1, y1)])
    uid = derive(region.name, found, source, uid_root)
    return GraphicObject("POLYLINE", outline_N2, "PIXEL", tracking_id=region.name, tracking_uid=uid)


def _name(region: Finding, source: Header) -> Any:
    """The region's name and age at the upper right corner of its box."""
    from highdicom.pr import TextObject

    x, y = min(region.box.x2, source.dataset.Columns), max(region.box.y1, 0.0)
    return TextObject(f"{region.name} {region.months:.0f}", "PIXEL", anchor_point=(x, y), anchor_point_visible=False)
