"""What files take from a picture, against Pillow, loops and the definition; nothing where none is asked."""

from __future__ import annotations

import io
import math

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from carpal.lab.training import augment

HEIGHT, WIDTH = 48, 40


def pictures(count: int = 3) -> Tensor:
    """Smooth grey hills with an edge, whole grey values."""
    y, x = torch.meshgrid(torch.arange(HEIGHT), torch.arange(WIDTH), indexing="ij")
    hills = [120 + 60 * torch.sin(x / (4.0 + i)) + 50 * torch.cos(y / (5.0 + i)) for i in range(count)]
    stack = torch.stack(hills)[:, None]
    stack[..., 20:] += 25
    return stack.round().clamp(0, 255)


@pytest.mark.parametrize("factor", [1.5, 2.0, 3.0])
def test_coarse_pictures_are_lines_between_every_other_pixel(factor: float) -> None:
    image = pictures(1)
    got = augment.coarsen(image, torch.tensor([factor]))[0, 0]
    grey = image[0, 0].tolist()

    def value(row: float, column: float) -> float:
        corners = [(math.floor(row) + a, math.floor(column) + b) for a in (0, 1) for b in (0, 1)]
        weights = [(1 - abs(row - r)) * (1 - abs(column - c)) for r, c in corners]
        nearest = [grey[min(round(r * factor), HEIGHT - 1)][min(round(c * factor), WIDTH - 1)] for r, c in corners]
        return sum(w * n for w, n in zip(weights, nearest, strict=True))

    slow = [[value(r / factor, c / factor) for c in range(WIDTH)] for r in range(HEIGHT)]
    torch.testing.assert_close(got, torch.tensor(slow), atol=1e-2, rtol=0)


def test_a_blur_is_the_gaussian_of_its_definition() -> None:
    image, sigma = pictures(2), torch.tensor([0.6, 1.0])
    got = augment.blur(image, sigma, 1.0)
    for i in range(2):
        weights = np.exp(-0.5 * (np.arange(-3, 4) / float(sigma[i])) ** 2)
        weights /= weights.sum()
        wide = np.pad(image[i, 0].numpy(), 3, mode="edge")
        slow = [
            [(weights[:, None] * weights * wide[r : r + 7, c : c + 7]).sum() for c in range(WIDTH)]
            for r in range(HEIGHT)
        ]
        np.testing.assert_allclose(got[i, 0].numpy(), slow, atol=1e-3)


@pytest.mark.parametrize("quality", [20, 50, 90])
def test_compression_leaves_what_pillow_leaves(quality: int) -> None:
    image = pictures(1)
    file = io.BytesIO()
    Image.fromarray(image[0, 0].numpy().astype(np.uint8)).save(file, "JPEG", quality=quality)
    wanted = np.asarray(Image.open(file), np.float32)
    got = augment.compress(image, torch.tensor([float(quality)]))[0, 0].numpy()
    taken = np.abs(wanted - image[0, 0].numpy()).mean()
    assert taken > 0.4
    assert np.abs(got - wanted).mean() < 0.25 * taken, "there, cosines are whole numbers before they are rounded"


def test_nothing_is_taken_where_none_is_asked() -> None:
    image, ones = pictures(), torch.ones(3)
    torch.testing.assert_close(augment.coarsen(image, ones), image)
    torch.testing.assert_close(augment.blur(image, 0 * ones, 1.0), image)
    assert torch.equal(augment.compress(image, 100 * ones), image)
    assert torch.equal(augment.add_noise(image, 0 * ones, ones / 2), image)


def test_each_picture_of_a_batch_has_a_strength_of_its_own() -> None:
    image = pictures()[:1].expand(3, -1, -1, -1)
    strengths = {
        "coarsen": lambda image, s: augment.coarsen(image, 1 + 2 * s),
        "blur": lambda image, s: augment.blur(image, s, 1.0),
        "compress": lambda image, s: augment.compress(image, 100 - 80 * s),
        "add_noise": lambda image, s: augment.add_noise(image, 5 * s, 0 * s),
    }
    for name, change in strengths.items():
        changed = (change(image, torch.tensor([0.0, 0.4, 1.0])) - image).abs().mean((1, 2, 3)).tolist()
        assert changed[0] < 1e-3 < min(changed[1:]), name
        assert changed[1] != changed[2], name


def test_noise_is_gaussian_and_differs_from_place_to_place() -> None:
    image = torch.full((2, 1, 200, 160), 128.0)
    first, second = augment.add_noise(image, torch.tensor([4.0, 4.0]), torch.tensor([0.1, 0.7]))[:, 0] - 128
    assert float(first.std()) == pytest.approx(4, rel=0.02)
    assert abs(float(first.mean())) < 0.1
    assert abs(float(torch.corrcoef(torch.stack([first.flatten(), second.flatten()]))[0, 1])) < 0.03
