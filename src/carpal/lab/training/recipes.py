"""The runs that this project trains, each a function that returns a `Run`. `carpal train NAME` calls it.

`RECIPES` is the table of names. Every setting can be changed with `--set section.field=value`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from carpal.errors import ConfigError
from carpal.lab.baselines.protocol import SystemConfig
from carpal.lab.model.alanet import ModelConfig
from carpal.lab.training.config import Augment, Data, Optim, Run, Schedule


def alanet() -> Run:
    """The paper's recipe: Adam, 1e-3, divided by ten at 30k and 40k of 50k steps, batch 32, flip and random scaling.

    `carpal train alanet --data rsna512 --out runs/alanet`, with the 12,611 radiographs prepared at 512. The paper took
    5 hours on two TITAN RTX and reports 3.91 months; not run here.
    """
    return Run()


def resnet50() -> Run:
    """Table 1, row 1: the plain ResNet-50 with sex and ordinal regression (paper: 4.92)."""
    return replace(alanet(), name="resnet50", model=ModelConfig(regions="none", local=False, patch=False))


def local() -> Run:
    """Table 1, row 2: with anatomical local extraction, without patch training (paper: 4.53)."""
    return replace(alanet(), name="local", model=ModelConfig(patch=False))


def patch() -> Run:
    """Table 1, row 3: patch training on the annotated regions, without local extraction (paper: 4.49)."""
    return replace(alanet(), name="patch", model=ModelConfig(regions="none", local=False))


def vanilla_rpn() -> Run:
    """Table 2, row 1: the region proposal network alone, without any age (paper: AP 86.2)."""
    model = ModelConfig(regions="anonymous", local=False, patch=False)
    return replace(alanet(), name="vanilla_rpn", model=model, data=Data(regions_only=True, ages=False))


def anonymous() -> Run:
    """ALA-Net to the letter: one objectness for each anchor, the top 17 proposals, no names."""
    return replace(alanet(), name="anonymous", model=ModelConfig(regions="anonymous"))


def aligned() -> Run:
    """How the released `alanet` was trained on: all hands at 299 pixels, as they are read.

    `carpal train aligned --data aligned320 annotated256 --set start=alanet.onnx --out runs/aligned`. `aligned320` holds
    every hand in the pose in which it is read (`carpal prepare --kind squashed --align alanet --pseudo-regions`),
    `annotated256` those with regions as they lie in their radiographs, for the network must find the hand first. The
    view is the middle of the aligned image, 1.2 times as large: a hand of 192 pixels as on a canvas of 230. Folds 0 and
    1 are held out. 0.3 s an example on one Zen 3 core in float32.
    """
    return Run(
        name="aligned",
        model=ModelConfig(long_side=192, box_size=32),
        data=Data(holdout=(0, 1), repeats=(1.0, 1.3)),
        augment=Augment(flip=0.5, scale=0.1, zoom=1.2, rotate=8.0, shift=0.03, intensity=0.2, blur=0.5, noise=2.0),
        optim=Optim(lr=5e-4, trunk_lr=0.6, weight_decay=0.02, batch=32, clip=5.0, freeze_stages=1),
        schedule=Schedule(steps=4600, warmup=25, cosine=True, save_every=25, log_every=10),
    )


def larson() -> Run:
    """Larson's ResNet-50 with month classes (Table 3: 6.24): `carpal train larson --data rsna512 --out larson`."""
    return _system("larson")


def ren() -> Run:
    """Ren's coarse and fine attention, Inception-v3 (5.20): `carpal train ren --data rsna512 --out runs/ren`."""
    return _system("ren")


def iglovikov() -> Run:
    """Iglovikov's three registered regions, VGG style (4.97): `carpal train iglovikov --data rsna512 …`.

    `--set start=DETECTOR` is needed: a network of ours with named regions, trained at the same size, whose regions are
    the key points where nobody annotated them. The same holds for `bonet`.
    """
    return _system("iglovikov")


def prsnet() -> Run:
    """PRSNet's part relation and part selection (4.49): `carpal train prsnet --data rsna512 --out runs/prsnet`."""
    return _system("prsnet")


def arcnn() -> Run:
    """AR-CNN's attention and recognition agents (4.38): `carpal train arcnn --data rsna512 --out runs/arcnn`."""
    return _system("arcnn")


def bonet() -> Run:
    """BoNet's image and key-point stems, Inception-v3 (4.14): `carpal train bonet --data rsna512 --set start=DETECTOR`.

    As released: Adam 1e-4, batch 20, 60 epochs, turns of 20 degrees, shifts of 20 %, scale; its rate falls when the
    training loss stays, here along a cosine.
    """
    run = _system("bonet")
    augment = Augment(flip=0.5, scale=0.2, rotate=20.0, shift=0.2)
    return replace(run, augment=augment, optim=Optim(lr=1e-4, batch=20), schedule=Schedule(steps=37_800, cosine=True))


def deeplasia() -> Run:
    """A Deeplasia-like EfficientNet-B0, not in the paper: `carpal train deeplasia --data rsna512 --out deeplasia`."""
    return _system("deeplasia")


def convnext() -> Run:
    """A global ConvNeXt-Tiny, beyond the paper: `carpal train convnext --data rsna512 --out runs/convnext`.

    AdamW with weight decay 0.05 and a warm-up, as its authors train it.
    """
    run = _system("convnext")
    return replace(run, optim=replace(run.optim, weight_decay=0.05), schedule=Schedule(warmup=1000, cosine=True))


def _system(name: str) -> Run:
    """A comparison system with ALA-Net's augmentation, batch and steps, at 1e-4: what its paper does not state."""
    return Run(name=name, model=SystemConfig(system=name), optim=Optim(lr=1e-4))


def smoke() -> Run:
    """A minute on a laptop, for tests and the tutorial: an eighth of the width, 128 pixels, 60 steps. Not a result."""
    return Run(
        name="smoke",
        model=ModelConfig(width=8, long_side=128, box_size=16, roi_features=32),
        augment=Augment(flip=0.5, scale=0.1),
        optim=Optim(lr=3e-3, batch=8, clip=5.0),
        schedule=Schedule(steps=60, warmup=5, cosine=True, save_every=20, log_every=10),
    )


RECIPES: Final[dict[str, Callable[[], Run]]] = {
    recipe.__name__: recipe
    for recipe in (
        *(alanet, resnet50, local, patch, vanilla_rpn, anonymous),
        aligned,
        *(larson, ren, iglovikov, prsnet, arcnn, bonet, deeplasia, convnext),
        smoke,
    )
}


def get(name: str) -> Run:
    """The recipe of that name. Raises ConfigError with the names that exist."""
    if name not in RECIPES:
        raise ConfigError(f"There is no recipe {name!r}. Recipes: {', '.join(RECIPES)}.")
    return RECIPES[name]()
