"""Which gradients may be recorded and replayed, and that replays are found out when they differ.

What decides is the same on every device; the recording itself runs where CUDA is.
"""

from __future__ import annotations

import contextlib
import functools
import random
from collections.abc import Callable

import pytest
import torch
from engine_reference import NAMES, build, distance, loss, noiseless, trainer_of
from torch import nn
from torch.utils import _pytree

from medvae.config import ModelConfig
from medvae.model.presets import build as build_vae
from medvae.privacy import batched, engine, graphs
from medvae.privacy.backward import Backward
from medvae.privacy.capturable import examine, hooked, same_function
from medvae.privacy.graphs import GradientGraphs

CPU = torch.device("cpu")
cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


def volumes(count: int, size: int = 5) -> list[torch.Tensor]:
    return [
        torch.randn(1, 1, size, size, size, generator=torch.Generator().manual_seed(i))
        for i in range(count)
    ]


def backward_of(model: nn.Module) -> Backward:
    return Backward([name for name, _ in model.named_parameters()], "fp32", CPU)


def running_again(run: Callable[[], list[torch.Tensor]]) -> Callable[[], list[torch.Tensor]]:
    """What a recording on a processor is: the same computation on the same tensors."""
    run()
    return run


def wrong(run: Callable[[], list[torch.Tensor]]) -> Callable[[], list[torch.Tensor]]:
    found = run()
    return lambda: found


def graphs_of(model: nn.Module, record=running_again) -> GradientGraphs:
    made = GradientGraphs(model, backward_of(model).one, record)
    made.begin()
    return made


def reason_of(model: nn.Module, losses, patient=None) -> str | None:
    run = functools.partial(
        backward_of(model).one, model, volumes(1)[0] if patient is None else patient, losses
    )
    return examine(run, CPU)


@pytest.mark.parametrize("name", NAMES)
def test_networks_of_plain_layers_may_be_recorded(name: str) -> None:
    assert reason_of(build([name, "silu"], 4, 5, 0), loss) is None


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("kind", ["conv", "transformer"])
def test_the_networks_of_the_product_may_be_recorded(dims: int, kind: str) -> None:
    model = build_vae(ModelConfig(kind=kind, preset="tiny", latent_channels=4), dims=dims)
    x = torch.rand(2, 1, *[16] * dims)
    noise = torch.rand(2, *model.latent_shape(tuple(x.shape[2:])))
    backward = backward_of(model)
    found = examine(
        lambda: backward.one(model, (x, noise), lambda m, item: m.loss(*item).mean()), CPU
    )
    assert found is None


def noisy(m: nn.Module, x: torch.Tensor) -> torch.Tensor:
    return loss(m, x + torch.randn_like(x))


def with_own_generator(m: nn.Module, x: torch.Tensor) -> torch.Tensor:
    generator = torch.Generator(x.device).manual_seed(0)
    return loss(m, x + torch.randn(x.shape, generator=generator, device=x.device))


def with_dropout(m: nn.Module, x: torch.Tensor) -> torch.Tensor:
    return loss(m, nn.functional.dropout(x, 0.5))


def branching(m: nn.Module, x: torch.Tensor) -> torch.Tensor:
    return loss(m, x) * (2 if float(x.detach().max()) > 2 else 1)


def permuting(m: nn.Module, x: torch.Tensor) -> torch.Tensor:
    return loss(m, x[:, :, torch.arange(4, -1, -1, device=x.device)])


def selecting(m: nn.Module, x: torch.Tensor) -> torch.Tensor:
    return loss(m, x) + x[x > 0].sum()


@pytest.mark.parametrize(
    ("losses", "reason"),
    [
        (with_own_generator, "generator of its own"),
        (branching, "reads values"),
        (selecting, "reads values"),
    ],
)
def test_a_loss_that_a_recording_could_not_repeat_is_found(losses, reason: str) -> None:
    model = build(["conv"], 2, 5, 0)
    before = torch.get_rng_state()
    assert reason in str(reason_of(model, losses))
    assert torch.equal(before, torch.get_rng_state())
    made = graphs_of(model)
    assert made.gradients(volumes(1)[0], losses) is None
    assert reason in str(made.reason)


def attending(m: nn.Module, x: torch.Tensor) -> torch.Tensor:
    tokens = x.flatten(2).transpose(1, 2)
    found = nn.functional.scaled_dot_product_attention(tokens, tokens, tokens, dropout_p=0.5)
    return loss(m, found.transpose(1, 2).reshape(x.shape))


