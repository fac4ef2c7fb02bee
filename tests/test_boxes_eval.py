"""Regions: pycocotools against ten slow lines written from COCO's definition, centre errors by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from carpal.anatomy import REGIONS
from carpal.lab.evaluation import boxes
from carpal.lab.evaluation.boxes import Boxes, Hand

POINTS = np.stack([60 + 18.0 * np.arange(17), 40 + 25.0 * np.arange(17)], axis=-1)
"""17 points on a line, inside 400 x 512."""


def hand(shift: tuple[float, float] = (0.0, 0.0), points: NDArray[np.float64] = POINTS, length: float = 300.0) -> Hand:
    around = np.nan_to_num(points) + shift
    found = np.concatenate([around - 32, around + 32], axis=-1)
    return Hand(points, length, found, np.linspace(0.5, 0.9, 17), 400.0, 512.0)


def iou(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    width, height = (np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])).clip(0)
    inner = width * height
    return float(inner / (np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - inner))


def slow_ap(found: list[Boxes], reference: list[Boxes], threshold: float) -> float:
    """AP of one class at one IoU: greedy matching by falling score, precision made monotone, 101 recall points."""
    queue = [
        (s, i, box) for i, image in enumerate(found) for box, s in zip(image.boxes_P4, image.scores_P, strict=True)
    ]
    free = [list(image.boxes_P4) for image in reference]
    right = []
    for _, i, box in sorted(queue, key=lambda item: -item[0]):
        overlaps = [iou(box, other) for other in free[i]]
        hit = bool(overlaps) and max(overlaps) >= threshold
        right.append(hit)
        if hit:
            free[i].pop(int(np.argmax(overlaps)))
    total, hits = sum(len(image.boxes_P4) for image in reference), np.cumsum(right)
    recall, precision = hits / total, hits / np.arange(1, len(right) + 1)
    wanted = np.linspace(0, 1, 101)
    return float(np.mean([max(precision[recall >= r], default=0.0) for r in wanted]))


def slow_average_precision(found: list[Boxes], reference: list[Boxes], by_class: bool) -> tuple[float, float, float]:
    def only(images: list[Boxes], label: int) -> list[Boxes]:
        return [Boxes(*(column[image.labels_P == label] for column in image)) for image in images]

    labels = sorted({int(label) for image in reference for label in image.labels_P})
    groups = [(only(found, k), only(reference, k)) for k in labels] if by_class else [(found, reference)]
    thresholds = np.linspace(0.5, 0.95, 10)
    ap_T = np.array([np.mean([slow_ap(*group, threshold) for group in groups]) for threshold in thresholds])
    return float(ap_T.mean()), float(ap_T[0]), float(ap_T[5])


def random_images(generator: np.random.Generator, jitter: float) -> tuple[list[Boxes], list[Boxes]]:
    found, reference = [], []
    for _ in range(4):
        labels = np.sort(generator.choice(17, generator.integers(1, 9), replace=False))
        centres = generator.uniform(40, 360, (len(labels), 2))
        moved = centres + generator.normal(0, jitter, centres.shape)
        guessed = np.where(generator.random(len(labels)) < 0.15, generator.integers(0, 17, len(labels)), labels)
        reference.append(Boxes(np.concatenate([centres - 32, centres + 32], -1), labels, np.ones(len(labels))))
        scores = generator.permutation(1000)[: len(labels)] / 1000 + generator.random() / 1e4
        found.append(Boxes(np.concatenate([moved - 32, moved + 32], -1), guessed, scores))
    return found, reference


@pytest.mark.parametrize("by_class", [True, False])
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10**6), jitter=st.sampled_from([0.5, 3.0, 8.0, 25.0]))
def test_average_precision_equals_the_slow_twin(by_class: bool, seed: int, jitter: float) -> None:
    found, reference = random_images(np.random.default_rng(seed), jitter)
    result = boxes.average_precision(found, reference, by_class)
    assert result == pytest.approx(slow_average_precision(found, reference, by_class), abs=1e-9)


def test_exchanged_names_cost_the_class_aware_ap_only() -> None:
    right = boxes.reference_boxes(hand())
    exchanged = right._replace(labels_P=np.roll(right.labels_P, 1))
    by_class = boxes.average_precision([exchanged], [right])
    assert by_class == (0, 0, 0)
    assert boxes.average_precision([exchanged], [right], by_class=False) == pytest.approx((1, 1, 1))


def test_nothing_found_and_nothing_annotated() -> None:
    nothing = Boxes(np.empty((0, 4)), np.empty(0, np.int64), np.empty(0))
    assert boxes.average_precision([nothing], [boxes.reference_boxes(hand())]) == (0, 0, 0)
    assert boxes.average_precision([boxes.reference_boxes(hand())], [nothing]) is None


def test_ap_says_nothing_on_the_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    boxes.score([hand()])
    assert capfd.readouterr() == ("", "")


def test_a_perfect_hand() -> None:
    report = boxes.score([hand(), hand()])
    assert (report["n"], report["points"]) == (2, 34)
    assert (report["mean_centre_error"], report["pck"]) == (0.0, 1.0)
    assert [report[key] for key in ("ap", "ap50", "ap75")] == pytest.approx([1, 1, 1])
    assert report["agnostic"] == pytest.approx({"ap": 1, "ap50": 1, "ap75": 1})


def test_a_shift_is_a_share_of_the_hands_length() -> None:
    report = boxes.score([hand((9.0, 12.0)), hand((12.0, 16.0))])
    assert report["mean_centre_error"] == pytest.approx((15 / 300 + 20 / 300) / 2)
    assert report["pck"] == pytest.approx(0.5)  # 5.0 % counts, 6.7 % does not
    assert report["by_region"]["DIP3"] == {"n": 2, "mean_centre_error": pytest.approx(17.5 / 300)}
    assert set(report["by_region"]) == set(REGIONS)


def test_iou_decides_between_ap50_and_ap75() -> None:
    report = boxes.score([hand((16.0, 0.0))])  # IoU = 48 / 80 = 0.6: right at 0.50, 0.55, 0.60
    assert (report["ap50"], report["ap75"]) == pytest.approx((1.0, 0.0))
    assert report["ap"] == pytest.approx(0.3)


def test_what_nobody_annotated_is_not_scored() -> None:
    points = POINTS.copy()
    points[3:] = np.nan
    report = boxes.score([hand(points=points)])
    assert report["points"] == 3
    assert report["ap"] == pytest.approx(1.0)
    assert report["agnostic"]["ap"] == pytest.approx(1.0)
    assert report["by_region"]["Ulna"] == {"n": 0, "mean_centre_error": None}


def test_a_hand_of_unknown_length_counts_for_ap_only() -> None:
    report = boxes.score([hand((3.0, 0.0)), hand((9.0, 12.0), length=np.nan)])
    assert (report["n"], report["points"]) == (2, 17)
    assert report["mean_centre_error"] == pytest.approx(0.01)
    assert 0 < report["ap"] < 1


def test_no_hand_gives_no_numbers() -> None:
    report = boxes.score([])
    assert (report["n"], report["points"]) == (0, 0)
    assert [report[key] for key in ("mean_centre_error", "pck", "ap", "ap50", "ap75")] == [None] * 5


def test_boxes_over_the_border_are_compared_inside_the_image() -> None:
    points = POINTS.copy()
    points[0] = 5.0, 500.0
    at_border = hand(points=points)
    clipped = at_border._replace(boxes_R4=at_border.boxes_R4.clip(0, [400, 512, 400, 512]))
    assert boxes.reference_boxes(at_border).boxes_P4[0].tolist() == [0, 468, 37, 512]
    assert boxes.score([clipped])["ap"] == pytest.approx(1.0)


@given(st.lists(st.tuples(st.floats(-500, 500), st.floats(-500, 500)), min_size=1, max_size=17))
def test_hand_length_is_the_largest_distance(points: list[tuple[float, float]]) -> None:
    slow = max(np.hypot(a[0] - b[0], a[1] - b[1]) for a in points for b in points)
    assert boxes.hand_length(np.array(points)) == pytest.approx(slow, abs=1e-9)
