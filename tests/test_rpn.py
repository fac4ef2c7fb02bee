"""The region proposal network: what the head says where, which anchors answer for what, and the loss as a loop.

Letters: B batch, A anchors, R regions, 4 coordinates (x1, y1, x2, y2).
"""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from carpal.lab.model import boxes, rpn

SIZE = 64


def anchor_grid(height: int, width: int) -> Tensor:
    return rpn.anchors(torch.zeros(1, 1, height, width), SIZE)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def assign(anchors_A4: Tensor, truth_R4: Tensor, known_R: Tensor, seed: int = 0) -> rpn.RpnTargets:
    """The targets of one image, (A, R) and (A, R, 4)."""
    batch = rpn.assign(anchors_A4, truth_R4[None], known_R[None], torch.tensor([seed]))
    return rpn.RpnTargets(*(tensor[0] for tensor in batch))


def loss(logits_AR: Tensor, deltas_AR4: Tensor, target: rpn.RpnTargets) -> tuple[Tensor, Tensor]:
    """The loss of one image."""
    objectness_B, box_B = rpn.loss(logits_AR[None], deltas_AR4[None], rpn.RpnTargets(*(t[None] for t in target)))
    return objectness_B[0], box_B[0]


def squares(*points: tuple[float, float]) -> Tensor:
    return boxes.centred(torch.tensor(points), SIZE)


def slow_labels(anchors_A4: Tensor, truth_R4: Tensor, known: list[bool]) -> list[list[int]]:
    """Ren et al. 2015, section 3.1.2, for each anchor and region; the anchors are few, so that all are sampled."""
    overlaps = [[float(boxes.iou(a[None], t[None])) for t in truth_R4] for a in anchors_A4]
    regions = range(len(truth_R4))
    best = [max(row[r] for row in overlaps) for r in regions]
    answers = [
        [1 if o >= 0.5 or (o == best[r] and o > 0) else 0 if o < 0.3 else -1 for r, o in enumerate(row)]
        for row in overlaps
    ]
    for row in answers:
        asked = [label for label, is_known in zip(row, known, strict=True) if is_known]
        sampled = 1 in asked or all(label == 0 for label in asked)
        row[:] = [label if sampled and known[r] else -1 for r, label in enumerate(row)]
    return answers


def test_anchors_are_squares_around_the_middles_of_the_cells_row_by_row() -> None:
    slow = [[x * 16 + 8 - 32, y * 16 + 8 - 32, x * 16 + 8 + 32, y * 16 + 8 + 32] for y in range(3) for x in range(5)]
    assert anchor_grid(3, 5).tolist() == slow


@pytest.mark.parametrize("seed", range(5))
def test_labels_follow_the_definition(seed: int) -> None:
    anchors_A4 = anchor_grid(7, 9)
    points_R2 = torch.rand(6, 2, generator=seeded(seed)) * torch.tensor([144.0, 112.0])
    truth_R4 = boxes.centred(points_R2, SIZE)
    known = [True, True, False, True, True, seed % 2 == 0]
    label_AR = assign(anchors_A4, truth_R4, torch.tensor(known)).label_BAR
    assert label_AR.tolist() == slow_labels(anchors_A4, truth_R4, known)
    assert {-1, 0, 1} == set(label_AR.unique().tolist())


def test_the_best_anchor_is_positive_however_little_it_overlaps() -> None:
    """A region beyond the border of the grid has no anchor at an IoU of 0.5."""
    anchors_A4, truth_14 = anchor_grid(4, 4), squares((-20.0, 30.0))
    overlap_A = boxes.iou(anchors_A4, truth_14)[:, 0]
    assert overlap_A.max() < 0.5
    label_A = assign(anchors_A4, truth_14, torch.tensor([True])).label_BAR[:, 0]
    assert torch.equal(label_A == 1, overlap_A == overlap_A.max())
    assert (label_A == 1).any()


def test_a_region_that_overlaps_no_anchor_has_no_positive() -> None:
    label_A1 = assign(anchor_grid(4, 4), squares((900.0, 900.0)), torch.tensor([True])).label_BAR
    assert (label_A1 == 0).all()


