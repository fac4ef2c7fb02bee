"""Picking and aligning regions against loops and against torchvision's C++ kernels (golden/README.md).

Letters: B batch, A anchors, R regions, C channels, H W cells, S side of an aligned region.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from carpal.lab.model import boxes, roi

GOLDEN = Path(__file__).parent / "golden"
STRIDE = 16


def slow_nms(boxes_A4: Tensor, scores_A: Tensor, max_iou: float) -> list[int]:
    """Greedy suppression: best first, each kept unless it overlaps one that was kept."""
    kept: list[int] = []
    for candidate in scores_A.argsort(descending=True).tolist():
        if all(float(boxes.iou(boxes_A4[[candidate]], boxes_A4[[k]])) <= max_iou for k in kept):
            kept.append(candidate)
    return kept


def crowd(spread: float, seed: int, count: int = 40) -> tuple[Tensor, Tensor]:
    """Two images of `count` boxes of about 64 pixels whose middles lie within `spread` pixels; distinct scores."""
    generator = torch.Generator().manual_seed(seed)
    middles = torch.rand(2, count, 2, generator=generator) * spread
    sides = 50 + 30 * torch.rand(2, count, 2, generator=generator)
    return torch.cat([middles - sides / 2, middles + sides / 2], -1), torch.rand(2, count, generator=generator)


def test_take_gives_each_name_the_box_and_the_score_of_its_anchor() -> None:
    generator = torch.Generator().manual_seed(0)
    scores_BAR, boxes_BAR4 = torch.rand(2, 30, 5, generator=generator), torch.rand(2, 30, 5, 4, generator=generator)
    index_BR = torch.randint(0, 30, (2, 5), generator=generator)
    picked_BR4, picked_BR = roi.take(scores_BAR, boxes_BAR4, index_BR)
    for b in range(2):
        for r in range(5):
            a = int(index_BR[b, r])
            assert float(picked_BR[b, r]) == float(scores_BAR[b, a, r])
            assert picked_BR4[b, r].tolist() == boxes_BAR4[b, a, r].tolist()


@pytest.mark.parametrize(("spread", "seed"), [(600.0, 0), (300.0, 1), (150.0, 2), (40.0, 3)])
def test_pick_top_is_greedy_suppression_stopped_at_17(spread: float, seed: int) -> None:
    boxes_BA4, scores_BA = crowd(spread, seed)
    picked_BR4, best_BR = roi.pick_top(scores_BA, boxes_BA4, 17)
    for b in range(2):
        kept = slow_nms(boxes_BA4[b], scores_BA[b], 0.5)[:17]
        assert torch.equal(picked_BR4[b, : len(kept)], boxes_BA4[b, kept])
        assert torch.equal(best_BR[b, : len(kept)], scores_BA[b, kept])
        assert (best_BR[b, len(kept) :] == -1).all()
        offered = {tuple(box) for box in boxes_BA4[b].tolist()}
        assert {tuple(box) for box in picked_BR4[b].tolist()} <= offered, "the tail repeats boxes that exist"


def test_pick_top_equals_torchvision() -> None:
    golden = np.load(GOLDEN / "nms.npz")
    boxes_BA4, scores_BA = torch.from_numpy(golden["boxes_BA4"]), torch.from_numpy(golden["scores_BA"])
    picked_BR4, best_BR = roi.pick_top(scores_BA, boxes_BA4, 17)
    survivors = [int((kept_A >= 0).sum()) for kept_A in golden["kept_BA"]]
    assert max(survivors) > 17 > min(survivors), "both cases must occur"
    for b, survived in enumerate(survivors):
        kept = golden["kept_BA"][b, : min(survived, 17)]
        assert torch.equal(picked_BR4[b, : len(kept)], boxes_BA4[b, kept])
        assert torch.equal(best_BR[b, : len(kept)], scores_BA[b, kept])
        assert (best_BR[b, len(kept) :] == -1).all()


def test_pick_top_takes_a_box_without_area_once() -> None:
    """A proposal that lies outside the image is clipped to nothing; it overlaps not even itself."""
    boxes_BA4 = torch.tensor([[[0.0, 0, 0, 64], [10, 10, 74, 74], [100, 10, 164, 74]]])
    picked_BR4, best_BR = roi.pick_top(torch.tensor([[0.9, 0.8, 0.7]]), boxes_BA4, 3)
    assert torch.equal(picked_BR4, boxes_BA4)
    assert best_BR[0].tolist() == pytest.approx([0.9, 0.8, 0.7])


def test_proposals_at_the_allowed_overlap_survive() -> None:
    """Two boxes of 64 x 64, one on the other's right half, overlap by a third."""
    boxes_BA4 = torch.tensor([[[0.0, 0, 64, 64], [32.0, 0, 96, 64]]])
    scores_BA = torch.tensor([[0.9, 0.8]])
    assert roi.pick_top(scores_BA, boxes_BA4, 2, max_iou=0.34)[1][0].tolist() == pytest.approx([0.9, 0.8])
    assert roi.pick_top(scores_BA, boxes_BA4, 2, max_iou=0.33)[1][0].tolist() == pytest.approx([0.9, -1])


