"""Clipping, accumulation and noise: Opacus' optimizer, with its weak joints replaced."""

from __future__ import annotations

import math
from typing import Literal

import torch
from opacus.optimizers import DPOptimizer

from medvae.errors import MedvaeError, UsageError
from medvae.privacy.accounting import Mechanism
from medvae.privacy.noise import NoiseSource, release

Clipping = Literal["flat", "auto-s"]

# The stability constant of AUTO-S (Bu et al. 2022, algorithm 1, section 4).
AUTO_GAMMA = 0.01


def clip_factors(norms: torch.Tensor, clip: float, clipping: Clipping) -> torch.Tensor:
    """What to multiply each patient's gradient with, so that its norm is at most `clip`.

    Args:
        norms: float64 [B], L2 norms over all parameters; NaN or infinite where any gradient is.
        clip: C > 0.
        clipping: "flat": min(1, C/norm) (Abadi et al. 2016); "auto-s": C/(norm + 0.01)
            (Bu et al. 2022).

    Returns:
        float64 [B]; 0 where the norm is not finite.
    """
    flat = clipping == "flat"
    factors = (clip / norms).clamp(max=1.0) if flat else clip / (norms + AUTO_GAMMA)
    return torch.where(norms.isfinite(), factors, torch.zeros_like(factors))


class PatientOptimizer(DPOptimizer):  # type: ignore[misc]
    """`DPOptimizer` over gradients of whole patients.

    What differs from Opacus: norms and sums in float64; a patient whose gradient is not finite
    counts as zero and cannot spoil the sum; AUTO-S; noise from `NoiseSource`, added in float64
    and rounded to a public grid; the divisor is a public constant; accumulation in place.

    Sums are in float64 because one patient more also changes how all later additions round: in
    float32 and over 4,000 patients that moved the sum by 4e-5 more than the clip norm (Casacuberta
    et al. 2022, "Widespread underestimation of sensitivity"); in float64 it is below 1e-9.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        *,
        mechanism: Mechanism,
        clip: float,
        divisor: float,
        noise: NoiseSource,
        clipping: Clipping = "flat",
    ) -> None:
        """Args as in `DPTrainer`. UsageError for constants that are not positive and finite."""
        for name, value in (("clip", clip), ("divisor", divisor)):
            if not math.isfinite(value) or value <= 0:
                raise UsageError(f"{name} must be a positive number, not {value!r}")
        if clipping not in ("flat", "auto-s"):
            raise UsageError(f"clipping must be 'flat' or 'auto-s', not {clipping!r}")
        super().__init__(
            optimizer,
            noise_multiplier=mechanism.noise_multiplier,
            max_grad_norm=clip,
            expected_batch_size=divisor,
        )
        self.mechanism = mechanism
        self.clipping = clipping
        self.noise_step = 0
        self._noise = noise

    def accumulate(self, gradients: list[torch.Tensor]) -> int:
        """Clip the gradients of B patients and add them to the running sum.

        Args:
            gradients: one tensor [B, *shape] a parameter, in the optimizer's order; consumed.

        Returns:
            how many of the B were not finite and counted as zero (private to the tenant).
        """
        for parameter, gradient in zip(self.params, gradients, strict=True):
            parameter.grad_sample = gradient
        self._zeroed = 0
        self.signal_skip_step(True)
        self.step()
        self.zero_grad(set_to_none=True)
        return self._zeroed

    def finish(self, step: int) -> None:
        """Add the noise of `step`, divide, move the weights and forget the sums.

        With nobody accumulated (an empty batch) this is a noise-only step.
        """
        self.noise_step = step
        for parameter in self.params:
            parameter.grad_sample = parameter.new_zeros((0, *parameter.shape))
        self.signal_skip_step(False)
        self.step()
        self.zero_grad(set_to_none=True)

    def commitment(self) -> bytes:
        """Of the noise: see `NoiseSource.commitment`."""
        return self._noise.commitment()

    def sums(self) -> list[torch.Tensor]:
        """The un-noised float64 sums so far, one a parameter; zeros before the first patient."""
        for parameter in self.params:
            if parameter.summed_grad is None:
                parameter.summed_grad = torch.zeros_like(
                    parameter, dtype=torch.float64, memory_format=torch.contiguous_format
                )
        return [parameter.summed_grad for parameter in self.params]

    def forget(self) -> None:
        """Drop every sum and queued signal, as before the first patient of a step."""
        self._step_skip_queue.clear()
        self._is_last_step_skipped = False
        self.zero_grad(set_to_none=True)

    def clip_and_accumulate(self) -> None:
        """Sum of clipped `grad_sample`s, added in place to `summed_grad`."""
        parameters, sums = self.params, self.sums()
        gradients = [self._get_flat_grad_sample(parameter) for parameter in parameters]
        count = len(gradients[0])
        if any(len(gradient) != count for gradient in gradients):
            raise MedvaeError("parameters have gradients of different numbers of patients")
        if count == 0:
            return
        flat = [gradient.reshape(count, -1) for gradient in gradients]
        norms = torch.stack(
            [torch.linalg.vector_norm(one, dim=1, dtype=torch.float64) for one in flat]
        ).norm(dim=0)
        factors = clip_factors(norms, self.max_grad_norm, self.clipping)
        self._zeroed = count - int(norms.isfinite().sum())
        weights = factors.tolist()
        for total, rows in zip(sums, flat, strict=True):
            for weight, row in zip(weights, rows, strict=True):
                # 0 * NaN is NaN: a patient who counts as zero is left out, not only scaled.
                if weight:
                    total.view(-1).add_(row, alpha=weight)

    def add_noise(self) -> None:
        """`p.grad = summed_grad + N(0, (noise_multiplier * clip)^2)`, the same on every rank."""
        parameters = self.params
        sizes = [parameter.numel() for parameter in parameters]
        normal = self._noise.normal((sum(sizes),), stream=self.mechanism.name, step=self.noise_step)
        std = self.noise_multiplier * self.max_grad_norm
        for parameter, part in zip(parameters, torch.split(normal, sizes), strict=True):
            parameter.grad = release(parameter.summed_grad, part, std).to(parameter.dtype)
