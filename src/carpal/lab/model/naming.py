"""Which proposal carries which name: the 17 that fit one hand, chosen together.

Letters: B batch, A proposals (one for each cell of C4), R regions (17), C candidates of a name, H poses of the hand.

Alone, each name's best proposal is often another finger's: the index and the little finger are each other's mirror
image. Together they are not: after an affine map the 17 regions of any hand lie within a few per cent of the mean
hand's (`anatomy.MEAN_HAND`). So the names are chosen in two steps, both of fixed size, without a loop over the data:

1. Poses. Each name's best proposal is trusted once, with every angle, size and mirror image of the mean hand through
   it; a pose counts for each name what the best candidate near the name's place in that pose is worth.
2. Refinement. The best pose becomes an affine map, fitted three times to the proposals that it chooses.
"""

from __future__ import annotations

import math
from typing import Final

import torch
from torch import Tensor

from carpal.anatomy import MEAN_HAND

CANDIDATES: Final = 24
SIZES: Final = (0.12, 0.155, 0.20, 0.25)
"""The hand's radius (root mean square distance of its regions from their middle) as a share of the image's long side:
from the 1st percentile of the annotated hands to the largest."""
ANGLES: Final = tuple(range(-60, 61, 20))
FLOOR: Final = 0.02
"""A proposal that scores nothing still counts as much as this, so that one lost region does not lose the hand."""
WORST: Final = -8.0
"""No name takes more than this from a pose (log units), however far its candidates are."""
POSE_SPREAD: Final = 0.25
SPREADS: Final = (0.2, 0.15, 0.12, 0.12)
"""How far a region may lie from its place, as a share of the hand's radius: at first the grid of poses is coarse; the
last ones are about twice what remains after an affine map of the annotated hands (0.04 to 0.10)."""
RIDGE: Final = 0.05


def choose(scores_BAR: Tensor, centres_BAR2: Tensor, long_side: float) -> Tensor:
    """The index (B, R) into A of the proposal that each name takes. Scores are probabilities, centres image pixels."""
    worth_BAR = torch.log(scores_BAR + FLOOR)
    places_BR2, radius_B = best_pose(worth_BAR, centres_BAR2, long_side)
    hand_R3 = _with_ones(_mean_hand(centres_BAR2))
    affine_B32 = _fit(hand_R3, places_BR2, torch.ones_like(places_BR2[..., 0]), None)
    index_BR = worth_BAR.argmax(1)
    for spread in SPREADS:
        distance_BAR = (centres_BAR2 - (hand_R3 @ affine_B32)[:, None]).square().sum(-1)
        pull_BAR = distance_BAR / (2 * (spread * radius_B) ** 2)[:, None, None]
        index_BR = (worth_BAR - pull_BAR).argmax(1)
        chosen_BR2 = _at(centres_BAR2, index_BR)
        weight_BR = scores_BAR.gather(1, index_BR[:, None])[:, 0] + FLOOR
        affine_B32 = _fit(hand_R3, chosen_BR2, weight_BR, affine_B32)
    return index_BR


def worth(scores_BAR: Tensor, centres_BAR2: Tensor, index_BR: Tensor) -> Tensor:
    """How well the proposals `index_BR` fit one hand (B), in log units: their scores, less their distance from it."""
    hand_R3 = _with_ones(_mean_hand(centres_BAR2))
    chosen_BR2 = _at(centres_BAR2, index_BR)
    score_BR = scores_BAR.gather(1, index_BR[:, None])[:, 0] + FLOOR
    affine_B32 = _fit(hand_R3, chosen_BR2, score_BR, None)
    (a_B, b_B), (c_B, d_B) = (row.unbind(1) for row in affine_B32[:, :2].unbind(1))
    variance_B = SPREADS[-1] ** 2 * (a_B * d_B - b_B * c_B).abs()  # the map's determinant is the radius squared
    distance_BR = (chosen_BR2 - hand_R3 @ affine_B32).square().sum(-1)
    return (torch.log(score_BR) - distance_BR / (2 * variance_B[:, None])).sum(1)


