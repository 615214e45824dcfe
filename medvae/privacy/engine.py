"""DP-SGD over patients: one clipped gradient each, noise once, every constant public."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import nn

from medvae.errors import MedvaeError, UsageError
from medvae.privacy import batched, parallel
from medvae.privacy.accounting import Mechanism
from medvae.privacy.arguments import (
    Precision,
    check_chunk,
    check_ema,
    parameter_names,
    resolve_precision,
    run_identity,
)
from medvae.privacy.backward import Backward, Loss
from medvae.privacy.clipping import Clipping, PatientOptimizer
from medvae.privacy.graphs import GradientGraphs, cuda_record
from medvae.privacy.guard import MutationGuard, check
from medvae.privacy.memory import affordable, keep_freed_memory, resident
from medvae.privacy.noise import NoiseSource
from medvae.privacy.state import dump_state, load_state
from medvae.privacy.workers import replica, side_by_side
from medvae.threads import one_torch_thread

Item = TypeVar("Item")


@dataclass(frozen=True)
class StepInfo:
    """What happened in a step. PRIVATE to the tenant: none of it may leave in a release.

    Attributes:
        step: its index.
        patients: patients that this process was given.
        zeroed: those of them whose gradient was not finite, or that had nothing to learn from.
    """

    step: int
    patients: int
    zeroed: int


class DPTrainer:
    """Moves the trainable parameters of a model by differentially private steps.

    Formal guarantee: if every call of `step(i, ...)` gets a Poisson sample of the patients at
    the mechanism's rate (`PoissonSampler`), each patient in it once, then the weights after all
    steps (and their moving average, and the optimizer's state) are an output of `mechanism`:
    per step the integer sum of per-patient gradients, each of L2 norm at most clip on the
    lattice of the noise, plus discrete Gaussian noise of standard deviation noise_multiplier *
    clip (see `gaussian_release` for its accounting). Source: Abadi et al. 2016, with the privacy
    unit of one patient. Any number of threads and of ranks on one kind of device gives the same
    bits.

    | case | what happens |
    |---|---|
    | an empty batch | a noise-only step |
    | NaN or infinity in a patient's loss or gradient | that patient counts as zero |
    | None for a patient, no views | counts as zero |
    | a parameter that a patient's loss does not reach | zero gradient for that patient |
    | an exception in the loss | raised; the step has not happened and can be run again |
    | gradients left by another backward | dropped |
    | a buffer or parameter that moves while gradients are taken | UsageError |
    | ranks with another key, plan or weights | UsageError on each of them, nothing is released |
    | an exception while the weights move | raised; only `load_state_dict` can go on from there |
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        *,
        mechanism: Mechanism,
        clip: float,
        divisor: float,
        noise: NoiseSource,
        clipping: Clipping = "flat",
        precision: Precision = "fp32",
        chunk: int = 1,
        ema: float = 0.0,
        graphs: bool = True,
    ) -> None:
        """
        Args:
            model: passes `guard.check`; on its device.
            optimizer: a plain torch optimizer over all trainable parameters of `model`.
            mechanism: from the plan; its name is the noise stream, its steps the limit.
            clip: largest L2 norm of a patient's gradient; public.
            divisor: public, usually sample_rate * patients.
            noise: the run's source.
            clipping: "flat" or "auto-s".
            precision: of forward and backward; "bf16" keeps weights, clipping and sums in
                float32; "auto" takes bf16 where the processor has it.
            chunk: patients through one vectorised pass; 1: one backward a patient; 0: decided
                by a measurement on synthetic data at the first step.
            ema: decay in [0, 1) of the moving average of the weights; 0: none.
            graphs: on CUDA, replay each patient's pass as one graph, where that gives the same
                gradient (see `GradientGraphs`, and `plainly` for why not).

        Raises:
            UsageError: a model, an optimizer or a constant that cannot be right.
        """
        check(model)
        self.model = model
        self.mechanism = mechanism
        self.steps_done = 0
        self.chunk = check_chunk(chunk)
        self._names = parameter_names(model, optimizer)
        self._optimizer = PatientOptimizer(
            optimizer,
            mechanism=mechanism,
            clip=clip,
            divisor=divisor,
            noise=noise,
            clipping=clipping,
        )
        self._parameters: list[nn.Parameter] = list(self._optimizer.params)
        self._device = self._parameters[0].device
        self.precision = resolve_precision(precision, self._device)
        self._backward = Backward(self._names, self.precision, self._device)
        self._graphs: GradientGraphs | None = None
        if self._device.type == "cpu":
            keep_freed_memory()
        elif graphs and self._device.type == "cuda" and chunk <= 1:
            self._graphs = GradientGraphs(model, self._backward.one, cuda_record(self._device))
        # On a processor noise would take its time from the gradients.
        self._noise_ahead = self._device.type == "cuda"
        self._guard = MutationGuard(model)
        self._agreed = self._torn = False
        self._group_bytes = 0
        self._ema = check_ema(ema)
        self._average = (
            [parameter.detach().clone() for parameter in self._parameters] if ema else []
        )
        self._identity = run_identity(mechanism, clip, divisor, clipping, ema, self._names)

    def step(self, step: int, patients: Iterable[Any], loss: Loss) -> StepInfo:
        """One private step.

        Args:
            step: `steps_done`: steps are taken in order, each once.
            patients: the sampled patients (of this rank: see `mine`), in any form that `loss`
                understands; loaded lazily if it is a generator. One item is ONE PATIENT, with
                all of his or her views.
            loss: `loss(model, patient)` -> scalar, the mean over that patient's views. It must
                not look at another patient.

        Raises:
            UsageError: a step out of turn or beyond the plan, or a loss that is no scalar.
            MedvaeError: another rank failed in this step.
        """
        self._expect(step)
        self._agree()
        self._optimizer.forget()
        added = zeroed = 0
        failure: Exception | None = None
        with one_torch_thread() as threads:
            try:
                if self._noise_ahead and self.chunk:
                    self._optimizer.begin_noise(step, self._binding())
                added, zeroed = self._collect(patients, loss, threads)
                self._optimizer.settle_noise()
            except Exception as error:  # noqa: BLE001 - sent to the other ranks, then raised again
                failure = error
            self._finish(step, failure)
        return StepInfo(step, added, zeroed)

    @property
    def plainly(self) -> str | None:
        """On CUDA, why some gradients are taken kernel by kernel; None if none are."""
        if self._graphs is None or self.chunk != 1:
            return None
        return self._graphs.reason

    def mine(self, batch: Sequence[Item]) -> Sequence[Item]:
        """This rank's share of a sampled batch."""
        return parallel.mine(batch)

    def weights(self) -> dict[str, torch.Tensor]:
        """Copies of the trainable parameters by name: the moving average if there is one."""
        source = self._average or self._parameters
        return {
            name: value.detach().clone() for name, value in zip(self._names, source, strict=True)
        }

    def state_dict(self) -> dict[str, torch.Tensor]:
        """All that a resumed trainer needs, as a flat mapping of tensors (for safetensors).

        It holds weights that were released under DP and no un-noised sums; with the run's secret
        it would reveal those, so it is sealed like everything else.
        """
        return dump_state(self)

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        """Go on where `state_dict` was taken; the steps that follow are bit-identical.

        Raises:
            UsageError: the state is of another plan, model or optimizer.
        """
        load_state(self, state)

    def _agree(self) -> None:
        """Once: ranks that differ would release one sum under several noises."""
        if self._agreed:
            return
        facts = hashlib.sha256(self._identity + self._optimizer.commitment())
        facts.update(self.steps_done.to_bytes(8, "big"))
        for parameter in self._parameters:
            facts.update(repr(parameter.detach().sum(dtype=torch.float64).item()).encode())
        if not parallel.agreed(facts.digest(), self._device):
            raise UsageError(
                f"{self.mechanism.name}: the ranks do not share one key, plan, step and model;"
                " start all of them with the same secret and the same weights"
            )
        self._agreed = True

    def _expect(self, step: int) -> None:
        if self._torn:
            raise UsageError(
                f"{self.mechanism.name}: the last step broke off while the weights moved; load the"
                " last checkpoint: doing it again here would use its noise twice"
            )
        if type(step) is not int or step != self.steps_done:
            raise UsageError(
                f"{self.mechanism.name}: step {step} is out of turn, the next one is"
                f" {self.steps_done}; each step of a plan is taken once"
            )
        if step >= self.mechanism.steps:
            raise UsageError(
                f"{self.mechanism.name}: all {self.mechanism.steps} steps that were charged have"
                " been taken"
            )

    def _collect(self, patients: Iterable[Any], loss: Loss, threads: int = 1) -> tuple[int, int]:
        """Add every patient's clipped gradient to the sums: (patients given, counted as zero)."""
        added = zeroed = 0
        self._guard.begin()
        if self._graphs is not None:
            self._graphs.begin()
        for group, gradients in self._each(self._groups(patients, loss), loss, threads):
            added += len(group)
            if gradients is None:
                zeroed += 1
            else:
                self._optimizer.accumulate(gradients)
        self._guard.check()
        return added, zeroed + self._optimizer.zeroed()

    def _each(
        self, groups: Iterator[list[Any]], loss: Loss, threads: int
    ) -> Iterator[tuple[list[Any], list[torch.Tensor] | None]]:
        """Each group with its gradients, in order."""
        if threads == 1 or self._device.type != "cpu":
            for group in groups:
                yield group, self._gradients(self.model, group, loss)
            return
        # The first group goes through the model itself, whose hooks a replica does not have; and
        # it shows how much memory each of the others will take.
        before = resident()
        for group in itertools.islice(groups, 1):
            yield group, self._gradients(self.model, group, loss)
        self._group_bytes = max(self._group_bytes, resident() - before)
        threads = affordable(threads, self._group_bytes)
        watched: list[MutationGuard] = []

        def watched_replica() -> nn.Module:
            model = replica(self.model)
            guard = MutationGuard(model, contents=False)
            guard.begin()
            watched.append(guard)
            return model

        def gradients(model: nn.Module, group: list[Any]) -> list[torch.Tensor] | None:
            return self._gradients(model, group, loss)

        if threads == 1:
            for group in groups:
                yield group, gradients(self.model, group)
            return
        yield from side_by_side(gradients, watched_replica, groups, threads)
        for guard in watched:
            guard.check()

    def _groups(self, patients: Iterable[Any], loss: Loss) -> Iterator[list[Any]]:
        """Runs of up to `chunk` consecutive patients of one shape."""
        group: list[Any] = []
        kind: object = None
        for patient in patients:
            if self.chunk == 0 and patient is not None:
                self.chunk = self._choose_chunk(patient, loss)
            this = batched.signature(patient) if self.chunk > 1 else None
            if group and (this is None or this != kind or len(group) >= self.chunk):
                yield group
                group = []
            group.append(patient)
            kind = this
        if group:
            yield group

    def _choose_chunk(self, patient: Any, loss: Loss) -> int:
        return batched.fastest_chunk(
            lambda group: self._alone(self.model, group[0], loss) or [],
            lambda group: self._backward.several(self.model, group, loss),
            patient,
        )

    def _gradients(
        self, model: nn.Module, group: list[Any], loss: Loss
    ) -> list[torch.Tensor] | None:
        """Gradients [B, *shape] of the patients of a group; None for one who counts as zero."""
        if self.chunk > 1 and batched.signature(group[0]) is not None:
            # Filled up to the full chunk: kernels of another batch size round differently, and
            # a patient's gradient must not depend on how many others are there.
            full = [*group, *[group[-1]] * (self.chunk - len(group))]
            return [rows[: len(group)] for rows in self._backward.several(model, full, loss)]
        return self._alone(model, group[0], loss)

    def _alone(self, model: nn.Module, patient: Any, loss: Loss) -> list[torch.Tensor] | None:
        """Gradients [1, *shape] of one patient, replayed where they can be."""
        if self._graphs is not None:
            gradients = self._graphs.gradients(patient, loss)
            if gradients is not None:
                return gradients
        return self._backward.one(model, patient, loss)

    def _finish(self, step: int, failure: Exception | None) -> None:
        """Sums of all ranks, noise, update. Sensitive tensors are gone when it returns."""
        try:
            if failure is not None and parallel.world()[1] == 1:
                raise failure
            failed = parallel.add_up(self._optimizer.sums(), failed=failure is not None)
            if failure is not None:
                raise failure
            if failed:
                raise MedvaeError(f"step {step} failed on another rank; see its message")
            self._torn = True
            self._optimizer.finish(step, self._binding())
            with torch.no_grad():
                for average, parameter in zip(self._average, self._parameters, strict=False):
                    average.lerp_(parameter, 1 - self._ema)
            self.steps_done = step + 1
            self._torn = False
        finally:
            # Un-noised gradients and sums must not outlive the step (a later crash dump or
            # checkpoint would hold them).
            self._optimizer.forget()
            if self._graphs is not None:
                self._graphs.forget()

    def _binding(self) -> str:
        """Part of the noise's stream: ways that round gradients differently have other noise."""
        chunk = "" if self.chunk == 1 else f" chunk {self.chunk}"
        return chunk if self._graphs is None else f"{chunk} graph"
