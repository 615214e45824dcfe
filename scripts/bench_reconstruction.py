"""Reconstruction by the shipped public model against linear codes at equal rate.

    scripts/bench reconstruction [--train STEPS [--adversarial WEIGHT]] [--cohort NAME ...]
                                 [--quick] [--json FILE]

Real crops (MEDVAE_REAL_DATA) are looked at only: architecture, gains and training were fixed
on procedural volumes. Codes keep an eighth of the numbers:
  block   4x4x4 block DCT, the eight coefficients that hold most power on these very crops;
  cube    whole-crop DCT, the lower half along each axis;
  ball    whole-crop DCT, the lowest frequencies by radius (the strictest of the three).
PSNR is of [-1, 1] images (peak 2), clipped, averaged over crops.

--train makes both kinds of network anew, with as many steps on the same procedural volumes, and
codes the same crops with each. These networks code heads in tiles of TILE without overlap: tokens
say where they are in a grid, and neither saw longer ones. --adversarial has in the place of the
transformer a convolutional network whose loss has a discriminator's, too. Of each network the
Frechet distance of `medvae-texture-1` between its reconstructions and the images says how sharp
they are.
"""

from __future__ import annotations

import argparse
import itertools
import os
import platform
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt
import pretrain_public
import torch
from scipy.fft import dctn, idctn

from medvae.config import DataConfig
from medvae.errors import UsageError
from medvae.evaluate.distances import frechet
from medvae.evaluate.texture import texture
from medvae.grid import crop_or_pad, normalise
from medvae.model import VAE, load_model
from medvae.model.procedural import random_volume
from medvae.model.weights import shipped
from medvae.progress import SILENT
from medvae.train.adversarial import Adversary
from medvae.train.loop import Schedule, train_freely
from medvae.train.public import start, wants_bf16
from medvae.train.state import NullCheckpointStore

Array = npt.NDArray[np.float32]
WEIGHTS = "conv-dct-small-8c-3d"
NOISE = 0.1
SHORTEST, TILE = 12, 32
KINDS = ("conv", "transformer")


@dataclass(frozen=True)
class Cohort:
    """Real crops: how many at most, and their longest side."""

    modality: str
    count: int
    longest: int


COHORTS = {
    "mri_hippocampus": Cohort("mri", 60, 32),
    "ct_lung_nodule": Cohort("ct", 60, 32),
    # Whole heads at 2 mm but for the margin.
    "mri_ixi_t1": Cohort("mri", 12, 96),
}


