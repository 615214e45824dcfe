"""Models: listing, export, and what is drawn from them."""

from __future__ import annotations

import json
import secrets
from pathlib import Path
from typing import TYPE_CHECKING

from medvae import space
from medvae.api import one_scan
from medvae.api.device import pick
from medvae.api.files import REAL, SYNTHETIC, bytes_of, filling, fresh_folder, new_file
from medvae.api.formats import chosen
from medvae.api.records import CompressionNote, CompressionRecord, JoinNote, RunRecord
from medvae.api.results import (
    Compression,
    Decoding,
    Drift,
    Encoding,
    GenerateResult,
    ModelDetail,
    ModelExport,
    ModelInfo,
    Reconstruction,
)
from medvae.errors import BudgetError, InputError, IntegrityError, NotFoundError, UsageError
from medvae.options.generate import DRAWN, GenerateOptions

if TYPE_CHECKING:
    from collections.abc import Iterator

    from medvae.api.context import TenantContext
    from medvae.model import Artifact
    from medvae.vault import Tenant
    from medvae.volume import Volume

BUNDLE, STATISTICS = "monai-bundle", "statistics"


def load(tenant: Tenant, name: str) -> Artifact:
    """A model, opened in memory.

    Raises:
        NotFoundError: there is no such model; the message lists those there are.
        IntegrityError: it is damaged.
    """
    from medvae.model import Artifact

    if tenant.find("model", name) is None:
        has = ", ".join(tenant.names("model")) or "none"
        raise NotFoundError(f"tenant {tenant.name} has no model {name!r}; it has: {has}")
    return Artifact.from_bytes(tenant.get_named("model", name))


def listing(tenant: Tenant) -> tuple[ModelInfo, ...]:
    """Every model with its guarantee and where it came from."""
    return tuple(_summary(tenant, name) for name in tenant.names("model"))


def run_of(tenant: Tenant, name: str) -> RunRecord | None:
    """The run that a model came out of, a compressed one's through its source; None: public."""
    note = compression_of(tenant, name)
    trained = name if note is None else note["source"]
    if tenant.find("run", trained) is None:
        return None
    run: RunRecord = json.loads(tenant.get_named("run", trained))
    return run


def join_of(tenant: Tenant, name: str) -> JoinNote | None:
    """What a model was joined from, a compressed one's through its source; None: it was not."""
    note = compression_of(tenant, name)
    joined = name if note is None else note["source"]
    if tenant.find("join", joined) is None:
        return None
    record: JoinNote = json.loads(tenant.get_named("join", joined))
    return record


def patients_of(tenant: Tenant, name: str) -> str:
    """The data set, as name@version, whose patients the model was trained on in this tenant.

    Raises:
        NotFoundError: there is no such model.
        UsageError: there is none, and why.
    """
    load(tenant, name)
    run = run_of(tenant, name)
    if run is not None:
        return run["dataset"]
    if join_of(tenant, name) is not None:
        raise UsageError(
            f"model {name} was joined from hospitals' statistics, and this tenant does not hold "
            "the patients of all of them: each hospital compares the model that it gave with its "
            "own (medvae audit, medvae model nearest)"
        )
    raise UsageError(f"model {name} was trained on no patient: there is nobody to compare with")


def check_free(tenant: Tenant, name: str, option: str) -> None:
    """Neither a model nor a run that will become one has this name. UsageError."""
    for kind in ("model", "run"):
        if tenant.find(kind, name) is not None:
            raise UsageError(
                f"tenant {tenant.name} has a {kind} {name!r} already; choose another {option}"
            )


def compression_of(tenant: Tenant, name: str) -> CompressionNote | None:
    """What a compressed model came from and how its weights are kept; None for another."""
    if tenant.find("compression", name) is None:
        return None
    note: CompressionNote = json.loads(tenant.get_named("compression", name))
    return note


def _summary(tenant: Tenant, name: str) -> ModelInfo:
    note = compression_of(tenant, name)
    run, joined = run_of(tenant, name), join_of(tenant, name)
    epsilon: float | None = 0.0
    delta: float | None = 0.0
    if joined is not None:
        epsilon, delta = joined["epsilon"], joined["delta"]
    elif run is not None:
        epsilon, delta = run.get("model_epsilon", run.get("epsilon")), run.get("delta")
    finished = None if run is None else run.get("finished")
    return ModelInfo(
        model=name,
        private=run is not None or joined is not None,
        epsilon=epsilon,
        delta=delta,
        dataset=None if run is None else run["dataset"],
        finished=finished if joined is None else joined["finished"],
        source=None if note is None else note["source"],
        weights="fp32" if note is None else note["weights"],
        prune=0.0 if note is None else note["prune"],
    )


