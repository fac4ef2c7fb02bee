"""Box algebra against loops over plain numbers. Letters: N boxes, M other boxes, 4 coordinates (x1, y1, x2, y2)."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from carpal.lab.model import boxes

Corners = tuple[float, float, float, float]

coordinate = st.floats(-600, 600, width=32)
side = st.floats(1, 300, width=32)
box = st.tuples(coordinate, coordinate, side, side).map(lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3]))
box_lists = st.lists(box, min_size=1, max_size=5)


def tensor(values: list[Corners]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def slow_iou(one: Corners, other: Corners) -> float:
    """Overlap over union, the sides clipped at zero."""
    width = max(0.0, min(one[2], other[2]) - max(one[0], other[0]))
    height = max(0.0, min(one[3], other[3]) - max(one[1], other[1]))
    areas = [(b[2] - b[0]) * (b[3] - b[1]) for b in (one, other)]
    union = sum(areas) - width * height
    return width * height / union if union > 0 else 0.0


@given(box_lists, box_lists)
def test_iou_is_overlap_over_union_of_each_pair(ones: list[Corners], others: list[Corners]) -> None:
    slow = [[slow_iou(one, other) for other in others] for one in ones]
    torch.testing.assert_close(boxes.iou(tensor(ones), tensor(others)), tensor(slow), rtol=1e-9, atol=1e-12)


@given(box_lists)
def test_a_box_overlaps_itself_wholly(ones: list[Corners]) -> None:
    overlap_NN = boxes.iou(tensor(ones), tensor(ones))
    torch.testing.assert_close(overlap_NN.diagonal(), torch.ones(len(ones), dtype=torch.float64))
    torch.testing.assert_close(overlap_NN, overlap_NN.T)


def test_iou_of_known_pairs() -> None:
    square = [(0.0, 0.0, 4.0, 4.0)]
    others = [
        (0.0, 0.0, 4.0, 4.0),
        (2.0, 0.0, 6.0, 4.0),
        (4.0, 0.0, 8.0, 4.0),
        (1.0, 1.0, 1.0, 1.0),
        (3.0, 3.0, 1.0, 1.0),
    ]
    assert boxes.iou(tensor(square), tensor(others)).tolist() == [[1.0, pytest.approx(1 / 3), 0.0, 0.0, 0.0]]
    empty = tensor([(5.0, 5.0, 5.0, 5.0)])
    assert boxes.iou(empty, empty).tolist() == [[0.0]], "0 / 0 is no overlap"


def test_iou_works_on_batches_and_on_strided_input() -> None:
    torch.manual_seed(0)
    corners_BN4 = torch.rand(3, 5, 4, dtype=torch.float64).sort(-1).values
    each_BNN = torch.stack([boxes.iou(b, b) for b in corners_BN4])
    torch.testing.assert_close(boxes.iou(corners_BN4, corners_BN4), each_BNN)
    strided_BN4 = corners_BN4.permute(2, 1, 0).contiguous().permute(2, 1, 0)
    assert not strided_BN4.is_contiguous()
    torch.testing.assert_close(boxes.iou(strided_BN4, strided_BN4), each_BNN)


@given(box_lists)
def test_area_centres_and_centred(ones: list[Corners]) -> None:
    torch.testing.assert_close(boxes.area(tensor(ones)).tolist(), [(b[2] - b[0]) * (b[3] - b[1]) for b in ones])
    middles_N2 = boxes.centres(tensor(ones))
    torch.testing.assert_close(middles_N2.tolist(), [[(b[0] + b[2]) / 2, (b[1] + b[3]) / 2] for b in ones])
    squares_N4 = boxes.centred(middles_N2, 64)
    torch.testing.assert_close(boxes.centres(squares_N4), middles_N2)
    torch.testing.assert_close(boxes.area(squares_N4), torch.full((len(ones),), 64.0**2, dtype=torch.float64))


def test_an_inside_out_box_has_no_area() -> None:
    assert boxes.area(tensor([(3.0, 3.0, 1.0, 1.0), (0.0, 3.0, 9.0, 1.0)])).tolist() == [0.0, 0.0]


@given(box_lists, st.integers(1, 600), st.integers(1, 600))
def test_clip_moves_every_corner_to_the_nearest_point_of_the_image(
    ones: list[Corners], height: int, width: int
) -> None:
    limits = (width, height, width, height)
    slow = [[min(max(c, 0.0), float(limit)) for c, limit in zip(one, limits, strict=True)] for one in ones]
    assert boxes.clip(tensor(ones), height, width).tolist() == slow


@given(box, box)
def test_encode_follows_its_definition(one: Corners, anchor: Corners) -> None:
    """Faster R-CNN, eq. 2: shifts in sides of the anchor, logarithms of the change of side."""
    (width, height), (anchor_width, anchor_height) = ((b[2] - b[0], b[3] - b[1]) for b in (one, anchor))
    slow = [
        ((one[0] + one[2]) / 2 - (anchor[0] + anchor[2]) / 2) / anchor_width,
        ((one[1] + one[3]) / 2 - (anchor[1] + anchor[3]) / 2) / anchor_height,
        math.log(width / anchor_width),
        math.log(height / anchor_height),
    ]
    fast = boxes.encode(tensor([one]), tensor([anchor]))[0].tolist()
    assert fast == pytest.approx(slow, rel=1e-9, abs=1e-9)


@given(coordinate, coordinate, st.floats(0.26, 3.9), st.floats(0.26, 3.9), box)
def test_decode_inverts_encode(x: float, y: float, wider: float, higher: float, anchor: Corners) -> None:
    width, height = (anchor[2] - anchor[0]) * wider, (anchor[3] - anchor[1]) * higher
    truth, anchor_14 = tensor([(x, y, x + width, y + height)]), tensor([anchor])
    torch.testing.assert_close(boxes.decode(boxes.encode(truth, anchor_14), anchor_14), truth, rtol=1e-9, atol=1e-6)


def test_decode_changes_a_side_by_four_at_most() -> None:
    anchor = tensor([(10.0, 20.0, 30.0, 40.0)])
    deltas = torch.tensor([[0.5, -0.25, 1000.0, -1000.0]], dtype=torch.float64)
    torch.testing.assert_close(boxes.decode(deltas, anchor), tensor([(30 - 40.0, 25 - 2.5, 30 + 40.0, 25 + 2.5)]))
    still = torch.zeros(1, 4, dtype=torch.float64)
    torch.testing.assert_close(boxes.decode(still, anchor), anchor)


def test_gradients_of_encode_and_decode() -> None:
    torch.manual_seed(1)
    anchors_N4 = boxes.centred(torch.rand(4, 2, dtype=torch.float64) * 100, 64)
    deltas_N4 = torch.randn(4, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda d: boxes.decode(d, anchors_N4), deltas_N4)
    truth_N4 = boxes.centred(torch.rand(4, 2, dtype=torch.float64) * 100, 50).requires_grad_()
    assert torch.autograd.gradcheck(lambda b: boxes.encode(b, anchors_N4), truth_N4)
