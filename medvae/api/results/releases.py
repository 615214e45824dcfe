"""Results of making and verifying releases."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from medvae.api.results.base import Result


@dataclass(frozen=True)
class GateCheck(Result):
    """One question of the release gate and its answer, as printed on the card."""

    name: str
    passed: bool
    detail: str


@dataclass(frozen=True)
class ReleaseResult(Result):
    """A signed release, in its place.

    Attributes:
        release: the folder; report: the HTML report in it.
        volumes, n: images in it.
        files, bytes: under the manifest.
        epsilon, delta: for each patient; 0 of a public model.
        signer: fingerprint of the signing key.
    """

    release: Path
    report: Path
    volumes: int
    files: int
    bytes: int
    epsilon: float
    delta: float
    passed: bool
    checks: tuple[GateCheck, ...]
    signer: str
    model: str
    n: int


@dataclass(frozen=True)
class ReleaseCheck(Result):
    """What verification of a release found (see `medvae.release.VerifyResult`).

    Attributes:
        valid: True: unchanged, and signed by the key that was given. False: changed, forged,
            damaged or signed by another key. None: unchanged, but no key was given.
        signer: fingerprint of the key under which the signature fits; None where none does.
        files: listed files that are as they were.
        problems: one sentence each; empty unless `valid` is False.
    """

    valid: bool | None
    unchanged: bool
    trusted: bool
    signer: str | None
    files: int
    problems: tuple[str, ...]
    advice: str
