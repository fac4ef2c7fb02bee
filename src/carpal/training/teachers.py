"""Teachers: networks whose mean answer a run learns besides the labels, so that one network knows what several did.

Distillation (Hinton, Vinyals and Dean 2015) for ordinal regression: a share of each rank's target, 0 or 1, is the mean
of the probabilities that the teachers give for the very picture that the student sees.

Letters: B batch, H W the canvas, K logits.
"""

from __future__ import annotations

import torch
from torch import Tensor

from carpal.checkout import held_out
from carpal.errors import ConfigError
from carpal.model import weights
from carpal.model.alanet import ALANet
from carpal.training import distributed
from carpal.training.config import Run, resolve
from carpal.training.distributed import World


class Teachers:
    """The networks of `Run.teachers`, opened once, never trained."""

    def __init__(self, run: Run, world: World) -> None:
        """Raises ConfigError for a teacher of another size, and for one that may have learned what is held out."""
        self._networks: list[ALANet] = []
        for name in run.teachers:
            network: ALANet
            network, sidecar = weights.load(resolve(name))
            if network.config.long_side != run.model.long_side:
                raise ConfigError(
                    f"{name} reads pictures of {network.config.long_side} pixels - the run's have "
                    f"{run.model.long_side} - take teachers of the same model.long_side."
                )
            training = sidecar.get("training", {})
            learned = set(run.data.holdout) - set(held_out(training))
            if "data" in training and learned:
                raise ConfigError(
                    f"{name} was trained on fold {sorted(learned)[0]} - the run holds it out, and would be taught it - "
                    "take teachers that held out what the run does."
                )
            self._networks.append(network.to(world.device))

    def teach(self, image_B1HW: Tensor, male_B: Tensor, world: World) -> Tensor:
        """The mean probabilities of the ranks (B, K), in float32."""
        with torch.no_grad(), distributed.autocast(world):
            answers = [network(image_B1HW, male_B).logits_BK for network in self._networks]
        return torch.stack([torch.sigmoid(logits_BK.float()) for logits_BK in answers]).mean(0)
