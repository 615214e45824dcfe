"""A model as a bundle of MONAI (MONAI Bundle Specification), which draws without medvae.

configs/metadata.json    what it is, what it needs, what it protects
configs/inference.json   draws volumes `first` to `first` + `n` of a seed
models/model.ts          what draws, as TorchScript
docs/README.md  docs/data_license.txt  docs/model.json  LICENSE
"""

from __future__ import annotations

import io
import json
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from medvae import modality as modalities
from medvae.grid import grid_affine, public_limits
from medvae.model import Artifact
from medvae.portable.drawers import Drawer, drawer_of
from medvae.version import __version__

SCHEMA = (
    "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/"
    "meta_schema_20240725.json"
)
_LICENCE = "to be set by the institution that exported this bundle; until then all rights reserved"
_COMMAND = "python -m monai.bundle run --config_file configs/inference.json --seed 7 --n 4"


def write_bundle(artifact: Artifact, out: Path) -> list[Path]:
    """Write the bundle under `out`, an empty folder, and name its files.

    Raises:
        UsageError: what draws the model's images is no network (see `drawer_of`).
    """
    drawer = drawer_of(artifact)
    texts = {
        "configs/metadata.json": _json(_metadata(artifact, drawer)),
        "configs/inference.json": _json(_inference(artifact, drawer)),
        "docs/README.md": _readme(artifact),
        "docs/data_license.txt": _data_licence(artifact),
        "docs/model.json": _json(artifact.facts),
        "LICENSE": f"Weights and configuration of this bundle: {_LICENCE}.\n",
    }
    for name, text in texts.items():
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_text(text, encoding="utf-8")
    weights = out / "models" / "model.ts"
    weights.parent.mkdir()
    _script(drawer, weights)
    return [weights, *(out / name for name in texts)]


def _script(drawer: Drawer, path: Path) -> None:
    example = torch.zeros(1, drawer.numbers, dtype=drawer.dtype)
    with warnings.catch_warnings(), torch.no_grad():
        # Sizes are fixed on purpose: the graph is for one grid and one image at a time.
        warnings.filterwarnings("ignore", message=".*trace")
        warnings.simplefilter("ignore", DeprecationWarning)
        traced = torch.jit.trace(drawer.network, example)  # type: ignore[no-untyped-call]
        # Through memory: what PyTorch says of a full disk is no OSError.
        buffer = io.BytesIO()
        torch.jit.save(traced, buffer)
    path.write_bytes(buffer.getbuffer())


def _metadata(artifact: Artifact, drawer: Drawer) -> dict[str, Any]:
    data = artifact.config().data
    modality = modalities.get(data.modality)
    ends = [end for own in data.of_channels for end in public_limits(own)]
    images = modalities.images_of(data.modalities or (data.modality,))
    names = data.channels or ("intensity",)
    return {
        "schema": SCHEMA,
        "version": "1.0.0",
        "changelog": {"1.0.0": f"exported by medvae {__version__}"},
        "monai_version": version("monai"),
        "pytorch_version": torch.__version__,
        "numpy_version": np.__version__,
        "required_packages_version": {"nibabel": version("nibabel"), "pillow": version("pillow")},
        "name": f"medvae {modality.noun}",
        "task": f"Generation of synthetic {images}",
        "description": f"Draws synthetic {images} from random numbers. {_guarantee(artifact)}",
        "authors": "the institution that exported this bundle",
        "copyright": f"Licence: {_LICENCE}",
        "data_source": "not stated: see docs/data_license.txt",
        "data_type": "random numbers",
        "intended_use": "Research; not for diagnosis or treatment",
        "differential_privacy": {
            name: artifact.facts.get(name) for name in ("kind", "epsilon", "delta")
        },
        "network_data_format": {
            "inputs": {
                "latent": {
                    "type": "noise",
                    "format": "noise",
                    "num_channels": 1,
                    "spatial_shape": [drawer.numbers],
                    "dtype": str(drawer.dtype).removeprefix("torch."),
                    "value_range": [],
                    "is_patch_data": False,
                    "channel_def": {"0": "random numbers, as configs/inference.json draws them"},
                }
            },
            "outputs": {
                "pred": {
                    "type": "image",
                    "format": "hounsfield" if data.modality == "ct" else "magnitude",
                    "modality": data.modality,
                    "num_channels": len(names),
                    "spatial_shape": list(data.size),
                    "dtype": "float32",
                    "value_range": [min(ends), max(ends)],
                    "is_patch_data": False,
                    "channel_def": {str(i): name for i, name in enumerate(names)},
                }
            },
        },
    }


