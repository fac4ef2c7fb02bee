"""The points move with the pixels: dots are painted, the picture is augmented, and the dots are found again."""

from __future__ import annotations

import cmath
import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from carpal.imaging.preprocess import view_size
from carpal.lab.training import augment
from carpal.lab.training import augment as degrade
from carpal.lab.training.augment import Draws, Picture
from carpal.lab.training.config import Augment

NEUTRAL = Augment(flip=0.0, scale=0.0)
STRONG = Augment(flip=0.5, scale=0.2, rotate=25.0, shift=0.05)
CANVAS = (96, 80)
SEEDS = st.integers(0, 2**63 - 1)


def picture(points_R2: list[tuple[float, float]], size: tuple[int, int] = (90, 70), padded: int = 0) -> Picture:
    """One round bright dot (standard deviation 2 pixels) around each point."""
    height, width = size
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    grey_HW = torch.zeros(height + padded, width + padded)
    for px, py in points_R2:
        grey_HW[:height, :width] += 255 * torch.exp(-((x - px) ** 2 + (y - py) ** 2) / 8)
    points = torch.tensor([points_R2])
    return Picture(grey_HW[None, None], torch.tensor([size]), points, torch.ones(1, len(points_R2), dtype=torch.bool))


def stack(pictures: list[Picture]) -> Picture:
    return Picture(*(torch.cat(list(tensors)) for tensors in zip(*pictures, strict=True)))


def draw(seed: int, setting: Augment) -> Draws:
    """One example's draws, of one number each."""
    return augment.draw([seed], setting)


def the_map(size: tuple[int, int], canvas: tuple[int, int], draws: Draws) -> Tensor:
    return augment._matrices(torch.tensor([size]), canvas, draws)[0]


def centroid(grey_HW: Tensor) -> tuple[float, float]:
    y, x = torch.meshgrid(torch.arange(grey_HW.shape[0]) + 0.5, torch.arange(grey_HW.shape[1]) + 0.5, indexing="ij")
    return float((x * grey_HW).sum() / grey_HW.sum()), float((y * grey_HW).sum() / grey_HW.sum())


@settings(deadline=None, max_examples=60)
@given(SEEDS, st.floats(25, 45), st.floats(30, 60), st.sampled_from([(90, 70), (120, 70), (70, 90)]))
def test_a_dot_is_where_its_point_went(seed: int, x: float, y: float, size: tuple[int, int]) -> None:
    image, points, known = augment.apply(picture([(x, y)], size, padded=13), [seed], STRONG, CANVAS)
    assert image.shape == (1, 1, *CANVAS)
    assert bool(known.all())
    assert centroid(image[0, 0]) == pytest.approx(points[0, 0].tolist(), abs=0.2)


def test_each_setting_alone_moves_dots_and_points_alike() -> None:
    only = [
        Augment(flip=1.0, scale=0.0),
        Augment(flip=0.0, scale=0.3),
        Augment(flip=0.0, scale=0.0, zoom=1.2),
        Augment(flip=0.0, scale=0.0, rotate=30.0),
        Augment(flip=0.0, scale=0.0, shift=0.1),
    ]
    source, still = picture([(25.0, 30.0)]), augment.apply(picture([(25.0, 30.0)]), [5], NEUTRAL, CANVAS)[1]
    for setting in only:
        image, points, _ = augment.apply(source, [5], setting, CANVAS)
        assert centroid(image[0, 0]) == pytest.approx(points[0, 0].tolist(), abs=0.2), setting
        assert not torch.allclose(points, still, atol=0.5), f"{setting} does something"


def test_neutral_settings_on_a_picture_of_the_canvas_change_nothing() -> None:
    source = picture([(20.0, 30.0), (60.5, 80.0)], CANVAS)
    image, points, known = augment.apply(source, [1], NEUTRAL, CANVAS)
    torch.testing.assert_close(image, source.pixels_B1HW, atol=0.01, rtol=0)
    torch.testing.assert_close(points, source.points_BR2, atol=1e-4, rtol=0)
    assert bool(known.all())