def bilinear(map_HW: Tensor, y: float, x: float) -> float:
    """The value between cell middles, beyond the outermost of them theirs."""
    height, width = map_HW.shape
    y, x = min(max(y, 0.0), height - 1.0), min(max(x, 0.0), width - 1.0)
    top, left = min(math.floor(y), height - 2), min(math.floor(x), width - 2)
    down, right = y - top, x - left
    upper = map_HW[top, left] * (1 - right) + map_HW[top, left + 1] * right
    lower = map_HW[top + 1, left] * (1 - right) + map_HW[top + 1, left + 1] * right
    return float(upper * (1 - down) + lower * down)


def slow_bin(map_HW: Tensor, box: list[float], row: int, column: int, side: int) -> float:
    """The mean of the 2 x 2 samples of one bin; cell (i, j) has its middle at ((j + 0.5) * 16, (i + 0.5) * 16)."""
    x1, y1, x2, y2 = box
    samples = []
    for i in (0.25, 0.75):
        for j in (0.25, 0.75):
            x, y = x1 + (x2 - x1) * (column + j) / side, y1 + (y2 - y1) * (row + i) / side
            samples.append(bilinear(map_HW, y / STRIDE - 0.5, x / STRIDE - 0.5))
    return sum(samples) / 4


def slow_roi_align(features_BCHW: Tensor, boxes_BR4: Tensor, side: int) -> Tensor:
    return torch.tensor(
        [
            [
                [[[slow_bin(m, box, i, j, side) for j in range(side)] for i in range(side)] for m in maps_CHW]
                for box in boxes_R4.tolist()
            ]
            for maps_CHW, boxes_R4 in zip(features_BCHW, boxes_BR4, strict=True)
        ],
        dtype=torch.float64,
    )


def features(height: int, width: int, seed: int = 0, channels: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, channels, height, width, generator=generator, dtype=torch.float64)


def squares(height: int, width: int, regions: int = 4, seed: int = 0) -> Tensor:
    """Boxes (2, R, 4) of 64 pixels around points of the image, clipped to it: some lie on its border."""
    generator = torch.Generator().manual_seed(seed)
    size_2 = torch.tensor([width * STRIDE, height * STRIDE], dtype=torch.float64)
    points_BR2 = torch.rand(2, regions, 2, generator=generator, dtype=torch.float64) * size_2
    points_BR2[0, 0], points_BR2[1, 0] = 0, size_2
    return boxes.clip(boxes.centred(points_BR2, 64), height * STRIDE, width * STRIDE)


@pytest.mark.parametrize(("height", "width", "side"), [(6, 9, 5), (5, 3, 3), (2, 2, 1)])
def test_roi_align_is_the_mean_of_bilinear_samples(height: int, width: int, side: int) -> None:
    features_BCHW, boxes_BR4 = features(height, width), squares(height, width)
    fast = roi.roi_align(features_BCHW, boxes_BR4, side, STRIDE)
    torch.testing.assert_close(fast, slow_roi_align(features_BCHW, boxes_BR4, side), rtol=0, atol=1e-12)


def test_roi_align_equals_torchvision() -> None:
    golden = np.load(GOLDEN / "roi_align.npz")
    ours = roi.roi_align(torch.from_numpy(golden["features_BCHW"]), torch.from_numpy(golden["boxes_BR4"]), 5, STRIDE)
    assert ours.shape == golden["aligned_BRCSS"].shape
    difference = np.abs(ours.numpy() - golden["aligned_BRCSS"])
    assert difference.max() < 1e-12, f"max {difference.max():.2e}, mean {difference.mean():.2e}"


