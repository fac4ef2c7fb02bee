"""L_total term by term against its definition, and the same in pieces as in one batch.

Letters: B batch, R regions (17), A anchors, K logits. The batch of `example` has an ordinary radiograph, one without an
age, one without regions and one with some regions only.
"""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

from carpal.lab.model import boxes, losses, ordinal, rpn
from carpal.lab.model.alanet import Output

SIZE = 64
HEIGHT, WIDTH = 96, 128
ANCHORS = (HEIGHT // 16) * (WIDTH // 16)


def example(regions: int = 17, patch: bool = True) -> tuple[Output, losses.Targets]:
    """Random answers for four radiographs, in float64. `regions` is what the RPN tells apart: 17, 1 or 0 (no RPN)."""
    random = torch.Generator().manual_seed(5)
    known_BR = torch.ones(4, 17, dtype=torch.bool)
    known_BR[2], known_BR[3, ::2] = False, False
    points_BR2 = torch.rand(4, 17, 2, generator=random, dtype=torch.float64) * torch.tensor([WIDTH, HEIGHT])
    points_BR2[~known_BR] = 0.0
    months_B = torch.tensor([0.0, math.nan, 228.0, 100.0], dtype=torch.float64)
    target = losses.Targets(months_B, points_BR2, known_BR, torch.tensor([3, 1, 4, 1]))
    draw = lambda *shape: torch.randn(*shape, generator=random, dtype=torch.float64)  # noqa: E731
    anchors_A4 = rpn.anchors(torch.zeros(1, 1, HEIGHT // 16, WIDTH // 16, dtype=torch.float64), SIZE)
    output = Output(
        logits_BK=draw(4, 228),
        patch_logits_BRK=draw(4, 17, 228) if patch else None,
        boxes_BR4=draw(4, 17, 4),
        scores_BR=draw(4, 17) if regions else None,
        rpn=rpn.RpnOutput(draw(4, ANCHORS, regions), draw(4, ANCHORS, regions, 4), anchors_A4) if regions else None,
    )
    return output, target


def part(output: Output, target: losses.Targets, rows: slice) -> tuple[Output, losses.Targets]:
    """Some rows of a batch, as a micro-batch has them; the anchors belong to all."""
    cut = [None if t is None else t[rows] for t in output[:4]]
    answers = output.rpn
    if answers is not None:
        answers = rpn.RpnOutput(answers.logits_BAR[rows], answers.deltas_BAR4[rows], answers.anchors_A4)
    return Output(*cut, answers), losses.Targets(*(t[rows] for t in target))  # type: ignore[arg-type]


def total(output: Output, target: losses.Targets) -> dict[str, float]:
    terms = losses.total(output, target, losses.counts(target), SIZE)
    return {name: float(term) for name, term in terms.items()}


def slow_eq1(logits_K: Tensor, months: float) -> float:
    entropies = [math.log1p(math.exp(-o if months > k else o)) for k, o in enumerate(logits_K.tolist())]
    return sum(entropies) / 228


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


AGED, ANNOTATED = (0, 2, 3), (0, 1, 3)


def test_counts_say_what_each_term_is_divided_by() -> None:
    _, target = example()
    assert losses.counts(target).tolist() == [len(AGED), len(ANNOTATED), len({*AGED} & {*ANNOTATED})]


def test_the_age_term_is_the_mean_over_the_aged() -> None:
    output, target = example()
    slow = mean([slow_eq1(output.logits_BK[i], float(target.months_B[i])) for i in AGED])
    assert total(output, target)["ord"] == pytest.approx(slow, rel=1e-9)


def test_the_patch_term_asks_every_proposal_of_the_aged() -> None:
    output, target = example()
    assert output.patch_logits_BRK is not None
    logits = output.patch_logits_BRK
    slow = mean([mean([slow_eq1(logits[i, r], float(target.months_B[i])) for r in range(17)]) for i in AGED])
    assert total(output, target)["patch"] == pytest.approx(slow, rel=1e-9)


def test_without_proposals_the_patch_term_asks_annotated_regions() -> None:
    output, target = example(regions=0)
    assert output.patch_logits_BRK is not None
    each = []
    for i in AGED:
        known = target.known_BR[i].nonzero().flatten().tolist()
        logits_RK = output.patch_logits_BRK[i]
        if known:
            each.append(mean([slow_eq1(logits_RK[r], float(target.months_B[i])) for r in known]))
    terms = total(output, target)
    assert terms["patch"] == pytest.approx(mean(each), rel=1e-9)
    assert set(terms) == {"ord", "patch", "total"}


def test_the_rpn_terms_are_means_over_the_annotated() -> None:
    output, target = example()
    assert output.rpn is not None
    each = []
    for i in ANNOTATED:
        truth_1R4 = boxes.centred(target.points_BR2[i : i + 1], SIZE)
        known_1R, seeds_1 = target.known_BR[i : i + 1], target.seeds_B[i : i + 1]
        asked = rpn.assign(output.rpn.anchors_A4, truth_1R4, known_1R, seeds_1)
        logits_1AR, deltas_1AR4 = (t[i : i + 1].float() for t in (output.rpn.logits_BAR, output.rpn.deltas_BAR4))
        each.append(rpn.loss(logits_1AR, deltas_1AR4, asked))
    terms = total(output, target)
    assert terms["rpn_objectness"] == pytest.approx(mean([float(e[0]) for e in each]), rel=1e-6)
    assert terms["rpn_box"] == pytest.approx(mean([float(e[1]) for e in each]), rel=1e-6)


def slow_anonymous(output: Output, target: losses.Targets, i: int) -> tuple[float, float]:
    """Faster R-CNN on one radiograph whose regions are all just "region"; its 48 anchors are all sampled."""
    assert output.rpn is not None
    known_R4 = boxes.centred(target.points_BR2[i][target.known_BR[i]], SIZE)
    overlap_AR = boxes.iou(output.rpn.anchors_A4, known_R4)
    entropies, distances = [], []
    for a, row in enumerate(overlap_AR.tolist()):
        positive = any(o >= 0.5 or (o > 0 and o == float(overlap_AR[:, r].max())) for r, o in enumerate(row))
        logit = float(output.rpn.logits_BAR[i, a, 0])
        if positive or max(row) < 0.3:
            entropies.append(math.log1p(math.exp(-logit if positive else logit)))
        if positive:
            nearest = known_R4[row.index(max(row))]
            wanted_4 = boxes.encode(nearest, output.rpn.anchors_A4[a])
            gaps = (output.rpn.deltas_BAR4[i, a, 0] - wanted_4).abs().tolist()
            distances.append(sum(g * g / 2 * 9 if g < 1 / 9 else g - 1 / 18 for g in gaps))
    return mean(entropies), mean(distances)


def test_the_anonymous_rpn_asks_for_any_region() -> None:
    output, target = example(regions=1)
    each = [slow_anonymous(output, target, i) for i in ANNOTATED]
    terms = total(output, target)
    assert terms["rpn_objectness"] == pytest.approx(mean([e[0] for e in each]), rel=1e-5)
    assert terms["rpn_box"] == pytest.approx(mean([e[1] for e in each]), rel=1e-5)


@pytest.mark.parametrize(("regions", "patch"), [(17, True), (17, False), (1, True), (0, False)])
def test_total_is_the_sum_of_the_terms(regions: int, patch: bool) -> None:
    terms = total(*example(regions, patch))
    assert terms.pop("total") == pytest.approx(sum(terms.values()))
    assert ("patch" in terms) == patch
    assert ("rpn_box" in terms) == bool(regions)


@pytest.mark.parametrize("regions", [17, 1, 0])
@pytest.mark.parametrize("cuts", [(0, 2, 4), (0, 1, 2, 3, 4), (0, 3, 4)])
def test_micro_batches_add_up_to_the_whole(regions: int, cuts: tuple[int, ...]) -> None:
    output, target = example(regions)
    counts_3 = losses.counts(target)
    sums: dict[str, float] = {}
    for first, last in itertools.pairwise(cuts):
        for name, term in losses.total(*part(output, target, slice(first, last)), counts_3, SIZE).items():
            sums[name] = sums.get(name, 0.0) + float(term)
    assert sums == pytest.approx(total(output, target), rel=1e-6)


def test_a_batch_that_teaches_nothing_has_a_loss_of_zero_with_a_gradient() -> None:
    """Every process of a run must take part in the backward pass, whatever its share of the batch holds."""
    output, target = part(*example(), slice(2, 3))
    target = target._replace(months_B=torch.full_like(target.months_B, math.nan))
    assert output.rpn is not None
    for tensor in (output.logits_BK, output.rpn.logits_BAR, output.rpn.deltas_BAR4):
        tensor.requires_grad_()
    terms = losses.total(output, target, losses.counts(target), SIZE)
    assert {float(term.detach()) for term in terms.values()} == {0.0}
    terms["total"].backward()
    assert output.logits_BK.grad is not None
    assert (output.logits_BK.grad == 0).all()
    assert output.rpn.deltas_BAR4.grad is not None


def test_an_unknown_age_passes_no_gradient() -> None:
    output, target = example()
    logits_BK = output.logits_BK.requires_grad_()
    losses.total(output, target, losses.counts(target), SIZE)["total"].backward()
    assert logits_BK.grad is not None
    assert (logits_BK.grad != 0).any(1).tolist() == [True, False, True, True]


def test_annotated_boxes_lie_in_the_image_and_unknown_ones_in_its_middle() -> None:
    _, target = example()
    truth_BR4 = losses.annotated_boxes(target, SIZE, (HEIGHT, WIDTH))
    assert (truth_BR4 >= 0).all()
    assert (truth_BR4[..., 2] <= WIDTH).all()
    assert (truth_BR4[..., 3] <= HEIGHT).all()
    middle = [WIDTH / 2 - 32, HEIGHT / 2 - 32, WIDTH / 2 + 32, HEIGHT / 2 + 32]
    assert truth_BR4[2].tolist() == [middle] * 17
    x, y = target.points_BR2[0, 5].tolist()
    corners = [max(x - 32, 0), max(y - 32, 0), min(x + 32, WIDTH), min(y + 32, HEIGHT)]
    assert truth_BR4[0, 5].tolist() == pytest.approx(corners)


def test_the_age_term_is_the_ordinal_loss() -> None:
    """A batch of one: nothing but eq. 1 is left."""
    output, target = part(*example(regions=0, patch=False), slice(3, 4))
    assert total(output, target)["total"] == pytest.approx(float(ordinal.loss(output.logits_BK, target.months_B)))
