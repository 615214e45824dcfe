"""What is erased does not come back: not from the disk, not from a backup of the catalogue."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

import pytest

from medvae.errors import AccessError, IntegrityError, MedvaeError, NotFoundError
from medvae.vault import fileio


def test_a_backup_of_the_catalogue_does_not_bring_an_object_back(place) -> None:
    """All but the key ring is put back: the object's key was wrapped by a dead epoch."""
    tenant = place.create("clinic")
    object_id = tenant.put("volume", b"of a patient who withdrew")
    tenant.close()
    folder, backup = place.root / "vault/clinic", place.root / "backup"
    shutil.copytree(folder, backup)
    tenant = place.open("clinic")
    tenant.delete("volume", object_id)
    tenant.close()
    for name in ("catalogue.db", "objects"):
        source, target = backup / name, folder / name
        if source.is_dir():
            shutil.rmtree(target)
            shutil.copytree(source, target)
        else:
            for suffix in ("-wal", "-shm"):
                Path(str(target) + suffix).unlink(missing_ok=True)
            shutil.copy2(source, target)
    with pytest.raises(MedvaeError) as caught:
        place.open("clinic").get("volume", object_id)
    assert isinstance(caught.value, IntegrityError)
    assert "epoch" in str(caught.value)


def test_replaced_versions_leave_with_the_next_epoch(place) -> None:
    tenant = place.create("clinic")
    tenant.put("checkpoint", b"1", name="run")
    tenant.put("checkpoint", b"2", name="run", replace=True)
    (path,) = (tenant.root / "objects").glob("*/*")
    assert path.name.endswith("-2")


def test_the_old_epoch_is_not_in_the_key_ring_nor_in_the_database(place) -> None:
    tenant = place.create("clinic")
    object_id = tenant.put("volume", b"data")
    ring = (tenant.root / "keyring.json").read_bytes()
    slot = ring.split(b'"root": "')[1][:40]
    with sqlite3.connect(tenant.root / "catalogue.db") as raw:
        (wrapped,) = raw.execute("SELECT sealed FROM objects").fetchone()
    tenant.delete("volume", object_id)
    tenant.close()
    assert slot not in (tenant.root / "keyring.json").read_bytes()
    for path in tenant.root.rglob("*"):
        if path.is_file():
            assert wrapped not in path.read_bytes(), path
            assert wrapped[12:44] not in path.read_bytes(), path


def test_many_deletions_in_one_transaction_are_one_epoch(place) -> None:
    tenant = place.create("clinic")
    ids = [tenant.put("volume", bytes([mark])) for mark in range(20)]
    before = tenant.epoch
    with tenant.transaction():
        for object_id in ids[:15]:
            tenant.delete("volume", object_id)
    assert tenant.epoch == before + 1
    assert sorted(tenant.ids("volume")) == sorted(ids[15:])
    assert len(list((tenant.root / "objects").glob("*/*"))) == 5


def test_an_erased_tenant_is_gone(place) -> None:
    tenant = place.create("clinic")
    tenant.put("volume", b"data")
    backup = place.root / "backup"
    shutil.copytree(tenant.root, backup, ignore=shutil.ignore_patterns("keyring.json"))
    tenant.close()
    place.vault.erase("clinic")
    assert place.vault.tenants() == []
    assert list((place.root / "vault").iterdir()) == []
    with pytest.raises(NotFoundError):
        place.open("clinic")
    with pytest.raises(NotFoundError):
        place.vault.erase("clinic")
    shutil.copytree(backup, place.root / "vault/clinic")
    with pytest.raises(NotFoundError):  # without the key ring there is nothing to open
        place.open("clinic")


def test_a_tenant_with_a_ruined_key_ring_can_be_erased(place) -> None:
    place.create("clinic").close()
    (place.root / "vault/clinic/keyring.json").write_text("{")
    place.vault.erase("clinic")
    assert place.vault.tenants() == []


def test_a_link_that_looks_like_an_erased_tenant_is_not_followed(place) -> None:
    place.create("clinic")
    victim = place.root / "elsewhere"
    shutil.copytree(place.root / "vault/clinic", victim)
    (place.root / "vault/.erased-0").symlink_to(victim)
    (place.root / "vault/.creating-0").symlink_to(victim)
    place.create("other")
    assert (victim / "keyring.json").read_bytes().startswith(b"{")


def test_a_name_can_be_used_again(place) -> None:
    first = place.create("clinic")
    object_id = first.put("volume", b"data")
    first.close()
    place.vault.erase("clinic")
    place.recovery("clinic").unlink()
    second = place.create("clinic")
    with pytest.raises(NotFoundError):
        second.get("volume", object_id)
    assert second.pseudonym("x") != first.pseudonym("x")


def test_an_open_handle_of_an_erased_tenant_does_nothing(place) -> None:
    tenant = place.create("clinic")
    object_id = tenant.put("volume", b"data")
    place.vault.erase("clinic")
    with pytest.raises((MedvaeError, OSError)):
        tenant.put("volume", b"more")
    with pytest.raises((IntegrityError, NotFoundError, AccessError)):
        tenant.get("volume", object_id)


@pytest.mark.parametrize("step", ["shred", "rename", "file_lock", "rmtree"])
def test_an_erasure_that_was_cut_off_is_finished_by_the_same_command(
    place, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    tenant = place.create("clinic")
    tenant.put("volume", b"data")
    tenant.close()
    place.create("clinic-b").close()

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        target = {"shred": fileio, "file_lock": fileio, "rename": Path, "rmtree": shutil}[step]
        patch.setattr(target, step, killed)
        with pytest.raises(KeyboardInterrupt):
            place.vault.erase("clinic")
    if step != "shred":
        # The keys are the first to go: what is left of the folder opens nothing.
        assert not list((place.root / "vault").glob("*clinic*[!b]/keyring.json"))
        with pytest.raises(MedvaeError):
            place.open("clinic")
    place.vault.erase("clinic")
    assert [path.name for path in (place.root / "vault").iterdir()] == ["clinic-b"]
    with pytest.raises(NotFoundError):
        place.vault.erase("clinic")
    place.open("clinic-b").close()