def test_one_name_is_background_for_another() -> None:
    """An anchor on the first region is asked about the second, and the answer is no."""
    anchors_A4, truth_24 = anchor_grid(8, 8), squares((24.0, 24.0), (104.0, 104.0))
    label_A2 = assign(anchors_A4, truth_24, torch.tensor([True, True])).label_BAR
    on_first = int((boxes.iou(anchors_A4, truth_24)[:, 0]).argmax())
    assert label_A2[on_first].tolist() == [1, 0]


def test_an_unknown_region_is_never_asked_and_hides_no_anchor() -> None:
    anchors_A4, truth_24 = anchor_grid(8, 8), squares((24.0, 24.0), (104.0, 104.0))
    both = assign(anchors_A4, truth_24, torch.tensor([True, False])).label_BAR
    alone = assign(anchors_A4, truth_24[:1], torch.tensor([True])).label_BAR
    assert (both[:, 1] == -1).all()
    assert torch.equal(both[:, :1], alone)


def test_nothing_is_asked_without_a_known_region() -> None:
    label_AR = assign(anchor_grid(4, 4), squares((24.0, 24.0)), torch.tensor([False])).label_BAR
    assert (label_AR == -1).all()


def test_offsets_lead_from_each_anchor_to_each_region() -> None:
    anchors_A4, truth_24 = anchor_grid(4, 5), squares((24.0, 30.0), (50.0, 11.0))
    deltas_AR4 = assign(anchors_A4, truth_24, torch.tensor([True, True])).deltas_BAR4
    reached_AR4 = boxes.decode(deltas_AR4, anchors_A4[:, None])
    torch.testing.assert_close(reached_AR4, truth_24.expand(20, 2, 4), rtol=0, atol=1e-4)


def test_of_many_anchors_256_are_asked_half_of_them_positive_at_most() -> None:
    anchors_A4 = anchor_grid(40, 40)
    crowd_R4 = boxes.centred(torch.rand(60, 2, generator=seeded(1)) * 640, SIZE)
    wanted_A = (boxes.iou(anchors_A4, crowd_R4) >= 0.5).any(1)
    assert int(wanted_A.sum()) > 128, "the crowd must offer more positives than the cap"
    label_AR = assign(anchors_A4, crowd_R4, torch.ones(60, dtype=torch.bool)).label_BAR
    positive_A, asked_A = (label_AR == 1).any(1), (label_AR >= 0).any(1)
    assert (int(positive_A.sum()), int(asked_A.sum())) == (128, 256)


def test_negatives_fill_up_where_positives_are_few() -> None:
    label_A1 = assign(anchor_grid(40, 40), squares((320.0, 320.0)), torch.tensor([True])).label_BAR
    assert int((label_A1 == 1).sum()) < 10
    assert int((label_A1 >= 0).sum()) == 256


def test_the_seed_alone_decides_the_sample() -> None:
    arguments = anchor_grid(40, 40), squares((320.0, 320.0)), torch.tensor([True])
    first = assign(*arguments, 7).label_BAR
    torch.manual_seed(99)
    assert torch.equal(first, assign(*arguments, 7).label_BAR)
    assert not torch.equal(first, assign(*arguments, 8).label_BAR)


def test_every_anchor_that_has_an_answer_is_asked_at_times() -> None:
    """A negative is asked in 16 % of the draws: over 100 draws none of the 1,600 should be left out."""
    arguments = anchor_grid(40, 40), squares((320.0, 320.0)), torch.tensor([True])
    times_A = torch.stack([assign(*arguments, s).label_BAR[:, 0] >= 0 for s in range(100)]).sum(0)
    overlap_A = boxes.iou(arguments[0], arguments[1])[:, 0]
    assert torch.equal(times_A == 0, (overlap_A >= 0.3) & (overlap_A < 0.5))


def slow_loss(logits: list[list[float]], deltas: Tensor, target: rpn.RpnTargets) -> tuple[float, float]:
    """Cross-entropy of the asked pairs, smooth L1 (beta 1/9) of the positive ones, each over their number."""
    entropies, distances = [], []
    for a, row in enumerate(target.label_BAR.tolist()):
        for r, label in enumerate(row):
            probability = 1 / (1 + math.exp(-logits[a][r]))
            if label >= 0:
                entropies.append(-math.log(probability if label == 1 else 1 - probability))
            if label == 1:
                gaps = (deltas[a, r] - target.deltas_BAR4[a, r]).abs().tolist()
                distances.append(sum(g * g / 2 * 9 if g < 1 / 9 else g - 1 / 18 for g in gaps))
    return sum(entropies) / max(len(entropies), 1), sum(distances) / max(len(distances), 1)


