"""State of a run: results of finished stages, and the checkpoint of the current one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from medvae.model.artifact import FORMAT
from medvae.privacy.ranks import ALONE, Ranks
from medvae.train.state import CheckpointStore, pack, prefixed, under, unpack

_PARTIAL = "partial"


@dataclass
class Stages:
    """Tensors of finished stages, and the checkpoint of the unfinished one as bytes.

    Attributes:
        ranks: the processes of the run; all of them were given the same state.
    """

    _store: CheckpointStore
    _done: list[str] = field(default_factory=list)
    _tensors: dict[str, Tensor] = field(default_factory=dict)
    _partial: tuple[str, bytes] | None = None
    ranks: Ranks = ALONE

    @classmethod
    def resume(cls, store: CheckpointStore, ranks: Ranks = ALONE) -> Stages:
        """Read the store's state; IntegrityError if it is no checkpoint.

        Stages that an earlier artifact format finished run again, because their noise does not
        protect (see `medvae.model.artifact`). This costs no privacy: their results never left the
        tenant, and noise keys are bound to the mechanism's version, so no noise is repeated.
        """
        data = store.load()
        if data is None:
            return cls(store, ranks=ranks)
        tensors, facts = unpack(data)
        if facts.get("format") != FORMAT:
            return cls(store, ranks=ranks)
        partial = tensors.pop(_PARTIAL, None)
        state = cls(store, list(facts["done"]), tensors, ranks=ranks)
        if partial is not None:
            state._partial = (facts["stage"], bytes(partial.numpy().tobytes()))
        return state

    def result(self, stage: str) -> dict[str, Tensor] | None:
        """Tensors of a finished stage; None if it is not finished."""
        return under(stage, self._tensors) if stage in self._done else None

    def finish(self, stage: str, result: dict[str, Tensor]) -> dict[str, Tensor]:
        """Store a stage's result durably, drop its checkpoint, and return the stored copy."""
        copied = {k: v.detach().cpu().clone() for k, v in result.items()}
        self._tensors |= prefixed(stage, copied)
        self._done.append(stage)
        self._partial = None
        self._save()
        return copied

    def once(self, stage: str, make: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
        """Tensors of a stage that the first rank works out alone, and all others are given."""
        done = self.result(stage)
        if done is not None:
            return done
        if self.ranks.rank > 0:
            tensors, _ = unpack(self.ranks.same(b""))
            return self.finish(stage, tensors)
        done = self.finish(stage, make())
        if self.ranks.count > 1:
            self.ranks.same(pack(done, {}))
        return done

    def store(self, stage: str) -> CheckpointStore:
        """The store for a stage's own checkpoints while it runs."""
        return _StageStore(self, stage)

    def _save(self) -> None:
        tensors = dict(self._tensors)
        facts: dict[str, object] = {"done": self._done, "stage": "", "format": FORMAT}
        if self._partial is not None:
            facts["stage"] = self._partial[0]
            tensors[_PARTIAL] = torch.frombuffer(bytearray(self._partial[1]), dtype=torch.uint8)
        self._store.save(pack(tensors, facts))


@dataclass(frozen=True)
class _StageStore:
    stages: Stages
    stage: str

    def load(self) -> bytes | None:
        partial = self.stages._partial
        return partial[1] if partial is not None and partial[0] == self.stage else None

    def save(self, data: bytes) -> None:
        self.stages._partial = (self.stage, data)
        self.stages._save()