def test_neutral_settings_fit_a_picture_to_the_middle_of_the_canvas() -> None:
    white = Picture(
        torch.full((1, 1, 48, 20), 200.0), torch.tensor([[48, 20]]), torch.zeros(1, 1, 2), torch.ones(1, 1).bool()
    )
    image, points, _ = augment.apply(white, [1], NEUTRAL, CANVAS)  # grows twice: 96 x 40, so 20 columns are left over
    torch.testing.assert_close(image[0, 0, 1:-1, 21:59], torch.full((94, 38), 200.0))
    assert float(image[0, 0, :, :19].abs().max()) == float(image[0, 0, :, 61:].abs().max()) == 0
    assert points[0, 0].tolist() == pytest.approx([20, 0], abs=1e-4)


def test_a_zoom_moves_points_away_from_the_middle_by_its_factor() -> None:
    source, middle_2 = picture([(25.0, 30.0)]), torch.tensor([CANVAS[1] / 2, CANVAS[0] / 2])
    near, far = (augment.apply(source, [5], replace(NEUTRAL, zoom=z), CANVAS)[1][0, 0] - middle_2 for z in (1.0, 1.5))
    torch.testing.assert_close(far, 1.5 * near)


@settings(deadline=None, max_examples=100)
@given(SEEDS)
def test_a_point_beyond_the_canvas_is_unknown(seed: int) -> None:
    corners = [(0.0, 0.0), (70.0, 0.0), (0.0, 90.0), (70.0, 90.0), (35.0, 45.0)]
    source = picture(corners)
    source.known_BR[0, 4] = False
    _, points, known = augment.apply(source, [seed], Augment(scale=0.3, rotate=20, shift=0.1), CANVAS)
    for i, (x, y) in enumerate(points[0].tolist()):
        assert bool(known[0, i]) == (0 <= x <= CANVAS[1] and 0 <= y <= CANVAS[0] and i != 4)


def test_points_do_leave_the_canvas() -> None:
    source = stack([picture([(1.0, 45.0)])] * 50)
    _, _, known = augment.apply(source, list(range(50)), Augment(scale=0.2, shift=0.1), CANVAS)
    assert 0 < int(known.sum()) < 50


def test_the_same_seed_gives_the_same_picture_whatever_the_batch() -> None:
    strong = Augment(flip=0.5, scale=0.2, rotate=25.0, shift=0.05, intensity=0.2)
    alone, seeds = [picture([(20.0 + i, 40.0)]) for i in range(4)], [3, 1, 4, 1]
    padded = stack([picture([(20.0 + i, 40.0)], padded=30) for i in range(4)])
    images, points, known = augment.apply(padded, seeds, strong, CANVAS)
    for i, seed in enumerate(seeds):
        image, point, flag = augment.apply(alone[i], [seed], strong, CANVAS)
        torch.testing.assert_close(image[0], images[i], atol=0.05, rtol=0)
        torch.testing.assert_close(point[0], points[i])
        assert torch.equal(flag[0], known[i])
    other = augment.apply(alone[0], [4], strong, CANVAS)[0]
    assert float((other - images[:1]).abs().max()) > 1


def slow_point(x: float, y: float, size: tuple[int, int], canvas: tuple[int, int], draws: Draws) -> complex:
    """The same map with complex numbers, one operation after the other."""
    mirror, scale, radians, shift_x, shift_y = (float(each) for each in draws[:5])
    about_middle = complex(x - size[1] / 2, y - size[0] / 2)
    mirrored = complex(about_middle.real * mirror, about_middle.imag)
    fitted = mirrored * min(canvas[0] / size[0], canvas[1] / size[1])
    turned = fitted * scale * cmath.exp(1j * radians)
    return turned + complex(canvas[1] * (0.5 + shift_x), canvas[0] * (0.5 + shift_y))