@pytest.mark.parametrize("losses", [noisy, with_dropout, attending])
def test_draws_from_the_default_generator_are_compared_from_the_same_place(losses) -> None:
    model = build(["conv"], 2, 5, 0)
    made, before, patient = graphs_of(model), torch.get_rng_state(), volumes(1)[0]
    assert reason_of(model, losses) is None
    made._recordings.append(made._recorded(batched.signature(patient), patient, losses))
    assert made.reason is None
    assert torch.equal(before, torch.get_rng_state())
    # Every replay draws afresh.
    one, two = (made.gradients(patient, losses)[0].clone() for _ in range(2))
    assert not torch.equal(one, two)


def test_numbers_that_python_draws_are_found() -> None:
    numbers = random.Random(0)
    made = graphs_of(build(["conv"], 2, 5, 0))
    assert made.gradients(volumes(1)[0], lambda m, x: numbers.random() * loss(m, x)) is None
    assert "differs" in str(made.reason)


def test_an_index_of_places_may_be_recorded() -> None:
    assert reason_of(build(["conv"], 2, 5, 0), permuting) is None


def test_another_device_is_found() -> None:
    model = build(["conv"], 2, 5, 0)
    run = functools.partial(backward_of(model).one, model, volumes(1)[0], loss)
    assert "another device" in str(examine(run, torch.device("meta")))


def hook(*_: object) -> None:
    return None


@pytest.mark.parametrize(
    "add",
    [
        lambda m: m[0].register_forward_hook(hook),
        lambda m: m[0].register_forward_pre_hook(hook),
        lambda m: m[0].register_full_backward_hook(hook),
        lambda m: m[0].register_full_backward_pre_hook(hook),
        lambda m: m[0].weight.register_hook(hook),
        lambda m: m[0].weight.register_post_accumulate_grad_hook(hook),
        lambda m: nn.modules.module.register_module_forward_hook(hook),
    ],
)
def test_hooks_are_called_for_every_patient(add) -> None:
    model = build(["conv"], 2, 5, 0)
    assert hooked(model) is None
    made = graphs_of(model)
    assert made.gradients(volumes(1)[0], loss) is not None
    handle = add(model)
    try:
        assert "hook" in str(hooked(model))
        made.begin()
        assert made.gradients(volumes(1)[0], loss) is None
        assert "hook" in str(made.reason)
    finally:
        handle.remove()


def test_replayed_gradients_are_those_of_each_patient() -> None:
    model = build(["conv", "group norm", "attention"], 4, 5, 0)
    made, plain = graphs_of(model), backward_of(model).one
    for patient in (*volumes(3), *volumes(2, 6)[:0]):
        for ours, theirs in zip(
            made.gradients(patient, loss), plain(model, patient, loss), strict=True
        ):
            assert torch.equal(ours, theirs)
    assert made.reason is None
    assert len(made._recordings) == 1


def test_a_replay_that_differs_is_never_used() -> None:
    model = build(["conv"], 2, 5, 0)
    made = graphs_of(model, wrong)
    assert made.gradients(volumes(1)[0], loss) is None
    assert made.reason == "a replay differs from the plain gradient"
    assert made._recordings[0].gradients == []


def test_a_recording_that_fails_is_said() -> None:
    def failing(run):
        raise RuntimeError("operation not permitted when stream is capturing")

    made = graphs_of(build(["conv"], 2, 5, 0), failing)
    assert made.gradients(volumes(1)[0], loss) is None
    assert "not permitted when stream" in str(made.reason)


def test_a_loss_that_follows_a_schedule_is_found_at_the_next_comparison() -> None:
    model = build(["conv"], 2, 5, 0)
    weight = [1.0]

    def scheduled(m: nn.Module, x: torch.Tensor) -> torch.Tensor:
        return weight[0] * loss(m, x)

    def baking(run):
        """As a CUDA graph: numbers of Python stay as they were."""
        before = weight[0]

        def replay():
            now, weight[0] = weight[0], before
            try:
                return run()
            finally:
                weight[0] = now

        return replay

    made, patient = graphs_of(model, baking), volumes(1)[0]
    for use in range(1, 2 * graphs.FIRST_CHECK + 1):
        if use == graphs.FIRST_CHECK + 5:
            weight[0] = 2.0
        found = made.gradients(patient, scheduled)
        assert (found is None) == (use == 2 * graphs.FIRST_CHECK), use
    assert "differs" in str(made.reason)


def test_nothing_of_a_patient_stays_in_a_recording() -> None:
    made = graphs_of(build(["conv"], 2, 5, 0))
    made.gradients(volumes(1)[0], loss)
    recording = made._recordings[0]
    held = [*recording.inputs, *recording.gradients]
    assert any(bool(one.any()) for one in held)
    made.forget()
    assert not any(bool(one.any()) for one in held)


