"""The guard refuses what no noise would cover, and says what to use instead."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from monai.networks.nets import VQVAE, AutoencoderKL
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from medvae.errors import UsageError
from medvae.privacy import DPTrainer, Mechanism, NoiseSource, check


def frozen(layer: nn.Module) -> nn.Module:
    return layer.requires_grad_(False)


def tied_storage() -> nn.Module:
    first, second = nn.Linear(3, 3), nn.Linear(3, 3)
    second.weight = nn.Parameter(first.weight.data)
    return nn.Sequential(first, second)


REFUSED = {
    "BatchNorm1d": nn.BatchNorm1d(4),
    "BatchNorm3d": nn.BatchNorm3d(4),
    "BatchNorm3d without affine": nn.BatchNorm3d(4, affine=False),
    "BatchNorm3d without statistics": nn.BatchNorm3d(4, track_running_stats=False),
    "BatchNorm3d frozen": frozen(nn.BatchNorm3d(4)),
    "BatchNorm3d in eval": nn.BatchNorm3d(4).eval(),
    "SyncBatchNorm": nn.SyncBatchNorm(4),
    "LazyBatchNorm3d": nn.LazyBatchNorm3d(),
    "InstanceNorm3d with statistics": nn.InstanceNorm3d(4, track_running_stats=True),
    "spectral norm": nn.utils.parametrizations.spectral_norm(nn.Linear(3, 3)),
    "old spectral norm": nn.utils.spectral_norm(nn.Linear(3, 3)),
    "lazy": nn.LazyLinear(3),
    "half": nn.Linear(3, 3).half(),
    "bfloat16": nn.Linear(3, 3).bfloat16(),
    "two parameters over one memory": tied_storage(),
    "MONAI VQVAE": VQVAE(
        spatial_dims=3,
        in_channels=1,
        out_channels=1,
        channels=(8,),
        num_res_channels=8,
        num_res_layers=1,
        downsample_parameters=((2, 4, 1, 1),),
        upsample_parameters=((2, 4, 1, 1, 0),),
        num_embeddings=8,
        embedding_dim=4,
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    model = nn.Sequential(nn.Conv3d(1, 4, 3), REFUSED[name])
    with pytest.raises(UsageError) as caught:
        check(model)
    assert "1" in str(caught.value)  # the layer's name


def shared() -> nn.Module:
    first, second = nn.Linear(3, 3), nn.Linear(3, 3)
    second.weight = first.weight
    return nn.Sequential(first, second)


ALLOWED = {
    "AutoencoderKL": AutoencoderKL(
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
    ),
    "InstanceNorm3d": nn.InstanceNorm3d(4, affine=True),
    "GroupNorm": nn.GroupNorm(2, 4),
    "attention": nn.MultiheadAttention(8, 2),
    "shared Parameter": shared(),
    "weight norm": nn.utils.parametrizations.weight_norm(nn.Linear(3, 3)),
}


@pytest.mark.parametrize("name", ALLOWED)
def test_allowed(name: str) -> None:
    check(ALLOWED[name])


class Counting(nn.Module):
    """Keeps a sum of what it saw in a buffer, under an innocent name."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 1)
        self.how = how
        self.register_buffer("table", torch.zeros(3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.how == "in place":
            self.table += x.detach().mean(0)
        elif self.how == "replaced":
            self.table = self.table + x.detach().mean(0)
        elif self.how == "through .data":
            self.table.data += x.detach().mean(0)
        return self.linear(x + 0 * self.table)


@pytest.mark.parametrize("how", ["in place", "replaced", "through .data", "constant"])
def test_a_buffer_that_moves_is_caught_while_training(how: str) -> None:
    model = Counting(how)
    check(model)
    trainer = DPTrainer(
        model,
        torch.optim.SGD(model.parameters(), lr=0.1),
        mechanism=Mechanism("a", 1.0, 3, 1.0),
        clip=1.0,
        divisor=1.0,
        noise=NoiseSource(bytes(32)),
    )
    before = model.linear.weight.detach().clone()
    if how == "constant":
        trainer.step(0, [torch.ones(2, 3)], lambda m, x: m(x).mean())
        assert not torch.equal(before, model.linear.weight)
        return
    with pytest.raises(UsageError, match="buffer table"):
        trainer.step(0, [torch.ones(2, 3)], lambda m, x: m(x).mean())
    assert torch.equal(before, model.linear.weight)


class ActNorm(nn.Module):
    """Sets its weight by what it sees, behind autograd's back."""

    def __init__(self, trainable: bool) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 1)
        self.scale = nn.Parameter(torch.ones(3), requires_grad=trainable)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.scale.data *= 0.9
        self.scale.data += 0.1 * x.detach().mean(0)
        return self.linear(x * self.scale)


class Eager(nn.Linear):
    """Moves its weight in backward, before anything is clipped."""

    def __init__(self) -> None:
        super().__init__(3, 1)
        self.weight.register_post_accumulate_grad_hook(self.move)

    @staticmethod
    def move(weight: torch.Tensor) -> None:
        weight.data -= 0.1 * weight.grad


@pytest.mark.parametrize(
    ("model", "name"),
    [(ActNorm(True), "scale"), (ActNorm(False), "scale"), (Eager(), "weight")],
)
def test_a_parameter_that_moves_off_the_books_is_caught(model: nn.Module, name: str) -> None:
    check(model)
    trainer = DPTrainer(
        model,
        torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1),
        mechanism=Mechanism("a", 1.0, 3, 1.0),
        clip=1.0,
        divisor=1.0,
        noise=NoiseSource(bytes(32)),
    )
    with pytest.raises(UsageError, match=f"parameter {name} changed"):
        trainer.step(0, [torch.full((2, 3), 4.0)], lambda m, x: m(x).mean())
    assert trainer.steps_done == 0


def test_models_that_average_over_ranks_are_refused(tmp_path: Path) -> None:
    # Their gradients are means over patients of all ranks: clipping comes too late.
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        wrapped = nn.parallel.DistributedDataParallel(nn.Linear(3, 3))
        with pytest.raises(UsageError, match="over ranks"):
            check(wrapped)
        sharded = nn.Linear(4, 4)
        fully_shard(sharded, mesh=init_device_mesh("cpu", (1,)))
        with pytest.raises(UsageError, match="over ranks"):
            check(sharded)
    finally:
        dist.destroy_process_group()