@settings(deadline=None)
@given(SEEDS, st.floats(0, 70), st.floats(0, 90))
def test_the_map_equals_its_slow_twin(seed: int, x: float, y: float) -> None:
    draws, size = draw(seed, STRONG), (90, 70)
    got = the_map(size, CANVAS, draws) @ torch.tensor([x, y, 1.0], dtype=torch.float64)
    assert complex(*got.tolist()) == pytest.approx(slow_point(x, y, size, CANVAS, draws), abs=1e-9)


@settings(deadline=None)
@given(SEEDS, st.floats(0, 70), st.floats(0, 90))
def test_mirroring_the_map_is_mirroring_the_picture(seed: int, x: float, y: float) -> None:
    """A point keeps its place in the list, so its name: MCP1 of the mirrored hand is where the mirrored thumb is."""
    draws, size = draw(seed, STRONG), (90, 70)
    flipped = draws._replace(mirror_B=-draws.mirror_B)
    left = the_map(size, CANVAS, flipped) @ torch.tensor([x, y, 1.0], dtype=torch.float64)
    right = the_map(size, CANVAS, draws) @ torch.tensor([70 - x, y, 1.0], dtype=torch.float64)
    torch.testing.assert_close(left, right)
    linear_22 = the_map(size, CANVAS, draws)[:, :2]
    assert math.copysign(1, torch.linalg.det(linear_22)) == float(draws.mirror_B)
    lengths = linear_22.norm(dim=0)
    assert float(lengths[0]) == pytest.approx(float(lengths[1])), "no shear: a box stays a square"


def slow_sample(grey_HW: Tensor, x: float, y: float) -> float:
    """Bilinear between the middles of pixels, black outside."""
    column, row = math.floor(x - 0.5), math.floor(y - 0.5)
    value = 0.0
    for r in (row, row + 1):
        for c in (column, column + 1):
            if 0 <= r < grey_HW.shape[0] and 0 <= c < grey_HW.shape[1]:
                value += float(grey_HW[r, c]) * (1 - abs(x - 0.5 - c)) * (1 - abs(y - 0.5 - r))
    return value


def test_the_picture_equals_its_slow_twin() -> None:
    canvas, size = (11, 9), (7, 6)
    grey_HW = torch.rand(8, 8) * 255
    grey_HW[7:], grey_HW[:, 6:] = 0, 0
    source = Picture(grey_HW[None, None], torch.tensor([size]), torch.zeros(1, 1, 2), torch.ones(1, 1).bool())
    for seed in range(4):
        image = augment.apply(source, [seed], STRONG, canvas)[0][0, 0]
        matrix_33 = torch.eye(3)
        matrix_33[:2] = the_map(size, canvas, draw(seed, STRONG))
        back_33 = torch.linalg.inv(matrix_33)
        for row in range(canvas[0]):
            for column in range(canvas[1]):
                x, y, _ = (back_33 @ torch.tensor([column + 0.5, row + 0.5, 1.0])).tolist()
                assert float(image[row, column]) == pytest.approx(slow_sample(grey_HW, x, y), abs=0.01)


@settings(deadline=None)
@given(SEEDS)
def test_draws_stay_within_their_settings(seed: int) -> None:
    setting = Augment(flip=0.5, scale=0.2, rotate=20, shift=0.1, intensity=0.3, coarse=0.5, blur=0.8, jpeg=0.5, noise=2)
    got = Draws(*(float(each) for each in draw(seed, setting)))  # type: ignore[arg-type]
    assert got.mirror_B in (-1, 1)
    assert 0.8 <= got.scale_B <= 1.2
    assert abs(got.radians_B) <= math.radians(20)
    assert max(abs(got.shift_x_B), abs(got.shift_y_B)) <= 0.1
    assert 2**-0.3 <= got.gamma_B <= 2**0.3
    assert 0.7 <= got.contrast_B <= 1.3
    assert abs(got.brightness_B) <= 0.15
    assert 1 <= got.coarse_B <= degrade.COARSEST
    assert 0 <= got.blur_B <= 0.8
    assert got.jpeg_B == 100 or degrade.QUALITIES[0] <= got.jpeg_B <= degrade.QUALITIES[1]
    assert 0 <= got.noise_B <= 2
    assert [float(each) for each in draw(seed, NEUTRAL)[:-1]] == [1, 1, 0, 0, 0, 1, 1, 0, 1, 0, 100, 0]


