"""Clipping, accumulation and noise: Opacus' optimizer, with its weak joints replaced."""

from __future__ import annotations

import math
from typing import Literal

import torch
from opacus.optimizers import DPOptimizer

from medvae.errors import MedvaeError, UsageError
from medvae.privacy import parallel
from medvae.privacy.accounting import Mechanism
from medvae.privacy.ahead import NoiseAhead, Wanted
from medvae.privacy.lattice import MARGIN, Lattice
from medvae.privacy.noise import NoiseSource

Clipping = Literal["flat", "auto-s"]

# The stability constant of AUTO-S (Bu et al. 2022, algorithm 1, section 4).
AUTO_GAMMA = 0.01
CHANGED = "which parameters are trainable may not change within a step"


def clip_factors(norms: torch.Tensor, clip: float, clipping: Clipping) -> torch.Tensor:
    """What to multiply each patient's gradient with, so that its norm is at most `clip`.

    Args:
        norms: float64, any shape, L2 norms over all parameters; NaN or infinite where any
            gradient is.
        clip: C > 0.
        clipping: "flat": min(1, C/norm) (Abadi et al. 2016); "auto-s": C/(norm + 0.01)
            (Bu et al. 2022).

    Returns:
        float64 of that shape; 0 where the norm is not finite.
    """
    flat = clipping == "flat"
    factors = (clip / norms).clamp(max=1.0) if flat else clip / (norms + AUTO_GAMMA)
    return torch.where(norms.isfinite(), factors, torch.zeros_like(factors))


