"""Real pictures that are no hand, for `carpal limits`: some to fit on, others that are kept out and only measured.

    pip install --no-deps --target packages nilearn nibabel scikit-image scikit-learn
    PYTHONPATH=packages python bench/kept_out.py packages/nilearn/datasets/data/mni_icbm152_t1_*.nii.gz \
        --photographs packages/skimage/data FOLDER… --pictures packages/sklearn/datasets/images --out others
    carpal limits --source shared/data --pictures others/pictures \
        --kept-out others/heads --kept-out others/photographs --limit 800 --each 6

To fit on: the DICOM files that pydicom ships for its tests, and scikit-learn's photographs, copied as they are; `carpal
limits` leaves out what it cannot decode. Kept out: slices of a brain template (magnetic resonance, T1), every fourth
along each of its three axes, head upwards where the axis allows; and photographs, any image files below the folders,
made grey so that colour does not give them away, and brought to a long side of 1,000 pixels at most.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

EVERY = 4
LEAST_TISSUE = 0.05
"""A slice with a smaller share of pixels that are not empty is left out."""
LONG_SIDE = 1000
IMAGES = (".jpg", ".jpeg", ".png")


def slices(template: Path) -> Iterator[tuple[str, Image.Image]]:
    """Every fourth slice along each axis, as grey pictures."""
    import nibabel  # type: ignore[import-not-found]

    volume_XYZ = np.asarray(nibabel.load(template).dataobj, np.float32)
    volume_XYZ *= 255 / np.percentile(volume_XYZ, 99.9)
    for axis, name in enumerate(("sagittal", "coronal", "axial")):
        for place in range(0, volume_XYZ.shape[axis], EVERY):
            slice_HW = np.rot90(volume_XYZ.take(place, axis))
            if (slice_HW > 10).mean() >= LEAST_TISSUE:
                yield f"{name}-{place:03}", Image.fromarray(np.clip(slice_HW, 0, 255).astype(np.uint8))


def photographs(folder: Path) -> Iterator[tuple[str, Image.Image]]:
    """Every image file below a folder, grey."""
    for path in sorted(folder.rglob("*")):
        try:
            with Image.open(path) as image:
                grey = image.convert("L")
        except (OSError, UnidentifiedImageError, Image.DecompressionBombError):
            continue
        grey.thumbnail((LONG_SIDE, LONG_SIDE))
        yield f"{path.parent.name}-{path.stem}", grey


def to_fit_on(folders: Iterable[Path]) -> Iterator[Path]:
    """The files to copy: pydicom's test files (.dcm), and the images of the folders."""
    import pydicom

    yield from sorted((Path(pydicom.__file__).parent / "data" / "test_files").rglob("*.dcm"))
    for folder in folders:
        yield from sorted(path for path in folder.rglob("*") if path.suffix.lower() in IMAGES)


def copy(files: Iterable[Path], folder: Path) -> int:
    """Copies the files, numbered so that none overwrites another; returns how many there were."""
    folder.mkdir(parents=True, exist_ok=True)
    count = 0
    for count, path in enumerate(files, 1):
        shutil.copyfile(path, folder / f"{count:03}-{path.name}")
    return count


def main() -> None:
    """Writes one folder for each source below `--out`."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("template", type=Path, nargs="?", help="a NIfTI volume of a head")
    parser.add_argument("--photographs", type=Path, nargs="*", default=[], help="folders with image files")
    parser.add_argument("--pictures", type=Path, nargs="*", help="folders with image files to fit on, beside pydicom's")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    if arguments.pictures is not None:
        print(f"{arguments.out / 'pictures'}: {copy(to_fit_on(arguments.pictures), arguments.out / 'pictures')} files")
    sources = {"photographs": (pair for folder in arguments.photographs for pair in photographs(folder))}
    if arguments.template is not None:
        sources["heads"] = slices(arguments.template)
    for source, pairs in sources.items():
        folder = arguments.out / source
        folder.mkdir(parents=True, exist_ok=True)
        count = 0
        for name, picture in pairs:
            picture.save(folder / f"{name}.png")
            count += 1
        print(f"{folder}: {count} pictures")


if __name__ == "__main__":
    main()
