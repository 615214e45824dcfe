"""Modalities: what each is, and that a new one is one object and one registration."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, replace

import numpy as np
import pytest

from medvae import modality as modalities
from medvae.atlas.hounsfield import grey_centre
from medvae.config import DataConfig, RunConfig
from medvae.errors import UsageError
from medvae.grid import from_grid, normalise, public_limits, to_grid
from medvae.ingest.bids import is_scan, modality_of
from medvae.modality import Modality, UnknownModalityError
from medvae.modality.base import Bids, Dicom, Units
from medvae.modality.pet import PET
from medvae.modality.scaling import Depth, Window
from medvae.model.procedural import random_volume
from medvae.volume import Volume

TOY = replace(
    PET,
    name="thermal",
    title="thermography",
    units=Units("K", "kelvin", "K", "K"),
    dicom=Dicom(storage="1.2.3.4", modality="TG", read=("1.2.3.4",)),
    bids=Bids(folder="therm", suffixes=("therm",), described="thermography", read=("therm",)),
    step=0.01,
    window=(270.0, 320.0),
)


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> Modality:
    monkeypatch.setattr(modalities, "_registry", dict(modalities._registry))
    modalities.register(TOY)
    return TOY


def test_a_new_modality_needs_its_object_alone(toy: Modality) -> None:
    """Configuration, grid, procedural volumes, the way back, and names: none asks for more."""
    data = DataConfig(modality="thermal", size=(6, 5, 4))
    assert data.window == (270.0, 320.0)
    kelvin = np.linspace(260, 330, 120, dtype=np.float32).reshape(6, 5, 4)
    gridded = to_grid(Volume(kelvin, np.eye(4), "thermal"), data)
    assert (gridded.image.min(), gridded.image.max()) == (-1.0, 1.0)
    back = from_grid(gridded.image, data)
    assert back.modality == "thermal"
    np.testing.assert_allclose(back.voxels, np.clip(kelvin, 270, 320), atol=0.0051)
    assert np.abs(random_volume((6, 5, 4), "thermal", 1, 0)).max() <= 1
    assert Volume.from_bytes(back.to_bytes()).modality == "thermal"
    name = "sub-01/therm/sub-01_therm.nii.gz"
    assert is_scan(name)
    assert modality_of(name) == "thermal"
    assert not is_scan("sub-01/func/sub-01_bold.nii.gz")


def test_without_it_the_name_is_unknown() -> None:
    with pytest.raises(
        UnknownModalityError, match="one of mri, ct, pet, xray, photo, not 'thermal'"
    ):
        modalities.get("thermal")
    with pytest.raises(ValueError, match="one of"):
        Volume(np.zeros((2, 2, 2), np.float32), np.eye(4), "thermal")


def test_names_and_storage_classes_are_registered_once(toy: Modality) -> None:
    with pytest.raises(ValueError, match="already"):
        modalities.register(toy)
    with pytest.raises(ValueError, match="pet reads"):
        modalities.register(replace(PET, name="pet2"))
    with pytest.raises(FrozenInstanceError):
        toy.name = "mri"  # type: ignore[misc]


def test_what_cannot_be_used_yet_is_refused_everywhere(toy: Modality) -> None:
    blocked = replace(
        toy, name="blocked", dicom=replace(toy.dicom, read=()), refusal="nobody has said how"
    )
    modalities.register(blocked)
    try:
        assert "blocked" not in modalities.names()
        with pytest.raises(UsageError, match="blocked cannot be used yet"):
            modalities.usable("blocked")
        with pytest.raises(ValueError, match="blocked cannot be used yet"):
            RunConfig.model_validate({"data": {"modality": "blocked"}})
    finally:
        modalities._registry.pop("blocked")


@pytest.mark.parametrize("name", ["xray", "photo"])
def test_the_grid_of_pictures_has_two_axes(name: str) -> None:
    data = DataConfig(modality=name)
    assert data.size == (64, 64, 1)
    assert data.fit == "stretch"
    assert DataConfig(modality=name, size=(28, 20, 1), fit="pad").size == (28, 20, 1)
    with pytest.raises(ValueError, match=r"\[width, height, 1\], not \[8, 8, 8\]"):
        DataConfig(modality=name, size=(8, 8, 8))


def test_uptake_values_keep_their_unit_and_their_steps() -> None:
    data = DataConfig(modality="pet", size=(8, 8, 8), window=(0.0, 7.3))
    suv = np.linspace(-1, 12, 512, dtype=np.float32).reshape(8, 8, 8)
    image, limits = normalise(suv, data)
    assert limits == public_limits(data) == (0.0, 7.3)
    back = from_grid(image, data).voxels
    assert back.dtype == np.float32
    np.testing.assert_allclose(back, np.clip(suv, 0, 7.3), atol=2**-11 + 1e-5)
    # A part of the window is raised to the exponent: one SUV of 7.3 is at its root.
    one, _ = normalise(np.ones((1, 1, 1)), data)
    assert one.item() == pytest.approx(2 * (1 / 7.3) ** 0.5 - 1)
    assert grey_centre(data) == pytest.approx(one.item())
    assert (back * 1024 == np.rint(back * 1024)).all()


def test_a_window_beyond_what_can_be_stored_is_refused() -> None:
    DataConfig(modality="pet", window=(-32.0, 31.999))
    for window in ((-32.01, 10.0), (0.0, 32.0), (-1000.0, 1000.0)):
        with pytest.raises(ValueError, match=r"in SUV and must lie within -32 and 31.999"):
            DataConfig(modality="pet", window=window)


def test_limits_of_a_picture_do_not_depend_on_its_values() -> None:
    # Ingest brings every depth to 0..255: a dark picture stays dark.
    scaling = Depth(most=255.0)
    for values in (np.array([[0, 9]]), np.full((2, 2), np.nan)):
        assert scaling.limits(values, (0, 1), (0, 100)) == (0.0, 255.0)
    assert scaling.public_limits((0, 1)) == (0.0, 255.0)
    assert Window().limits(np.zeros(3), (5.0, 6.0), (0, 100)) == (5.0, 6.0)


@pytest.mark.parametrize("one", modalities.registered(), ids=lambda one: one.name)
def test_every_modality_is_complete(one: Modality) -> None:
    low, high = one.scaling.public_limits(one.window)
    assert one.storable[0] <= low < high <= one.storable[1]
    assert all((one.title, one.units.words, one.units.card, one.units.bids, one.bids.suffixes))
    assert one.dicom.storage in one.dicom.read or one.planar
    assert modality_of(f"sub-1/{one.bids.folder}/sub-1_{one.bids.suffixes[0]}.nii") == one.name
    if one.intensity == "distribution":
        assert one.scaling.absolute
        assert one.window[0] <= one.field_range[1] <= one.window[1]
    values = one.procedural.tissues
    assert all(-1 <= value <= 1 for value in values)