MANY = list(range(1000))
SPREAD = Augment(
    flip=0.3, scale=0.2, zoom=1.2, rotate=20, shift=0.1, intensity=0.4, coarse=0.3, blur=0.8, jpeg=0.4, noise=3
)


def assert_uniform(values_N: Tensor, low: float, high: float) -> None:
    """The ends are reached to a hundredth of the width, mean and quarters are those of the uniform distribution.

    Within four standard errors of as many draws: a mean of 0.289 widths over the root of the number, a quarter's share
    of 0.433 over it.
    """
    unit_N, count = (values_N - low) / (high - low), len(values_N)
    assert -1e-9 <= float(unit_N.min()) < 0.01 * 1000 / count
    assert 1 - 0.01 * 1000 / count < float(unit_N.max()) <= 1 + 1e-9
    assert float(unit_N.mean()) == pytest.approx(0.5, abs=4 * 0.289 / count**0.5)
    for quarter in range(4):
        inside = ((unit_N >= quarter / 4) & (unit_N < (quarter + 1) / 4)).double().mean()
        assert float(inside) == pytest.approx(0.25, abs=4 * 0.433 / count**0.5), f"quarter {quarter}"


def test_what_is_always_drawn_is_uniform_between_both_ends() -> None:
    """Angles and shifts go both ways as often, pictures grow as often as they shrink, greys brighten and darken."""
    draws = augment.draw(MANY, SPREAD)
    for values_N, low, high in (
        (draws.scale_B, 1.2 * 0.8, 1.2 * 1.2),
        (draws.radians_B * 180 / math.pi, -20.0, 20.0),
        (draws.shift_x_B, -0.1, 0.1),
        (draws.shift_y_B, -0.1, 0.1),
        (torch.log2(draws.gamma_B), -0.4, 0.4),
        (draws.contrast_B, 0.6, 1.4),
        (draws.brightness_B, -0.2, 0.2),
        (draws.blur_B, 0.0, 0.8),
        (draws.noise_B, 0.0, 3.0),
        (draws.where_B, 0.0, 1.0),
    ):
        assert_uniform(values_N, low, high)


def test_what_is_drawn_by_chance_comes_as_often_as_asked_and_is_then_uniform() -> None:
    draws = augment.draw(MANY, SPREAD)
    for happens_N, chance in ((draws.mirror_B < 0, 0.3), (draws.coarse_B > 1, 0.3), (draws.jpeg_B < 100, 0.4)):
        assert float(happens_N.double().mean()) == pytest.approx(chance, abs=4 * (chance * (1 - chance) / 1000) ** 0.5)
    assert set(draws.mirror_B.tolist()) == {-1.0, 1.0}
    assert_uniform(draws.coarse_B[draws.coarse_B > 1], 1.0, 3.0)
    assert_uniform(draws.jpeg_B[draws.jpeg_B < 100], 15.0, 95.0)


def test_no_draw_follows_another() -> None:
    """Of independent numbers, 1,000 pairs correlate by no more than 4 / sqrt(1,000)."""
    always = Augment(flip=0.5, scale=0.2, rotate=20, shift=0.1, intensity=0.4, coarse=1, blur=0.8, jpeg=1, noise=3)
    draws = torch.stack(augment.draw(MANY, always))
    together = torch.corrcoef(draws) - torch.eye(len(draws))
    assert float(together.abs().max()) < 4 / 1000**0.5
    half = augment.draw(MANY, SPREAD)
    assert float(torch.corrcoef(torch.stack([half.mirror_B, half.coarse_B, half.jpeg_B])).triu(1).abs().max()) < 0.13


