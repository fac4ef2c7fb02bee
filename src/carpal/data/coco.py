"""BoNet's key points: COCO-style JSON with 17 x (x, y, v) a hand, bbox [x, y, w, h], zeros where not annotated.

Which of the 17 comes first is written in no public document of BoNet. So the order is taken from the file's own
`categories[0].keypoints`, or from the caller; it is never guessed.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from carpal.anatomy import INDEX, REGIONS
from carpal.data.keypoints import Annotation
from carpal.data.tables import few
from carpal.errors import DataError

MEND = f"give `order`, the {len(REGIONS)} names in the file's own sequence, a permutation of {','.join(REGIONS)}"


def read_coco(path: Path, order: Sequence[str] | None = None) -> list[Annotation]:
    """The annotated hands of a key-point JSON; the id is the image's file name without its ending, "1377".

    `order` names the key points as they follow each other in the file; None takes `categories[0].keypoints`. Hands
    that are zeros throughout are left out. Raises DataError on an unknown layout, saying what to give.
    """
    content = _load(path)
    rank_R = _ranks(path, content, order)
    images = _images(path, content)
    annotations: dict[Any, Annotation] = {}
    for entry in content["annotations"]:
        image = images.get(_field(path, entry, "image_id"))
        if image is None:
            raise DataError(
                f"{path} annotates an image that it does not list - image_id {entry['image_id']!r} - fetch it again."
            )
        annotation = _annotation(path, entry, image, rank_R)
        if annotation.id in annotations:
            raise DataError(f"{path} annotates {image['file_name']} twice - one image has one hand - drop one of them.")
        annotations[annotation.id] = annotation
    return [annotation for annotation in annotations.values() if annotation.points_R3[:, 2].any()]


def _load(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path} is not readable JSON - {error} - it may be cut off: fetch it again.") from error
    lists = [
        name for name in ("images", "annotations") if isinstance(content, dict) and isinstance(content.get(name), list)
    ]
    if len(lists) < 2:
        raise DataError(
            f"{path} has no COCO layout - found of `images` and `annotations`: {lists} - give BoNet's JSON."
        )
    return dict(content)


def _ranks(path: Path, content: dict[str, Any], order: Sequence[str] | None) -> NDArray[np.int64]:
    """For each of the file's key points its place in `anatomy.REGIONS`."""
    categories = content.get("categories") or [{}]
    stated = (
        categories[0].get("keypoints") if isinstance(categories, list) and isinstance(categories[0], dict) else None
    )
    names = list(order or stated or ())
    if not names:
        raise DataError(f"{path} does not name its key points - `categories[0].keypoints` is missing - {MEND}.")
    if sorted(map(str, names)) != sorted(REGIONS):
        raise DataError(f"{path}: the order of its key points is not of the {len(REGIONS)} regions - {names} - {MEND}.")
    return np.array([INDEX[name] for name in names])


def _images(path: Path, content: dict[str, Any]) -> dict[Any, dict[str, Any]]:
    images = {_field(path, image, "id"): image for image in content["images"]}
    names = [str(_field(path, image, "file_name")) for image in images.values()]
    twice = sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []
    if twice or len(images) < len(content["images"]):
        raise DataError(f"{path} lists an image twice - {few(twice)} - one image has one id: drop one of them.")
    return images


def _annotation(path: Path, entry: dict[str, Any], image: dict[str, Any], rank_R: NDArray[np.int64]) -> Annotation:
    name = str(image["file_name"])
    flat = _numbers(path, name, "keypoints", _field(path, entry, "keypoints"), 3 * len(REGIONS))
    hand_4 = _numbers(path, name, "bbox", entry.get("bbox") or [0, 0, 0, 0], 4)
    file_R3 = flat.reshape(-1, 3)
    annotated_R = (file_R3[:, 2] > 0) & file_R3[:, :2].any(axis=1)
    points_R3 = np.zeros((len(REGIONS), 3))
    points_R3[rank_R] = np.where(annotated_R[:, None], file_R3, 0)
    points_R3[:, 2] = points_R3[:, 2] > 0
    width, height = (float(image[side]) if image.get(side) else None for side in ("width", "height"))
    if width and height and ((points_R3[:, :2] < 0) | (points_R3[:, :2] > [width, height])).any():
        raise DataError(
            f"{path}: a key point of {name} lies outside of its {width:g} x {height:g} - mend or drop the hand."
        )
    box_4 = np.concatenate([hand_4[:2], hand_4[:2] + hand_4[2:]]) if hand_4.any() else None
    return Annotation(Path(name).stem, path.name, width, height, points_R3, hand_4=box_4)


def _field(path: Path, entry: Any, name: str) -> Any:
    if not isinstance(entry, dict) or name not in entry:
        raise DataError(f"{path} has an entry without {name!r} - got {str(entry)[:80]} - give BoNet's JSON.")
    return entry[name]


def _numbers(path: Path, image: str, name: str, values: Any, count: int) -> NDArray[np.float64]:
    try:
        array = np.asarray(values, np.float64).ravel()
    except (TypeError, ValueError):
        array = np.full(1, np.nan)
    if array.size != count or not np.isfinite(array).all():
        raise DataError(f"{path}: {name} of {image} must be {count} numbers - got {str(values)[:80]} - {MEND}.")
    return array
