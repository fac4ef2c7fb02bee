"""Key-point registration and attention against slow twins: what is recovered, cut, pointed at and chosen.

Letters: B batch, R regions (17), S side of a cut, H W the image.
"""

from __future__ import annotations

import math

import pytest
import torch

from carpal.anatomy import MEAN_HAND
from carpal.lab.baselines import attention, protocol, registration
from carpal.lab.baselines.registration import Window

HAND_R2 = torch.tensor(MEAN_HAND, dtype=torch.float64)


def turned(degrees: float, size: float, mirror: bool, x: float, y: float) -> torch.Tensor:
    """The mean hand after a known map."""
    angle = math.radians(degrees)
    points_R2 = HAND_R2 * torch.tensor([-1.0 if mirror else 1.0, 1.0])
    turn_22 = torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    return points_R2 @ turn_22.double().T * size + torch.tensor([x, y])


@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize("degrees", [0.0, 35.0, -160.0])
def test_a_similarity_is_recovered_exactly(degrees: float, mirror: bool) -> None:
    points_BR2 = torch.stack([turned(degrees, 40.0, mirror, 100.0, 120.0), turned(degrees, 7.0, mirror, -3.0, 9.0)])
    linear_B22, shift_B2 = registration.similarity(points_BR2)
    again_BR2 = (linear_B22[:, None] @ HAND_R2[None, :, :, None])[..., 0] + shift_B2[:, None]
    torch.testing.assert_close(again_BR2, points_BR2, rtol=1e-9, atol=1e-9)
    assert (linear_B22.det() < 0).tolist() == [mirror, mirror]


def test_a_noisy_hand_is_fitted_as_least_squares_fits_it() -> None:
    torch.manual_seed(0)
    points_R2 = turned(20.0, 40.0, False, 100.0, 120.0) + torch.randn(17, 2, dtype=torch.float64)
    (x, y), one, none = HAND_R2.T, torch.ones(17).double(), torch.zeros(17).double()
    matrix = torch.cat([torch.stack([x, -y, one, none], 1), torch.stack([y, x, none, one], 1)])
    cos, sin, right, down = torch.linalg.lstsq(matrix, points_R2.T.reshape(-1, 1)).solution[:, 0]
    linear_B22, shift_B2 = registration.similarity(points_R2[None])
    torch.testing.assert_close(linear_B22[0], torch.stack([torch.stack([cos, -sin]), torch.stack([sin, cos])]))
    torch.testing.assert_close(shift_B2[0], torch.stack([right, down]))


def test_a_cut_is_upright_whatever_the_hand_is() -> None:
    """A bright spot at one region comes to the same place of the cut in a turned and mirrored hand."""
    window, side, middle = Window(0.1, 0.2, 1.5, 2.0), 60, HAND_R2[6]
    column = round(((float(middle[0]) - window.x) / window.half_width + 1) * side / 2 - 0.5)
    row = round(((float(middle[1]) - window.y) / window.half_height + 1) * side / 2 - 0.5)
    for degrees, mirror in ((0.0, False), (25.0, False), (-30.0, True)):
        points_R2 = turned(degrees, 40.0, mirror, 110.0, 100.0).float()
        x, y = points_R2[6].tolist()
        grid_y, grid_x = torch.meshgrid(torch.arange(220) + 0.5, torch.arange(220) + 0.5, indexing="ij")
        image_HW = torch.exp(-((grid_x - x).square() + (grid_y - y).square()) / 18)
        cut_SS = registration.cut(image_HW[None, None], points_R2[None], window, side)[0, 0]
        brightest = int(cut_SS.argmax())
        assert abs(brightest // side - row) <= 1
        assert abs(brightest % side - column) <= 1


def test_the_heat_map_is_the_highest_gaussian_of_each_pixel() -> None:
    points_BR2 = torch.tensor([[[3.0, 4.0], [9.5, 2.5]]])
    heat_HW = registration.heat_map(points_BR2, torch.zeros(1, 1, 8, 12), sigma=1.5)[0, 0]
    for i in range(8):
        for k in range(12):
            values = [math.exp(-((k + 0.5 - x) ** 2 + (i + 0.5 - y) ** 2) / 4.5) for x, y in points_BR2[0].tolist()]
            assert float(heat_HW[i, k]) == pytest.approx(max(values), abs=1e-6)


def test_a_map_points_at_its_cell() -> None:
    logits_BMHW = torch.full((1, 2, 4, 6), -50.0)
    logits_BMHW[0, 0, 1, 4] = logits_BMHW[0, 1, 3, 0] = 50.0
    maps_BMHW = attention.softmax_maps(logits_BMHW)
    assert attention.places(maps_BMHW, 16).flatten().tolist() == pytest.approx([72.0, 24.0, 8.0, 56.0])
    assert float(attention.overlap(maps_BMHW)) == pytest.approx(0.0, abs=1e-6)
    assert float(attention.overlap(maps_BMHW[:, [0, 0]])) == pytest.approx(1.0, abs=1e-6)


def test_the_best_cells_are_chosen_and_a_small_map_is_filled_with_nothing() -> None:
    features_BCHW = torch.arange(12.0).reshape(1, 2, 2, 3)
    scores_B1HW = torch.tensor([0.0, 5.0, 1.0, 4.0, -1.0, 2.0]).reshape(1, 1, 2, 3)
    best_BPC = attention.top_cells(features_BCHW, scores_B1HW, 2)
    wanted = [[1.0 / (1 + math.exp(-5)) * v for v in (1, 7)], [1.0 / (1 + math.exp(-4)) * v for v in (3, 9)]]
    assert best_BPC[0].tolist() == [pytest.approx(row) for row in wanted]
    assert attention.top_cells(features_BCHW, scores_B1HW, 9)[0, 6:].tolist() == [[0.0, 0.0]] * 3


def test_distributions_sum_to_the_age() -> None:
    months_B = torch.tensor([0.0, 0.4, 100.0, 127.3, 228.0])
    above_BK = protocol.above_point(months_B)
    assert above_BK.sum(-1).tolist() == pytest.approx(months_B.tolist(), abs=1e-4)
    assert above_BK[2, 99:101].tolist() == [1.0, 0.0]
    logits_BC = torch.randn(3, 229, generator=torch.Generator().manual_seed(0))
    share_BC = torch.softmax(logits_BC, -1)
    above_BK = protocol.above_classes(logits_BC)
    for k in (0, 100, 227):
        torch.testing.assert_close(above_BK[:, k], share_BC[:, k + 1 :].sum(1), rtol=1e-4, atol=1e-5)
    expected_B = (share_BC * torch.arange(229)).sum(1)
    torch.testing.assert_close(above_BK.sum(1), expected_B, rtol=1e-4, atol=1e-2)