def test_recordings_are_made_of_made_up_values_only() -> None:
    model, seen = build(["conv"], 2, 5, 0), []

    def looking(m: nn.Module, x: torch.Tensor) -> torch.Tensor:
        seen.append(x.detach().clone())
        return loss(m, x)

    made, patient = graphs_of(model), volumes(1)[0]
    made.gradients(patient, looking)
    *before, last = seen
    assert torch.equal(last, patient)  # a processor runs the loss again at a replay
    allowed = [batched.synthetic(patient, seed) for seed in (0, 1, 2)]
    assert all(any(torch.equal(one, fake) for fake in allowed) for one in before)


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m.eval(),
        lambda m: m[0].weight.requires_grad_(False),
        lambda m: setattr(m[0].weight, "data", m[0].weight.data.clone()),
    ],
)
def test_a_changed_model_is_recorded_again(change) -> None:
    model = build(["conv"], 2, 5, 0)
    made = graphs_of(model)
    made.gradients(volumes(1)[0], loss)
    made.begin()
    assert len(made._recordings) == 1
    change(model)
    made.begin()
    assert made._recordings == []


def test_a_patient_who_is_not_made_of_tensors_is_taken_plainly() -> None:
    made = graphs_of(build(["conv"], 2, 5, 0))
    for nobody in (None, torch.empty(0, 1, 5, 5, 5)):
        assert made.gradients(nobody, loss) is None
        assert made.reason is None
    assert made.gradients((volumes(1)[0], 3), lambda m, item: loss(m, item[0])) is None
    assert "tensors alone" in str(made.reason)


def test_recordings_are_few() -> None:
    model = nn.Linear(3, 2)
    made = graphs_of(model)
    for rows in range(1, 30):
        found = made.gradients(torch.ones(rows, 3), loss)
        assert (found is not None) == (rows <= graphs.MOST)
    assert "more than 4 kinds" in str(made.reason)
    assert len(made._recordings) <= 16


def test_two_losses_are_one_if_they_are_made_of_the_same_things() -> None:
    def make(weight: object) -> Callable[..., object]:
        return lambda m, x: (weight, m, x)

    one = object()
    assert same_function(make(one), make(one))
    assert not same_function(make(one), make(object()))
    assert not same_function(make(one), lambda m, x: (m, x))
    model = nn.Linear(3, 2)
    assert same_function(model.forward, model.forward)
    assert not same_function(model.forward, nn.Linear(3, 2).forward)
    assert not same_function(functools.partial(loss, None), functools.partial(loss, None))


def test_on_a_processor_nothing_is_recorded() -> None:
    trainer = trainer_of(build(["conv"], 2, 5, 0))
    trainer.step(0, volumes(2), loss)
    assert trainer._graphs is None
    assert trainer.plainly is None


def test_a_trainer_with_recordings_has_the_same_sums_and_noise_of_its_own(monkeypatch) -> None:
    # As on CUDA, where recordings are made: one thread alone replays them.
    monkeypatch.setattr(engine, "one_torch_thread", lambda: contextlib.nullcontext(1))
    patients = [*volumes(3), None, torch.full((1, 1, 5, 5, 5), float("nan"))]
    sums, models = [], []
    for recorded in (False, True):
        model = build(["conv", "group norm"], 2, 5, 0)
        trainer = trainer_of(model)
        if recorded:
            trainer._graphs = graphs_of(model)
        assert trainer._collect(patients, loss) == (5, 2)
        sums.append(torch.cat([one.reshape(-1) for one in trainer._optimizer.sums()]))
        trainer._optimizer.forget()
        assert trainer.step(0, patients, loss).zeroed == 2
        assert trainer.plainly is None
        models.append(torch.cat([p.detach().reshape(-1) for p in model.parameters()]))
    assert torch.equal(*sums)
    assert not torch.allclose(*models, atol=1e-2)


# From here on with the real thing.


@cuda
@pytest.mark.parametrize("layers", [["conv", "group norm", "silu"], ["attention"], ["transposed"]])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_graphs_give_the_plain_sums(layers: list[str], precision: str) -> None:
    model = build(layers, 4, 6, 1).cuda()
    patients = [one.cuda() for one in volumes(4, 6)]
    plain = noiseless(model, patients, graphs=False, precision=precision)
    trainer = trainer_of(model, precision=precision)
    for _ in range(2):
        assert trainer._collect(patients, loss) == (4, 0)
        found = torch.cat([one.reshape(-1) for one in trainer._optimizer.sums()]).double()
        assert trainer.plainly is None
        assert trainer._graphs._recordings[0].uses >= 4
        assert distance(found * trainer._optimizer._lattice.grid, plain) < 1e-4
        trainer._optimizer.forget()


