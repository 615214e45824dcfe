"""What the API seals as JSON: the lines of data sets, runs, notes of models, the book of releases.

Keys that an earlier version did not write are not required; whoever reads them says what their
absence means.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NotRequired, TypedDict

from medvae.api.results.base import Json, JsonObject

# `class` is no attribute name in Python.
_Class = TypedDict("_Class", {"class": NotRequired[int]})


class VolumeEntry(_Class):
    """The line of a sealed volume in a manifest.

    Attributes:
        object, digest: the stored object and the keyed digest of its bytes.
        voxels: keyed digest of the voxels alone.
        subject: the patient's pseudonym; `own_subject`: it stands for a single file.
        shape, spacing: voxels and mm; of channels the first axis of `shape` counts them.
        modalities: of each channel, where they are of several.
        labels: the largest label, in manifests that lack `label_values`.
        label_boxes: by label, first and last index along each axis.
        study: keyed digest of the DICOM study.
        likeness, mask_likeness, channel_likeness: its blocks, packed, to compare it with others
            by (see `medvae.ingest.likeness`).
    """

    object: str
    digest: str
    voxels: str
    subject: str
    own_subject: NotRequired[bool]
    modality: str
    modalities: NotRequired[list[str]]
    site: NotRequired[str]
    shape: list[int]
    spacing: list[float]
    channels: NotRequired[list[str]]
    mask: bool
    labels: NotRequired[int]
    label_values: NotRequired[list[int]]
    label_boxes: NotRequired[dict[str, list[list[int]]]]
    study: NotRequired[str]
    likeness: NotRequired[str]
    mask_likeness: NotRequired[str]
    channel_likeness: NotRequired[list[str]]


class Declaration(TypedDict):
    """Facts of the protocol that a person declared; None: nobody did.

    `sites`: earlier versions had none.
    """

    label_scheme: dict[str, str] | None
    classes: int | None
    sites: NotRequired[list[str] | None]


class Contents(TypedDict):
    """What a version of a data set says.

    `unit`: "patient", "file", or None where nobody said who a subject is. Earlier versions recorded
    neither `declared` nor `unit`.
    """

    volumes: list[VolumeEntry]
    declared: NotRequired[Declaration]
    unit: NotRequired[str | None]


class Manifest(Contents):
    """A version of a data set. `created`: ISO 8601."""

    name: str
    version: int
    created: str


class RunRecord(TypedDict):
    """One training, from the moment before its debit.

    Attributes:
        id: the name and a random part; the ledger knows the run by it.
        dataset: name@version.
        init: the public model that it started from; None: the shipped weights.
        plan: the plan's JSON text. `config`: the configuration, as JSON.
        begun, finished: ISO 8601. `state`: "running" or "done".
        epsilon, delta, steps, seconds: of a run that is done. `model_epsilon`: of all trainings
            behind its model; earlier versions do not say it.
    """

    id: str
    name: str
    dataset: str
    init: str | None
    plan: str
    config: JsonObject
    begun: str
    state: str
    finished: NotRequired[str]
    epsilon: NotRequired[float]
    model_epsilon: NotRequired[float]
    delta: NotRequired[float]
    steps: NotRequired[int]
    seconds: NotRequired[float]


def section(run: RunRecord, name: str) -> Mapping[str, Json]:
    """A section of the configuration that a run was begun with."""
    value = run["config"][name]
    assert isinstance(value, Mapping)
    return value


class CompressionNote(TypedDict):
    """What a compressed model came from and how its weights are kept."""

    source: str
    weights: str
    prune: float


class JoinNote(TypedDict):
    """What was joined from several hospitals' statistics.

    `own`: models of this tenant among them. `finished`: ISO 8601.
    """

    own: list[str]
    epsilon: float
    delta: float
    patients: int
    hospitals: int
    finished: str


class DriftRecord(TypedDict):
    """How far a compressed model's volumes are from its source's, as `results.Drift` has it."""

    n: int
    seed: int
    rms: float
    largest: float


class CompressionRecord(CompressionNote):
    """What a compressed model says of itself, as `results.Compression` has it."""

    source_sha256: str
    bytes_before: int
    bytes_after: int
    psnr_before: float
    psnr_after: float
    psnr_of: str
    volumes: DriftRecord | None


class IssueRecord(TypedDict):
    """When a release was signed, and for whom ("" where nobody was named)."""

    time: str
    recipient: str


class RecallRecord(TypedDict):
    """Why and when a release was recalled; `order`: how many recalls there were before."""

    reason: str
    date: str
    order: int


class ApprovalRecord(TypedDict):
    """The approval of a release: its signed text, who gave it, and when."""

    text: str
    approver: str
    time: str


class ReleaseRecord(TypedDict):
    """A release in the book.

    Attributes:
        public: images of public people in it; earlier versions did not record that.
        status: "signed", "awaiting approval" or "released".
        folder: where it was made last.
    """

    model: str
    title: str
    format: str
    volumes: int
    public: NotRequired[int]
    epsilon: float
    delta: float
    status: str
    issues: list[IssueRecord]
    recalled: RecallRecord | None
    approval: NotRequired[ApprovalRecord]
    folder: NotRequired[str]