class PatientOptimizer(DPOptimizer):  # type: ignore[misc]
    """`DPOptimizer` over gradients of whole patients.

    What differs from Opacus: norms in float64; a patient whose gradient is not finite counts as
    zero and cannot spoil the sum; AUTO-S; each clipped gradient is rounded towards zero onto the
    lattice of its noise and added up in 64-bit integers, so the sum is exact in any order and on
    any number of ranks; noise is the exact discrete Gaussian on the same integers; the divisor is
    a public constant; all parameters are one vector: many small tensors would take a GPU longer
    to launch than to run.

    Formal guarantee: zeroing one patient moves the integer sum by at most clip / grid in L2,
    exactly; see `gaussian_release` for the accounting of the discrete Gaussian.
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
        self.stream = mechanism.name
        self._lattice = Lattice.of(mechanism.noise_multiplier, clip)
        self._patients = 0
        self._noise = noise
        self._ahead = NoiseAhead(noise)
        self._total: torch.Tensor | None = None
        self._bad: torch.Tensor | None = None

    def begin_noise(self, step: int, binding: str = "") -> None:
        """Start to draw the noise that `finish(step, binding)` will add, in the background."""
        self._ahead.begin(self._wanted(step, self.mechanism.name + binding))

    def settle_noise(self) -> None:
        """Wait for what `begin_noise` started; raises what went wrong there."""
        self._ahead.settle()

    def accumulate(self, gradients: list[torch.Tensor]) -> None:
        """Clip the gradients of B patients and add them to the running sum.

        Nothing here waits for the device.

        Args:
            gradients: one tensor [B, *shape] a parameter, in the optimizer's order; consumed.

        Raises:
            MedvaeError: other parameters are trainable than at the start of the step.
        """
        if len(gradients) != len(self.params):
            raise MedvaeError(CHANGED)
        for parameter, gradient in zip(self.params, gradients, strict=True):
            parameter.grad_sample = gradient
        self.signal_skip_step(True)
        self.step()
        self.zero_grad(set_to_none=True)

    def zeroed(self) -> int:
        """How many patients of the step so far were not finite and counted as zero.

        Private to the tenant.
        """
        return 0 if self._bad is None else int(self._bad)

    def finish(self, step: int, binding: str = "") -> None:
        """Add the noise of `step`, divide, move the weights and forget the sums.

        With nobody accumulated (an empty batch) this is a noise-only step.

        Args:
            step: of the mechanism.
            binding: part of the noise's stream; where it differs, the noise is independent.
        """
        self.noise_step = step
        self.stream = self.mechanism.name + binding
        for parameter in self.params:
            parameter.grad_sample = parameter.new_zeros((0, *parameter.shape))
        self.signal_skip_step(False)
        self.step()
        self.zero_grad(set_to_none=True)

    def commitment(self) -> bytes:
        """Commitment to the noise: see `NoiseSource.commitment`."""
        return self._noise.commitment()

    def sums(self) -> list[torch.Tensor]:
        """The un-noised int64 sums so far, one a parameter; zeros before the first patient.

        They are views of one vector: what is added to one of them is added to the sum.
        """
        return self._split(self._vector())

    def _vector(self) -> torch.Tensor:
        """int64 [P] the un-noised sum so far, over all parameters in their order."""
        size, device = self._size(), self.params[0].device
        if self._total is None:
            self._total = torch.zeros(size, dtype=torch.int64, device=device)
        if len(self._total) != size:
            raise MedvaeError(CHANGED)
        return self._total

    def _size(self) -> int:
        return sum(parameter.numel() for parameter in self.params)

    def _wanted(self, step: int, stream: str) -> Wanted:
        return Wanted(self._size(), self._lattice.sigma, stream, step)

    def _split(self, vector: torch.Tensor) -> list[torch.Tensor]:
        """Views of a vector [P], one a parameter."""
        parts = torch.split(vector, [parameter.numel() for parameter in self.params])
        return [
            part.view(parameter.shape) for part, parameter in zip(parts, self.params, strict=True)
        ]

    def zero_grad(self, set_to_none: bool = False) -> None:
        """Opacus' own; after a step that was not skipped, the sum is forgotten too."""
        super().zero_grad(set_to_none)
        if not self._is_last_step_skipped:
            self._total = self._bad = None
            self._patients = 0

    def forget(self) -> None:
        """Drop every sum, noise and queued signal, as before the first patient of a step."""
        self._ahead.drop()
        self._step_skip_queue.clear()
        self._is_last_step_skipped = False
        self.zero_grad(set_to_none=True)

    def clip_and_accumulate(self) -> None:
        """Sum of clipped `grad_sample`s on the lattice, added in place to the sum so far."""
        total = self._vector()
        gradients = [self._get_flat_grad_sample(parameter) for parameter in self.params]
        count = len(gradients[0])
        if any(len(gradient) != count for gradient in gradients):
            raise MedvaeError("parameters have gradients of different numbers of patients")
        self._patients += count
        # Every rank adds at most as many.
        self._lattice.check_patients(self._patients * parallel.world()[1])
        for index in range(count):
            row = torch.cat([gradient[index].reshape(-1) for gradient in gradients])
            norm = torch.linalg.vector_norm(row, dtype=torch.float64)
            weight = clip_factors(norm, self.max_grad_norm * (1 - MARGIN), self.clipping)
            bad = norm.isfinite().logical_not()
            self._bad = bad.long() if self._bad is None else self._bad + bad
            # Weight and step one by one: their quotient could round up, the step is exact.
            steps = row.double().mul_(weight).div_(self._lattice.grid)
            # 0 * NaN is NaN: a patient who counts as zero is left out, not only scaled.
            steps.masked_fill_(weight == 0, 0.0)
            total.add_(steps.trunc_().to(torch.int64))

    def add_noise(self) -> None:
        """`p.grad` = grid * (sum + discrete Gaussian), the same on every rank."""
        total = self._vector()
        noise = self._ahead.take(self._wanted(self.noise_step, self.stream))
        noisy = (total + torch.from_numpy(noise).to(total.device)).double() * self._lattice.grid
        kinds = {parameter.dtype for parameter in self.params}
        if len(kinds) == 1:
            noisy = noisy.to(kinds.pop())  # once for all: one launch instead of hundreds
        for parameter, part in zip(self.params, self._split(noisy), strict=True):
            parameter.grad = part.to(parameter.dtype)

    def scale_grad(self) -> None:
        """Opacus' own (p.grad / divisor), for all parameters at once."""
        gradients = [parameter.grad for parameter in self.params]
        torch._foreach_div_(gradients, self.expected_batch_size * self.accumulated_iterations)
