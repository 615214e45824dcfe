"""A patch discriminator for the public stage: sharper reconstructions, on public volumes only.

Its gradients depend on the volumes of the stage, so it is never used in private steps: the epsilon
of a plan would not cover it (`medvae.train.finetune` takes no penalty).
"""

from __future__ import annotations

import torch
from monai.losses import PatchAdversarialLoss
from monai.networks.nets import PatchDiscriminator
from torch import Tensor

from medvae.model.base import VAE
from medvae.model.presets import initialise
from medvae.train.state import optimizer_tensors, prefixed, restore_optimizer, under

# Steps before the penalty starts: discriminator and network have to learn first.
SILENT_STEPS = 100


class Adversary:
    """Penalty of a discriminator, which is trained in each step.

    Args:
        model: the network whose reconstructions are judged.
        weight: of the penalty.
        learning_rate: of the discriminator.
        seed: of its weights.
    """

    def __init__(self, model: VAE, weight: float, learning_rate: float, seed: int) -> None:
        self._net = PatchDiscriminator(
            spatial_dims=model.dims,
            channels=16,
            in_channels=model.channels,
            out_channels=1,
            num_layers_d=2,
            norm=("group", {"num_groups": 8}),
        )
        initialise(self._net, seed)
        self._net.to(next(model.parameters()).device)
        self._judge = PatchAdversarialLoss(criterion="least_squares")
        self._optimizer = torch.optim.AdamW(self._net.parameters(), lr=learning_rate)
        self._weight = weight

    def __call__(self, x: Tensor, restored: Tensor, step: int) -> Tensor:
        """The scalar to add to the network's loss."""
        # In float32: bfloat16 gradients of small strided convolutions came out as NaN.
        with torch.autocast(x.device.type, enabled=False):
            return self._penalty(x.float(), restored.float(), step)

    def _penalty(self, x: Tensor, restored: Tensor, step: int) -> Tensor:
        self._train(x, restored.detach())
        if step < SILENT_STEPS:
            return restored.new_zeros(())
        self._net.requires_grad_(False)
        verdict = self._net(restored)[-1]
        self._net.requires_grad_(True)
        loss: Tensor = self._judge(verdict, target_is_real=True, for_discriminator=False)
        return self._weight * loss

    def _train(self, x: Tensor, restored: Tensor) -> None:
        real = self._judge(self._net(x)[-1], target_is_real=True, for_discriminator=True)
        fake = self._judge(self._net(restored)[-1], target_is_real=False, for_discriminator=True)
        self._optimizer.zero_grad(set_to_none=True)
        (0.5 * (real + fake)).backward()
        self._optimizer.step()

    def tensors(self) -> dict[str, Tensor]:
        """State for a checkpoint."""
        net = prefixed("net", self._net.state_dict())
        return net | prefixed("optimizer", optimizer_tensors(self._optimizer))

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Restore the state of `tensors`."""
        self._net.load_state_dict(under("net", tensors))
        restore_optimizer(self._optimizer, under("optimizer", tensors))
