"""The vectorised path and the convolution that stays in oneDNN: the same numbers, other speed."""

from __future__ import annotations

import pytest
import torch
from engine_reference import CLIP, build, distance, loss, noiseless, reference, trainer_of
from torch import nn

from medvae.privacy import batched
from medvae.privacy.convolution import LeanConvolutions


def volumes(*views: int, size: int = 5) -> list[torch.Tensor]:
    return [
        torch.randn(k, 1, size, size, size, generator=torch.Generator().manual_seed(i))
        for i, k in enumerate(views)
    ]


@pytest.mark.parametrize(
    "layers", [["conv"], ["transposed"], ["group norm", "silu"], ["attention"], ["grouped"]]
)
@pytest.mark.parametrize("views", [(1, 1, 1, 1, 1), (2, 2, 1, 2, 2), ()])
def test_the_vectorised_path_agrees(layers: list[str], views: tuple[int, ...]) -> None:
    model = build(layers, 4, 5, 2)
    patients = volumes(*views)
    one = noiseless(model, patients, chunk=1)
    several = noiseless(model, patients, chunk=4)
    assert distance(several, one.double()) < 1e-5
    assert distance(several, reference(model, patients, CLIP, "flat")) < 1e-5


def test_patients_of_unlike_shapes_are_not_mixed() -> None:
    model = build(["conv"], 2, 5, 2)
    trainer = trainer_of(model, chunk=3)
    sizes = [len(group) for group in trainer._groups([*volumes(1, 1, 1, 1, 2, 2), None], loss)]
    assert sizes == [3, 1, 2, 1]


def test_one_bad_patient_of_a_chunk_is_zeroed_alone() -> None:
    model = build(["conv"], 2, 5, 2)
    patients = volumes(1, 1, 1)
    bad = patients[1].clone()
    bad[0, 0, 0, 0, 0] = float("nan")
    found = noiseless(model, [patients[0], bad, patients[2]], chunk=3)
    assert found.isfinite().all()
    assert distance(found, noiseless(model, [patients[0], patients[2]]).double()) < 1e-5
    trainer = trainer_of(model, chunk=3)
    assert trainer.step(0, [patients[0], bad, patients[2]], loss).zeroed == 1


def test_the_automatic_choice_is_made_once_and_kept_in_the_state() -> None:
    model = build([], 2, 3, 2)
    trainer = trainer_of(model, chunk=0)
    trainer.step(0, [], loss)
    assert trainer.chunk == 0
    trainer.step(1, volumes(1, 1, size=3), loss)
    assert trainer.chunk >= 1
    again = trainer_of(build([], 2, 3, 2), chunk=0)
    again.load_state_dict(trainer.state_dict())
    assert again.chunk == trainer.chunk


def test_the_automatic_choice_never_reads_a_patient() -> None:
    seen = []

    def spy(group):
        seen.extend(group)
        return []

    patient = torch.full((1, 1, 3, 3, 3), 777.0)
    assert batched.fastest_chunk(spy, spy, patient) >= 1
    assert len(seen) > 3
    assert all(one.shape == patient.shape and not (one == 777.0).any() for one in seen)


def test_what_cannot_be_vectorised_falls_back() -> None:
    def branching(m: nn.Module, x: torch.Tensor) -> torch.Tensor:
        value = loss(m, x)
        return value if value > 0 else -value

    model = build([], 2, 3, 2)
    trainer = trainer_of(model, chunk=0)
    trainer.step(0, volumes(1, size=3), branching)
    assert trainer.chunk == 1


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kernel", [1, 3])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("size", [5, 12])
def test_lean_convolution_agrees(stride: int, kernel: int, bias: bool, size: int) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(size)
        layer = nn.Conv3d(3, 4, kernel, stride, padding=kernel // 2, bias=bias)
    x = torch.randn(1, 3, size, size, size, generator=torch.Generator().manual_seed(1))
    results = []
    for context in (LeanConvolutions(), torch.enable_grad()):
        given = x.clone().requires_grad_()
        with context:
            out = layer(given)
            found = torch.autograd.grad(out.square().sum(), [given, *layer.parameters()])
        results.append([out.detach(), *found])
    for lean, plain in zip(*results, strict=True):
        assert distance(lean, plain.double()) < 1e-5


def test_lean_convolution_has_second_derivatives() -> None:
    layer = nn.Conv3d(1, 2, 3).double().float()
    x = torch.randn(1, 1, 5, 5, 5, generator=torch.Generator().manual_seed(1), requires_grad=True)
    with LeanConvolutions():
        first = torch.autograd.grad(layer(x).square().sum(), x, create_graph=True)[0]
        second = torch.autograd.grad(first.square().sum(), layer.weight)[0]
    plain = torch.autograd.grad(layer(x).square().sum(), x, create_graph=True)[0]
    expected = torch.autograd.grad(plain.square().sum(), layer.weight)[0]
    assert distance(second, expected.double()) < 1e-5
