"""Whole volumes in the report, and NiiVue, which shows them in three dimensions.

Each is text in an element that no browser runs: gzip in base64. NiiVue is the file as its makers
published it; the page's policy lets it run by its SHA-256 alone.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files

import numpy as np
import numpy.typing as npt

from medvae.release.figures import LABEL_COLOURS
from medvae.release.nifti import SYNTHETIC, gzipped, nifti
from medvae.release.survey import Look
from medvae.volume import Volume

# Voxels of a volume at most; of a larger one so many are shown, evenly spread.
MOST_VOXELS = 1_000_000
# NiiVue, as it was published: its version, its file's name there and its digest.
VERSION = "0.69.0"
FILE = "niivue.umd.js"
SHA256 = "47b896b77ec4a5be3ef1949c33ad393b6f45629921f326c279000bcf51bdb4af"


@dataclass(frozen=True)
class Solid:
    """A volume, 0 to 255 from black to white, and its label map: NIfTI, gzip, base64."""

    image: str
    labels: str | None


def viewer_code() -> bytes:
    """NiiVue. Raises ValueError where it is not what was published."""
    code = files("medvae.release").joinpath("page", "niivue", FILE).read_bytes()
    if hashlib.sha256(code).hexdigest() != SHA256:
        raise ValueError(f"{FILE} is not NiiVue {VERSION} as it was published")
    return code


def solids(looks: Sequence[Look]) -> list[Solid]:
    """Each of them; none where they are pictures."""
    if looks[0].volume.shape[2] == 1:
        return []
    return [_solid(look) for look in looks]


def _solid(look: Look) -> Solid:
    volume = look.volume
    voxels, affine = _thinned(volume)
    scaled = (volume.grey[voxels].astype(np.float32) - look.low) / (look.high - look.low)
    levels = np.rint(np.clip(scaled, 0, 1) * 255).astype(np.uint8)
    image = nifti(levels, affine, display=(0.0, 255.0), description=SYNTHETIC)
    labels = None
    if volume.mask is not None:
        mask = volume.mask[voxels].astype(np.uint8)
        labels = _packed(nifti(mask, affine, description=SYNTHETIC))
    return Solid(_packed(image), labels)


def _thinned(volume: Volume) -> tuple[tuple[npt.NDArray[np.intp], ...], npt.NDArray[np.float64]]:
    """Which voxels of a volume are shown, evenly spread, and where they are."""
    shrink = min(1.0, (MOST_VOXELS / math.prod(volume.shape)) ** (1 / 3))
    sizes = [max(1, int(n * shrink)) for n in volume.shape]
    steps = [n / size for n, size in zip(volume.shape, sizes, strict=True)]
    # The middle of each shown voxel, in voxels of the volume.
    middles = [(np.arange(size) + 0.5) * step for size, step in zip(sizes, steps, strict=True)]
    grid = np.diag([*steps, 1.0])
    grid[:3, 3] = [(step - 1) / 2 for step in steps]
    return np.ix_(*(np.floor(middle).astype(np.intp) for middle in middles)), volume.affine @ grid


def _packed(data: bytes) -> str:
    return base64.b64encode(gzipped(data)).decode("ascii")


def elements(solids: list[Solid], labels: dict[str, str]) -> str:
    """What the page's script reads: NiiVue, the colours of labels, and the volumes."""
    if not solids:
        return ""
    colours = [[int(colour[at : at + 2], 16) for at in (1, 3, 5)] for colour in LABEL_COLOURS]
    # Characters that could end the element are written as escapes.
    legend = json.dumps({"colours": colours, "names": labels}).replace("<", "\\u003c")
    parts = [_data("solid-code", _packed(viewer_code())), _data("solid-told", legend)]
    for index, solid in enumerate(solids):
        parts.append(_data(f"solid-image-{index}", solid.image))
        if solid.labels is not None:
            parts.append(_data(f"solid-labels-{index}", solid.labels))
    return "\n".join(parts)


def licences() -> str:
    """The notices that go wherever NiiVue goes."""
    folder = files("medvae.release").joinpath("page", "niivue")
    notices = "\n".join(
        folder.joinpath(name).read_text(encoding="utf-8") for name in ("LICENSE", "NOTICES")
    )
    return (
        f'<details class="licences"><summary>Licences of NiiVue {VERSION}, which is in this page'
        f"</summary><pre>{escape(notices)}</pre></details>"
    )


def _data(name: str, text: str) -> str:
    return f'<script type="application/octet-stream" id="{name}">{text}</script>'