def best_pose(worth_BAR: Tensor, centres_BAR2: Tensor, long_side: float) -> tuple[Tensor, Tensor]:
    """Where the 17 lie (B, R, 2) in the pose that the proposals support most, and the hand's radius (B) in pixels."""
    worth_BRC, centres_BRC2 = _candidates(worth_BAR, centres_BAR2)
    poses_HR2, radius_H = poses(centres_BAR2, long_side)
    through_BHRR2 = centres_BRC2[:, None, :, 0, None] + (poses_HR2[:, None] - poses_HR2[:, :, None])
    places_BPR2 = through_BHRR2.flatten(1, 2)  # P: every pose through every name's best candidate
    spread_P = (POSE_SPREAD * radius_H).repeat_interleave(poses_HR2.shape[1])
    away_BPRC = [places_BPR2[..., None, axis] - centres_BRC2[:, None, :, :, axis] for axis in (0, 1)]
    distance_BPRC = away_BPRC[0].square() + away_BPRC[1].square()
    support_BPRC = worth_BRC[:, None] - distance_BPRC / (2 * spread_P**2)[:, None, None]
    best_B = support_BPRC.amax(-1).clamp(min=WORST).sum(-1).argmax(1)
    picked_BR2 = places_BPR2.gather(1, best_B[:, None, None, None].expand(-1, 1, *places_BPR2.shape[2:]))[:, 0]
    return picked_BR2, radius_H[best_B // poses_HR2.shape[1]]


def poses(like: Tensor, long_side: float) -> tuple[Tensor, Tensor]:
    """The mean hand (H, R, 2), in pixels about its middle, at each mirror image, angle and size; the radii (H)."""
    turns_H22, sizes_H = [], []
    for mirror in (1.0, -1.0):
        for angle in ANGLES:
            cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
            for size in SIZES:
                turns_H22.append([[mirror * cos, mirror * sin], [-sin, cos]])
                sizes_H.append(size * long_side)
    radius_H = like.new_tensor(sizes_H)
    poses_HR2 = _mean_hand(like) @ like.new_tensor(turns_H22) * radius_H[:, None, None]
    return poses_HR2, radius_H


def _at(centres_BAR2: Tensor, index_BR: Tensor) -> Tensor:
    return centres_BAR2.gather(1, index_BR[:, None, :, None].expand(-1, 1, -1, 2))[:, 0]


def _mean_hand(like: Tensor) -> Tensor:
    return like.new_tensor(MEAN_HAND)


def _with_ones(points_R2: Tensor) -> Tensor:
    return torch.cat([points_R2, torch.ones_like(points_R2[:, :1])], 1)


def _candidates(worth_BAR: Tensor, centres_BAR2: Tensor) -> tuple[Tensor, Tensor]:
    """Each name's best proposals, best first: worth (B, R, C) and centres (B, R, C, 2). Small images are filled up."""
    fill_BCR = worth_BAR[:, :1].expand(-1, CANDIDATES, -1) * 0 + math.log(FLOOR)
    filled_BAR = torch.cat([worth_BAR, fill_BCR], 1)
    centres_BAR2 = torch.cat([centres_BAR2, centres_BAR2[:, :1].expand(-1, CANDIDATES, -1, -1)], 1)
    worth_BCR, index_BCR = filled_BAR.topk(CANDIDATES, dim=1)
    centres_BCR2 = centres_BAR2.gather(1, index_BCR[..., None].expand(-1, -1, -1, 2))
    return worth_BCR.transpose(1, 2), centres_BCR2.transpose(1, 2)


def _fit(hand_R3: Tensor, points_BR2: Tensor, weight_BR: Tensor, near_B32: Tensor | None) -> Tensor:
    """The affine map (B, 3, 2) that takes the mean hand to the points: weighted least squares, drawn towards `near`."""
    start_B32 = torch.zeros_like(points_BR2[:, :3]) if near_B32 is None else near_B32
    ridge = 0.0 if near_B32 is None else RIDGE
    left_B3R = hand_R3.T * (weight_BR / weight_BR.sum(1, keepdim=True))[:, None]
    rest_BR2 = points_BR2 - hand_R3 @ start_B32
    square_B33 = left_B3R @ hand_R3 + ridge * torch.eye(3, dtype=hand_R3.dtype, device=hand_R3.device)
    return start_B32 + _inverse(square_B33) @ (left_B3R @ rest_BR2)


def _inverse(square_B33: Tensor) -> Tensor:
    """The inverse of 3x3 matrices by cross products of their rows: exports as plain arithmetic."""
    a_B3, b_B3, c_B3 = square_B33.unbind(1)
    cofactors_B33 = torch.stack([_cross(b_B3, c_B3), _cross(c_B3, a_B3), _cross(a_B3, b_B3)], 2)
    determinant_B = (a_B3 * cofactors_B33[:, :, 0]).sum(1)
    return cofactors_B33 / determinant_B[:, None, None]


def _cross(u_B3: Tensor, v_B3: Tensor) -> Tensor:
    u1, u2, u3 = u_B3.unbind(1)
    v1, v2, v3 = v_B3.unbind(1)
    return torch.stack([u2 * v3 - u3 * v2, u3 * v1 - u1 * v3, u1 * v2 - u2 * v1], 1)