def crops(folder: Path, cohort: Cohort, count: int) -> list[Array]:
    """The middle of volumes that are at least SHORTEST along each axis, in multiples of 4."""
    found: list[Array] = []
    paths = sorted((folder / "images").glob("*.nii.gz"))
    for path in paths[:: max(1, len(paths) // (2 * count))]:
        voxels = np.asarray(nib.load(path).dataobj)
        if min(voxels.shape) < SHORTEST or len(found) == count:
            continue
        image, _ = normalise(voxels, DataConfig(modality=cohort.modality))
        x, y, z = (min(cohort.longest, n // 4 * 4) for n in voxels.shape)
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
def networks(
    model: VAE, images: list[Array], tile: int | None = None
) -> tuple[float, float, float]:
    """PSNR with clean latents, with noise of NOISE of their deviation, and `sharpness`.

    tile: longest side of what is coded at once; None: whole images.
    """
    latents = [[model.encode(_batch(x[at]))[0] for at in pieces(x.shape, tile)] for x in images]
    deviation = torch.cat([z.flatten() for own in latents for z in own]).std()
    generator = torch.Generator().manual_seed(0)
    clean, noisy, restored = [], [], []
    for x, own in zip(images, latents, strict=True):
        moved = [z + NOISE * deviation * torch.randn(z.shape, generator=generator) for z in own]
        for found, codes in ((clean, own), (noisy, moved)):
            back = np.empty_like(x)
            for at, z in zip(pieces(x.shape, tile), codes, strict=True):
                back[at] = model.decode(z)[0, 0].numpy()
            found.append(psnr(x, back))
            if codes is own:
                restored.append(np.clip(back, -1, 1))
    return float(np.mean(clean)), float(np.mean(noisy)), sharpness(images, restored)


def sharpness(images: list[Array], restored: list[Array]) -> float:
    """Frechet distance of texture features, in deviations of the images'; less is better."""
    true, made = (np.stack([texture(x) for x in each]) for each in (images, restored))
    scale = true.std(axis=0) + 1e-9
    return frechet((made - true.mean(axis=0)) / scale, (true - true.mean(axis=0)) / scale)


def pieces(shape: tuple[int, ...], longest: int | None) -> list[tuple[slice, ...]]:
    """What an image is cut into, of at most `longest` voxels a side, without overlap."""
    starts = [range(0, n, longest or n) for n in shape]
    return [
        tuple(slice(at, at + (longest or n)) for at, n in zip(corner, shape, strict=True))
        for corner in itertools.product(*starts)
    ]


def _batch(x: Array) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(x))[None, None]


def compare(models: dict[str, VAE], images: list[Array]) -> dict[str, float]:
    """Every code on the same images; `models` has the shipped one as "model"."""
    codes = {"block": block_code(images), "cube": cube, "ball": ball}
    row = {name: float(np.mean([psnr(x, f(x)) for x in images])) for name, f in codes.items()}
    for name, model in models.items():
        tile = None if name == "model" else TILE
        row[name], row[f"{name}_noisy"], row[f"{name}_texture"] = networks(model, images, tile)
    return row | {"crops": len(images)}


def trained(kind: str, steps: int, adversarial: float = 0.0) -> tuple[VAE, dict[str, float]]:
    """A network of a kind made by the recipe of the shipped one, in fewer steps; and its cost."""
    chosen = argparse.Namespace(
        kind=kind, preset="small", latent_channels=8, dims=3, steps=steps, batch=4,
        learning_rate=2e-3, seed=0,
    )  # fmt: skip
    cfg = pretrain_public.configuration(chosen)
    began, model = time.process_time(), start(cfg)
    rate = chosen.learning_rate / 2
    schedule = Schedule(steps, chosen.learning_rate, chosen.seed, bf16=wants_bf16(cfg))
    train_freely(
        model,
        lambda step: pretrain_public.volumes(cfg, chosen.dims, step),
        schedule,
        stage=kind,
        progress=SILENT,
        store=NullCheckpointStore(),
        penalty=Adversary(model, adversarial, rate, chosen.seed) if adversarial else None,
    )
    return model, {
        "steps": steps,
        "parameters": sum(one.numel() for one in model.parameters()),
        "processor_minutes": round((time.process_time() - began) / 60, 1),
    }


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options that only this benchmark has."""
    parser.add_argument(
        "--train", type=int, metavar="STEPS", help="train each kind of network, too"
    )
    parser.add_argument("--adversarial", type=float, help="weight of a discriminator's loss")
    parser.add_argument("--cohort", nargs="+", choices=sorted(COHORTS), help="only these")


def main(
    quick: bool = False,
    train: int | None = None,
    adversarial: float | None = None,
    cohort: list[str] | None = None,
) -> dict[str, Any]:
    """machine, results and targets; a table on stdout."""
    torch.set_num_threads(1)
    path = shipped.FOLDER / f"{WEIGHTS}.safetensors"
    models, made = {"model": load_model(shipped.read(path))}, {}
    recipes = [(kind, kind, 0.0) for kind in KINDS]
    if adversarial:
        recipes = [(KINDS[0], KINDS[0], 0.0), (f"{KINDS[0]} adversarial", KINDS[0], adversarial)]
    for name, kind, weight in recipes if train else ():
        models[name], made[name] = trained(kind, train, weight)
        print(name, made[name], flush=True)
    results = {}
    for name, images in sets(cohort, 8 if quick else 60):
        results[name] = compare(models, images)
        print(name, {key: round(value, 2) for key, value in results[name].items()}, flush=True)
    targets = [target for name, row in results.items() for target in _targets(name, row)]
    recipe = shipped.recipe_of(path)
    return {
        "machine": {"processor": platform.processor() or platform.machine()},
        "recipe": {k: recipe[k] for k in ("sha256", "processor_minutes")},
        "trained": made,
        "results": results,
        "targets": targets,
    }


def sets(cohort: list[str] | None, most: int) -> Iterator[tuple[str, list[Array]]]:
    """(name, images): procedural ones, and real ones where they are."""
    for modality in () if cohort else ("mri", "ct"):
        count = min(most, 24)
        yield (
            f"procedural {modality}",
            [random_volume((32, 32, 32), modality, 4242, i) for i in range(count)],
        )
    root = os.environ.get("MEDVAE_REAL_DATA")
    if cohort and not root:
        raise UsageError("set MEDVAE_REAL_DATA to the folder of real cohorts")
    for name, own in COHORTS.items() if root else ():
        if cohort is None or name in cohort:
            yield name, crops(Path(root or "") / name, own, min(most, own.count))


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
