"""One way of training in one process: prints its step times and memory as a line of JSON.

    python bench_privacy_worker.py MODE SIZE STEPS DEVICE

The network is MONAI's AutoencoderKL in 3-D (0.34 million parameters), the batch 4 volumes of
SIZE cubed, the optimizer SGD.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable

import torch
from monai.networks.nets import AutoencoderKL
from torch import nn

BATCH, CLIP, NOISE = 4, 1.0, 1.0
# What a way of training says of its last step.
FACTS: dict[str, object] = {}


class Subject(nn.Module):
    """The autoencoder behind one `forward` that all ways of training can wrap."""

    def __init__(self) -> None:
        super().__init__()
        self.net = AutoencoderKL(
            spatial_dims=3,
            in_channels=1,
            out_channels=1,
            channels=(16, 32, 32),
            latent_channels=4,
            num_res_blocks=1,
            norm_num_groups=16,
            attention_levels=(False, False, False),
            with_encoder_nonlocal_attn=False,
            with_decoder_nonlocal_attn=False,
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Loss of each volume, [B]: reconstruction and KL, in float32."""
        out, mean, sigma = (one.float() for one in self.net(x))
        kl = mean.square() + sigma.square() - sigma.square().log() - 1
        return (out - x).square().flatten(1).mean(1) + 1e-4 * kl.flatten(1).mean(1)


def batch_step(model: nn.Module, data: torch.Tensor) -> Callable[[], None]:
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)

    def step() -> None:
        optimizer.zero_grad()
        model(data).mean().backward()
        optimizer.step()

    return step


def kept_step(model: nn.Module, data: torch.Tensor) -> Callable[[], None]:
    from medvae.privacy.memory import keep_freed_memory

    keep_freed_memory()
    return batch_step(model, data)


def accumulation_step(model: nn.Module, data: torch.Tensor) -> Callable[[], None]:
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)

    def step() -> None:
        optimizer.zero_grad()
        for one in data:
            (model(one[None]).mean() / len(data)).backward()
        optimizer.step()

    return step


def engine_step(
    model: nn.Module, data: torch.Tensor, precision: str, chunk: int = 1, graphs: bool = True
) -> Callable[[], None]:
    from medvae.privacy import DPTrainer, Mechanism, NoiseSource

    trainer = DPTrainer(
        model,
        torch.optim.SGD(model.parameters(), lr=1e-3),
        mechanism=Mechanism("bench", 1.0, 10_000, NOISE),
        clip=CLIP,
        divisor=float(len(data)),
        noise=NoiseSource(bytes(32)),
        precision=precision,
        chunk=chunk,
        graphs=graphs,
    )

    def step() -> None:
        trainer.step(trainer.steps_done, (one[None] for one in data), lambda m, x: m(x).mean())
        FACTS.update(plainly=trainer.plainly, chunk=trainer.chunk)

    return step


def opacus_step(model: nn.Module, data: torch.Tensor, functorch: bool) -> Callable[[], None]:
    from opacus.grad_sample import GradSampleModule
    from opacus.optimizers import DPOptimizer

    wrapped = GradSampleModule(model, force_functorch=functorch, strict=False)
    optimizer = DPOptimizer(
        torch.optim.SGD(model.parameters(), lr=1e-3),
        noise_multiplier=NOISE,
        max_grad_norm=CLIP,
        expected_batch_size=len(data),
    )

    def step() -> None:
        optimizer.zero_grad()
        wrapped(data).mean().backward()
        optimizer.step()

    return step


def ghost_step(model: nn.Module, data: torch.Tensor) -> Callable[[], None]:
    from opacus.grad_sample import GradSampleModuleFastGradientClipping
    from opacus.optimizers import DPOptimizerFastGradientClipping
    from opacus.utils.fast_gradient_clipping_utils import DPLossFastGradientClipping

    wrapped = GradSampleModuleFastGradientClipping(model, max_grad_norm=CLIP, strict=False)
    optimizer = DPOptimizerFastGradientClipping(
        torch.optim.SGD(model.parameters(), lr=1e-3),
        noise_multiplier=NOISE,
        max_grad_norm=CLIP,
        expected_batch_size=len(data),
    )

    class PerVolume:
        reduction = "mean"

        def __call__(self, losses: torch.Tensor) -> torch.Tensor:
            return losses

    criterion = DPLossFastGradientClipping(wrapped, optimizer, PerVolume())

    def step() -> None:
        optimizer.zero_grad()
        criterion(wrapped(data)).backward()
        optimizer.step()

    return step


WAYS: dict[str, Callable[[nn.Module, torch.Tensor], Callable[[], None]]] = {
    "non-private batch": batch_step,
    "non-private, memory kept": kept_step,
    "non-private accumulation": accumulation_step,
    "engine fp32": lambda m, x: engine_step(m, x, "fp32"),
    "engine bf16": lambda m, x: engine_step(m, x, "bf16"),
    "engine automatic": lambda m, x: engine_step(m, x, "fp32", 0),
    "engine kernel by kernel": lambda m, x: engine_step(m, x, "fp32", graphs=False),
    "opacus hooks": lambda m, x: opacus_step(m, x, functorch=False),
    "opacus functorch": lambda m, x: opacus_step(m, x, functorch=True),
    "opacus ghost": ghost_step,
}


def resident() -> float:
    """Largest resident size of this process so far, MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    mode, size, steps, device = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
    cuda = device == "cuda"
    torch.manual_seed(0)
    model = Subject().to(device)
    data = torch.rand(BATCH, 1, size, size, size).to(device)
    step = WAYS[mode](model, data)
    base = torch.cuda.memory_allocated() / 2**20 if cuda else resident()
    wall, cpu = [], []
    for _ in range(steps + 1):
        began, worked = time.perf_counter(), time.process_time()
        step()
        if cuda:
            torch.cuda.synchronize()
        wall.append(time.perf_counter() - began)
        cpu.append(time.process_time() - worked)
    peak = torch.cuda.max_memory_allocated() / 2**20 if cuda else resident()
    found = {"seconds": min(wall[1:]), "processor_seconds": min(cpu[1:])}
    print(json.dumps(found | {"peak_mib": peak, "added_mib": peak - base} | FACTS))


if __name__ == "__main__":
    main()
