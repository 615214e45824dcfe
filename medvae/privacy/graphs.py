"""A patient's forward and backward pass as one CUDA graph.

A small network leaves a GPU waiting for the next of thousands of kernels to be started. A graph
starts all of them at once. It is recorded on made-up values of a patient's shapes, never on a
patient, compared with the plain computation, and replayed for every patient of those shapes.
Where it cannot be, gradients are taken plainly and `reason` says why.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.utils import _pytree

from medvae.privacy import batched
from medvae.privacy.backward import Loss
from medvae.privacy.capturable import examine, hooked, same_function

Gradients = list[torch.Tensor]
Plain = Callable[[nn.Module, Any, Loss], Gradients | None]
Record = Callable[[Callable[[], Gradients]], Callable[[], Gradients]]

# Recordings kept: each holds the memory of one patient's activations.
MOST = 4
# Kinds of patients and losses that are looked at; all further ones are taken plainly.
_LOOKED_AT = 16
# Largest relative difference of a replayed gradient: far above that of sums in another order.
TOLERANCE = 1e-3
# After so many replays, and whenever they have doubled, a recording is compared again: a loss
# could follow a schedule.
FIRST_CHECK = 64


@dataclass
class _Recording:
    """Gradients of patients of one kind by one loss; `reason` says why they are not replayed."""

    kind: object
    loss: Loss
    reason: str | None = None
    inputs: list[torch.Tensor] = field(default_factory=list)
    replay: Callable[[], Gradients] | None = None
    gradients: Gradients = field(default_factory=list)
    uses: int = 0


class GradientGraphs:
    """Replayed gradients of a model, one recording for each kind of patient and loss.

    The loss must be a function of the model and the patient: what else it reads is taken as it
    was at the recording. Losses that draw from generators of their own, wait for the device or use
    hooks are found out and never recorded; one that follows a schedule is found out at the next
    comparison.

    Privacy: a replay gives one patient's gradient from that patient's tensors and the weights, as
    the plain computation does; recordings and comparisons see made-up values only.
    """

    def __init__(self, model: nn.Module, backward: Plain, record: Record) -> None:
        """
        Args:
            model: on one device.
            backward: gradients [1, *shape] of one patient, taken plainly.
            record: runs its argument under recording, and gives what replays it.
        """
        self._model = model
        self._backward = backward
        self._record = record
        self._recordings: list[_Recording] = []
        self._state: object = None
        self._unlike: str | None = None

    @property
    def reason(self) -> str | None:
        """Why the gradients of some patients are taken plainly; None if all are replayed."""
        return next(
            (recording.reason for recording in self._recordings if recording.reason), self._unlike
        )

    def begin(self) -> None:
        """Before a step: recordings of other weights, modes or trained parameters are dropped."""
        tensors = [*self._model.parameters(), *self._model.buffers()]
        state = (
            [(tensor.data_ptr(), tensor.requires_grad, tensor.dtype) for tensor in tensors],
            [layer.training for layer in self._model.modules()],
            hooked(self._model),
        )
        if state != self._state:
            self._recordings.clear()
            self._state = state

    def gradients(self, patient: Any, loss: Loss) -> Gradients | None:
        """Gradients [1, *shape], valid until the next call; None where they are to be taken
        plainly."""
        if patient is None or batched.is_empty(patient):
            return None
        kind = batched.signature(patient)
        if kind is None:
            self._unlike = "a patient does not consist of tensors alone"
            return None
        recording = self._of(kind, loss)
        if recording is None:
            if len(self._recordings) >= _LOOKED_AT:
                return None
            recording = self._recorded(kind, patient, loss)
            self._recordings.append(recording)
        recording.uses += 1
        due = recording.uses >= FIRST_CHECK and recording.uses & (recording.uses - 1) == 0
        if recording.reason is None and due:
            self._compare(recording, patient)
        return None if recording.reason is not None else _replayed(recording, patient)

    def forget(self) -> None:
        """After a step: nothing of the last patient stays in the recordings."""
        with torch.no_grad():
            for recording in self._recordings:
                for tensors in (recording.inputs, recording.gradients):
                    for tensor in tensors:
                        tensor.zero_()

    def _of(self, kind: object, loss: Loss) -> _Recording | None:
        for recording in self._recordings:
            if recording.kind == kind and same_function(recording.loss, loss):
                return recording
        return None

    def _recorded(self, kind: object, patient: Any, loss: Loss) -> _Recording:
        recording = _Recording(kind, loss, self._objection(patient))
        if recording.reason is None:
            try:
                self._make(recording, patient)
            except Exception as error:  # noqa: BLE001 - the plain way raises it again if it matters
                _drop(recording, f"it cannot be recorded ({type(error).__name__}: {error})")
        return recording

    def _objection(self, patient: Any) -> str | None:
        device = next(self._model.parameters()).device
        leaves = _pytree.tree_leaves(patient)
        if any(leaf.device != device or leaf.requires_grad for leaf in leaves):
            return "a patient's tensors are not on the model's device"
        if sum(recording.replay is not None for recording in self._recordings) >= MOST:
            return f"there are more than {MOST} kinds of patients or losses"
        return hooked(self._model)

    def _make(self, recording: _Recording, patient: Any) -> None:
        fake = batched.synthetic(patient, 0)
        leaves, structure = _pytree.tree_flatten(fake)
        static = _pytree.tree_unflatten(leaves, structure)
        device = leaves[0].device

        def run() -> Gradients:
            gradients = self._backward(self._model, static, recording.loss)
            if gradients is None:
                raise ValueError("made-up values leave nothing to learn from")
            return gradients

        recording.reason = examine(run, device)
        if recording.reason is not None:
            return
        recording.inputs = leaves
        with _same_draws(device):
            recording.replay = self._record(run)
        self._compare(recording, patient)

    def _compare(self, recording: _Recording, patient: Any) -> None:
        """Drop the recording if it differs from the plain gradient of made-up patients."""
        for seed in (1, 2):
            fake = batched.synthetic(patient, seed)
            with _same_draws(recording.inputs[0].device) as again:
                plain = self._backward(self._model, fake, recording.loss)
                again()
                replayed = _replayed(recording, fake)
            error = float("inf") if plain is None else _difference(replayed, plain)
            # Also where either is not finite, or where nothing was compared.
            if not error <= TOLERANCE:
                _drop(recording, "a replay differs from the plain gradient")
                return


def cuda_record(device: torch.device) -> Record:
    """Recording by CUDA graphs on `device`."""

    def record(run: Callable[[], Gradients]) -> Callable[[], Gradients]:
        with torch.cuda.device(device):
            before = torch.cuda.current_stream()
            stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
            stream.wait_stream(before)
            with torch.cuda.stream(stream):
                for _ in range(2):  # libraries set themselves up on first use
                    run()
            before.wait_stream(stream)
            graph = torch.cuda.CUDAGraph()
            try:
                # Other threads may go on meanwhile: noise, loading.
                with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
                    outputs = run()
            except Exception:
                # torch leaves all of these as they were in the middle of the recording.
                torch.cuda.set_stream(before)
                graph.reset()
                _mend_generator(device)
                raise

        def replay() -> Gradients:
            graph.replay()
            return outputs

        return replay

    return record


@contextmanager
def _same_draws(device: torch.device) -> Iterator[Callable[[], None]]:
    """Default generators begin at one place, and at the same again when what it gives is called;
    afterwards they are as before."""
    devices = [device] if device.type == "cuda" else []

    def begin() -> None:
        torch.default_generator.manual_seed(0)
        if device.type == "cuda":
            _generator(device).manual_seed(0)

    with torch.random.fork_rng(devices=devices):
        begin()
        yield begin


def _generator(device: torch.device) -> torch.Generator:
    index = torch.cuda.current_device() if device.index is None else device.index
    return torch.cuda.default_generators[index]


def _mend_generator(device: torch.device) -> None:
    """A recording that broke off may leave the default generator waiting for its end."""
    generator = _generator(device)
    try:
        torch.rand(1, device=device)
    except RuntimeError:
        generator.graphsafe_set_state(generator.clone_state())


def _replayed(recording: _Recording, patient: Any) -> Gradients:
    assert recording.replay is not None
    with torch.no_grad():
        for static, leaf in zip(recording.inputs, _pytree.tree_leaves(patient), strict=True):
            static.copy_(leaf)
    recording.gradients = recording.replay()
    return recording.gradients


def _drop(recording: _Recording, reason: str) -> None:
    recording.reason, recording.replay = reason, None
    recording.inputs, recording.gradients = [], []


def _difference(replayed: Gradients, plain: Gradients) -> float:
    """Relative L2 difference over all parameters; NaN where `plain` is zero."""
    ours, theirs = (
        torch.cat([gradient.reshape(-1).double() for gradient in both])
        for both in (replayed, plain)
    )
    return float((ours - theirs).norm() / theirs.norm())