def show(tenant: Tenant, name: str) -> ModelDetail:
    """A model's facts: configuration, plan, guarantee, size."""
    artifact = load(tenant, name)
    return ModelDetail(
        **vars(_summary(tenant, name)),
        parameters=artifact.parameters(),
        bytes=sum(t.numel() * t.element_size() for t in artifact.tensors.values()),
        facts=artifact.facts,
        compression=compression(name, artifact),
    )


def compression(name: str, artifact: Artifact) -> Compression | None:
    """What the compressed model `name` lost against its source; None: it is not compressed."""
    stated: CompressionRecord | None = artifact.facts.get("compression")
    if stated is None:
        return None
    lost = stated["volumes"]
    return Compression(
        model=name,
        source=stated["source"],
        weights=stated["weights"],
        prune=stated["prune"],
        source_sha256=stated["source_sha256"],
        bytes_before=stated["bytes_before"],
        bytes_after=stated["bytes_after"],
        psnr_before=stated["psnr_before"],
        psnr_after=stated["psnr_after"],
        psnr_of=stated["psnr_of"],
        volumes=None if lost is None else Drift(**lost),
    )


def export(tenant: Tenant, name: str, out: Path, fmt: str) -> ModelExport:
    """Write a model's weights in the open.

    Raises:
        BudgetError: its noise does not protect its patients.
        UsageError: the format is not known, `out` is not an empty folder, or what draws the
            model's images does not fit the format.
    """
    from medvae.model.export import export_model
    from medvae.portable import write_bundle

    artifact = load_outgoing(tenant, name)
    fresh_folder(out)
    with filling(out, sum(t.numel() * t.element_size() for t in artifact.tensors.values())):
        if fmt == BUNDLE:
            files = write_bundle(artifact, out)
        else:
            files = export_model(artifact, out, fmt, others=(BUNDLE, STATISTICS))
    tenant.record("export", model=name, format=fmt)
    return ModelExport(name, fmt, tuple(files))


def load_outgoing(tenant: Tenant, name: str) -> Artifact:
    """A model that something is to leave the vault of.

    Raises:
        NotFoundError, IntegrityError: as `load`.
        BudgetError: its noise does not protect its patients (see `check_outgoing`).
    """
    from medvae.model.artifact import check_outgoing

    artifact = load(tenant, name)
    try:
        check_outgoing(artifact.facts)
    except BudgetError as error:
        raise BudgetError(f"model {name}: {error}") from error
    return artifact


def generate(context: TenantContext, options: GenerateOptions) -> GenerateResult:
    """Draw volumes from a model and write them; nothing more is spent (post-processing).

    Raises:
        BudgetError: its noise does not protect its patients.
        UsageError: `out` is not an empty folder, or the format is none of such images.
        InputError: the file of labels is none that the model can draw.
    """
    artifact = load_outgoing(context.tenant, options.model)
    out = Path(options.out)
    fmt = chosen(options.fmt, artifact.config().data, DRAWN)
    seed, drawn = draw(context, artifact, options)
    # Only now: what is refused leaves no empty folder.
    fresh_folder(out)
    files: list[Path] = []
    labels = artifact.config().data.label_scheme or {}
    with filling(out) as room:
        rows = []
        for index, volume in zip((i + 1 for i in options.indices), drawn, strict=True):
            room.needed = len(options.indices) * bytes_of(volume)
            written = _write_synthetic(volume, out, f"synth{index:04d}", fmt, labels)
            files += written
            # Series of slices are named by their folder.
            whole = out / written[0].relative_to(out).parts[0]
            rows.append((whole, f"synth{index:04d}", volume.meta))
        files += _write_kinds(out, rows)
    count = len(options.indices)
    context.tenant.record("generate", model=options.model, volumes=count)
    known = artifact.config().knows_voxels
    return GenerateResult(options.model, seed, count, tuple(files), known)


def _write_synthetic(
    volume: Volume, out: Path, stem: str, fmt: str, labels: dict[str, str]
) -> list[Path]:
    from medvae.release import write_dicom, write_nifti, write_png

    if fmt == "dicom":
        return write_dicom(volume, out, stem, labels)
    if fmt == "png":
        return write_png(volume, out, stem)
    return write_nifti(volume, out, stem, description=SYNTHETIC)


