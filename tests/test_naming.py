"""Names chosen together: the 17 proposals of one hand are found among decoys, and each step equals its slow twin."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from carpal.anatomy import INDEX, MEAN_HAND, REGIONS
from carpal.lab.model import naming

LONG_SIDE = 256


def placed(
    mirror: int = 1, degrees: float = 0.0, size: float = 0.2, middle: tuple[float, float] = (100, 120)
) -> Tensor:
    """The mean hand (R, 2) on an image: mirrored, turned, with a radius of `size` of the long side, about `middle`."""
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    turn_22 = torch.tensor([[mirror * cos, mirror * sin], [-sin, cos]])
    return torch.tensor(MEAN_HAND) @ turn_22 * size * LONG_SIDE + torch.tensor(middle)


def proposals(points_R2: Tensor, seed: int, decoys: int = 60) -> tuple[Tensor, Tensor]:
    """Scores (1, A, R) and centres (1, A, R, 2): the truth at A = its region's number, then decoys that score less."""
    generator = torch.Generator().manual_seed(seed)
    centres_AR2 = torch.rand(17 + decoys, 1, 2, generator=generator).expand(-1, 17, -1) * LONG_SIDE
    centres_AR2 = torch.cat([points_R2[:, None].expand(-1, 17, -1), centres_AR2[17:]])
    scores_AR = torch.rand(17 + decoys, 17, generator=generator) * 0.1
    scores_AR[range(17), range(17)] = 0.6
    return scores_AR[None], centres_AR2[None]


@settings(max_examples=40, deadline=None)
@given(
    mirror=st.sampled_from([1, -1]),
    degrees=st.floats(-50, 50),
    size=st.floats(0.13, 0.26),
    shift=st.tuples(st.floats(-30, 30), st.floats(-30, 30)),
    seed=st.integers(0, 1000),
)
def test_any_hand_keeps_its_names(
    mirror: int, degrees: float, size: float, shift: tuple[float, float], seed: int
) -> None:
    points_R2 = placed(mirror, degrees, size, (100 + shift[0], 120 + shift[1]))
    chosen_BR = naming.choose(*proposals(points_R2, seed), LONG_SIDE)
    assert chosen_BR[0].tolist() == list(range(17))


@pytest.mark.parametrize("confused", [("DIP2", "DIP4"), ("PIP2", "PIP5"), ("MCP2", "MCP5"), ("Radius", "Ulna")])
def test_a_name_that_is_surer_on_another_finger_is_set_right(confused: tuple[str, str]) -> None:
    """What a class-aware head alone gets wrong: each of the two scores higher on the other's place."""
    scores_BAR, centres_BAR2 = proposals(placed(), seed=0)
    first, second = (INDEX[name] for name in confused)
    scores_BAR[0, first, second] = scores_BAR[0, second, first] = 0.95
    assert scores_BAR.argmax(1)[0, first] == second, "alone, the name would go to the other finger"
    assert naming.choose(scores_BAR, centres_BAR2, LONG_SIDE)[0].tolist() == list(range(17))


def test_a_lost_region_takes_the_proposal_nearest_to_its_place() -> None:
    scores_BAR, centres_BAR2 = proposals(placed(), seed=3)
    lost = INDEX["PIP3"]
    scores_BAR[:, :, lost] = 0.0
    chosen = int(naming.choose(scores_BAR, centres_BAR2, LONG_SIDE)[0, lost])
    distance_A = (centres_BAR2[0, :, lost] - placed()[lost]).norm(dim=-1)
    assert distance_A[chosen] <= distance_A.min() + 4


def test_images_of_a_batch_do_not_touch_each_other() -> None:
    alone = [
        proposals(placed(mirror, degrees), seed) for mirror, degrees, seed in [(1, 0, 1), (-1, 30, 2), (1, -40, 3)]
    ]
    together = [torch.cat(parts) for parts in zip(*alone, strict=True)]
    chosen_BR = naming.choose(*together, LONG_SIDE)
    for b, pair in enumerate(alone):
        assert torch.equal(chosen_BR[b], naming.choose(*pair, LONG_SIDE)[0])


