"""One rank of small private trainings; prints a JSON object of results, weights in full digits."""

from __future__ import annotations

import json

import torch
import torch.distributed as dist
from torch import nn

from medvae.privacy import DPTrainer, Mechanism, NoiseSource, PoissonSampler


def train(
    patients: int, rate: float, steps: int, fail: bool = False, key: bytes = bytes(32)
) -> list[str]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv3d(1, 2, 3), nn.GroupNorm(1, 2), nn.SiLU(), nn.Conv3d(2, 1, 1))
    trainer = DPTrainer(
        model,
        torch.optim.AdamW(model.parameters(), lr=0.01),
        mechanism=Mechanism("x", rate, steps, 1.0),
        clip=0.1,
        divisor=rate * patients,
        noise=NoiseSource(key),
    )
    sampler = PoissonSampler(bytes(32), patients, rate, "x")

    def loss(m: nn.Module, index: int) -> torch.Tensor:
        if fail and index == 1:
            raise ValueError("broken patient")
        generator = torch.Generator().manual_seed(index)
        volume = torch.randn(1, 1, 5, 5, 5, generator=generator)
        return m(volume).square().mean()

    for step in range(steps):
        trainer.step(step, iter(trainer.mine(sampler.batch(step))), loss)
    weights = torch.cat([p.detach().reshape(-1) for p in model.parameters()])
    return [value.hex() for value in weights.double().tolist()]


def main() -> None:
    dist.init_process_group("gloo")
    torch.set_num_threads(1)
    results: dict[str, object] = {"full": train(12, 0.5, 4), "sparse": train(5, 0.2, 5)}
    try:
        train(6, 1.0, 2, fail=True)
    except Exception as error:
        results["failure"] = str(error)
    try:
        train(6, 1.0, 1, key=dist.get_rank().to_bytes(32, "big"))
    except Exception as error:
        results["own keys"] = str(error)
    print(json.dumps(results))
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
