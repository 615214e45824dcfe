"""The gradient engine against a float64 reference, one patient at a time, and its edge cases."""

from __future__ import annotations

import math

import pytest
import torch
from engine_reference import (
    CLIP,
    NAMES,
    build,
    distance,
    loss,
    noise_of,
    noiseless,
    reference,
    trainer_of,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.networks.nets import AutoencoderKL
from torch import nn

from medvae.errors import UsageError
from medvae.privacy import DPTrainer, Mechanism, PoissonSampler
from medvae.privacy.convolution import LeanConvolutions


@settings(deadline=None, max_examples=20)
@given(
    layers=st.lists(st.sampled_from(NAMES), min_size=1, max_size=3),
    channels=st.sampled_from([2, 4]),
    size=st.integers(3, 5),
    views=st.lists(st.integers(1, 3), max_size=3),
    scale=st.sampled_from([1e-3, 1.0, 1e3]),
    clipping=st.sampled_from(["flat", "auto-s"]),
    seed=st.integers(0, 999),
)
def test_clipping_agrees_with_a_float64_reference(
    layers, channels, size, views, scale, clipping, seed
) -> None:
    model = build(layers, channels, size, seed).double()
    generator = torch.Generator().manual_seed(seed)
    patients = [
        scale * torch.randn(k, 1, size, size, size, generator=generator, dtype=torch.float64)
        for k in views
    ]
    found = noiseless(model, patients, clipping=clipping)
    assert distance(found, reference(model, patients, CLIP, clipping)) <= 1e-6


@pytest.mark.parametrize("name", NAMES)
def test_float32_agrees_up_to_the_rounding_of_its_own_gradients(name: str) -> None:
    model = build([name, "silu"], 4, 6, 1)
    patients = [
        torch.randn(k, 1, 6, 6, 6, generator=torch.Generator().manual_seed(k)) for k in (1, 2, 1)
    ]
    # The same float32 gradients, clipped in float64: what the engine adds is 1e-6 at most.
    with LeanConvolutions():
        expected = reference(model, patients, CLIP, "flat")
    assert distance(noiseless(model, patients), expected) <= 1e-6
    assert (
        distance(
            noiseless(model, patients),
            reference(model.double(), [p.double() for p in patients], CLIP, "flat"),
        )
        <= 2e-5
    )


@settings(deadline=None, max_examples=25)
@given(
    count=st.integers(0, 4),
    scale=st.sampled_from([0.0, 1e-3, 1.0, 1e3, 1e6, 1e18, math.nan, math.inf]),
    clipping=st.sampled_from(["flat", "auto-s"]),
    chunk=st.sampled_from([1, 3]),
    precision=st.sampled_from(["fp32", "bf16"]),
)
def test_one_patient_moves_the_sum_by_the_clip_norm_at_most(
    count, scale, clipping, chunk, precision
) -> None:
    model = build(["conv", "group norm", "silu"], 2, 4, 3)
    generator = torch.Generator().manual_seed(count)
    others = [torch.randn(2, 1, 4, 4, 4, generator=generator) for _ in range(count)]
    one = torch.randn(2, 1, 4, 4, 4, generator=generator) * scale
    options = {"clipping": clipping, "chunk": chunk, "precision": precision}
    base = noiseless(model, others, **options)
    for moved in ([*others, one], [one, *others]):
        difference = (noiseless(model, moved, **options).double() - base.double()).norm()
        assert difference <= CLIP * (1 + 1e-5)


def test_a_patient_scaled_by_a_thousand() -> None:
    model = build(["conv", "silu"], 4, 5, 0)
    patients = [
        torch.randn(1, 1, 5, 5, 5, generator=torch.Generator().manual_seed(i)) for i in range(3)
    ]
    base = noiseless(model, patients[:2]).double()
    added = noiseless(model, patients).double()
    scaled = noiseless(model, [*patients[:2], patients[2] * 1e3]).double()
    assert (added - base).norm() <= CLIP * (1 + 1e-5)
    assert (scaled - base).norm() <= CLIP * (1 + 1e-5)
    assert (scaled - base).norm() >= CLIP * 0.999  # it is clipped, not dropped


def sum_of(rows: torch.Tensor) -> torch.Tensor:
    """The engine's sum of clipped gradients, given as rows [patients, dimension]."""
    optimizer = trainer_of(nn.Linear(rows.shape[1], 1, bias=False))._optimizer
    optimizer.accumulate([rows[:, None]])
    return optimizer.sums()[0].flatten().double() * optimizer._lattice.grid


@pytest.mark.parametrize("size", [-1e5, 1e-4, 1.0])
def test_among_thousands_one_patient_moves_the_sum_by_the_clip_norm_at_most(size: float) -> None:
    # Careless: a float32 sum, which rounds differently after every change before it.
    generator = torch.Generator().manual_seed(0)
    rows = 1 + 0.02 * torch.randn(4000, 64, generator=generator)
    more = torch.cat([torch.full((1, 64), size), rows])
    own = min(CLIP, abs(size) * 8)
    assert (sum_of(more) - sum_of(rows)).norm() <= own * (1 + 1e-6)


def test_the_largest_gradients_are_clipped_to_the_same_norm() -> None:
    # Careless: a float32 factor, which has next to no digits left below 1e-38.
    rows = torch.full((1, 1_000_000), 3e38)
    assert sum_of(rows).norm() == pytest.approx(CLIP, rel=1e-6)


@pytest.mark.parametrize("chunk", [1, 2])
@pytest.mark.parametrize("nobody", [None, torch.empty(0, 1, 4, 4, 4)])
def test_a_patient_without_views_counts_as_zero(chunk: int, nobody: torch.Tensor | None) -> None:
    model = build(["group norm", "transposed"], 2, 4, 0)
    one = torch.randn(1, 1, 4, 4, 4, generator=torch.Generator().manual_seed(0))
    trainer = trainer_of(model, chunk=chunk)
    info = trainer.step(0, [nobody, one, nobody], loss)
    assert (info.patients, info.zeroed) == (3, 2)
    base = noiseless(model, [one], chunk=chunk)
    assert torch.equal(noiseless(model, [nobody, one, nobody], chunk=chunk), base)


@pytest.mark.parametrize("chunk", [1, 2])
def test_shared_parameters_are_clipped_once(chunk: int) -> None:
    first, second = nn.Linear(3, 3), nn.Linear(3, 3)
    second.weight = first.weight
    model = nn.Sequential(first, nn.Tanh(), second)
    patients = [torch.ones(1, 3), torch.full((1, 3), 2.0)]
    found = noiseless(model, patients, chunk=chunk)
    assert len(found) == 9 + 3 + 3
    assert distance(found, reference(model, patients, CLIP, "flat")) < 1e-5


class Odd(nn.Module):
    """Parameters of no dimension, of no elements, of two types, and one that nothing reaches."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(2.0))
        self.nothing = nn.Parameter(torch.empty(0, 3))
        self.long = nn.Parameter(torch.ones(3, dtype=torch.float64))
        self.unused = nn.Parameter(torch.ones(2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (self.scale * x * self.long).sum() + self.nothing.sum()


@pytest.mark.parametrize("chunk", [1, 2])
def test_parameters_of_odd_shapes(chunk: int) -> None:
    model = Odd()
    patients = [torch.tensor([1.0, -2.0, 3.0]), torch.zeros(3), torch.full((3,), 1e5)]
    expected = reference(model, patients, CLIP, "flat", lambda m, x: m(x))
    found = noiseless(model, patients, lambda m, x: m(x), chunk=chunk)
    assert distance(found, expected) <= 1e-6
    before = model.unused.detach().clone()
    trainer_of(model, chunk=chunk).step(0, patients, lambda m, x: m(x))
    assert not torch.equal(model.unused, before)  # noise reaches it all the same
    with pytest.raises(UsageError, match="out of turn"):
        trainer_of(model).step(False, patients, lambda m, x: m(x))


def test_a_whole_step_is_sum_plus_noise_over_the_divisor() -> None:
    patients = [
        torch.randn(2, 1, 4, 4, 4, generator=torch.Generator().manual_seed(i)) for i in range(3)
    ]
    start = build(["conv"], 2, 4, 5)
    expected = noiseless(start, patients).float()
    model = build(["conv"], 2, 4, 5)
    before = torch.cat([p.detach().reshape(-1).clone() for p in model.parameters()])
    trainer = trainer_of(model)
    info = trainer.step(0, patients, loss)
    after = torch.cat([p.detach().reshape(-1) for p in model.parameters()])
    noise = noise_of(len(before))
    assert (info.patients, info.zeroed) == (3, 0)
    assert torch.allclose(before - after, ((expected + noise) / 4.0).float(), atol=2e-6)
    assert all(p.grad is None and p.summed_grad is None for p in model.parameters())
    assert all(not isinstance(kept, torch.Tensor) for kept in vars(trainer._optimizer).values())


def test_noise_has_the_planned_size_in_the_weights() -> None:
    model = nn.Linear(200, 200, bias=False)
    before = model.weight.detach().clone()
    trainer_of(model, mechanism=Mechanism("x", 1.0, 1, 2.5)).step(0, [], loss)
    moved = (model.weight.detach() - before).std()
    assert moved == pytest.approx(2.5 * CLIP / 4.0, rel=0.02)


def run_steps(first: int, last: int, trainer: DPTrainer) -> None:
    sampler = PoissonSampler(bytes(32), 6, 0.5, "test")
    volumes = [
        torch.randn(1, 1, 4, 4, 4, generator=torch.Generator().manual_seed(i)) for i in range(6)
    ]
    for step in range(first, last):
        trainer.step(step, (volumes[i] for i in sampler.batch(step)), loss)


@pytest.mark.parametrize("name", ["SGD", "AdamW", "RMSprop", "NAdam"])
def test_a_resumed_trainer_is_bit_identical(name: str) -> None:
    def fresh() -> DPTrainer:
        model = build(["conv", "group norm"], 2, 4, 5)
        optimizer = {
            "SGD": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9),
            "AdamW": lambda p: torch.optim.AdamW(p, lr=0.01),
            "RMSprop": lambda p: torch.optim.RMSprop(p, lr=0.01),
            "NAdam": lambda p: torch.optim.NAdam(p, lr=0.01),
        }[name](model.parameters())
        return trainer_of(model, optimizer=optimizer, ema=0.8)

    whole = fresh()
    run_steps(0, 6, whole)
    for cut in (0, 1, 4):
        first = fresh()
        run_steps(0, cut, first)
        saved = {key: value.clone() for key, value in first.state_dict().items()}
        second = fresh()
        second.load_state_dict(saved)
        run_steps(cut, 6, second)
        ours, theirs = second.state_dict(), whole.state_dict()
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[key], theirs[key]) for key in ours)


@pytest.mark.parametrize(
    "changes",
    [
        {"clip": 0.8},
        {"divisor": 5.0},
        {"clipping": "auto-s"},
        {"ema": 0.5},
        {"mechanism": Mechanism("test", 0.5, 51, 1.0)},
        {"mechanism": Mechanism("test", 0.5, 50, 0.9)},
    ],
)
def test_a_state_of_another_plan_is_refused(changes) -> None:
    state = trainer_of(build(["conv"], 2, 4, 5)).state_dict()
    with pytest.raises(UsageError, match="another plan"):
        trainer_of(build(["conv"], 2, 4, 5), **changes).load_state_dict(state)
    with pytest.raises(UsageError):
        trainer_of(build(["conv", "conv"], 2, 4, 5)).load_state_dict(state)
    for key in ("trainer/identity", "weight/0.weight", "trainer/step"):
        broken = {name: value for name, value in state.items() if name != key}
        with pytest.raises(UsageError):
            trainer_of(build(["conv"], 2, 4, 5)).load_state_dict(broken)


def test_steps_are_taken_in_turn_and_no_more_than_were_charged() -> None:
    model = nn.Linear(3, 3)
    trainer = trainer_of(model, mechanism=Mechanism("x", 1.0, 2, 1.0))
    with pytest.raises(UsageError, match="out of turn"):
        trainer.step(1, [], loss)
    trainer.step(0, [], loss)
    with pytest.raises(UsageError, match="out of turn"):
        trainer.step(0, [], loss)
    trainer.step(1, [], loss)
    with pytest.raises(UsageError, match="have been taken"):
        trainer.step(2, [], loss)


def test_a_step_that_failed_has_not_happened() -> None:
    patients = [torch.ones(1, 3), torch.ones(1, 3)]
    model, other = nn.Linear(3, 3), nn.Linear(3, 3)
    other.load_state_dict(model.state_dict())
    trainer = trainer_of(model)

    def failing(m: nn.Module, x: torch.Tensor) -> torch.Tensor:
        if failing.calls:
            raise RuntimeError("out of memory")
        failing.calls = 1
        return loss(m, x)

    failing.calls = 0
    with pytest.raises(RuntimeError, match="out of memory"):
        trainer.step(0, patients, failing)
    assert torch.equal(model.weight, other.weight)
    assert all(p.summed_grad is None and p.grad is None for p in model.parameters())
    assert all(not isinstance(kept, torch.Tensor) for kept in vars(trainer._optimizer).values())
    trainer.step(0, patients, loss)
    trainer_of(other).step(0, patients, loss)
    assert torch.equal(model.weight, other.weight)


def test_a_step_that_broke_off_while_weights_moved_is_not_done_again() -> None:
    # Careless: the same noise meets the gradients of weights that have moved already.
    class Breaking(torch.optim.SGD):
        broken = True

        def step(self, closure=None):
            super().step(closure)
            if self.broken:
                raise MemoryError

    model = nn.Linear(3, 3)
    optimizer = Breaking(model.parameters(), lr=1.0)
    trainer = trainer_of(model, optimizer=optimizer)
    saved = trainer.state_dict()
    patients = [torch.ones(1, 3)]
    with pytest.raises(MemoryError):
        trainer.step(0, patients, loss)
    Breaking.broken = False
    with pytest.raises(UsageError, match="noise twice"):
        trainer.step(0, patients, loss)
    trainer.load_state_dict(saved)
    trainer.step(0, patients, loss)
    other = nn.Linear(3, 3)
    with torch.no_grad():
        other.weight.copy_(saved["weight/weight"])
        other.bias.copy_(saved["weight/bias"])
    trainer_of(other).step(0, patients, loss)
    assert torch.equal(model.weight, other.weight)


def test_moving_average() -> None:
    model = nn.Linear(3, 3)
    trainer = trainer_of(model, ema=0.9)
    expected = model.weight.detach().clone()
    for step in range(3):
        trainer.step(step, [torch.ones(1, 3)], loss)
        expected = 0.9 * expected + 0.1 * model.weight.detach()
    assert torch.allclose(trainer.weights()["weight"], expected, atol=1e-6)
    assert not torch.equal(trainer.weights()["weight"], model.weight)


def test_only_trainable_parameters_move() -> None:
    model = build(["conv", "group norm"], 2, 4, 5)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_("bias" in name)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    biases = [p for p in model.parameters() if p.requires_grad]
    trainer = trainer_of(model, optimizer=torch.optim.SGD(biases, lr=1.0))
    run_steps(0, 2, trainer)
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, before[name]) != ("bias" in name), name
    assert set(trainer.weights()) == {name for name in before if "bias" in name}


def test_bf16_keeps_weights_clipping_and_sums_in_full_precision() -> None:
    model = build(["conv", "group norm", "silu"], 4, 6, 1)
    patients = [
        torch.randn(1, 1, 6, 6, 6, generator=torch.Generator().manual_seed(i)) for i in range(3)
    ]
    exact = noiseless(model, patients)
    half = noiseless(model, patients, precision="bf16")
    assert half.dtype == torch.float64
    assert 1e-5 < distance(half, exact.double()) < 0.05
    trainer = trainer_of(model, precision="bf16")
    trainer.step(0, patients, loss)
    assert all(p.dtype == torch.float32 for p in model.parameters())


@pytest.mark.parametrize(
    "changes",
    [
        {"clip": 0.0},
        {"clip": -1.0},
        {"clip": math.nan},
        {"clip": math.inf},
        {"divisor": 0.0},
        {"divisor": math.nan},
        {"clipping": "none"},
        {"precision": "fp16"},
        {"chunk": -1},
        {"ema": 1.0},
        {"ema": math.nan},
    ],
)
def test_constants_that_cannot_be_are_refused(changes) -> None:
    with pytest.raises(UsageError):
        trainer_of(nn.Linear(3, 3), **changes)


def test_model_and_optimizer_must_fit() -> None:
    model = nn.Linear(3, 3)
    with pytest.raises(UsageError, match="not in the optimizer"):
        trainer_of(model, optimizer=torch.optim.SGD([model.weight], lr=1.0))
    with pytest.raises(UsageError, match="no other"):
        trainer_of(
            model,
            optimizer=torch.optim.SGD([*model.parameters(), nn.Parameter(torch.ones(2))], lr=1.0),
        )
    with pytest.raises(UsageError, match="one number"):
        trainer_of(model).step(0, [torch.ones(2, 3)], lambda m, x: m(x).mean(1))
    with pytest.raises(UsageError, match="trainable"):
        trainer_of(model).step(0, [torch.ones(2, 3)], lambda m, x: m(x).mean().detach())


def test_channels_last_weights() -> None:
    model = build(["conv", "silu"], 4, 5, 0)
    patients = [
        torch.randn(2, 1, 5, 5, 5, generator=torch.Generator().manual_seed(i)) for i in range(2)
    ]
    plain = noiseless(model, patients)
    other = build(["conv", "silu"], 4, 5, 0).to(memory_format=torch.channels_last_3d)
    assert distance(noiseless(other, patients), plain.double()) < 1e-5
    one, two = trainer_of(model), trainer_of(other)
    one.step(0, patients, loss)
    two.step(0, patients, loss)
    for a, b in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-5)


def test_monai_autoencoder_learns_and_survives_an_empty_batch() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = AutoencoderKL(
            spatial_dims=3,
            in_channels=1,
            out_channels=1,
            channels=(8, 8),
            latent_channels=2,
            num_res_blocks=1,
            norm_num_groups=4,
            attention_levels=(False, False),
            with_encoder_nonlocal_attn=False,
            with_decoder_nonlocal_attn=False,
        )

    def reconstruct(m: nn.Module, views: torch.Tensor) -> torch.Tensor:
        mean, _ = m.encode(views)
        return (m.decode(mean) - views).square().mean()

    grid = torch.linspace(0, 3, 16)
    volumes = [
        torch.sin(grid + i)[None, None, :, None, None].expand(1, 1, 16, 16, 16) for i in range(4)
    ]
    trainer = trainer_of(
        model,
        optimizer=torch.optim.AdamW(model.parameters(), lr=3e-3),
        mechanism=Mechanism("x", 1.0, 20, 0.05),
        chunk=0,
    )
    with torch.no_grad():
        before = sum(float(reconstruct(model, v)) for v in volumes)
    trainer.step(0, [], reconstruct)
    for step in range(1, 12):
        trainer.step(step, volumes, reconstruct)
    with torch.no_grad():
        after = sum(float(reconstruct(model, v)) for v in volumes)
    assert after < 0.7 * before


def test_any_number_of_threads_gives_the_same_bits() -> None:
    def run(threads: int) -> torch.Tensor:
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            model = build(["conv", "group norm", "attention", "checkpoint"], 4, 6, 3)
            trainer = trainer_of(model, optimizer=torch.optim.AdamW(model.parameters(), lr=0.01))
            random = torch.Generator().manual_seed(0)
            patients = [torch.randn(2, 1, 6, 6, 6, generator=random) for _ in range(7)]
            for step in range(2):
                info = trainer.step(step, iter([*patients, None]), loss)
                assert (info.patients, info.zeroed) == (8, 1)
            assert torch.get_num_threads() == threads
        finally:
            torch.set_num_threads(before)
        return torch.cat([p.detach().reshape(-1) for p in model.parameters()])

    alone = run(1)
    assert torch.equal(run(2), alone)
    assert torch.equal(run(4), alone)


def test_an_exception_in_a_thread_is_raised_and_the_step_can_be_run_again() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        model = build(["conv"], 2, 4, 3)
        trainer, start = trainer_of(model), [p.detach().clone() for p in model.parameters()]
        patients = [torch.full((1, 1, 4, 4, 4), float(i)) for i in range(5)]

        def failing(m: nn.Module, x: torch.Tensor) -> torch.Tensor:
            if float(x.max()) == 3.0:
                raise ValueError("broken patient")
            return loss(m, x)

        with pytest.raises(ValueError, match="broken patient"):
            trainer.step(0, patients, failing)
        assert all(torch.equal(a, b) for a, b in zip(start, model.parameters(), strict=True))
        assert trainer.step(0, patients, loss).patients == 5
    finally:
        torch.set_num_threads(before)
