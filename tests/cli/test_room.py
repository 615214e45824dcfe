"""Memory that a training lacks is known before its debit."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import medvae
from medvae import memory
from medvae.api import cost, crew, follower, planning, room
from medvae.api.records import VolumeEntry
from medvae.config import RunConfig
from medvae.errors import AccessError
from medvae.space import words
from tests.cli.conftest import DECLARED, QUICK, Clinic

MIB = 1 << 20


def entry(subject: str, shape: tuple[int, ...], channels: int = 0) -> VolumeEntry:
    made: VolumeEntry = {
        "object": "o",
        "digest": "d",
        "voxels": "v",
        "subject": subject,
        "modality": "mri",
        "shape": list(shape),
        "spacing": [1.0, 1.0, 1.0],
        "mask": False,
    }
    if channels:
        made["channels"] = [f"c{number}" for number in range(channels)]
    return made


def config(**sections: object) -> RunConfig:
    return RunConfig.model_validate({"data": {"modality": "mri", "size": [8, 8, 8]}} | sections)


ANATOMY = {
    "anatomy": {"library": "patients", "share": 1.0, "digest": "0" * 64},
    "atlas": {"share": 0.0},
    "finetune": {"share": 0.0, "steps": 0},
    "prior": {"share": 0.0},
}
GRID = room.GRIDDED_BYTES * 512


def test_bytes_follow_the_largest_scan_and_the_patients_other_ones() -> None:
    entries = [entry("a", (100, 100, 10)), entry("b", (10, 10, 10)), entry("a", (50, 10, 10))]
    found = sorted(room.by_patient(entries, config()))
    assert found == [
        room.SCAN_BYTES * 1000 + GRID,
        room.SCAN_BYTES * 100_000 + room.WAITING_BYTES * 5000 + GRID,
    ]
    assert room.by_patient([entry("a", (100, 10, 10), 3)], config()) == [
        3 * (room.SCAN_BYTES * 10_000 + GRID)
    ]


def test_volumes_on_the_grid_count_as_long_as_they_are_kept(monkeypatch) -> None:
    entries = [entry("a", (10, 10, 10))] * 4
    assert room.kept_bytes(4, config().data) == 4 * 512 * 5
    needed = room.by_patient(entries, config())[0] + 4 * 512 * 5
    monkeypatch.setattr(memory, "available", lambda: needed - 1)
    with pytest.raises(AccessError, match="nothing was spent"):
        room.threads(entries, config())
    monkeypatch.setattr(memory, "available", lambda: needed)
    assert room.threads(entries, config()) == 1
    # Of two machines with a process each, this one keeps half.
    monkeypatch.setattr(memory, "available", lambda: needed - 2 * 512 * 5)
    assert room.threads(entries, config(), 1, 2) == 1


def test_a_thin_scan_that_is_resampled_to_fine_voxels_counts_as_what_it_becomes() -> None:
    data = {"modality": "mri", "size": [8, 8, 8], "spacing": [0.5, 0.5, 0.5]}
    (found,) = room.by_patient([entry("a", (100, 100, 10))], config(data=data))
    assert found == room.SCAN_BYTES * 100_000 + room.GRIDDED_BYTES * 800_000


def test_fewer_patients_are_measured_at_a_time_where_memory_is_short(monkeypatch) -> None:
    entries = [entry(str(number), (100, 100, 100)) for number in range(20)]
    each = max(room.by_patient(entries, config(**ANATOMY)))
    # Volumes on the grid, which are kept.
    monkeypatch.setattr(room, "MOST_KEPT", 0)
    monkeypatch.setattr(room.os, "cpu_count", lambda: 8)
    for patients, wanted in ((8, 8), (7.5, 7), (1, 1), (100, 8)):
        monkeypatch.setattr(memory, "available", lambda n=patients: int(n * each))
        assert room.threads(entries, config(**ANATOMY)) == wanted
    # Four processes with two cores each; what they have loaded is not available any more.
    for patients, wanted in ((7, 1), (8, 2)):
        monkeypatch.setattr(memory, "available", lambda n=patients: n * each)
        assert room.threads(entries, config(**ANATOMY), 4, 4) == wanted
    monkeypatch.setattr(memory, "available", lambda: 3 * each)
    with pytest.raises(AccessError, match=r"4 patients at a time .* fewer processes"):
        room.threads(entries, config(**ANATOMY), 4, 4)
    monkeypatch.setattr(memory, "available", lambda: each - 1)
    with pytest.raises(AccessError, match=r"measuring one patient .* nothing was spent"):
        room.threads(entries, config(**ANATOMY))


def test_what_no_machine_of_this_size_holds_is_refused_before_the_debit(
    clinic: Clinic, scans: Path, monkeypatch
) -> None:
    clinic("ingest", scans, "-d", "d", *DECLARED)
    train = ("train", "-c", QUICK, "-d", "d", "--name", "m")
    monkeypatch.setattr(memory, "available", lambda: 100_000)
    why = f"and {words(100_000)} are available here; nothing was spent"
    # The training may be meant for another machine than the plan.
    planned = clinic("plan", "-c", QUICK, "-d", "d")
    assert why in planned.json["memory_lacks"]
    refused = clinic(*train, ok=False)
    assert refused.code == 5
    assert why in refused.err
    tenant = medvae.open(clinic.root / "vault", identity=clinic.root / "key").tenant
    assert tenant.find("run", "m") is None
    assert tenant.journal("ledger").entries() == []
    tenant.close()


def test_memory_is_looked_at_again_when_the_other_processes_have_loaded_their_libraries(
    clinic: Clinic, scans: Path, monkeypatch
) -> None:
    clinic("ingest", scans, "-d", "d", *DECLARED)
    ready, honest = [], crew.Crew.ready

    def loaded(*given: Any) -> Any:
        ready.append(honest(*given))
        return ready[0]

    monkeypatch.setattr(crew.Crew, "ready", loaded)
    monkeypatch.setattr(memory, "available", lambda: 100_000 if ready else 1 << 40)
    train = ("train", "-c", QUICK, "-d", "d", "--name", "m", "--workers", "2")
    refused = clinic(*train, ok=False)
    assert refused.code == 5
    assert ready
    assert f"and {words(100_000)} are available here" in refused.err
    tenant = medvae.open(clinic.root / "vault", identity=clinic.root / "key").tenant
    assert tenant.journal("ledger").entries() == []
    tenant.close()


def test_a_resumed_training_is_refused_too(clinic: Clinic, scans: Path, monkeypatch) -> None:
    """On a machine that is smaller than the one on which it was begun."""
    clinic("ingest", scans, "-d", "d", *DECLARED)
    train = ("train", "-c", QUICK, "-d", "d", "--name", "m")
    calls: list[int] = []

    def available() -> int:
        calls.append(1)
        return 1 << 40 if len(calls) == 1 else 100_000

    monkeypatch.setattr(memory, "available", available)
    assert clinic(*train, ok=False).code == 5
    refused = clinic(*train, "--resume", ok=False)
    assert refused.code == 5
    # It may have been debited when it was begun.
    assert "nothing more was spent" in refused.err
    tenant = medvae.open(clinic.root / "vault", identity=clinic.root / "key").tenant
    assert tenant.find("run", "m") is not None
    assert tenant.journal("ledger").entries() == []
    tenant.close()


def test_another_process_does_not_say_that_nothing_was_spent(monkeypatch) -> None:
    """Whether the run is debited already is not known to it."""
    manifest: Any = {"volumes": [entry("a", (100, 100, 10))]}
    monkeypatch.setattr(memory, "available", lambda: 100_000)
    with pytest.raises(AccessError, match=r"2 patients at a time .*; nothing more was spent"):
        follower._room(manifest, config(), 2, None)


def test_memory_of_a_plan_is_at_least_that_of_the_largest_scan(clinic: Clinic, scans: Path) -> None:
    clinic("ingest", scans, "-d", "d", *DECLARED)
    session = medvae.open(clinic.root / "vault", identity=clinic.root / "key")
    with session:
        cfg = planning.configuration(QUICK, (), None)
        planned = planning.make_plan(session.tenant, cfg, 20)
        small = cost.estimate(cfg, planned, [entry("a", (16, 24, 16))]).memory_bytes
        large = cost.estimate(cfg, planned, [entry("a", (512, 512, 2048))]).memory_bytes
    assert small < 1 << 30
    assert large > room.SCAN_BYTES * 2**29


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="control groups are Linux's")
def test_limits_of_control_groups_count(tmp_path: Path) -> None:
    member, root = tmp_path / "cgroup", tmp_path / "fs"
    group = root / "slurm" / "job" / "step"
    group.mkdir(parents=True)
    member.write_text("0::/slurm/job/step\n")
    assert memory._of_groups(member, root) == []
    (group / "memory.max").write_text("max\n")
    (group / "memory.current").write_text("5\n")
    (group.parent / "memory.max").write_text("1000\n")
    (group.parent / "memory.current").write_text("700\n")
    (group.parent / "memory.stat").write_text("anon 500\ninactive_file 150\n")
    assert memory._of_groups(member, root) == [450]
    # In a container the path is the host's, and the limit is at the root.
    member.write_text("0::/docker/0123\n")
    (root / "memory.max").write_text("90\n")
    (root / "memory.current").write_text("20\n")
    assert memory._of_groups(member, root) == [70]
    # Version 1.
    member.write_text("4:memory:/job\n3:cpu:/job\n")
    old = root / "memory" / "job"
    old.mkdir(parents=True)
    (old / "memory.limit_in_bytes").write_text("400\n")
    (old / "memory.usage_in_bytes").write_text("100\n")
    assert memory._of_groups(member, root) == [300]
    # Its totals come after the group's own, which has groups below it.
    (old / "memory.stat").write_text(
        "inactive_file 1\nactive_file 2\ntotal_inactive_file 30\ntotal_active_file 40\n"
    )
    assert memory._of_groups(member, root) == [370]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="control groups are Linux's")
def test_files_that_were_read_more_than_once_are_no_memory_that_is_taken(tmp_path: Path) -> None:
    """A container of 16 GiB that holds 14.5 GiB of its own data in the page cache."""
    member, gib = tmp_path / "cgroup", 1 << 30
    member.write_text("0::/\n")
    (tmp_path / "memory.max").write_text(f"{16 * gib}\n")
    (tmp_path / "memory.current").write_text(f"{31 * gib // 2}\n")
    (tmp_path / "memory.stat").write_text(
        f"anon {gib}\nfile {29 * gib // 2}\ninactive_file {gib}\nactive_file {27 * gib // 2}\n"
    )
    assert memory._of_groups(member, tmp_path) == [15 * gib]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc is Linux's")
def test_the_own_limit_counts() -> None:
    total = resource.getpagesize() * os.sysconf("SC_PHYS_PAGES")
    assert 0 < memory.available() <= total
    code = "from medvae import memory; print(memory.available())"
    limited = subprocess.run(
        [sys.executable, "-c", code],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (400 * MIB, 400 * MIB)),
        capture_output=True,
        text=True,
        check=True,
    )
    assert 0 < int(limited.stdout) < 400 * MIB
