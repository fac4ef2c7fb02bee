"""Where an age comes from: each region masked in turn, and the training cases that look most alike to the network.

*Masks.* All is read again that the age is read from. The boxes stay those of the unmasked image, so that the change is
due to what the region shows and not to boxes that move. A masked region takes the grey of its own rim, as if nothing
but soft tissue lay there.

*Cases.* Beside weights may lie a table of what they see in the radiographs that they were trained on (`carpal cases`
writes it): ids, ages and features, no pixels. The features are reduced to the few directions in which these differ most
and rounded to 8 bits. Distances are Euclidean in those directions; 1 is the root mean square distance between two
training cases.

Letters: N cases, F features, D directions.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from carpal.errors import WeightsError
from carpal.inference.align import predict_view
from carpal.inference.assess import examine
from carpal.inference.engine import Engine, Reading
from carpal.inference.weights import resolve
from carpal.types import Explanation, ModelId, Neighbour, Radiograph, Sex


def explain(radiograph: Radiograph, sex: Sex, engine: Engine, cases: Cases | None = None) -> Explanation:
    """The assessment and the effect of masking each region, in months; 18 readings of the view more than `assess`.

    `cases` are the training cases to look for the nearest in (`nearest.open_cases`). Raises CarpalError. A refused
    image, or a network without regions, has no effects.
    """
    assessment, reading, view = examine(radiograph, sex, engine)
    if not assessment.regions:
        return Explanation(assessment, ())
    assert reading is not None
    assert view is not None
    assert reading.boxes_R4 is not None, "an assessment with regions comes from a reading with boxes"
    male, boxes_R4 = sex is Sex.MALE, view.boxes_to_view(reading.boxes_R4)
    unmasked = predict_view(engine, view, male, boxes_R4).months
    effects = []
    for box_4 in boxes_R4:
        masked = view._replace(image_HW=mask(view.image_HW, box_4))
        effects.append(unmasked - predict_view(engine, masked, male, boxes_R4).months)
    return Explanation(assessment, tuple(effects), nearest(cases, reading, sex))


def mask(pixels_HW: NDArray[Any], box_4: NDArray[np.float32]) -> NDArray[Any]:
    """A copy in which a box (x1, y1, x2, y2) holds the median of its own rim; a box outside the image changes nothing.

    Coordinates are rounded outwards and cut to the image.
    """
    height, width = pixels_HW.shape
    left, top = (max(0, int(np.floor(side))) for side in box_4[:2])
    right, bottom = min(width, int(np.ceil(box_4[2]))), min(height, int(np.ceil(box_4[3])))
    masked_HW = pixels_HW.copy()
    inside = masked_HW[top:bottom, left:right]
    if inside.size:
        rim = np.concatenate([inside[0], inside[-1], inside[:, 0], inside[:, -1]])
        inside[:] = np.median(rim)
    return masked_HW


DIRECTIONS: Final = 48
COUNT: Final = 5
KINDS: Final = {
    "id_N": "U", "months_N": "f", "male_N": "b", "code_ND": "i", "scale": "f",
    "mean_F": "f", "basis_FD": "f", "sha256": "U",
}  # fmt: skip
"""The table's arrays and what they are made of, as numpy's kinds."""


@dataclass(frozen=True)
class Cases:
    """The table of training cases of one weights file. A case's place is `scale * code`."""

    id_N: NDArray[np.str_]
    months_N: NDArray[np.float32]
    male_N: NDArray[np.bool_]
    code_ND: NDArray[np.int8]
    scale: float
    mean_F: NDArray[np.float32]
    basis_FD: NDArray[np.float32]
    sha256: str
    """Of the weights."""

    @classmethod
    def of(cls, ids: list[str], months: list[float], male: list[bool], features_NF: NDArray[Any], sha256: str) -> Cases:
        """The table of these cases. Directions are the principal ones; there are at most N - 1 of them."""
        features_NF = np.asarray(features_NF, np.float64)
        mean_F = features_NF.mean(0)
        _, _, basis_DF = np.linalg.svd(features_NF - mean_F, full_matrices=False)
        basis_FD = basis_DF[:DIRECTIONS].T
        place_ND = (features_NF - mean_F) @ basis_FD
        unit = float(np.sqrt(2 * place_ND.var(0).sum())) or 1.0
        basis_FD, place_ND = basis_FD / unit, place_ND / unit
        scale = float(np.abs(place_ND).max()) / 127 or 1.0
        code_ND = np.rint(place_ND / scale).astype(np.int8)
        return cls(
            np.array(ids), np.array(months, np.float32), np.array(male, bool), code_ND, scale,
            mean_F.astype(np.float32), basis_FD.astype(np.float32), sha256,
        )  # fmt: skip

    def save(self, path: Path) -> None:
        """Writes the table; the directions as float16."""
        arrays = {name: np.asarray(getattr(self, name)) for name in KINDS}
        arrays["basis_FD"] = self.basis_FD.astype(np.float16)
        np.savez_compressed(path, allow_pickle=False, **arrays)

    @classmethod
    def load(cls, path: Path) -> Cases:
        """Reads a table. Raises WeightsError where it is none."""
        try:
            with np.load(path, allow_pickle=False) as file:
                arrays = {name: file[name] for name in KINDS}
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            raise WeightsError(
                f"{path} is no table of training cases - {error} - write it with `carpal cases`"
            ) from error
        wrong = [name for name, kind in KINDS.items() if arrays[name].dtype.kind != kind]
        count, directions = len(arrays["id_N"]), arrays["basis_FD"].shape[-1]
        fits = (
            arrays["code_ND"].shape == (count, directions) and arrays["basis_FD"].shape[:-1] == arrays["mean_F"].shape
        )
        if wrong or not fits:
            raise WeightsError(f"{path} is no table of training cases - its parts do not fit - write it again")
        values = arrays | {"scale": float(arrays["scale"]), "sha256": str(arrays["sha256"])}
        return cls(**values | {"basis_FD": arrays["basis_FD"].astype(np.float32)})

    def nearest(self, features_F: NDArray[Any], sex: Sex, count: int = COUNT) -> tuple[Neighbour, ...]:
        """The cases of this sex that are most alike, the nearest first."""
        place_D = (np.asarray(features_F, np.float64) - self.mean_F) @ self.basis_FD
        distance_N = np.linalg.norm(self.code_ND * self.scale - place_D, axis=1)
        of_sex = np.flatnonzero(self.male_N == (sex is Sex.MALE))
        order = of_sex[np.argsort(distance_N[of_sex], kind="stable")][:count]
        return tuple(Neighbour(str(self.id_N[i]), float(self.months_N[i]), sex, float(distance_N[i])) for i in order)


def cases_path(weights: str | Path) -> Path:
    """`alanet.onnx` -> `alanet.cases.npz`."""
    path = resolve(weights)
    return path.with_name(f"{path.stem}.cases.npz")


def open_cases(weights: str | Path, model: ModelId) -> Cases | None:
    """The table beside these weights; None where there is none, or one of other weights. Raises WeightsError."""
    path = cases_path(weights)
    cases = Cases.load(path) if path.is_file() else None
    return cases if cases is not None and cases.sha256 == model.sha256 else None


def nearest(cases: Cases | None, reading: Reading, sex: Sex) -> tuple[Neighbour, ...]:
    """The nearest cases of a reading; none without a table, or for weights without features."""
    if cases is None or reading.features_F is None or reading.features_F.shape != cases.mean_F.shape:
        return ()
    return cases.nearest(reading.features_F, sex)