@cuda
@pytest.mark.parametrize("losses", [noisy, with_dropout])
def test_a_graph_draws_afresh_for_each_patient_and_as_the_plain_way(losses) -> None:
    model = build(["conv"], 2, 5, 0).cuda()
    trainer = trainer_of(model)
    patient = volumes(1)[0].cuda()
    trainer._collect([patient], losses)
    assert trainer.plainly is None
    made = trainer._graphs
    torch.cuda.manual_seed(5)
    one = torch.cat([g.reshape(-1) for g in made.gradients(patient, losses)])
    two = torch.cat([g.reshape(-1) for g in made.gradients(patient, losses)])
    assert not torch.equal(one, two)
    torch.cuda.manual_seed(5)
    plain = torch.cat([g.reshape(-1) for g in trainer._backward.one(model, patient, losses)])
    assert distance(one, plain.double()) < 1e-4


@cuda
def test_a_graph_sees_the_weights_of_each_step_and_each_patient() -> None:
    patients = [one.cuda() for one in volumes(5, 6)]
    patients[3] = patients[3] * float("nan")
    results = []
    for recorded in (True, False):
        model = build(["conv", "group norm"], 4, 6, 1).cuda()
        trainer = trainer_of(model, graphs=recorded)
        trainer._binding = lambda: ""  # the same noise for both
        for step in range(4):
            assert trainer.step(step, patients, loss).zeroed == 1
        results.append(torch.cat([p.detach().reshape(-1) for p in model.parameters()]))
        held = trainer._graphs._recordings[0] if recorded else None
        assert held is None or not any(bool(one.any()) for one in held.inputs + held.gradients)
    assert distance(results[0], results[1].double()) < 1e-4


@cuda
@pytest.mark.parametrize(
    ("layer", "losses"),
    [
        ("conv", branching),
        ("conv", with_own_generator),
        ("conv", lambda m, x: loss(m, x.cpu().cuda())),
        ("checkpoint", loss),
        ("reentrant", loss),
    ],
)
def test_what_cannot_be_recorded_is_taken_plainly_and_the_device_goes_on(layer, losses) -> None:
    model = build([layer], 2, 5, 0).cuda()
    trainer = trainer_of(model)
    for step in range(2):
        assert trainer.step(step, [one.cuda() for one in volumes(3)], losses).patients == 3
    # Whether a checkpoint can be recorded is for the installed torch to say.
    assert losses is loss or trainer.plainly is not None
    # A recording that broke off must not spoil the device's generator or allocator.
    assert torch.rand(1000, device="cuda").std() > 0.1
    torch.cuda.empty_cache()
    again = trainer_of(build(["conv"], 2, 5, 0).cuda())
    again.step(0, [one.cuda() for one in volumes(3)], loss)
    assert again.plainly is None


@cuda
def test_a_recording_that_breaks_off_leaves_the_device_usable() -> None:
    device = torch.device("cuda", torch.cuda.current_device())
    x = torch.ones(5, device=device)
    record = graphs.cuda_record(device)
    calls: list[int] = []

    def breaking() -> list[torch.Tensor]:
        calls.append(1)
        if len(calls) == 3:
            float(x.sum())
        return [x * torch.rand_like(x)]

    stream = torch.cuda.current_stream()
    with pytest.raises(RuntimeError):
        record(breaking)
    assert torch.cuda.current_stream() == stream
    assert torch.rand(1000, device=device).std() > 0.1
    replay = record(lambda: [x * 2])
    assert torch.equal(replay()[0], torch.full((5,), 2.0, device=device))


def test_every_kind_of_patient_is_copied_by_its_leaves() -> None:
    class Pair(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(3))

        def forward(self, item: dict[str, object]) -> torch.Tensor:
            x, (y, kind) = item["x"], item["rest"]
            return ((self.scale * x - y) ** 2).sum() * (1 + kind.sum())

    def patient(seed: int) -> dict[str, object]:
        generator = torch.Generator().manual_seed(seed)
        x, y = (torch.rand(3, generator=generator) for _ in range(2))
        return {"x": x, "rest": (y, torch.tensor([seed]))}

    model = Pair()
    made, plain = graphs_of(model), backward_of(model).one
    for seed in range(3):
        ours = made.gradients(patient(seed), lambda m, item: m(item))
        theirs = plain(model, patient(seed), lambda m, item: m(item))
        assert torch.equal(ours[0], theirs[0])
    assert len(_pytree.tree_leaves(made._recordings[0].inputs)) == 3
