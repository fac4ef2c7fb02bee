"""Does the exported network answer as PyTorch does? Measured on phantoms of several shapes, alone and in batches.

Choosing proposals is a jump: where two choices are worth the same, the last digit decides, and float16 storage changes
it. So the comparison has two parts. The exported boxes must be those that PyTorch chooses itself, or proposals of its
own that fit a hand as well, within `TIE`; and PyTorch, given the exported boxes, must read the same ages from them.
Where both give a region less than `FOUND` it is not in the phantom, and its box is arbitrary: it is not compared, but
the age read there is.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from carpal.anatomy import BONES, INDEX, MEAN_HAND, REGIONS
from carpal.errors import WeightsError
from carpal.imaging.preprocess import STRIDE
from carpal.inference.onnx import check_contract, no_boxes, open_session
from carpal.lab.baselines.protocol import System
from carpal.lab.export.torch_runtime import Deployed
from carpal.lab.model import boxes, naming, ordinal, roi
from carpal.lab.model.alanet import ALANet
from carpal.lab.model.rpn import RpnOutput


class Limits(NamedTuple):
    """Largest differences that an exported file may show: an age in months, a box's side in pixels."""

    months: float
    pixels: float


EXACT: Final = Limits(0.01, 0.05)
"""For the same float32 weights: anything more is a mistake in the graph."""
STORED: Final = Limits(0.25, 0.5)
"""For weights rounded to float16 in the file: what that may cost, far below what a reader can see."""
TIE: Final = 0.02
"""Choices of 17 proposals whose worth (log units, summed over the names) differs by less are equally good."""
FOUND: Final = 0.01
"""Score from which a region counts as seen on a phantom, which is too crude for some. Below, the logarithm by which a
choice is made turns the last digits of a float16 into tenths."""
ASPECTS: Final = (0.78, 0.6, 1.0, 1.35)
BATCHES: Final = (1, 2, 3)

Differences = dict[str, NDArray[Any]]


def measure(deployed: Deployed, content: bytes, long_side: int, limits: Limits) -> dict[str, Any]:
    """Runs the ONNX file's bytes and the PyTorch network on the same phantoms; returns max and mean differences.

    Raises WeightsError where an age or a box differs by more than the limits.
    """
    session = open_session(content)
    check_contract(session, "the exported network", [value.name for value in session.get_outputs()])
    collected: list[Differences] = []
    shapes = []
    for seed, aspect in enumerate(ASPECTS):
        batch = BATCHES[seed % len(BATCHES)]
        image_B1HW = np.stack([phantom(long_side, aspect, seed * 10 + i) for i in range(batch)])[:, None]
        collected.append(compare(deployed, session, image_B1HW, (np.arange(batch) % 2).astype(np.float32)))
        shapes.append(list(image_B1HW.shape))
    summary = {name: _summary([each[name] for each in collected]) for name in collected[0]}
    _refuse(summary, limits)
    return {"shapes": shapes, **summary}


def compare(deployed: Deployed, session: Any, image_B1HW: NDArray[Any], male_B: NDArray[Any]) -> Differences:
    """The absolute differences of every output on one batch, by the output's name."""
    names = [value.name for value in session.get_outputs()]
    feed = {"image": image_B1HW.astype(np.float32), "male": male_B}
    if deployed.regions:
        feed["given_boxes"] = no_boxes(len(male_B))
    found = dict(zip(names, session.run(names, feed), strict=True))
    given = torch.from_numpy(found["boxes"]) if deployed.regions else None
    with torch.inference_mode():
        if isinstance(deployed.network, System):
            wanted = dict(zip(names, deployed(torch.from_numpy(image_B1HW), torch.from_numpy(male_B)), strict=True))
            return {name: np.abs(value.numpy() - found[name]) for name, value in wanted.items()}
        output = deployed.network(torch.from_numpy(image_B1HW).float(), torch.from_numpy(male_B), given)
        probabilities_BK = torch.sigmoid(output.logits_BK)
        wanted = {"months": probabilities_BK.sum(-1), "probabilities": probabilities_BK}
        if given is not None:
            wanted["region_months"] = ordinal.months(output.patch_logits_BRK)
            wanted |= {"features": output.features_BF} if "features" in found else {}
            boxes_BR, wanted["scores"] = _to_equally_good(deployed.network, output.rpn, given, image_B1HW.shape[-2:])
    differences = {name: np.abs(value.numpy() - found[name]) for name, value in wanted.items()}
    if given is None:
        return differences
    seen_BR = np.maximum(wanted["scores"].numpy(), found["scores"]) >= FOUND
    return differences | {"boxes": np.where(seen_BR, boxes_BR.numpy(), 0)}