def test_a_turned_picture_turns_the_way_it_says() -> None:
    """Clockwise on the screen by +90 degrees: what lay right of the middle lies below it; unmirrored, one for one."""
    plain = augment.draw([0], NEUTRAL)
    turned = plain._replace(radians_B=torch.tensor([math.pi / 2], dtype=torch.float64))
    x, y = (the_map((80, 80), (80, 80), turned) @ torch.tensor([60.0, 40, 1], dtype=torch.float64)).tolist()
    assert (x, y) == (pytest.approx(40), pytest.approx(60))
    shifted = plain._replace(shift_x_B=torch.tensor([0.1]).double(), shift_y_B=torch.tensor([-0.2]).double())
    x, y = (the_map((80, 80), (80, 80), shifted) @ torch.tensor([60.0, 40, 1], dtype=torch.float64)).tolist()
    assert (x, y) == (pytest.approx(68), pytest.approx(24))


def test_tone_is_gamma_then_contrast_then_brightness() -> None:
    """255 (u^gamma c + b), clipped, of a grey u; black stays black."""
    ramp = torch.arange(256.0).reshape(1, 1, 16, 16)
    source = Picture(ramp, torch.tensor([[16, 16]]), torch.zeros(1, 1, 2), torch.ones(1, 1).bool())
    setting = Augment(0.0, 0.0, intensity=0.4)
    for seed in range(5):
        draws = draw(seed, setting)
        gamma, contrast, brightness = (float(t) for t in (draws.gamma_B, draws.contrast_B, draws.brightness_B))
        image = augment.apply(source, [seed], setting, (16, 16))[0].flatten().tolist()
        slow = [((g / 255) ** gamma * contrast + (brightness if g else 0)) * 255 for g in range(256)]
        assert image == pytest.approx([min(255.0, max(0.0, value)) for value in slow], abs=0.02)


@pytest.mark.parametrize(("chance", "low", "high"), [(0.0, 0, 0), (0.5, 160, 240), (1.0, 400, 400)])
def test_flips_come_as_often_as_asked(chance: float, low: int, high: int) -> None:
    assert low <= int((augment.draw(list(range(400)), Augment(flip=chance)).mirror_B < 0).sum()) <= high


def test_intensity_keeps_black_black_and_the_order_of_greys() -> None:
    ramp = torch.arange(256.0).reshape(1, 1, 16, 16)
    source = Picture(ramp, torch.tensor([[16, 16]]), torch.zeros(1, 1, 2), torch.ones(1, 1).bool())
    changed = 0
    for seed in range(20):
        image = augment.apply(source, [seed], Augment(0.0, 0.0, intensity=0.2), (16, 16))[0].flatten()
        assert image[0] == 0
        assert 0 <= float(image.min()) <= float(image.max()) <= 255
        assert float(image[1:].diff().min()) >= -1e-3
        changed += float((image - ramp.flatten()).abs().max()) > 5
    assert changed > 15


@pytest.mark.parametrize(("long_side", "canvas"), [(512, (512, 416)), (128, (128, 112)), (96, (96, 80))])
def test_the_canvas_holds_a_usual_radiograph(long_side: int, canvas: tuple[int, int]) -> None:
    assert view_size(long_side) == canvas
    assert canvas[1] / canvas[0] >= 0.78


def test_noise_has_a_strength_of_its_own_in_each_example_and_is_the_same_for_the_same_seed() -> None:
    grey = Picture(
        torch.full((1, 1, *CANVAS), 128.0), torch.tensor([CANVAS]), torch.zeros(1, 1, 2), torch.ones(1, 1).bool()
    )
    setting = Augment(flip=0.0, scale=0.0, noise=4.0)
    seeds = list(range(20))
    image = augment.apply(stack([grey] * 20), seeds, setting, CANVAS)[0]
    spread = (image - 128).flatten(1).std(1)
    assert bool((spread < 4.2).all()), "no more than the largest"
    assert float(spread.max() - spread.min()) > 1.0
    assert float((image - 128).mean().abs()) < 0.1
    alone = augment.apply(grey, [7], setting, CANVAS)[0]
    assert torch.equal(alone[0], image[7]), "whatever the batch"
