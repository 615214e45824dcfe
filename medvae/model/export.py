"""A model in open formats, for use without medvae. The caller has checked that it may leave."""

from __future__ import annotations

import importlib.util
import io
import json
import warnings
from pathlib import Path

import torch
from torch import Tensor, nn

from medvae.errors import UsageError
from medvae.model.artifact import Artifact, load_model
from medvae.model.base import VAE

FORMATS = ("safetensors", "torchscript", "onnx")


class _Decoder(nn.Module):
    def __init__(self, model: VAE) -> None:
        super().__init__()
        self.model = model

    def forward(self, latent: Tensor) -> Tensor:
        return self.model.decode(latent)


class _Encoder(nn.Module):
    def __init__(self, model: VAE) -> None:
        super().__init__()
        self.model = model

    def forward(self, volume: Tensor) -> Tensor:
        return self.model.encode(volume)[0]


def export_model(
    artifact: Artifact, out: Path, fmt: str, others: tuple[str, ...] = ()
) -> list[Path]:
    """Write the model under `out` and name the files.

    safetensors: the whole artifact and its facts as JSON. torchscript, onnx: encoder
    (volume [1, C, *S] to posterior mean) and decoder, for the grid of the configuration.

    others: formats that the caller writes, for the message.

    Raises:
        UsageError: an unknown format, or one whose packages are not installed.
    """
    if fmt not in FORMATS:
        raise UsageError(f"--format must be one of {', '.join((*FORMATS, *others))}, not {fmt!r}")
    if fmt == "onnx" and not all(map(importlib.util.find_spec, ("onnx", "onnxscript"))):
        raise UsageError(
            "--format onnx needs the packages onnx and onnxscript: pip install onnx onnxscript"
        )
    out.mkdir(parents=True, exist_ok=True)
    facts = out / "model.json"
    facts.write_text(json.dumps(artifact.facts, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    if fmt == "safetensors":
        weights = out / "model.safetensors"
        weights.write_bytes(artifact.to_bytes())
        return [weights, facts]
    return [*_graphs(artifact, out, fmt), facts]


def _graphs(artifact: Artifact, out: Path, fmt: str) -> list[Path]:
    model = load_model(artifact)
    size = artifact.config().data.size[: model.dims]
    volume = torch.zeros(1, model.channels, *size)
    latent = torch.zeros(1, *model.latent_shape(size))
    files = []
    for name, network, example in (
        ("encoder", _Encoder(model), volume),
        ("decoder", _Decoder(model), latent),
    ):
        path = out / (f"{name}.onnx" if fmt == "onnx" else f"{name}.pt")
        if fmt == "onnx":
            torch.onnx.export(network, (example,), str(path), dynamo=True)
        else:
            _script(network, example, path)
        files.append(path)
    return files


def _script(network: nn.Module, example: Tensor, path: Path) -> None:
    with warnings.catch_warnings():
        # Sizes are fixed on purpose: the graph is for one grid.
        warnings.filterwarnings("ignore", category=UserWarning)
        warnings.filterwarnings("ignore", message=".*trace")
        warnings.simplefilter("ignore", DeprecationWarning)
        traced = torch.jit.trace(network, example)  # type: ignore[no-untyped-call]
        # Through memory: what PyTorch says of a full disk is no OSError.
        buffer = io.BytesIO()
        torch.jit.save(traced, buffer)
    path.write_bytes(buffer.getbuffer())