def _to_equally_good(
    network: ALANet, rpn: RpnOutput, given_BR4: torch.Tensor, size: tuple[int, ...]
) -> tuple[torch.Tensor, torch.Tensor]:
    """How far (pixels, B x R) each given box is from PyTorch's choice, and PyTorch's scores of it.

    Where the proposals nearest to the given boxes fit a hand as well as PyTorch's choice, within `TIE`, they stand in
    for it.
    """
    scores_BAR = torch.sigmoid(rpn.logits_BAR)
    boxes_BAR4 = boxes.clip(boxes.decode(rpn.deltas_BAR4, rpn.anchors_A4[:, None]), *size)
    centres_BAR2 = boxes.centres(boxes_BAR4)
    nearest_BR = (boxes_BAR4 - given_BR4[:, None]).abs().amax(-1).argmin(1)
    own_BR = naming.choose(scores_BAR, centres_BAR2, network.config.long_side)
    worth_nearest_B, worth_own_B = (naming.worth(scores_BAR, centres_BAR2, index) for index in (nearest_BR, own_BR))
    index_BR = torch.where((worth_nearest_B >= worth_own_B - TIE)[:, None], nearest_BR, own_BR)
    picked_BR4, scores_BR = roi.take(scores_BAR, boxes_BAR4, index_BR)
    return (picked_BR4 - given_BR4).abs().amax(-1), scores_BR


def phantom(long_side: int, aspect: float, seed: int) -> NDArray[np.uint8]:
    """A crude hand, uint8, sides multiples of 32: the mean hand's 17 regions and the bones between them, with grain."""
    rng = np.random.default_rng(seed)
    width, height = (max(STRIDE, round(side / STRIDE) * STRIDE) for side in _sides(long_side, aspect))
    angle, size = np.radians(rng.uniform(-10, 10)), min(width / 2.4, height / 3.2) * rng.uniform(0.85, 1)
    turn_22 = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    middle_R2 = np.array(MEAN_HAND) + rng.normal(0, 0.02, (len(REGIONS), 2))
    places_R2 = middle_R2 @ turn_22 * size + np.array([width / 2, height * 0.45])
    picture = Image.new("L", (width, height), 12)
    draw = ImageDraw.Draw(picture)
    for wide, grey in ((0.24, 90), (0.09, 150)):  # soft tissue, then the shafts of the bones
        for first, second in BONES:
            ends = [tuple(places_R2[INDEX[name]].tolist()) for name in (first, second)]
            draw.line(ends, fill=grey, width=max(1, round(wide * size)))
    for x, y in places_R2.tolist():
        _disc(draw, x, y, 0.08 * size, round(190 + 50 * rng.random()))
    soft_HW = np.asarray(picture.filter(ImageFilter.GaussianBlur(long_side / 128)), np.float32)
    return np.clip(soft_HW + rng.normal(0, 3, soft_HW.shape), 0, 255).astype(np.uint8)


def _sides(long_side: int, aspect: float) -> tuple[float, float]:
    return long_side * min(1.0, aspect), long_side * min(1.0, 1 / aspect)


def _disc(draw: ImageDraw.ImageDraw, x: float, y: float, radius: float, grey: int) -> None:
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=grey)


def _summary(values: list[NDArray[Any]]) -> dict[str, float]:
    together = np.concatenate([value.ravel() for value in values])
    return {"max": float(f"{together.max():.3g}"), "mean": float(f"{together.mean():.3g}")}


def _refuse(summary: dict[str, dict[str, float]], limits: Limits) -> None:
    months, pixels = (limits.months, "months"), (limits.pixels, "px")
    allowed = {"months": months, "region_months": months, "boxes": pixels}
    broken = [
        f"{name}: max {summary[name]['max']:g}, mean {summary[name]['mean']:g} {unit}, allowed {limit:g}"
        for name, (limit, unit) in allowed.items()
        if name in summary and not summary[name]["max"] <= limit
    ]
    if broken:
        raise WeightsError(
            f"The exported network disagrees with PyTorch (torch {torch.__version__}) - {'; '.join(broken)} - nothing "
            "was written; try --storage float32"
        )
