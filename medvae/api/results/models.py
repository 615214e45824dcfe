"""Results of the verbs that work on models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from medvae.api.results.base import Json, Result
from medvae.api.results.datasets import Refused


@dataclass(frozen=True)
class ModelInfo(Result):
    """One model and its guarantee.

    Attributes:
        private: whether patients were involved.
        epsilon, delta: for each patient, by all trainings behind it; 0 of a public model, None of
            an unfinished run's.
        dataset: as name@version; None of a public model.
        source: the model that a compressed one was made from.
        weights: "fp32", "bf16" or "int8".
        prune: fraction of the weights that was dropped, 0 <= p < 1.
        finished: when, as ISO 8601 in UTC; None of a public model.
    """

    model: str
    private: bool
    epsilon: float | None
    delta: float | None
    dataset: str | None
    source: str | None
    weights: str
    prune: float
    finished: str | None


@dataclass(frozen=True)
class ModelExport(Result):
    """Weights that were written in the open."""

    model: str
    format: str
    files: tuple[Path, ...]


@dataclass(frozen=True)
class Drift(Result):
    """How far two models' volumes of one seed are apart, as parts of the intensity range."""

    n: int
    seed: int
    rms: float
    largest: float


@dataclass(frozen=True)
class Compression(Result):
    """A smaller form of a model and what it lost.

    Attributes:
        source: the model that it was made from; source_sha256: of that model's bytes.
        psnr_before, psnr_after: mean over reconstructed procedural volumes, in dB.
        psnr_of: those volumes, in words.
        volumes: drawn volumes compared; None of a public model.
    """

    model: str
    source: str
    weights: str
    prune: float
    source_sha256: str
    bytes_before: int
    bytes_after: int
    psnr_before: float
    psnr_after: float
    psnr_of: str
    volumes: Drift | None


@dataclass(frozen=True)
class JoinedHospital(Result):
    """One file that a joint model was made of.

    Attributes:
        source: as it was named.
        tenant, model: the hospital's names for itself and for its model.
        epsilon, delta: for each of its patients.
        signer: fingerprint of the key that signed it; known: whether whoever joined gave that key.
        sha256: of the numbers in it.
    """

    source: str
    tenant: str
    model: str
    patients: int
    epsilon: float
    delta: float
    signer: str
    known: bool
    sha256: str


@dataclass(frozen=True)
class JoinedModel(Result):
    """A model of several hospitals' patients; nothing was spent for it.

    Attributes:
        epsilon, delta: for a patient of one hospital, whose patients have lost most.
        everywhere: epsilon of somebody who is a patient of all of them.
        unit: who is protected: "patient" or "file".
        patients: of all hospitals; who is in several counts in each.
    """

    model: str
    epsilon: float
    delta: float
    everywhere: float
    unit: str
    patients: int
    hospitals: tuple[JoinedHospital, ...]


@dataclass(frozen=True)
class ModelDetail(ModelInfo):
    """A model with its size.

    Attributes:
        facts: as stored: configuration, plan, stages.
        compression: what it lost against `source`; None of a model that is not compressed.
    """

    parameters: int
    bytes: int
    facts: Mapping[str, Json]
    compression: Compression | None


@dataclass(frozen=True)
class GenerateResult(Result):
    """Synthetic volumes that were written; the same seed gives the same voxels.

    Attributes:
        spacing_known: whether they have a true voxel size; else their files say 1 mm.
    """

    model: str
    seed: int
    n: int
    files: tuple[Path, ...]
    spacing_known: bool = True


@dataclass(frozen=True)
class Reconstruction(Result):
    """A real scan through a model, over the whole volume at the model's intensity scale.

    Attributes:
        psnr: in dB, at most 100.
        ssim, ms_ssim: at most 1; ms_ssim is None for small volumes.
    """

    model: str
    file: Path
    psnr: float
    ssim: float
    ms_ssim: float | None


@dataclass(frozen=True)
class Encoding(Result):
    """Latents of a scan, as private as the scan.

    Attributes:
        bytes: of the file.
        source_bytes: of the source on disk.
        ratio: bytes of the voxels in memory over those of the file.
    """

    model: str
    file: Path
    bytes: int
    source_bytes: int
    ratio: float


@dataclass(frozen=True)
class FeatureTable(Result):
    """One vector a scan, as private as the scans.

    Attributes:
        n: scans with a vector, in the order of `sources`.
        names: of the numbers of a vector.
        sources: the scans as the source names them.
        refused: scans without a vector, and why.
    """

    model: str
    file: Path
    n: int
    names: tuple[str, ...]
    sources: tuple[str, ...]
    refused: tuple[Refused, ...]


@dataclass(frozen=True)
class Decoding(Result):
    """A volume that was decoded from latents; `shape` in voxels."""

    model: str
    file: Path
    shape: tuple[int, ...]


@dataclass(frozen=True)
class SiteDifference(Result):
    """One statistic of one site beside all sites, in standard deviations of all patients.

    Attributes:
        difference: mean of the site less that of all, as released.
        noise: standard deviation of what the mechanism added to it.
        chance: of who happened to be scanned, at most.
        differs: by more than both explain, all comparisons together at `Shift.level`.
    """

    site: str
    statistic: str
    difference: float
    noise: float
    chance: float
    differs: bool


@dataclass(frozen=True)
class Shift(Result):
    """How the sites of a model differ, from released numbers alone: costs no privacy.

    Attributes:
        shares: part of the cohort that each site has, as released (noisy).
        level: how often any statistic at all would be said to differ where sites are alike.
        statistics: how many are compared for each site.
        differing: of all of them, those that differ.
        differences: all of them, in the order of the model.
    """

    model: str
    sites: tuple[str, ...]
    shares: tuple[float, ...]
    level: float
    statistics: int
    differing: int
    differences: tuple[SiteDifference, ...]
