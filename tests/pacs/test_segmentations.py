"""Label maps of a release as DICOM SEG, through a real Orthanc and back into a data set."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from medvae import api
from medvae.api import datasets
from medvae.release import create
from medvae.volume import Volume
from tests.cli.conftest import Clinic
from tests.pacs.conftest import needs_orthanc, orthanc
from tests.pacs.test_send import KEY
from tests.release.made import facts
from tests.release.test_segmentation import SCHEME, gapped

NAMES = "3=left hippocampus,7=odd thing"
WAYS = ("web", "dimse")


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two synthetic MRI of 10 slices with two labels each."""
    return create(
        volumes=gapped(2),
        out=tmp_path_factory.mktemp("send") / "release",
        facts=facts(SCHEME, body_part="brain"),
        sign=KEY.sign,
        public_key=KEY.public,
        fmt="dicom",
    ).path


def volumes(clinic: Clinic, dataset: str) -> list[Volume]:
    """The volumes of a data set, straight out of the vault."""
    tenant = api.open(clinic.root / "vault", identity=clinic.root / "key").tenant
    entries = datasets.load(tenant, dataset)["volumes"]
    return [Volume.from_bytes(tenant.get("volume", one["object"])) for one in entries]


def same(back: Volume, sent: Volume) -> bool:
    """Whether grey values and labels are equal, voxel by voxel."""
    assert back.mask is not None
    return np.array_equal(back.voxels, sent.voxels) and np.array_equal(back.mask, sent.mask)


@needs_orthanc
@pytest.mark.parametrize("way", WAYS)
def test_labels_of_a_release_come_back_at_their_place(
    clinic: Clinic, release: Path, tmp_path: Path, way: str
) -> None:
    with orthanc(tmp_path / "store") as running:
        address = getattr(running, way)
        sent = clinic("send", release, address).json
        assert (sent["sent"], sent["failed"]) == (22, [])
        words = ("--modality", "mri", "--label-scheme", NAMES)
        got = clinic("pull", address, "-d", "back", *words).json
        for study in running.ask("/studies?expand"):
            kinds = [running.ask(f"/series/{one}")["MainDicomTags"] for one in study["Series"]]
            assert sorted(kind["Modality"] for kind in kinds) == ["MR", "SEG"]
    assert (got["pulled"]["studies"], got["pulled"]["instances"]) == (2, 22)
    assert (got["volumes"], got["masks"], got["quarantined"]) == (2, 2, [])
    back = volumes(clinic, "back")
    for source in gapped(2):
        (found,) = [one for one in back if same(one, source)]
        np.testing.assert_allclose(found.affine, source.affine, atol=1e-3)
        assert set(np.unique(found.mask)) == {0, 3, 7}


@needs_orthanc
def test_structures_of_a_release_are_stored_beside_the_segmentations(
    clinic: Clinic, tmp_path: Path
) -> None:
    made = create(
        volumes=gapped(1),
        out=tmp_path / "release",
        facts=facts(SCHEME, body_part="brain", structures=True),
        sign=KEY.sign,
        public_key=KEY.public,
        fmt="dicom",
    ).path
    with orthanc(tmp_path / "store") as running:
        sent = clinic("send", made, running.web).json
        assert (sent["sent"], sent["failed"]) == (12, [])
        (study,) = running.ask("/studies?expand")
        kinds = [running.ask(f"/series/{one}")["MainDicomTags"] for one in study["Series"]]
        assert sorted(kind["Modality"] for kind in kinds) == ["MR", "RTSTRUCT", "SEG"]
        words = ("--modality", "mri", "--label-scheme", NAMES)
        got = clinic("pull", running.web, "-d", "back", *words).json
    # Both say the same of the series.
    assert (got["volumes"], got["masks"], got["quarantined"]) == (1, 1, [])
    (back,) = volumes(clinic, "back")
    assert same(back, gapped(1)[0])
