"""The two dozen known ways of losing the guarantee silently, each by its number.

Numbers are those of the project's notes on Opacus 1.6. Each test is an input, or a mutant of the
engine, on which a careless implementation fails; `careless` marks what such a one would do.

| what is lost | pitfalls |
|---|---|
| each patient's gradient clipped by itself, and all of it | 1-4, 6, 13, 15, 16, 22 |
| public constants | 5, 9, 19 |
| nothing moves off the books | 7, 8, 21 |
| a batch of nobody is a step like any other | 10-12 |
| one patient, or one failure, cannot spoil a step | 17, 18 |
| memory that grows with the square of the tokens | 14 |
| batches and noise that cannot be foreseen, as the accountants assume them | 20, 23, 24 |
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from engine_reference import (
    CLIP,
    Checkpointed,
    build,
    distance,
    loss,
    noise_of,
    noiseless,
    reference,
    trainer_of,
)
from monai.networks.nets import VQVAE, AutoencoderKL
from test_parallel import weights
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from medvae.errors import MedvaeError, UsageError
from medvae.privacy import Mechanism, PoissonSampler, StepInfo, check, make_plan
from medvae.privacy.lattice import Lattice


def volumes(count: int, size: int = 4) -> list[torch.Tensor]:
    return [
        torch.randn(1, 1, size, size, size, generator=torch.Generator().manual_seed(i))
        for i in range(count)
    ]


def autoencoder() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return AutoencoderKL(
            spatial_dims=3,
            in_channels=1,
            out_channels=1,
            channels=(4, 4),
            latent_channels=2,
            num_res_blocks=1,
            norm_num_groups=2,
            attention_levels=(False, False),
            with_encoder_nonlocal_attn=False,
            with_decoder_nonlocal_attn=False,
        )


def flat(model: nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().reshape(-1) for p in model.parameters()]).clone()


@pytest.mark.parametrize("shape", [(1,), (1, 1), (3, 1)])
def test_pitfall_01_loss_of_another_shape(shape: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match="one number"):
        trainer_of(nn.Linear(3, 3)).step(
            0, [torch.ones(3, 3)], lambda m, x: m(x).sum(1)[: shape[0]].reshape(shape)
        )


def test_pitfall_02_a_term_averaged_over_the_batch() -> None:
    # Each patient's gradient is clipped before any sum: two that point against each other
    # cancel, whatever their sizes. Careless: clip the mean, and the larger one wins.
    model = nn.Linear(1, 1, bias=False)
    patients = [torch.tensor([[1e3]]), torch.tensor([[-1e6]])]

    def pull(m: nn.Module, x: torch.Tensor) -> torch.Tensor:
        return m(x).mean()

    assert abs(noiseless(model, patients, pull)).item() < 1e-6
    careless = torch.autograd.grad(pull(model, torch.cat(patients)), model.weight)[0]
    assert careless.abs().clamp(max=CLIP).item() == pytest.approx(CLIP)


def test_pitfall_03_another_backward_before_the_step() -> None:
    model = build(["conv"], 2, 4, 0)
    clean = noiseless(model, volumes(2)).float()
    trainer = trainer_of(model)
    (1e6 * loss(model, volumes(1)[0])).backward()
    for parameter in model.parameters():
        parameter.grad_sample = parameter.grad[None] * 1e6  # type: ignore[attr-defined]
        parameter.summed_grad = parameter.grad * 1e6  # type: ignore[attr-defined]
    before = flat(model)
    trainer.step(0, volumes(2), loss)
    noise = noise_of(len(before))
    assert torch.allclose(before - flat(model), (clean.float() + noise) / 4.0, atol=1e-5)


def test_pitfall_03_sums_that_others_write_to_during_the_step() -> None:
    def meddling(m: nn.Module, x: torch.Tensor) -> torch.Tensor:
        for parameter in m.parameters():
            parameter.summed_grad = torch.full_like(parameter, 1e6)  # type: ignore[attr-defined]
        return loss(m, x)

    clean = noiseless(build(["conv"], 2, 4, 0), volumes(2))
    assert torch.equal(noiseless(build(["conv"], 2, 4, 0), volumes(2), meddling), clean)


def test_pitfall_03_parameters_that_are_frozen_during_the_step() -> None:
    model = build(["conv"], 2, 4, 0)
    trainer, before = trainer_of(model), flat(model)
    last = list(model.parameters())[-1]

    def freezing(m: nn.Module, x: torch.Tensor) -> torch.Tensor:
        value = loss(m, x)
        last.requires_grad_(len(seen) == 0)
        seen.append(x)
        return value

    seen: list[torch.Tensor] = []
    with pytest.raises(MedvaeError, match="trainable may not change"):
        trainer.step(0, volumes(3), freezing)
    # A further patient may have been under way in another thread.
    assert 2 <= len(seen) <= 3
    assert torch.equal(flat(model), before)
    assert last.summed_grad is None
    assert all(not isinstance(kept, torch.Tensor) for kept in vars(trainer._optimizer).values())


def test_pitfall_03_another_parameter_that_is_trainable_instead() -> None:
    model = nn.Sequential(nn.Linear(3, 2, bias=False), nn.Linear(2, 1, bias=False))
    first, second = model.parameters()
    optimizer = trainer_of(model)._optimizer
    second.requires_grad_(False)
    optimizer.accumulate([torch.ones(1, 2, 3)])
    first.requires_grad_(False)
    second.requires_grad_(True)
    with pytest.raises(MedvaeError, match="trainable may not change"):
        optimizer.accumulate([torch.ones(1, 1, 2)])


def test_pitfall_04_clipping_that_does_not_clip() -> None:
    with pytest.raises(UsageError, match="clipping"):
        trainer_of(nn.Linear(3, 3), clipping="adaptive")
    patients = [1e6 * one for one in volumes(3)]
    assert noiseless(build(["conv"], 2, 4, 0), patients).norm() <= 3 * CLIP * (1 + 1e-6)


def test_pitfall_05_constants_that_follow_the_batch() -> None:
    model = build(["conv"], 2, 4, 0)
    trainer = trainer_of(model)
    for step, count in enumerate((0, 3, 1)):
        trainer.step(step, volumes(count), loss)
        assert trainer._optimizer.max_grad_norm == CLIP
        assert trainer._optimizer.expected_batch_size == 4.0
        assert trainer._optimizer.noise_multiplier == 1.0


def test_pitfall_06_two_backward_calls() -> None:
    model = build(["conv"], 2, 4, 0)
    views = torch.cat(volumes(2))

    def twice(m: nn.Module, x: torch.Tensor) -> torch.Tensor:
        (loss(m, x[:1]) / 2).backward()
        return loss(m, x[1:]) / 2

    expected = reference(model, [views], CLIP, "flat")
    assert distance(noiseless(model, [views], twice), expected) < 1e-5
    huge = noiseless(model, [views], lambda m, x: 1e6 * twice(m, 1e3 * x))
    assert huge.norm() <= CLIP * (1 + 1e-5)


def test_pitfall_07_codebooks_that_move_without_noise() -> None:
    model = VQVAE(
        spatial_dims=3,
        in_channels=1,
        out_channels=1,
        channels=(4,),
        num_res_channels=4,
        num_res_layers=1,
        downsample_parameters=((2, 4, 1, 1),),
        upsample_parameters=((2, 4, 1, 1, 0),),
        num_embeddings=4,
        embedding_dim=2,
    )
    with pytest.raises(UsageError, match="codebook"):
        check(model)


@pytest.mark.parametrize("kwargs", [{"affine": False}, {"track_running_stats": False}, {}])
@pytest.mark.parametrize("trainable", [True, False])
def test_pitfall_08_batch_normalisation_in_disguise(kwargs: dict, trainable: bool) -> None:
    layer = nn.BatchNorm3d(4, **kwargs).requires_grad_(trainable)
    with pytest.raises(UsageError, match="GroupNorm"):
        check(nn.Sequential(nn.Conv3d(1, 4, 3), layer))


def test_pitfall_09_constants_taken_from_the_number_of_samples() -> None:
    # One more patient moves the weights by clip / divisor at most. Careless: a divisor of
    # int(q N) or of the batch changes every weight.
    moved = []
    for count in (128, 129):
        model = nn.Linear(4, 4)
        nn.init.ones_(model.weight)
        nn.init.zeros_(model.bias)
        before = flat(model)
        x = torch.ones(1, 4)
        trainer_of(model, divisor=128.0).step(0, [x] * count, lambda m, v: m(v).mean())
        moved.append(flat(model) - before)
    assert (moved[1] - moved[0]).norm() <= CLIP / 128 * (1 + 1e-4)
    assert (moved[1] * 128 / 129 - moved[0]).norm() < (moved[0]).norm()


@pytest.mark.parametrize("make", [autoencoder, lambda: nn.ConvTranspose3d(1, 2, 3)])
@pytest.mark.parametrize("chunk", [0, 1, 4])
def test_pitfall_10_empty_batches(make, chunk: int) -> None:
    model = make()
    before = flat(model)
    info = trainer_of(model, chunk=chunk).step(0, [], loss)
    noise = noise_of(len(before), stream="test" if chunk == 1 else f"test chunk {chunk}")
    assert info == StepInfo(0, 0, 0)
    assert torch.allclose(before - flat(model), noise / 4.0, atol=1e-6)


def test_pitfall_11_an_empty_first_batch_of_mappings() -> None:
    model = build(["conv"], 2, 4, 0)
    trainer = trainer_of(model, chunk=2)
    named = [{"image": one, "weight": torch.ones(())} for one in volumes(3)]

    def weighted(m: nn.Module, patient: dict) -> torch.Tensor:
        return patient["weight"] * loss(m, patient["image"])

    assert trainer.step(0, [], weighted).patients == 0
    assert trainer.step(1, named, weighted).patients == 3


def test_pitfall_12_empty_local_batches_of_some_ranks() -> None:
    # "sparse": 5 patients at q = 0.2 on 3 ranks; most steps leave a rank, or all, without one.
    assert torch.allclose(weights(3, "sparse"), weights(1, "sparse"), atol=1e-5)


@pytest.mark.parametrize("reentrant", [True, False])
def test_pitfall_13_activation_checkpointing(reentrant: bool) -> None:
    inner = nn.Sequential(nn.Conv3d(1, 4, 3, padding=1), nn.SiLU(), nn.Conv3d(4, 1, 3))
    patients = [one.requires_grad_() for one in volumes(3)]
    plain = noiseless(inner, patients)
    assert plain.norm() > 0.1
    checkpointed = noiseless(Checkpointed(inner, reentrant), patients)
    assert distance(checkpointed, plain.double()) < 1e-5


class Largest(TorchDispatchMode):
    """The largest tensor that any operation makes."""

    elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if isinstance(out, torch.Tensor):
            self.elements = max(self.elements, out.numel())
        return out


def test_pitfall_14_no_gram_matrices_of_tokens() -> None:
    tokens, model = 4096, nn.Linear(4, 4)
    with Largest() as largest:
        noiseless(model, [torch.ones(tokens, 4)], lambda m, x: m(x).square().mean())
    assert 4 * tokens <= largest.elements < tokens * tokens / 64


def test_pitfall_15_linear_layers_on_many_dimensions() -> None:
    model = nn.Linear(3, 2)
    patients = [
        torch.randn(2, 4, 5, 6, 3, generator=torch.Generator().manual_seed(i)) for i in (1, 2)
    ]

    def square(m: nn.Module, x: torch.Tensor) -> torch.Tensor:
        return m(x).square().mean()

    expected = reference(model, patients, CLIP, "flat", square)
    for chunk in (1, 2):
        assert distance(noiseless(model, patients, square, chunk=chunk), expected) < 1e-5


def test_pitfall_16_a_branch_that_one_patient_does_not_use() -> None:
    model = nn.ModuleDict({"both": nn.Linear(1, 1), "some": nn.Linear(1, 1)})

    def branch(m: nn.Module, patient: tuple[torch.Tensor, bool]) -> torch.Tensor:
        x, uses = patient
        out = m["both"](x)
        return (m["some"](out) if uses else out).sum()

    first, second = (torch.full((1, 1), 9.0), True), (torch.full((1, 1), 7.0), False)
    expected = reference(model, [first], CLIP, "flat", branch)
    expected += reference(model, [second], CLIP, "flat", branch)
    for order in ([first, second], [second, first]):
        assert distance(noiseless(model, order, branch), expected) < 1e-6


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 3e38])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_pitfall_17_one_patient_cannot_spoil_the_sum(value: float, precision: str) -> None:
    model = build(["group norm", "silu"], 2, 4, 0)
    good = volumes(2)
    bad = good[0].clone()
    bad[0, 0, 1, 2, 3] = value
    base = noiseless(model, good, precision=precision)
    found = noiseless(model, [good[0], bad, good[1]], precision=precision)
    assert found.isfinite().all()
    assert (found - base).norm() <= CLIP * (1 + 1e-5)
    if value != 3e38:
        assert torch.equal(found, base)
    # A finite loss with an infinite gradient, and an infinite loss.
    for spoil in (lambda v: v.sqrt() * 0, lambda v: v / 0):
        zero = noiseless(
            nn.Linear(1, 1), [torch.zeros(1, 1)], lambda m, x, f=spoil: f(m(x).sum() * x.sum())
        )
        assert zero.isfinite().all()


def test_pitfall_18_a_step_broken_off_leaves_nothing_behind() -> None:
    model = build(["conv"], 2, 4, 0)
    clean = noiseless(model, volumes(1)).float()

    def stop(m: nn.Module, x: torch.Tensor) -> torch.Tensor:
        raise KeyboardInterrupt

    def patients():
        yield volumes(3)[2]
        raise OSError("the store went away")

    trainer = trainer_of(model)
    with pytest.raises(OSError, match="went away"):
        trainer.step(0, patients(), loss)
    with pytest.raises(KeyboardInterrupt):
        trainer.step(0, volumes(1), stop)
    assert trainer._optimizer._step_skip_queue == []
    before = flat(model)
    trainer.step(0, volumes(1), loss)
    noise = noise_of(len(before))
    assert torch.allclose(before - flat(model), (clean.float() + noise) / 4.0, atol=1e-5)


def test_pitfall_19_steps_and_rate_are_those_of_the_plan() -> None:
    from medvae.privacy import StageRequest

    plan = make_plan([StageRequest("f", 1.0, 0.3, 7)], patients=10, epsilon=8.0)
    one = plan.mechanism("f")
    assert (one.sample_rate, one.steps) == (0.3, 7)  # careless: int(1 / 0.3) = 3 a pass
    sampler = PoissonSampler(bytes(32), 10, one.sample_rate, one.name)
    sizes = {len(sampler.batch(step)) for step in range(200)}
    assert len(sizes) > 4  # careless: drop_last leaves batches of one size


def test_pitfall_20_torch_seeds_change_nothing() -> None:
    results = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        batch = PoissonSampler(bytes(32), 50, 0.5, "a").batch(0)
        results.append((batch, noise_of(9).tolist()))
    assert results[0] == results[1] == results[2]
    state = torch.get_rng_state()
    noise_of(9)
    assert torch.equal(state, torch.get_rng_state())


def test_pitfall_21_nothing_un_noised_is_handed_out() -> None:
    assert {field.name for field in dataclasses.fields(StepInfo)} == {"step", "patients", "zeroed"}
    assert "PRIVATE" in (StepInfo.__doc__ or "")
    trainer = trainer_of(build(["conv"], 2, 4, 0), ema=0.5)
    trainer.step(0, volumes(2), loss)
    allowed = {"trainer/step", "trainer/chunk", "trainer/identity"}
    rest = [key for key in trainer.state_dict() if key not in allowed]
    assert all(key.split("/")[0] in {"weight", "average", "tensor", "number"} for key in rest)


def test_pitfall_22_a_discriminator_beside_the_books() -> None:
    model = nn.ModuleDict({"generator": nn.Linear(2, 2), "discriminator": nn.Linear(2, 1)})
    with pytest.raises(UsageError, match="discriminator"):
        trainer_of(model, optimizer=torch.optim.SGD(model["generator"].parameters(), lr=1.0))
    # Inside one trainer its gradient is clipped together with the generator's.
    found = noiseless(
        model, [torch.ones(1, 2) * 1e3], lambda m, x: m["discriminator"](m["generator"](x)).mean()
    )
    assert found.norm() <= CLIP * (1 + 1e-6)


def test_pitfall_23_batches_are_poisson_and_not_shuffled() -> None:
    sampler = PoissonSampler(bytes(32), 20, 0.25, "a")
    passes = [np.concatenate([sampler.batch(4 * i + j) for j in range(4)]) for i in range(50)]
    # Careless: every pass over shuffled batches sees every patient exactly once.
    assert all(len(np.unique(one)) < 20 for one in passes[:20])
    assert np.var([len(sampler.batch(step)) for step in range(400)]) > 2.0


def test_pitfall_24_noise_and_sum_share_one_grid() -> None:
    # Careless: a float normal times a deviation, whose values leave holes in the output space.
    model = nn.Linear(50, 50).double()
    nn.init.zeros_(model.weight)
    nn.init.zeros_(model.bias)
    trainer = trainer_of(model, clip=1.0, divisor=1.0, mechanism=Mechanism("test", 0.5, 9, 1.3))
    patient = torch.full((1, 50), 0.123, dtype=torch.float64)
    trainer.step(0, [patient], lambda m, x: m(x).square().mean() + m.bias.sum())
    steps = flat(model) / Lattice.of(1.3, 1.0).grid
    assert torch.equal(steps, steps.round())
    assert len(set((steps % 64).tolist())) == 64


def test_every_pitfall_has_its_test() -> None:
    numbers = {name.split("_")[2] for name in globals() if name.startswith("test_pitfall_")}
    assert sorted(numbers) == [f"{number:02}" for number in range(1, 25)]
