"""Is this machine fit for the journey? Versions, accelerator, and known answers."""

from __future__ import annotations

import os
import platform
import shutil
import tempfile
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from medvae.api.results import Examination, MachineCheck
from medvae.errors import MedvaeError

_PACKAGES = ("torch", "monai", "opacus", "cryptography", "nibabel", "pydicom", "dp-accounting")


def examine(device: str = "auto") -> Examination:
    """Every check with its outcome; `ok` is true when all hold."""
    checks: dict[str, Callable[[], str]] = {
        "machine": _machine,
        "memory": _memory,
        "packages": _packages,
        "accelerator": lambda: _accelerator(device),
        "sealing": _sealing,
        "reading": _reading,
        "accountant": _accountant,
        "noise": _noise,
        "invitations": _invitations,
    }
    done = tuple(_try(name, check) for name, check in checks.items())
    return Examination(all(check.ok for check in done), done)


def _try(name: str, check: Callable[[], str]) -> MachineCheck:
    try:
        return MachineCheck(name, True, check())
    except Exception as error:  # noqa: BLE001 - a doctor reports what is broken, whatever it is
        return MachineCheck(name, False, f"{type(error).__name__}: {error}")


def _machine() -> str:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    python = platform.python_version()
    return f"{platform.system()} {platform.machine()}, {cores} cores, Python {python}"


def _memory() -> str:
    free = shutil.disk_usage(Path.cwd()).free
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if total < 4 << 30:
        raise MedvaeError(f"{total >> 20} MiB of memory; training wants 4 GiB or more")
    return f"{total >> 30} GiB of memory, {free >> 30} GiB of disk free"


def _packages() -> str:
    versions = []
    for package in _PACKAGES:
        try:
            versions.append(f"{package} {version(package)}")
        except PackageNotFoundError as error:
            raise MedvaeError(f"{package} is not installed") from error
    return ", ".join(versions)


def _accelerator(device: str) -> str:
    import torch

    from medvae.api.device import pick

    picked = pick(device)
    if picked.type == "cuda":
        return torch.cuda.get_device_name(picked)
    bf16 = torch.ops.mkldnn._is_mkldnn_bf16_supported() if picked.type == "cpu" else False
    return f"{picked}, {torch.get_num_threads()} threads, bf16 {'yes' if bf16 else 'no'}"


def _sealing() -> str:
    """A whole tenant: made, written, read back, and a flipped byte found."""
    from medvae.errors import IntegrityError
    from medvae.vault import Vault

    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        vault = Vault(root / "vault")
        tenant = vault.create_tenant("self-test", identity=root / "key", recovery=root / "spare")
        stored = tenant.put("self-test", b"known")
        if tenant.get("self-test", stored) != b"known":
            raise IntegrityError("a sealed object does not read back")
        if tenant.verify(read_data=True).damaged:
            raise IntegrityError("a fresh vault does not verify")
    return "Cobblestone-256, MLKEM768-X25519, recovery drill: pass"


def _reading() -> str:
    """Which layers of the operating system confine the process that reads scans."""
    from medvae.ingest.confine import missing
    from medvae.ingest.records import DEFAULT_LIMITS
    from medvae.ingest.sandbox import Sandbox

    sandbox = Sandbox(("nifti",), DEFAULT_LIMITS)
    try:
        layers = sandbox.layers()
    finally:
        sandbox.stop()
    text = f"scans are read under {', '.join(('rlimits', *layers))}"
    lacks = missing(layers)
    return f"{text}; this system lacks {lacks} (see SECURITY.md)" if lacks else text


def _accountant() -> str:
    """The closed form and the privacy loss distribution agree on the Gaussian mechanism."""
    from medvae.privacy import Mechanism, epsilon, second_epsilon

    mechanisms, delta = [Mechanism("self-test", 1.0, 1, 2.0)], 1e-5
    closed, numeric = epsilon(mechanisms, delta), second_epsilon(mechanisms, delta)
    if not abs(closed - numeric) < 1e-3:
        raise MedvaeError(f"the closed form gives epsilon {closed:.4f}, PLD {numeric:.4f}")
    return f"PLD agrees with the closed form: epsilon {closed:.3f} at sigma 2, delta 1e-5"


def _noise() -> str:
    from medvae.privacy import NoiseSource

    sigma = 2.0**30
    drawn = NoiseSource(b"\0" * 32).discrete_gaussian(200_000, sigma, stream="self-test", step=0)
    mean, deviation = float(drawn.mean()) / sigma, float(drawn.std()) / sigma
    if abs(mean) > 0.02 or abs(deviation - 1) > 0.02:
        raise MedvaeError(f"noise has mean {mean:.3f} and standard deviation {deviation:.3f}")
    return "discrete Gaussians from AES-CTR: mean 0, standard deviation 1"


def _invitations() -> str:
    """Files by which other machines were to join a training that was killed since."""
    from medvae.api import invitations

    return "; ".join(invitations.notes_of_left()) or "none was left by a training that was killed"
