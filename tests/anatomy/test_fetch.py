"""`anatomy fetch`: a mesh becomes a label map; only the wheel with the known digests is read."""

from __future__ import annotations

import gzip
import hashlib
import zipfile

import numpy as np
import pytest

from medvae import api
from medvae.anatomy.collection import Library
from medvae.anatomy.collection.mesh import Mesh
from medvae.api import anatomy_fetch
from medvae.api.wheels import Wheel
from medvae.errors import InputError, UsageError

SHAPE = (30, 30, 30)
# A box of 24 voxels cut into six tetrahedra round its diagonal (Kuhn), and a node in no cell.
CORNERS = np.array([[x, y, z] for x in (3, 27) for y in (3, 27) for z in (3, 27)], float)
KUHN = [(0, 1, 3, 7), (0, 1, 5, 7), (0, 2, 3, 7), (0, 2, 6, 7), (0, 4, 5, 7), (0, 4, 6, 7)]
TABLE = "0 0 Unknown 0 0 0 0\n41 2 Right-White 1 1 1 1\n2 1 Left-White 1 1 1 1\n"


def text(chances: np.ndarray) -> str:
    """The text form of a mesh with class probabilities [8, 3]."""
    lines = ["Number of points: 8", "Number of cells: 7", "Number of labels: 3"]
    lines += ["Number of meshes: 1", "Reference position ", *_rows(CORNERS), "K: 0.1"]
    lines += ["Position 0", *_rows(CORNERS), "Cells: ", "   0   LINE   0 1 "]
    lines += [f"   {n}   TETRAHEDRON   {' '.join(map(str, cell))} " for n, cell in enumerate(KUHN)]
    lines += ["Point parameters: ", *(f"{row}  true  false " for row in _rows(chances))]
    return "\n".join(lines) + "\n"


def _rows(values: np.ndarray) -> list[str]:
    return [f"   {n}   " + "  ".join(map(str, row)) for n, row in enumerate(values)]


def by_height() -> np.ndarray:
    """Class 1 at the bottom and class 2 at the top of the box: the border is half way."""
    top = CORNERS[:, 2] > 15
    return np.stack([0.0 * top, 1.0 - top, 1.0 * top], axis=1)


def test_a_mesh_fills_its_box_and_nothing_else():
    labels = Mesh.from_text(text(by_height())).label_map(SHAPE)
    inside = np.zeros(SHAPE, bool)
    inside[3:28, 3:28, 3:28] = True
    assert not labels[~inside].any()
    assert (labels[3:28, 3:28, 3:15] == 1).all()
    assert (labels[3:28, 3:28, 16:28] == 2).all()


def test_probabilities_are_interpolated_within_a_tetrahedron():
    chances = by_height()
    chances[CORNERS[:, 2] > 15] = [0.0, 0.4, 0.6]
    labels = Mesh.from_text(text(chances)).label_map(SHAPE)
    # 1 - 0.6 h < 0.6 h from h = 5/6 of the height on.
    assert (labels[10, 10, 3:23] == 1).all()
    assert (labels[10, 10, 24:28] == 2).all()


@pytest.mark.parametrize("cut", [("Cells", "Cell"), ("Number of points: 8", "Number of points: 9")])
def test_a_damaged_mesh_is_refused(cut):
    with pytest.raises(ValueError, match="mesh"):
        Mesh.from_text(text(by_height()).replace(*cut))


@pytest.fixture
def wheel(tmp_path, monkeypatch):
    """A small wheel with the two files, and their digests as the known ones."""
    members = {
        anatomy_fetch._MESH: gzip.compress(text(by_height()).encode(), mtime=0),
        anatomy_fetch._TABLE: TABLE.encode(),
    }
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in members.items()}
    monkeypatch.setattr(anatomy_fetch, "SAMSEG", Wheel("samseg==0.4a0", digests))
    monkeypatch.setattr(anatomy_fetch, "_SHAPE", SHAPE)
    path = tmp_path / "samseg.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def test_a_wheel_becomes_an_entry(wheel, tmp_path):
    result = api.fetch_anatomy("samseg", file=wheel, vault=tmp_path / "v")
    assert result.entries[0].licence.startswith("MIT")
    assert api.verify_anatomy(tmp_path / "v").damaged == ()
    library = Library(tmp_path / "v")
    entry = library.entry("samseg")
    assert entry.label_scheme == {2: "Left-White", 41: "Right-White"}
    maps = library.person(entry, 0)
    assert (maps.labels[10, 10, 5], maps.labels[10, 10, 25]) == (2, 41)
    with pytest.raises(UsageError, match="exists already"):
        api.fetch_anatomy("samseg", file=wheel, vault=tmp_path / "v")


@pytest.mark.parametrize("how", ["other digest", "other wheel", "no zip", "gone"])
def test_another_file_is_refused(wheel, tmp_path, monkeypatch, how):
    if how == "other digest":
        digests = {**anatomy_fetch.SAMSEG.digests, anatomy_fetch._TABLE: "00" * 32}
        monkeypatch.setattr(anatomy_fetch, "SAMSEG", Wheel("samseg==0.4a0", digests))
    elif how == "other wheel":
        with zipfile.ZipFile(wheel, "w") as archive:
            archive.writestr("other/file.txt", "x")
    elif how == "no zip":
        wheel.write_bytes(b"no wheel")
    else:
        wheel.unlink()
    with pytest.raises(InputError, match=r"samseg\.whl"):
        api.fetch_anatomy("samseg", file=wheel, vault=tmp_path / "v")
    assert api.list_anatomy(tmp_path / "v").entries == ()


def test_without_a_network_the_sentence_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(InputError, match="--from FILE"):
        api.fetch_anatomy("samseg", vault=tmp_path / "v")


def test_nothing_else_is_fetched(tmp_path):
    with pytest.raises(UsageError, match="samseg only"):
        api.fetch_anatomy("other", vault=tmp_path / "v")
