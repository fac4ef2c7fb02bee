"""Poses that weights find, against the three key points of 4,648 hands: side, turn and size; and a sheet to look at.

    python bench/poses.py --data shared/data --limit 250 --sheet sheet.png

The mean hand's own middle fingertip, thumb tip and capitate are the medians over the hands, in the frame of each hand's
pose: what is left are the differences between hands and the mistakes of both sides.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from carpal.imaging.preprocess import preprocess
from carpal.imaging.read import read_radiograph
from carpal.inference.align import Pose, align_hand
from carpal.inference.engine import open_engine
from carpal.lab.data import shared

COLUMNS, SIDE = 20, 96
"""Of the sheet."""


def main() -> None:
    """Prints the differences and writes the sheet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--weights", default="alanet")
    parser.add_argument("--limit", type=int, default=250)
    parser.add_argument("--sheet", type=Path)
    arguments = parser.parse_args()
    engine, points = open_engine(arguments.weights), shared.read_three_points(arguments.data)
    samples = [sample for sample in shared.squashed(arguments.data) if sample.id in points]
    chosen = [samples[i] for i in np.random.default_rng(0).permutation(len(samples))[: arguments.limit]]
    marks_N3, same_side, views, lost = [], [], [], []
    for sample in chosen:
        pixels_HW = read_radiograph(sample.read(), sample.name).pixels_HW
        prepared = preprocess(pixels_HW, engine.long_side, sample.aspect)
        view, _ = align_hand(engine, prepared, bool(sample.male))
        if view.pose is None:
            lost.append(sample.id)
            continue
        marks_N3.append(_in_hand(points[sample.id], view.pose, view.mirrored, prepared.grey_HW.shape))
        same_side.append(view.mirrored == points[sample.id].thumb_left)
        views.append(view.image_HW)
    tip_N, _, capitate_N = np.array(marks_N3).T
    axis_N = tip_N - capitate_N
    turn_N = np.degrees(np.angle(axis_N / _median(axis_N)))
    size_N = np.abs(axis_N) / abs(_median(axis_N))
    print(
        f"{len(chosen)} hands, not found: {', '.join(lost) or 'none'}; thumb on the same side: {np.mean(same_side):.1%}"
    )
    print("turn, degrees, absolute: 50 %, 90 %, 99 %, most:", np.percentile(np.abs(turn_N), [50, 90, 99, 100]).round(1))
    print("size, ratio: 1 %, 10 %, 90 %, 99 %:", np.percentile(size_N, [1, 10, 90, 99]).round(3))
    if arguments.sheet:
        rows = -(-len(views) // COLUMNS)
        sheet = Image.new("L", (COLUMNS * SIDE, rows * SIDE))
        for i, view_HW in enumerate(views):
            image = Image.fromarray(np.rint(view_HW).astype(np.uint8))
            image.thumbnail((SIDE, SIDE))
            sheet.paste(image, (i % COLUMNS * SIDE, i // COLUMNS * SIDE))
        sheet.save(arguments.sheet)


def _median(points_N: NDArray[np.complex128]) -> complex:
    return complex(np.median(points_N.real), np.median(points_N.imag))


def _in_hand(points: shared.ThreePoints, pose: Pose, mirrored: bool, shape: tuple[int, ...]) -> list[complex]:
    """The key points in the frame of the mean hand, thumb on the right."""
    height, width = shape
    marks_3 = np.array(points[:3])
    pixels_3 = marks_3.real * width + 1j * marks_3.imag * height
    if mirrored:
        pixels_3 = width - pixels_3.conj()
    return list(pose.map.inverse().points(pixels_3))


if __name__ == "__main__":
    main()
