"""Reconstruction by the shipped public model against linear codes at equal rate.

    python scripts/bench_reconstruction.py [--quick] [--json FILE]

Real crops (MEDVAE_REAL_DATA) are looked at only: architecture, gains and training were fixed
on procedural volumes. Codes keep an eighth of the numbers:
  block   4x4x4 block DCT, the eight coefficients that hold most power on these very crops;
  cube    whole-crop DCT, the lower half along each axis;
  ball    whole-crop DCT, the lowest frequencies by radius (the strictest of the three).
PSNR is of [-1, 1] images (peak 2), clipped, averaged over crops.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt
import torch
from scipy.fft import dctn, idctn

from medvae.config import DataConfig
from medvae.grid import crop_or_pad, normalise
from medvae.model import VAE, load_model
from medvae.model.procedural import random_volume
from medvae.model.weights import shipped

Array = npt.NDArray[np.float32]
WEIGHTS = "conv-dct-small-8c-3d"
NOISE = 0.1
LONGEST, SHORTEST = 32, 12


def crops(folder: Path, modality: Any, count: int) -> list[Array]:
    """The middle of volumes that are at least SHORTEST along each axis, in multiples of 4."""
    found: list[Array] = []
    paths = sorted((folder / "images").glob("*.nii.gz"))
    for path in paths[:: max(1, len(paths) // (2 * count))]:
        voxels = np.asarray(nib.load(path).dataobj)
        if min(voxels.shape) < SHORTEST or len(found) == count:
            continue
        image, _ = normalise(voxels, DataConfig(modality=modality))
        x, y, z = (min(LONGEST, n // 4 * 4) for n in voxels.shape)
        found.append(crop_or_pad(image, (x, y, z), "edge"))
    return found


def psnr(first: Array, other: Array) -> float:
    return float(10 * np.log10(4.0 / np.mean((first - np.clip(other, -1, 1)) ** 2)))


def cube(x: Array) -> Array:
    found = dctn(x, norm="ortho")
    kept = np.zeros_like(found)
    low = tuple(slice(0, n // 2) for n in x.shape)
    kept[low] = found[low]
    return np.asarray(idctn(kept, norm="ortho"))


def ball(x: Array) -> Array:
    found = dctn(x, norm="ortho")
    grids = np.meshgrid(*[np.arange(n) / n for n in x.shape], indexing="ij")
    order = np.argsort(sum(g**2 for g in grids).ravel(), kind="stable")[: x.size // 8]
    kept = np.zeros(x.size, dtype=found.dtype)
    kept[order] = found.ravel()[order]
    return np.asarray(idctn(kept.reshape(x.shape), norm="ortho"))


def block_code(images: list[Array]) -> Callable[[Array], Array]:
    """Block DCT with the eight coefficients that serve these images best."""
    power = np.mean([(_blocks(x) ** 2).mean(axis=0) for x in images], axis=0)
    best = np.argsort(-power.ravel())[:8]
    mask = np.zeros(64)
    mask[best] = 1.0

    def code(x: Array) -> Array:
        kept = _blocks(x) * mask.reshape(4, 4, 4)
        back = idctn(kept, axes=(1, 2, 3), norm="ortho")
        a, b, c = (n // 4 for n in x.shape)
        return np.asarray(
            back.reshape(a, b, c, 4, 4, 4).transpose(0, 3, 1, 4, 2, 5).reshape(x.shape)
        )

    return code


def _blocks(x: Array) -> Array:
    a, b, c = (n // 4 for n in x.shape)
    cut = x.reshape(a, 4, b, 4, c, 4).transpose(0, 2, 4, 1, 3, 5).reshape(-1, 4, 4, 4)
    return np.asarray(dctn(cut, axes=(1, 2, 3), norm="ortho"))


@torch.no_grad()
def networks(model: VAE, images: list[Array]) -> tuple[float, float]:
    """PSNR of the model with clean latents, and with noise of NOISE of their deviation."""
    latents = [model.encode(torch.from_numpy(x)[None, None])[0] for x in images]
    deviation = torch.cat([z.flatten() for z in latents]).std()
    generator = torch.Generator().manual_seed(0)
    clean, noisy = [], []
    for x, z in zip(images, latents, strict=True):
        noise = NOISE * deviation * torch.randn(z.shape, generator=generator)
        clean.append(psnr(x, model.decode(z)[0, 0].numpy()))
        noisy.append(psnr(x, model.decode(z + noise)[0, 0].numpy()))
    return float(np.mean(clean)), float(np.mean(noisy))


def compare(model: VAE, images: list[Array]) -> dict[str, float]:
    """Every code on the same images."""
    codes = {"block": block_code(images), "cube": cube, "ball": ball}
    row = {name: float(np.mean([psnr(x, f(x)) for x in images])) for name, f in codes.items()}
    row["model"], row["model_noisy"] = networks(model, images)
    return row | {"crops": len(images)}


def main(quick: bool = False) -> dict[str, Any]:
    """machine, results and targets."""
    path = shipped.FOLDER / f"{WEIGHTS}.safetensors"
    model = load_model(shipped.read(path))
    count = 8 if quick else 60
    sets: dict[str, list[Array]] = {
        f"procedural {m}": [random_volume((32, 32, 32), m, 4242, i) for i in range(min(count, 24))]
        for m in ("mri", "ct")
    }
    root = os.environ.get("MEDVAE_REAL_DATA")
    if root:
        for name, modality in (("mri_hippocampus", "mri"), ("ct_lung_nodule", "ct")):
            sets[name] = crops(Path(root) / name, modality, count)
    results = {name: compare(model, images) for name, images in sets.items()}
    targets = [target for name, row in results.items() for target in _targets(name, row)]
    recipe = shipped.recipe_of(path)
    return {
        "machine": {"processor": platform.processor() or platform.machine()},
        "recipe": {k: recipe[k] for k in ("sha256", "processor_minutes")},
        "results": results,
        "targets": targets,
    }


def _targets(name: str, row: dict[str, float]) -> list[dict[str, Any]]:
    wanted = [
        ("dB over the block DCT", row["model"] - row["block"], 2.5, 1),
        ("dB over the whole-crop low-pass (cube)", row["model"] - row["cube"], 1.0, 1),
        ("dB over the whole-crop low-pass (ball)", row["model"] - row["ball"], 1.0, 1),
        ("dB lost to latent noise of .1", row["model"] - row["model_noisy"], 0.5, -1),
    ]
    return [
        {
            "name": f"{name}: {what}",
            "value": round(value, 2),
            "target": target,
            "met": (value - target) * sign >= 0,
        }
        for what, value, target, sign in wanted
    ]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="reconstruction against linear codes")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    report = json.dumps(main(arguments.quick), indent=2)
    print(report)
    if arguments.json:
        arguments.json.write_text(report + "\n", encoding="utf-8")
