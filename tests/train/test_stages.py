"""A run's state over its stages."""

from __future__ import annotations

import torch

from medvae.model.artifact import FORMAT
from medvae.train.stages import Stages
from medvae.train.state import pack, unpack


class Memory:
    """The newest checkpoint."""

    def __init__(self) -> None:
        self.data: bytes | None = None

    def load(self) -> bytes | None:
        return self.data

    def save(self, data: bytes) -> None:
        self.data = data


def test_finished_stages_are_found_again() -> None:
    store = Memory()
    Stages.resume(store).finish("atlas", {"mean": torch.ones(3)})
    found = Stages.resume(store).result("atlas")
    assert found is not None
    assert torch.equal(found["mean"], torch.ones(3))


def test_what_the_broken_noise_of_an_earlier_format_made_is_made_again() -> None:
    """Or a resumed run would be sealed as a model whose noise protects."""
    store = Memory()
    stages = Stages.resume(store)
    stages.finish("atlas", {"mean": torch.ones(3)})
    stages.store("finetune").save(b"half-way")
    assert store.data is not None
    tensors, facts = unpack(store.data)
    assert facts["format"] == FORMAT
    for earlier in (1, None):
        old = {name: value for name, value in facts.items() if name != "format"}
        store.data = pack(tensors, old if earlier is None else old | {"format": earlier})
        again = Stages.resume(store)
        assert again.result("atlas") is None
        assert again.store("finetune").load() is None