def _inference(artifact: Artifact, drawer: Drawer) -> dict[str, Any]:
    data = artifact.config().data
    planar = modalities.get(data.modality).planar
    return {
        "imports": ["$import numpy", "$import torch", "$import monai"],
        "bundle_root": ".",
        "output_dir": "$@bundle_root + '/eval'",
        # Nothing is read: images are drawn.
        "dataset_dir": "$@bundle_root",
        "device": "cpu",
        "seed": 0,
        "first": 0,
        "n": 1,
        "generator": "$lambda i: numpy.random.Generator(numpy.random.Philox(key=[@seed, i]))",
        "latent": f"$lambda r: torch.from_numpy({drawer.draw})",
        "dataset": {
            "_target_": "Dataset",
            "data": "$[@latent(@generator(i)) for i in range(@first, @first + @n)]",
        },
        "network_def": "$torch.jit.load(@bundle_root + '/models/model.ts', @device)",
        "inferer": {"_target_": "SimpleInferer"},
        "affine": grid_affine(data).tolist(),
        "postprocessing": {
            "_target_": "SaveImage",
            "output_dir": "@output_dir",
            "output_postfix": "",
            "output_ext": ".png" if planar else ".nii.gz",
            "output_dtype": "$numpy.uint8" if planar else "$numpy.float32",
            "resample": False,
            "separate_folder": False,
            "print_log": False,
        },
        "named": "$lambda image, i: monai.data.MetaTensor(image, affine=torch.tensor(@affine), "
        "meta={'filename_or_obj': f'synth{i + 1:04d}'})",
        # Rows of a picture run down, and the second axis of space runs up.
        "shown": "$lambda image: torch.flip(image, [2]).round()" if planar else "$lambda x: x",
        "evaluator": "$lambda i, x: @postprocessing(@named(@shown(@inferer(x[None].to(@device), "
        "@network_def)[0].detach().cpu()), i))",
        "run": ["$[@evaluator(@first + i, x) for i, x in enumerate(@dataset)]"],
    }


def _guarantee(artifact: Artifact) -> str:
    facts = artifact.facts
    if facts["kind"] == "public":
        return "No patient was read to make it."
    return (
        f"It was learnt from patients under ({facts['epsilon']:g}, {facts['delta']:g})-"
        "differential privacy; docs/model.json holds the plan."
    )


def _readme(artifact: Artifact) -> str:
    data = artifact.config().data
    images = modalities.images_of(data.modalities or (data.modality,))
    return (
        f"# Synthetic {images}\n\n{_guarantee(artifact)}\n\n"
        "**Synthetic data. Not for diagnosis or treatment.**\n\n"
        f"```\n{_COMMAND}\n```\n\n"
        "draws `eval/synth0001` and so on: the same images, but for the rounding of floating-point "
        "numbers, as `medvae generate MODEL -n 4 --seed 7`. The command needs MONAI, and `fire` "
        "for its command line; `monai.bundle.run` in Python does not need that. "
        "`models/model.ts` takes one row of random numbers at a time, as `latent` in "
        "`configs/inference.json` draws them.\n"
    )


def _data_licence(artifact: Artifact) -> str:
    if artifact.facts["kind"] == "public":
        return "No data of patients were used.\n"
    return (
        "The scans that this model was learnt from are not part of this bundle, and nothing here "
        f"gives a right to them. {_guarantee(artifact)} Whether the scans may be used for that was "
        "for the exporting institution to establish.\n"
    )


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, sort_keys=False, allow_nan=False) + "\n"