def example(seed: int, regions: int = 3) -> tuple[Tensor, Tensor, rpn.RpnTargets]:
    """Random answers (A, R) and offsets (A, R, 4) near the wanted ones, in float64, with their targets."""
    anchors_A4 = anchor_grid(5, 6).double()
    points_R2 = torch.rand(regions, 2, generator=seeded(seed), dtype=torch.float64) * 90
    known_R = torch.arange(regions) != 1
    target = assign(anchors_A4, boxes.centred(points_R2, SIZE), known_R)
    logits_AR = torch.randn(30, regions, generator=seeded(seed + 1), dtype=torch.float64)
    noise_AR4 = torch.randn(30, regions, 4, generator=seeded(seed + 2), dtype=torch.float64) * 0.2
    return logits_AR, target.deltas_BAR4 + noise_AR4, target


@pytest.mark.parametrize("seed", range(3))
def test_loss_follows_its_definition(seed: int) -> None:
    logits_AR, deltas_AR4, target = example(seed)
    fast = [float(term) for term in loss(logits_AR, deltas_AR4, target)]
    assert fast == pytest.approx(slow_loss(logits_AR.tolist(), deltas_AR4, target), rel=1e-9)
    assert min(fast) > 0.01


def test_gradients_of_the_loss() -> None:
    logits_AR, deltas_AR4, target = example(4)
    for term in (0, 1):
        inputs = logits_AR.requires_grad_(), deltas_AR4.requires_grad_()
        assert torch.autograd.gradcheck(lambda a, b, term=term: loss(a, b, target)[term], inputs)


def test_a_loss_without_questions_is_zero() -> None:
    logits_AR, deltas_AR4, target = example(0)
    nothing = target._replace(label_BAR=torch.full_like(target.label_BAR, -1))
    assert [float(term) for term in loss(logits_AR, deltas_AR4, nothing)] == [0.0, 0.0]


def test_the_head_answers_for_the_cell_that_it_saw() -> None:
    """A single bright cell makes the anchor around its middle the surest one, and offsets keep regions apart."""
    torch.manual_seed(0)
    head = rpn.RpnHead(4, regions=3, box_size=SIZE)
    with torch.no_grad():
        head.conv.weight.zero_()
        head.conv.weight[0, 0, 1, 1] = 1.0
        head.objectness.weight.zero_()
        head.objectness.weight[2, 0] = 5.0
        head.deltas.bias.copy_(torch.arange(12.0))
        head.deltas.weight.zero_()
    features_BCHW = torch.zeros(2, 4, 6, 9)
    features_BCHW[1, 0, 4, 7] = 1.0
    output = head(features_BCHW)
    assert output.logits_BAR.shape == (2, 54, 3)
    surest_A4 = output.anchors_A4[output.logits_BAR[1, :, 2].argmax()]
    assert surest_A4.tolist() == [7 * 16 + 8 - 32, 4 * 16 + 8 - 32, 7 * 16 + 8 + 32, 4 * 16 + 8 + 32]
    assert (output.logits_BAR[0] == output.logits_BAR[0, 0, 0]).all()
    assert output.deltas_BAR4[1, 30].tolist() == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]


def test_a_batch_is_its_images_one_by_one() -> None:
    anchors_A4 = anchor_grid(9, 7)
    truth_BR4 = boxes.centred(torch.rand(4, 5, 2, generator=seeded(2)) * 112, SIZE)
    known_BR = torch.rand(4, 5, generator=seeded(3)) < 0.6
    known_BR[2] = False
    logits_BAR, deltas_BAR4 = torch.randn(4, 63, 5, generator=seeded(4)), torch.randn(4, 63, 5, 4, generator=seeded(5))
    seeds = [8, 1, 8, 5]
    together = rpn.assign(anchors_A4, truth_BR4, known_BR, torch.tensor(seeds))
    losses = torch.stack(rpn.loss(logits_BAR, deltas_BAR4, together), 1)
    for i, seed in enumerate(seeds):
        alone = assign(anchors_A4, truth_BR4[i], known_BR[i], seed)
        assert torch.equal(alone.label_BAR, together.label_BAR[i])
        torch.testing.assert_close(torch.stack(loss(logits_BAR[i], deltas_BAR4[i], alone)), losses[i])