def test_beyond_the_border_the_border_goes_on() -> None:
    features_BCHW = features(4, 5)
    outside = torch.tensor([[-40.0, -40, 24, 24], [60, 50, 124, 114]], dtype=torch.float64).expand(2, 2, 4)
    fast = roi.roi_align(features_BCHW, outside, 5, STRIDE)
    torch.testing.assert_close(fast, slow_roi_align(features_BCHW, outside, 5), rtol=0, atol=1e-12)
    assert (fast[:, 0, :, 0, 0] == features_BCHW[:, :, 0, 0]).all()


def test_an_empty_box_samples_its_point() -> None:
    features_BCHW = features(4, 5)
    point = torch.tensor([24.0, 40, 24, 40], dtype=torch.float64).expand(2, 1, 4)
    aligned_BRCSS = roi.roi_align(features_BCHW, point, 5, STRIDE)
    middle_BC = features_BCHW[:, :, 2, 1]  # the middle of cell (2, 1) is x = 24, y = 40
    torch.testing.assert_close(aligned_BRCSS, middle_BC[:, None, :, None, None].expand(2, 1, 2, 5, 5))


def test_no_boxes_give_no_features() -> None:
    assert roi.roi_align(features(4, 5), torch.zeros(2, 0, 4, dtype=torch.float64), 5, STRIDE).shape == (2, 0, 2, 5, 5)


def test_a_ramp_is_read_where_the_box_is() -> None:
    """Features that hold their own x and y: the bins of a box inside give the middles of the bins."""
    y_H, x_W = torch.arange(8.0) * STRIDE + 8, torch.arange(10.0) * STRIDE + 8
    ramps_BCHW = torch.stack([x_W.expand(8, 10), y_H[:, None].expand(8, 10)])[None]
    x_C, y_C = roi.roi_align(ramps_BCHW, torch.tensor([[[30.0, 20, 90, 100]]]), 5, STRIDE)[0, 0]
    torch.testing.assert_close(x_C, torch.tensor([36.0, 48, 60, 72, 84]).expand(5, 5))
    torch.testing.assert_close(y_C, torch.tensor([28.0, 44, 60, 76, 92])[:, None].expand(5, 5))


def test_roi_align_takes_strided_input() -> None:
    features_BCHW, boxes_BR4 = features(6, 9), squares(6, 9)
    expected = roi.roi_align(features_BCHW, boxes_BR4, 5, STRIDE)
    turned, mixed = features_BCHW.permute(3, 2, 0, 1).contiguous().permute(2, 3, 1, 0), boxes_BR4.mT.contiguous().mT
    assert not turned.is_contiguous()
    assert not mixed.is_contiguous()
    torch.testing.assert_close(roi.roi_align(turned, mixed, 5, STRIDE), expected)
    last = features_BCHW.contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(roi.roi_align(last, boxes_BR4, 5, STRIDE), expected)


def test_gradients_of_roi_align() -> None:
    features_BCHW = features(3, 4, channels=1).requires_grad_()
    boxes_BR4 = squares(3, 4, regions=2)
    assert torch.autograd.gradcheck(lambda f: roi.roi_align(f, boxes_BR4, 2, STRIDE), features_BCHW)
    inner = torch.tensor([[[9.3, 10.1, 40.7, 35.9]]] * 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda b: roi.roi_align(features_BCHW.detach(), b, 2, STRIDE), inner)


def test_the_head_is_the_same_for_all_regions() -> None:
    torch.manual_seed(0)
    head = roi.RoiHead(3, side=5, features=7).eval()
    aligned_BRCSS = torch.randn(2, 4, 3, 5, 5)
    local_BRD = head(aligned_BRCSS)
    assert local_BRD.shape == (2, 4, 7)
    assert (local_BRD >= 0).all()
    torch.testing.assert_close(head(aligned_BRCSS.flip(0, 1)), local_BRD.flip(0, 1))
    convolutions = [m for m in head.modules() if isinstance(m, torch.nn.Conv2d)]
    assert len(convolutions) == 4, "the paper's four convolutions and one fully connected layer"