def _write_kinds(out: Path, rows: list[tuple[Path, str, dict[str, object]]]) -> list[Path]:
    """`subjects.csv` as ingest reads it, of a model with classes or sites.

    rows: file, subject, and what it was drawn as.
    """
    columns = [key for key in ("class", "site") if all(key in kind for _, _, kind in rows)]
    if not columns:
        return []
    table = out / "subjects.csv"
    lines = [
        ",".join([str(path.relative_to(out)), stem, *(str(kind[key]) for key in columns)])
        for path, stem, kind in rows
    ]
    head = ",".join(["filename", "subject", *columns])
    table.write_text("\n".join([head, *lines]) + "\n", encoding="utf-8")
    return [table]


def draw(
    context: TenantContext, artifact: Artifact, options: GenerateOptions
) -> tuple[int, Iterator[Volume]]:
    """The seed that is used (fresh where none was given) and the volumes, one at a time."""
    from medvae.api import anatomy_choice, given_labels
    from medvae.generate import generate as stage

    labels = None
    if options.from_labels is not None:
        labels = given_labels.read(Path(options.from_labels), artifact.config().data)
    seed = secrets.randbits(62) if options.seed is None else options.seed
    device = str(pick(context.device))
    volumes = stage(
        artifact,
        options.n,
        seed,
        device=device,
        progress=options.progress,
        indices=options.indices,
        category=options.category,
        site=options.site,
        anatomy=anatomy_choice.of_model(context.tenant, artifact),
        spacing=None if options.spacing is None else tuple(options.spacing),
        labels=labels,
    )
    return seed, volumes


def reconstruct(context: TenantContext, name: str, source: Path, out: Path) -> Reconstruction:
    """Encode and decode one scan on its own grid.

    The reconstruction is of a real patient: it is written only where the user said, and
    logged; PSNR (dB), SSIM and MS-SSIM (None for small ones) are over the whole volume at the
    model's intensity scale.
    """
    from medvae.evaluate import compare
    from medvae.model.reconstruct import reconstruct as stage

    _nifti_suffix(new_file(out))
    artifact = load(context.tenant, name)
    data = artifact.config().data
    volume = one_scan.read(source, data.modality)
    reconstruction = stage(artifact, volume, device=str(pick(context.device)))
    _write_scan(reconstruction, out)
    context.tenant.record("reconstruct", model=name)
    figures = compare(volume, reconstruction, data)
    return Reconstruction(name, out, figures.psnr, figures.ssim, figures.ms_ssim)


def encode(context: TenantContext, name: str, source: Path, out: Path) -> Encoding:
    """A scan's latents (posterior means) as a safetensors file: as private as the scan.

    ratio: how many times fewer bytes than the voxels have in memory; source_bytes: what the
    source takes on disk (often packed itself).
    """
    from medvae.model.reconstruct import encode as stage

    new_file(out)
    artifact = load(context.tenant, name)
    volume = one_scan.read(source, artifact.config().data.modality)
    data = stage(artifact, volume, device=str(pick(context.device)))
    _write_new(out, data)
    context.tenant.record("encode", model=name)
    raw = volume.voxels.nbytes
    return Encoding(name, out, len(data), _on_disk(source), raw / len(data))


def _on_disk(source: Path) -> int:
    """Bytes of a file, or of all files of a folder."""
    files = [source] if source.is_file() else source.rglob("*")
    return sum(path.stat().st_size for path in files if path.is_file())


def decode(context: TenantContext, name: str, source: Path, out: Path) -> Decoding:
    """The volume of a file made by `encode` with the same model."""
    from medvae.model.reconstruct import decode as stage

    _nifti_suffix(new_file(out))
    artifact = load(context.tenant, name)
    try:
        data = source.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {source}: {error.strerror}") from error
    try:
        volume = stage(artifact, data, device=str(pick(context.device)))
    except IntegrityError as error:
        raise IntegrityError(f"{source}: {error}") from error
    _write_scan(volume, out)
    context.tenant.record("decode", model=name)
    return Decoding(name, out, tuple(volume.shape))


def _write_new(out: Path, data: bytes) -> None:
    from medvae.vault import atomic_write

    atomic_write(out, data)


def _write_scan(volume: Volume, out: Path) -> None:
    from medvae.release import write_nifti

    suffix = _nifti_suffix(out)
    stem = out.name.removesuffix(suffix)
    with space.writing(out, bytes_of(volume)):
        write_nifti(volume, out.parent, stem, suffix=suffix, description=REAL)


def _nifti_suffix(out: Path) -> str:
    for suffix in (".nii.gz", ".nii"):
        if out.name.endswith(suffix):
            return suffix
    raise UsageError(f"-o {out} must end in .nii or .nii.gz")
