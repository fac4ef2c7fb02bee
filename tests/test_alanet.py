"""The whole network in every configuration: shapes, gradients, batches, saved state, and that it learns drawn hands.

Letters: B batch, H W the prepared image, R regions (17), A anchors, K logits.
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import pytest
import torch
from torch import Tensor

from carpal import anatomy
from carpal.imaging.preprocess import pad, preprocess
from carpal.lab.data.synthetic import draw_hand
from carpal.lab.model import alanet, boxes, losses, naming, ordinal, roi
from carpal.lab.model.alanet import ALANet, ModelConfig
from carpal.types import Sex

COMBINATIONS = [
    (regions, local, patch)
    for regions in ("named", "anonymous", "none")
    for local in (True, False)
    for patch in (True, False)
    if not (regions == "none" and local)
]
CONFIGS = [ModelConfig(r, local, patch, long_side=96, width=8, roi_features=32) for r, local, patch in COMBINATIONS]
IDS = [f"{r}{'-local' * local}{'-patch' * patch}" for r, local, patch in COMBINATIONS]
every_network = pytest.mark.parametrize("config", CONFIGS, ids=IDS)


def network(config: ModelConfig, seed: int = 0) -> ALANet:
    """A network with every path open: new blocks begin as their shortcuts, here their last norms scale by a half."""
    torch.manual_seed(seed)
    model = ALANet(config)
    for name, parameter in model.named_parameters():
        if name.endswith("bn3.weight"):
            torch.nn.init.constant_(parameter, 0.5)
    return model


def noise(height: int, width: int, batch: int = 2) -> tuple[Tensor, Tensor, losses.Targets]:
    """Random images, one male and one female, with random regions and ages."""
    random = torch.Generator().manual_seed(1)
    image_B1HW = torch.rand(batch, 1, height, width, generator=random) * 255
    points_BR2 = torch.rand(batch, 17, 2, generator=random) * torch.tensor([width, height])
    months_B = torch.linspace(30, 200, batch)
    known_BR = torch.ones(batch, 17, dtype=torch.bool)
    return image_B1HW, torch.arange(batch) % 2.0, losses.Targets(months_B, points_BR2, known_BR, torch.arange(batch))


@cache
def drawn_hands() -> tuple[Tensor, Tensor, losses.Targets]:
    """Eight drawn hands of 96 pixels, 30 to 212 months."""
    hands = [draw_hand(30 + 26 * i, list(Sex)[i % 2], seed=i, height=160) for i in range(8)]
    prepared = [preprocess(hand.pixels_HW, 96) for hand in hands]
    pixels_BHW = np.stack([pad(p.pixels_HW, 32)[0] for p in prepared])
    points_BR2 = np.stack([p.geometry.to_prepared(h.points_R2) for p, h in zip(prepared, hands, strict=True)])
    return (
        torch.from_numpy(pixels_BHW)[:, None].float(),
        torch.tensor([float(hand.sex is Sex.MALE) for hand in hands]),
        losses.Targets(
            torch.tensor([hand.months for hand in hands]),
            torch.from_numpy(points_BR2).float(),
            torch.ones(8, 17, dtype=torch.bool),
            torch.arange(8),
        ),
    )


def run(model: ALANet, image_B1HW: Tensor, male_B: Tensor, target: losses.Targets) -> alanet.Output:
    """A forward as training does it: without proposals, patch training reads the annotated regions."""
    annotated = model.config.regions == "none" and model.config.patch
    boxes_BR4 = losses.annotated_boxes(target, 64, image_B1HW.shape[-2:]) if annotated else None
    output = model(image_B1HW, male_B, None if boxes_BR4 is None else boxes_BR4.to(image_B1HW.dtype))
    assert isinstance(output, alanet.Output)
    return output


def loss_of(model: ALANet, batch: tuple[Tensor, Tensor, losses.Targets]) -> Tensor:
    output = run(model, *batch)
    return losses.total(output, batch[2], losses.counts(batch[2]), model.config.box_size)["total"]


def test_the_network_counts_what_anatomy_names() -> None:
    assert len(anatomy.REGIONS) == alanet.REGION_COUNT == 17


@every_network
@pytest.mark.parametrize(("height", "width"), [(96, 128), (160, 96)])
def test_forward_shapes(config: ModelConfig, height: int, width: int) -> None:
    model = network(config).eval()
    with torch.no_grad():
        output = run(model, *noise(height, width))
    named, anchors = 17 if config.regions == "named" else 1, height // 16 * (width // 16)
    assert output.logits_BK.shape == (2, 228)
    assert (output.patch_logits_BRK is not None) == config.patch
    if output.patch_logits_BRK is not None:
        assert output.patch_logits_BRK.shape == (2, 17, 228)
    if config.regions == "none":
        assert output.rpn is output.scores_BR is None
        return
    assert output.rpn is not None
    assert output.rpn.logits_BAR.shape == (2, anchors, named)
    assert output.rpn.deltas_BAR4.shape == (2, anchors, named, 4)
    assert output.rpn.anchors_A4.shape == (anchors, 4)
    assert output.scores_BR is not None
    assert output.boxes_BR4 is not None
    assert output.scores_BR.shape == (2, 17)
    x1, y1, x2, y2 = output.boxes_BR4.unbind(-1)
    assert x1.shape == (2, 17)
    for low, high, limit in ((x1, x2, width), (y1, y2, height)):
        assert ((low >= 0) & (low <= high) & (high <= limit)).all(), "boxes are clipped before their features are read"


@every_network
def test_a_gradient_reaches_every_parameter(config: ModelConfig) -> None:
    model = network(config).train()
    loss_of(model, noise(96, 128)).backward()
    untouched = [n for n, p in model.named_parameters() if p.grad is None or not bool((p.grad != 0).any())]
    assert untouched == []
    assert all(bool(p.grad.isfinite().all()) for p in model.parameters() if p.grad is not None)


@every_network
def test_a_batch_of_two_equals_two_batches_of_one(config: ModelConfig) -> None:
    model = network(config).double().eval()
    image_B1HW, male_B, target = noise(96, 128)
    image_B1HW, male_B = image_B1HW.double(), male_B.double()
    with torch.no_grad():
        both = run(model, image_B1HW, male_B, target)
        each = [
            run(model, image_B1HW[i : i + 1], male_B[i : i + 1], losses.Targets(*(t[i : i + 1] for t in target[:4])))
            for i in (0, 1)
        ]
    assert not torch.allclose(both.logits_BK[0], both.logits_BK[1]), "two images that read alike prove nothing"
    for field in ("logits_BK", "patch_logits_BRK", "boxes_BR4", "scores_BR"):
        if getattr(both, field) is not None:
            joined = torch.cat([getattr(one, field) for one in each])
            torch.testing.assert_close(getattr(both, field), joined, rtol=1e-9, atol=1e-9)


@every_network
def test_state_dict_round_trips(config: ModelConfig) -> None:
    model, other = network(config, seed=1).eval(), network(config, seed=2).eval()
    other.load_state_dict(model.state_dict())
    batch = noise(96, 128)
    with torch.no_grad():
        for ours, theirs in zip(run(model, *batch)[:4], run(other, *batch)[:4], strict=True):
            assert (ours is None) == (theirs is None)
            assert ours is None or torch.equal(ours, theirs)


@every_network
def test_the_loss_falls_on_eight_drawn_hands(config: ModelConfig) -> None:
    torch.manual_seed(0)
    model = ALANet(config).train()
    model.set_age_prior(drawn_hands()[2].months_B)
    optimiser = torch.optim.Adam(model.parameters(), lr=2e-3)
    history = []
    for _ in range(20):
        optimiser.zero_grad()
        loss = loss_of(model, drawn_hands())
        loss.backward()
        optimiser.step()
        history.append(float(loss.detach()))
    assert all(math.isfinite(value) for value in history)
    assert sum(history[-3:]) / 3 < 0.8 * history[0], f"from {history[0]:.3f} to {history[-1]:.3f}"


def test_sex_changes_the_age() -> None:
    model = network(CONFIGS[0]).eval()
    image_B1HW = noise(96, 128)[0][:1].expand(2, -1, -1, -1)
    with torch.no_grad():
        female_K, male_K = model(image_B1HW, torch.tensor([0.0, 1.0])).logits_BK
    assert not torch.allclose(female_K, male_K, atol=1e-4)


def test_given_boxes_replace_the_proposals() -> None:
    model = network(CONFIGS[0]).eval()
    image_B1HW, male_B, target = noise(96, 128)
    truth_BR4 = losses.annotated_boxes(target, 64, (96, 128))
    with torch.no_grad():
        found, told = model(image_B1HW, male_B), model(image_B1HW, male_B, truth_BR4)
        again = model(image_B1HW, male_B, found.boxes_BR4)
    assert torch.equal(told.boxes_BR4, truth_BR4)
    assert not torch.allclose(told.patch_logits_BRK, found.patch_logits_BRK)
    assert torch.equal(again.logits_BK, found.logits_BK)


def test_proposals_are_where_the_rpn_is_sure() -> None:
    """The anchor that `naming` chooses for each name, moved by that name's own offsets."""
    model = network(CONFIGS[0]).eval()
    with torch.no_grad():
        output = model(*noise(96, 128)[:2])
    logits_BAR, deltas_BAR4, anchors_A4 = output.rpn
    proposals_BAR4 = boxes.clip(boxes.decode(deltas_BAR4, anchors_A4[:, None]), 96, 128)
    index_BR = naming.choose(torch.sigmoid(logits_BAR), boxes.centres(proposals_BAR4), model.config.long_side)
    for b in range(2):
        for r in range(17):
            a = int(index_BR[b, r])
            dx, dy, wider, higher = deltas_BAR4[b, a, r].tolist()
            x, y = (float(anchors_A4[a, i] + anchors_A4[a, i + 2]) / 2 + 64 * d for i, d in ((0, dx), (1, dy)))
            half_x, half_y = 32 * math.exp(wider), 32 * math.exp(higher)
            corners = [max(x - half_x, 0), max(y - half_y, 0), min(x + half_x, 128), min(y + half_y, 96)]
            assert output.boxes_BR4[b, r].tolist() == pytest.approx(corners, abs=1e-3)
            assert float(output.scores_BR[b, r]) == pytest.approx(1 / (1 + math.exp(-float(logits_BAR[b, a, r]))))


