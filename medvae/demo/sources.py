"""The two public files that the demo's heads come from, in wheels that are never installed."""

from __future__ import annotations

import gzip
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from medvae.api.anatomy_fetch import SAMSEG
from medvae.api.wheels import Wheel
from medvae.progress import Progress

_AVERAGE: Final = "pydeface/data/mean_reg2mean.nii.gz"
PYDEFACE: Final = Wheel(
    "pydeface==2.1.0",
    {_AVERAGE: "fdc13571d66293f9919648cd8de9a7b3491b12175e09336353d2c9ce0466ecb6"},
)


@dataclass(frozen=True)
class Sources:
    """Wheels of the public anatomy that is drawn (`SAMSEG`), and of the made-up patients' head."""

    samseg: Path
    pydeface: Path

    def average_head(self) -> Any:
        """The average head with face, as nibabel reads it. InputError: it is another file."""
        import nibabel as nib

        return nib.Nifti1Image.from_bytes(gzip.decompress(PYDEFACE.read(self.pydeface)[_AVERAGE]))


def cache() -> Path:
    """Where fetched wheels are kept: below XDG_CACHE_HOME, or below ~/.cache."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "medvae" / "demo"


def find(folder: Path | None = None) -> Sources | None:
    """The wheels in a folder (None: the cache); None where one of them is not there."""
    where = cache() if folder is None else folder
    samseg, pydeface = SAMSEG.found_in(where), PYDEFACE.found_in(where)
    return None if samseg is None or pydeface is None else Sources(samseg, pydeface)


def fetch(progress: Progress) -> Sources:
    """Download what the cache lacks.

    Raises:
        InputError: pip cannot download a wheel, or it is another one.
    """
    folder = cache()
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for wheel in (SAMSEG, PYDEFACE):
        path = wheel.found_in(folder) or wheel.download(folder, progress, "demo --from FOLDER")
        wheel.read(path)
        paths.append(path)
    return Sources(*paths)
