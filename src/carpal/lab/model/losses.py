"""L_total = L_ord + L_patch + L_RPN (paper, eq. 2), each term by its name.

Letters: B batch, R regions, K logits. An example may lack an age (it still trains the RPN) or regions (it
still trains the age): every term is a sum over the examples that have what it needs, divided by their number in the
whole step, so that micro-batches and several processes give the same loss as one large batch.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from carpal.lab.model import boxes, ordinal, rpn
from carpal.lab.model.alanet import Output


class Targets(NamedTuple):
    """The truth of a batch: ages in months (NaN unknown) and region centres in prepared pixels with what is known."""

    months_B: Tensor
    points_BR2: Tensor
    known_BR: Tensor
    seeds_B: Tensor
    """One seed an example for the RPN's sampling: the same whatever the batch it travels in."""


def counts(target: Targets) -> Tensor:
    """Examples (with an age, with regions, with both): what the sums below are divided by."""
    has_age_B, annotated_B = ~target.months_B.isnan(), target.known_BR.any(1)
    return torch.stack([has_age_B.sum(), annotated_B.sum(), (has_age_B & annotated_B).sum()]).to(torch.float32)


def annotated_boxes(target: Targets, box_size: int, image_size: tuple[int, int] | torch.Size) -> Tensor:
    """The annotated regions as boxes (B, R, 4) inside the image; an unknown one is the image's middle."""
    height, width = image_size
    middle_2 = target.points_BR2.new_tensor([width / 2, height / 2])
    points_BR2 = torch.where(target.known_BR[..., None], target.points_BR2, middle_2)
    return boxes.clip(boxes.centred(points_BR2, box_size), height, width)


def total(output: Output, target: Targets, counts_3: Tensor, box_size: int) -> dict[str, Tensor]:
    """Every term of eq. 2 that this network has, and their sum as "total"; `counts_3` as from `counts`."""
    aged, annotated, both = counts_3.clamp(min=1)
    has_age_B = ~target.months_B.isnan()
    months_B = target.months_B.nan_to_num(0.0)
    terms = {"ord": (ordinal.loss(output.logits_BK, months_B) * has_age_B).sum() / aged}
    if output.patch_logits_BRK is not None:
        regions = output.patch_logits_BRK.shape[1]
        months_BR = months_B[:, None].expand(-1, regions)
        each_BR = ordinal.loss(output.patch_logits_BRK, months_BR)
        asked_BR = target.known_BR if output.scores_BR is None else torch.ones_like(target.known_BR)
        mean_B = (each_BR * asked_BR).sum(1) / asked_BR.sum(1).clamp(min=1)
        terms["patch"] = (mean_B * has_age_B).sum() / (both if output.scores_BR is None else aged)
    if output.rpn is not None:
        objectness, box = _rpn_sums(output.rpn, target, box_size)
        terms["rpn_objectness"], terms["rpn_box"] = objectness / annotated, box / annotated
    terms["total"] = torch.stack(list(terms.values())).sum()
    return terms


def _rpn_sums(output: rpn.RpnOutput, target: Targets, box_size: int) -> tuple[Tensor, Tensor]:
    """Sums over the annotated images of their RPN losses (zero, with a gradient, where there is none)."""
    truth_BR4 = boxes.centred(target.points_BR2, box_size)
    asked = rpn.assign(output.anchors_A4, truth_BR4, target.known_BR, target.seeds_B)
    if output.logits_BAR.shape[2] == 1:
        asked = _any_region(asked, output.anchors_A4, truth_BR4, target.known_BR)
    objectness_B, box_B = rpn.loss(output.logits_BAR.float(), output.deltas_BAR4.float(), asked)
    return objectness_B.sum(), box_B.sum()


def _any_region(asked: rpn.RpnTargets, anchors_A4: Tensor, truth_BR4: Tensor, known_BR: Tensor) -> rpn.RpnTargets:
    """The anonymous RPN's question: is there any region here, and how far to the nearest one."""
    label_BA1 = torch.where(known_BR[:, None], asked.label_BAR, -1).amax(2, keepdim=True)
    nearest_BA = (boxes.iou(anchors_A4, truth_BR4) * known_BR[:, None]).argmax(2)
    index_BA14 = nearest_BA[..., None, None].expand(-1, -1, 1, 4)
    return rpn.RpnTargets(label_BA1, asked.deltas_BAR4.gather(2, index_BA14))