def test_fewer_proposals_than_candidates_are_enough() -> None:
    scores_BAR, centres_BAR2 = proposals(placed(), seed=4, decoys=0)
    assert scores_BAR.shape[1] < naming.CANDIDATES
    assert naming.choose(scores_BAR, centres_BAR2, LONG_SIDE)[0].tolist() == list(range(17))


def slow_best_support(worth_AR: Tensor, centres_AR2: Tensor) -> tuple[float, Tensor]:
    """The definition, in loops: the best pose's support and where its 17 regions lie."""
    hands_HR2, radius_H = naming.poses(centres_AR2, LONG_SIDE)
    best, places_R2 = -math.inf, hands_HR2[0]
    for hand_R2, radius in zip(hands_HR2, radius_H.tolist(), strict=True):
        for through in range(17):
            trusted = int(worth_AR[:, through].argmax())
            moved_R2 = hand_R2 - hand_R2[through] + centres_AR2[trusted, through]
            support = 0.0
            for r in range(17):
                kept_A = worth_AR[:, r].argsort(descending=True)[: naming.CANDIDATES]
                far_A = (centres_AR2[kept_A, r] - moved_R2[r]).square().sum(-1)
                value_A = worth_AR[kept_A, r] - far_A / (2 * (naming.POSE_SPREAD * radius) ** 2)
                support += max(naming.WORST, float(value_A.max()))
            if support > best:
                best, places_R2 = support, moved_R2
    return best, places_R2


def test_the_best_pose_is_that_of_the_slow_twin() -> None:
    scores_BAR, centres_BAR2 = proposals(placed(-1, 17, 0.17), seed=5)
    worth_BAR = torch.log(scores_BAR + naming.FLOOR)
    places_BR2, radius_B = naming.best_pose(worth_BAR, centres_BAR2, LONG_SIDE)
    _, wanted_R2 = slow_best_support(worth_BAR[0], centres_BAR2[0])
    torch.testing.assert_close(places_BR2[0], wanted_R2, atol=1e-3, rtol=0)
    assert min(abs(float(radius_B) - size * LONG_SIDE) for size in naming.SIZES) < 1e-3


def test_the_affine_fit_is_weighted_least_squares() -> None:
    generator = torch.Generator().manual_seed(0)
    hand_R3 = torch.cat([torch.tensor(MEAN_HAND), torch.ones(17, 1)], 1).double()
    points_BR2 = torch.rand(3, 17, 2, generator=generator, dtype=torch.float64) * 200
    weight_BR = torch.rand(3, 17, generator=generator, dtype=torch.float64) + 0.1
    fitted_B32 = naming._fit(hand_R3, points_BR2, weight_BR, None)
    for b in range(3):
        root_R1 = weight_BR[b].sqrt()[:, None]
        wanted_32 = torch.linalg.lstsq(hand_R3 * root_R1, points_BR2[b] * root_R1).solution
        torch.testing.assert_close(fitted_B32[b], wanted_32)


def test_the_worth_of_a_choice_falls_with_its_scores_and_with_its_distance_from_a_hand() -> None:
    scores_BAR, centres_BAR2 = proposals(placed(), seed=6)
    right_BR = torch.arange(17)[None]
    best = float(naming.worth(scores_BAR, centres_BAR2, right_BR))
    assert best == pytest.approx(17 * math.log(0.6 + naming.FLOOR), abs=1e-2), "the mean hand itself has no distance"
    wrong_BR = right_BR.clone()
    wrong_BR[0, INDEX["DIP2"]] = INDEX["DIP4"]
    assert float(naming.worth(scores_BAR, centres_BAR2, wrong_BR)) < best - 3
    assert float(naming.worth(scores_BAR * 0.5, centres_BAR2, right_BR)) < best - 3


def test_the_mean_hand_is_centred_and_of_unit_radius() -> None:
    hand_R2 = torch.tensor(MEAN_HAND)
    assert len(hand_R2) == len(REGIONS)
    torch.testing.assert_close(hand_R2.mean(0), torch.zeros(2), atol=2e-3, rtol=0)
    assert float(hand_R2.square().sum(1).mean().sqrt()) == pytest.approx(1, abs=2e-3)
