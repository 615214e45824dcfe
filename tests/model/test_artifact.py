"""A model as bytes: back unchanged, or refused with a reason."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save

from medvae.config import RunConfig
from medvae.errors import BudgetError, IntegrityError, UsageError
from medvae.model import Artifact, load_model
from medvae.model.artifact import check_outgoing
from medvae.model.compress import compress
from medvae.model.export import export_model
from medvae.model.packing import pack, unpack
from medvae.train.public import public_artifact, start

CFG = RunConfig.model_validate(
    {
        "data": {"size": (8, 8, 8)},
        "model": {"preset": "tiny", "latent_channels": 8},
        "pretrain": {"init": None},
    }
)


def artifact() -> Artifact:
    return public_artifact(CFG, start(CFG))


def test_round_trip_gives_the_same_network() -> None:
    one = artifact()
    data = one.to_bytes()
    other = Artifact.from_bytes(data)
    assert other.facts == one.facts
    assert other.to_bytes() == data
    x = torch.rand(1, 1, 8, 8, 8)
    assert torch.equal(load_model(one).encode(x)[0], load_model(other).encode(x)[0])


@settings(max_examples=60, deadline=None)
@given(position=st.floats(0, 1, exclude_max=True), cut=st.booleans())
def test_damage_is_refused_or_changes_nothing_but_weights(position: float, cut: bool) -> None:
    data = bytearray(artifact().to_bytes())
    where = int(position * len(data))
    if cut:
        data = data[:where]
    else:
        data[where] ^= 0x40
    try:
        damaged = Artifact.from_bytes(bytes(data))
        load_model(damaged)
    except IntegrityError:
        return
    assert not cut
    for value in damaged.tensors.values():
        assert not value.is_floating_point() or torch.isfinite(value).all()


def changed(**values: Any) -> bytes:
    one = artifact()
    facts = one.facts | values.pop("facts", {})
    tensors = one.tensors | values
    return save(
        {k: v.contiguous() for k, v in tensors.items() if v is not None},
        metadata={"facts": json.dumps(facts)},
    )


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "not a model"),
        (b"\xff" * 64, "not a model"),
        (changed(facts={"format": 3}), "format"),
        (changed(facts={"kind": "shareware"}), "kind"),
        (changed(**{"other.x": torch.zeros(1)}), "unknown tensor"),
        (changed(**{"model.latent_scale": torch.tensor(float("nan"))}), "not finite"),
    ],
)
def test_what_is_no_artifact_is_named(data: bytes, reason: str) -> None:
    with pytest.raises(IntegrityError, match=reason):
        Artifact.from_bytes(data)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"model.latent_scale": torch.zeros(3)}, "latent_scale has shape"),
        ({"model.extra": torch.zeros(3)}, "another network"),
        ({"model.latent_scale": None}, "another network"),
        ({"facts": {"model": {}}}, "description"),
    ],
)
def test_weights_of_another_network_are_refused(change: dict[str, Any], reason: str) -> None:
    with pytest.raises(IntegrityError, match=reason):
        load_model(Artifact.from_bytes(changed(**change)))


def test_the_torchscript_export_computes_the_same(tmp_path: Any) -> None:
    one = artifact()
    files = export_model(one, tmp_path / "out", "torchscript")
    assert {f.name for f in files} == {"encoder.pt", "decoder.pt", "model.json"}
    x = torch.rand(1, 1, 8, 8, 8)
    encoder = torch.jit.load(str(tmp_path / "out" / "encoder.pt"))
    torch.testing.assert_close(encoder(x), load_model(one).encode(x)[0])


def test_the_safetensors_export_reads_back(tmp_path: Any) -> None:
    one = artifact()
    weights, facts = export_model(one, tmp_path, "safetensors")
    assert Artifact.from_bytes(weights.read_bytes()).to_bytes() == one.to_bytes()
    assert json.loads(facts.read_text())["kind"] == "public"
    with pytest.raises(UsageError, match="--format"):
        export_model(one, tmp_path, "pickle")


def grown() -> Artifact:
    """A model whose networks say something: fresh ones start at nothing."""
    one = artifact()
    generator = torch.Generator().manual_seed(0)
    for name in one.part("model"):
        if "weight" in name:
            value = one.tensors[f"model.{name}"]
            value += 0.02 * torch.randn(value.shape, generator=generator)
    return one


@pytest.mark.parametrize(
    ("weights", "prune", "part", "loss"),
    [("bf16", 0.0, 0.6, 0.05), ("int8", 0.0, 0.45, 0.5), ("bf16", 0.5, 0.4, 3.0)],
)
def test_compression_is_small_and_states_its_loss(
    weights: str, prune: float, part: float, loss: float
) -> None:
    one = grown()
    made = Artifact.from_bytes(compress(one, weights, prune).to_bytes())
    facts = made.facts["compression"]
    assert facts["bytes_after"] < part * facts["bytes_before"]
    assert facts["bytes_after"] == pytest.approx(len(made.to_bytes()), rel=0.03)
    assert abs(facts["psnr_after"] - facts["psnr_before"]) < loss
    assert made.parameters() == one.parameters()
    assert made.facts["model"]["weights"].startswith(weights)
    x = torch.rand(1, 1, 8, 8, 8)
    assert not torch.equal(load_model(made).encode(x)[0], load_model(one).encode(x)[0])
    with pytest.raises(UsageError, match="already"):
        compress(made, weights)


def test_compression_to_an_unknown_form_is_refused() -> None:
    with pytest.raises(UsageError, match="int4"):
        compress(artifact(), "int4")
    with pytest.raises(UsageError, match="--prune"):
        compress(artifact(), "int8", 1.0)


@settings(max_examples=40, deadline=None)
@given(
    shape=st.lists(st.integers(1, 7), min_size=1, max_size=4),
    form=st.sampled_from(["bf16", "int8"]),
    prune=st.sampled_from([0.0, 0.3, 0.99]),
    seed=st.integers(0, 1000),
)
def test_packed_weights_come_back_within_half_a_step(
    shape: list[int], form: Any, prune: float, seed: int
) -> None:
    value = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    back = unpack(pack("w", value, form, prune))["w"].float()
    rows = value.flatten(1) if value.ndim > 1 else value[:, None]
    largest = rows.abs().amax(dim=1).view(-1, *[1] * (value.ndim - 1))
    bound = largest / 254 if form == "int8" else value.abs() / 256
    stays = back != 0
    assert bool((((back - value).abs() <= bound + 1e-7) | ~stays).all())
    dropped = int(prune * value.numel())
    assert int((~stays).sum()) >= dropped
    if dropped and bool(stays.any()):
        smallest = value.abs().flatten().sort().values[dropped - 1]
        assert float(value[stays].abs().min()) >= float(smallest)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({":step": None}, "does not consist"),
        ({":step": torch.ones(3)}, "lacks the step"),
        ({":kept": torch.zeros(1, dtype=torch.uint8)}, "another shape"),
        ({":shape": torch.tensor([1 << 40, 1 << 20])}, "another shape"),
        ({":int8": torch.zeros(2, dtype=torch.int8)}, "bits say otherwise"),
        ({":strange": torch.zeros(1)}, "does not consist"),
    ],
)
def test_packed_weights_that_do_not_fit_are_refused(change: dict[str, Any], reason: str) -> None:
    packed = pack("w", torch.randn(8, 40), "int8", 0.4)
    for suffix, value in change.items():
        packed[f"w{suffix}"] = value
    kept = {name: value for name, value in packed.items() if value is not None}
    with pytest.raises(IntegrityError, match=reason):
        unpack(kept)


@pytest.mark.parametrize("version", [1, 2])
def test_both_formats_open(version: int) -> None:
    assert Artifact.from_bytes(changed(facts={"format": version})).facts["format"] == version
    assert artifact().facts["format"] == 2


def test_what_may_leave() -> None:
    """Positive evidence only: public, or private in the format whose noise protects."""
    check_outgoing({"kind": "public", "format": 1})
    check_outgoing({"kind": "private", "format": 2})
    for facts in (
        {"kind": "private", "format": 1},
        {"kind": "private", "format": 3},
        {"kind": "private"},
        {"kind": "unprotected", "format": 2},
        {"format": 2},
        {},
    ):
        with pytest.raises(BudgetError, match="may not leave"):
            check_outgoing(facts)