def test_the_regions_join_the_age_by_their_maximum() -> None:
    """Figure 2: what the MLP reads is the pooled C5, the sex, and each local feature's maximum over the 17 regions."""
    model = network(CONFIGS[0]).eval()
    image_B1HW, male_B, _ = noise(96, 128)
    with torch.no_grad():
        output = model(image_B1HW, male_B)
        c4_BCHW, c5_BCHW = model.trunk((image_B1HW / 255 - 0.449) / 0.226)
        local_BRD = model.roi_head(roi.roi_align(model.reduction(c4_BCHW), output.boxes_BR4, 5, 16))
        sex_BD = model.sex(male_B[:, None])
    assert output.features_BF is not None
    for b in range(2):
        highest = [max(local_BRD[b, r, d].item() for r in range(17)) for d in range(local_BRD.shape[2])]
        expected = [*c5_BCHW[b].mean((1, 2)).tolist(), *sex_BD[b].tolist(), *highest]
        assert output.features_BF[b].tolist() == pytest.approx(expected, rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("regions", ["named", "anonymous"])
@pytest.mark.parametrize("bf16", [False, True], ids=["float32", "bf16"])
def test_the_age_loss_moves_no_box_and_no_score(regions: str, bf16: bool) -> None:
    """Boxes come from the RPN's own loss: through the picks, the ages would pull them to where they are easily read."""
    model = network(ModelConfig(regions, long_side=96, width=8, roi_features=32)).train()
    image_B1HW, male_B, target = noise(96, 128)
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        output = model(image_B1HW, male_B)
    assert output.boxes_BR4 is not None
    assert output.scores_BR is not None
    assert not output.boxes_BR4.requires_grad
    assert not output.scores_BR.requires_grad
    terms = losses.total(output, target, losses.counts(target), model.config.box_size)
    (terms["ord"] + terms["patch"]).backward()
    moved = {name for name, p in model.named_parameters() if p.grad is not None and bool((p.grad != 0).any())}
    assert [name for name in moved if name.startswith("rpn.")] == []
    assert {"roi_head.convolutions.0.weight", "reduction.0.weight", "trunk.conv1.weight"} <= moved, "but features learn"


@pytest.mark.parametrize("regions", ["named", "anonymous"])
def test_the_box_loss_moves_offsets_and_the_trunk_and_no_age_head(regions: str) -> None:
    model = network(ModelConfig(regions, long_side=96, width=8, roi_features=32)).train()
    image_B1HW, male_B, target = noise(96, 128)
    terms = losses.total(model(image_B1HW, male_B), target, losses.counts(target), model.config.box_size)
    terms["rpn_box"].backward()
    moved = {name for name, p in model.named_parameters() if p.grad is not None and bool((p.grad != 0).any())}
    assert {"rpn.deltas.weight", "rpn.conv.weight", "reduction.0.weight", "trunk.conv1.weight"} <= moved
    assert [name for name in moved if name.startswith(("mlp.", "patch_mlp.", "roi_head.", "rpn.objectness."))] == []


def test_the_untrained_network_predicts_the_prior() -> None:
    torch.manual_seed(0)
    model = ALANet(CONFIGS[0])
    ages_N = torch.tensor([24.0, 60, 96, 120, 132, 150, 168, 180] * 20)
    model.set_age_prior(ages_N)
    with torch.no_grad():
        output = model.eval()(*noise(96, 128)[:2])
    for logits in (output.logits_BK, output.patch_logits_BRK):
        assert (ordinal.months(logits) - ages_N.mean()).abs().max() < 6


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"regions": "some"}, "'some'"), ({"regions": "none", "local": True}, "needs proposals")],
)
def test_a_config_that_makes_no_sense_is_refused(settings: dict[str, str | bool], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ModelConfig(**settings)  # type: ignore[arg-type]
