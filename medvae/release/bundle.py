"""`create`: volumes in, a signed folder out, all or nothing.

The folder is built beside its place under a hidden name, every file is hashed and fsynced,
the result is verified as a recipient would, and only then renamed into place. Whatever
stops the work on the way leaves the target as it was.
"""

from __future__ import annotations

import fcntl
import glob
import math
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from medvae import modality as modalities
from medvae import space
from medvae.config import DataConfig
from medvae.errors import IntegrityError, UsageError
from medvae.grid import public_limits
from medvae.progress import SILENT, Progress
from medvae.release import manifest as mf
from medvae.release.bids import BidsWriter
from medvae.release.card import make_card
from medvae.release.cardtext import card_markdown, readme
from medvae.release.check import check_sealed
from medvae.release.croissant import croissant
from medvae.release.dicom_writer import DicomWriter
from medvae.release.facts import Check, GateInputs, ReleaseFacts, ReleaseResult
from medvae.release.figures import MOVING, contact_sheet, histogram, trade_off
from medvae.release.gate import VoxelGate, check_declared, check_privacy
from medvae.release.nnunet import NnunetWriter
from medvae.release.png import FolderWriter
from medvae.release.quality import Meter
from medvae.release.report import render
from medvae.release.survey import Survey
from medvae.release.tables import json_text
from medvae.volume import Volume

_SYNCED_AT_ONCE = 8


def create(
    volumes: Iterable[Volume],
    out: Path,
    *,
    facts: ReleaseFacts,
    sign: Callable[[bytes], bytes],
    public_key: bytes,
    gate: GateInputs | None = None,
    fmt: str = "bids",
    public: Iterable[Volume] = (),
    approvals: bytes | None = None,
    meter: Meter | None = None,
    progress: Progress = SILENT,
) -> ReleaseResult:
    """Write, gate, describe and sign a release.

    Args:
        volumes: synthetic ones on the public grid; taken one by one, so memory does not
            depend on their number. Not touched before the privacy gate has passed.
        out: where the release will be; must not exist, or be an empty folder.
        sign: Ed25519 signature (64 bytes) over the bytes given.
        public_key: PEM of the key that belongs to `sign`.
        gate: what to ask for beyond the facts (default: nothing more).
        fmt: "bids" (NIfTI), "dicom" (one series a channel), "nnunet" (NIfTI as nnU-Net v2 trains
            on it) or "folder" (PNG, of pictures).
        public: images of public people on the same grid, which `facts.public` describes.
        approvals: who may approve it (`approval.require`), where it is to be valid only then.
        meter: measures the quality of the synthetic volumes, for the card (None: not measured).

    Raises:
        UsageError: the target is not free, a fact cannot be used or was never declared.
        BudgetError: the model may not be released (see `gate.check_privacy`).
        InputError: a volume may not be released (see `gate.VoxelGate`).
        IntegrityError: the finished folder does not verify.
    """
    gate = gate or GateInputs()
    out = _free_target(Path(out))
    checks = [*check_privacy(facts.privacy, gate), *gate.checks]
    check_declared(facts)
    for check in gate.checks:
        if not check.passed:
            raise UsageError(f"the gate's check {check.name!r} failed: {check.detail}")
    signer = mf.fingerprint(public_key)
    with space.writing(out, _bytes_of(facts)), _staging(out) as folder:
        checks, voxels, rated = _fill(
            folder, (volumes, public), facts, checks, signer, fmt, meter, progress
        )
        (folder / mf.SIGNER).write_bytes(public_key)
        if approvals is not None:
            (folder / mf.APPROVALS).write_bytes(approvals)
        entries = _seal(folder, sign, progress)
        result, _ = check_sealed(folder, public_key)
        if result.valid is not True:
            raise IntegrityError(
                f"the release does not verify, nothing was kept: {result.problems[0]}"
            )
        _publish(folder, out)
    return ReleaseResult(
        path=out,
        volumes=voxels.count,
        public=voxels.public,
        files=len(entries),
        bytes=sum(entry.size for entry in entries.values()),
        epsilon=facts.privacy.epsilon if facts.privacy.training == "private" else None,
        delta=facts.privacy.delta if facts.privacy.training == "private" else None,
        unit=facts.privacy.unit if facts.privacy.training == "private" else None,
        passed=all(check.passed for check in checks),
        checks=tuple(checks),
        signer=signer,
        report=out / "report.html",
        id=str(result.id),
        scores=rated,
    )


def _bytes_of(facts: ReleaseFacts) -> int:
    """Of the volumes and masks before they are packed, as they are written (int16 and uint8)."""
    count = (facts.volumes or 0) + (0 if facts.public is None else facts.public.count)
    channels, masks = max(1, len(facts.data.channels or ())), facts.data.labels > 0
    return count * math.prod(facts.data.size) * (2 * channels + masks)


def _fill(
    folder: Path,
    sources: tuple[Iterable[Volume], Iterable[Volume]],
    facts: ReleaseFacts,
    checks: list[Check],
    signer: str,
    fmt: str,
    meter: Meter | None,
    progress: Progress,
) -> tuple[list[Check], VoxelGate, dict[str, float | None]]:
    """Volumes first, synthetic and public ones, then everything that describes them."""
    volumes, public = sources
    expected = 0 if facts.public is None else facts.public.count
    voxels = VoxelGate(facts.data, facts.volumes, expected)
    survey = _survey(facts.data)
    writer = _writer(folder, facts, fmt)
    progress.start("release", facts.volumes or 0)
    for volume in volumes:
        voxels.look(volume)
        writer.add(volume)
        survey.add(volume)
        if meter is not None:
            meter.look(volume)
        progress.advance(voxels.count)
    for image in public:
        # Figures and the contact sheet show what was generated, and nothing else.
        voxels.look(image, public=True)
        writer.add(image, public=True)
    checks = [*checks, *voxels.close()]
    writer.finish()
    progress.finish(f"{voxels.count} volumes")
    masks = voxels.count if voxels.masks else 0
    quality = None if meter is None else meter.quality()
    card = make_card(facts, checks, voxels.count, masks, signer, quality)
    card["data"].update(writer.layout)
    _describe(folder, card, survey, writer)
    rated = {name: score["value"] for name, score in card["scores"].items()}
    return checks, voxels, rated


class Writer(Protocol):
    """A format: `add` volumes one by one, then `finish`; `images` and `labels` are globs of the
    synthetic ones.

    `layout` is what the card's part on the data says of the files: the format's name at least.
    """

    encoding: str

    @property
    def images(self) -> str: ...

    @property
    def labels(self) -> str | None: ...

    @property
    def layout(self) -> dict[str, Any]: ...

    def add(self, volume: Volume, *, public: bool = False) -> None: ...

    def finish(self) -> None: ...


def _writer(folder: Path, facts: ReleaseFacts, fmt: str) -> Writer:
    if facts.structures and fmt != "dicom":
        raise UsageError(f"--structures are DICOM, not {fmt}: add --format dicom, or leave it out")
    if fmt == "bids":
        return BidsWriter(folder, facts)
    if fmt == "dicom":
        return DicomWriter(folder, facts)
    if fmt == "nnunet":
        return NnunetWriter(folder, facts)
    if fmt == "folder":
        return FolderWriter(folder, facts)
    raise UsageError(f"unknown release format {fmt!r}; use bids, dicom, nnunet or folder")


def _describe(folder: Path, card: dict[str, object], survey: Survey, writer: Writer) -> None:
    data = card["data"]
    assert isinstance(data, dict)
    modality = modalities.get(str(data["modality"]))
    slices = "" if modality.planar else ", one slice a plane"
    if writer.layout.get("channel_suffixes"):
        slices = ", one axial slice a channel"
    shown = len(survey.shown)
    if survey.shown[0].is_cine:
        shown = min(shown, MOVING)
        slices = ", frames of one axial slice"
    subtitle = f"{shown} of {survey.count} {modality.noun}{slices}; synthetic"
    (folder / "card.json").write_bytes(json_text(card))
    (folder / "CARD.md").write_text(card_markdown(card), encoding="utf-8")
    (folder / "README.md").write_text(readme(card), encoding="utf-8")
    sheet = contact_sheet(survey, str(card["name"]), subtitle)
    (folder / "contact-sheet.png").write_bytes(sheet)
    (folder / "histogram.png").write_bytes(histogram(by_unit(survey, data), modality.noun))
    privacy = card["privacy"]
    assert isinstance(privacy, dict)
    if "trade_off" in privacy:
        curve = trade_off(privacy["trade_off"], privacy["unit_kind"])
        (folder / "trade-off.png").write_bytes(curve)
    metadata = croissant(
        card,
        images=writer.images,
        labels=writer.labels,
        encoding=writer.encoding,
        table_sha256=mf.read_entry(folder / "participants.tsv").sha256,
    )
    (folder / "croissant.json").write_bytes(json_text(metadata))
    (folder / "report.html").write_text(render(card, survey, sheet), encoding="utf-8")


def _survey(data: DataConfig) -> Survey:
    """What is gathered of the volumes; of channels of several modalities of each by itself."""
    own = [
        Survey(*public_limits(part), exponent=modalities.get(part.modality).exponent, keep=0)
        for part in data.of_channels
    ]
    first = Survey(own[0].low, own[0].high, data.label_numbers, exponent=own[0].exponent)
    if data.modalities:
        first.channels = dict(zip(data.channels, own, strict=True))
    return first


def by_unit(survey: Survey, data: Mapping[str, Any]) -> dict[str, Survey]:
    """Unit -> whose intensities are in it; of channels of several modalities one each.

    data: the card's part on the data.
    """
    if not survey.channels:
        return {modalities.get(str(data["modality"])).units.words: survey}
    pairs = zip(survey.channels.items(), data["modalities"], strict=True)
    return {f"{name}: {modalities.get(kind).units.words}": own for (name, own), kind in pairs}


def _seal(folder: Path, sign: Callable[[bytes], bytes], progress: Progress) -> dict[str, mf.Entry]:
    """Hash and fsync every file, then write the manifest and its signature."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    progress.start("seal", len(files))
    for path in files:
        path.chmod(0o644)
    entries = {}
    # The disk takes as long for one file as for several at once.
    with ThreadPoolExecutor(_SYNCED_AT_ONCE) as pool:
        hashed = pool.map(partial(mf.read_entry, sync=True), files)
        for done, (path, entry) in enumerate(zip(files, hashed, strict=True), 1):
            entries[path.relative_to(folder).as_posix()] = entry
            progress.advance(done)
    data = mf.encode(entries)
    (folder / mf.MANIFEST).write_bytes(data)
    (folder / mf.SIGNATURE).write_bytes(sign(mf.signed_bytes(data)))
    for name in (mf.MANIFEST, mf.SIGNATURE):
        (folder / name).chmod(0o644)
        mf.read_entry(folder / name, sync=True)
    for path in (folder, *(p for p in folder.rglob("*") if p.is_dir())):
        path.chmod(0o755)
        _sync_folder(path)
    progress.finish()
    return entries


def _free_target(out: Path) -> Path:
    """The absolute target, if a release may be put there."""
    out = Path(os.path.abspath(out))  # noqa: PTH100 (resolve() would follow a link in its place)
    if out.is_symlink() or (out.exists() and not out.is_dir()):
        raise UsageError(f"{out} is not a folder; name a new folder for the release")
    if out.is_dir() and any(out.iterdir()):
        raise UsageError(f"{out} is not empty; name a new folder for the release")
    return out


@contextmanager
def _staging(out: Path) -> Iterator[Path]:
    """A hidden folder beside `out`, gone afterwards unless it was renamed.

    Its builder holds a lock on it, so that what a crash left behind can be distinguished from what
    another process still builds, and is cleared away.
    """
    prefix = f".{out.name}.partial-"
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        for left in out.parent.glob(f"{glob.escape(prefix)}*"):
            _clear(left)
        folder, lock = _locked_folder(out.parent, prefix)
    except OSError as error:
        if space.is_full(error):
            raise
        raise UsageError(f"cannot write a release at {out}: {error.strerror}") from error
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def _locked_folder(parent: Path, prefix: str) -> tuple[Path, int]:
    while True:
        folder = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
        lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        fcntl.flock(lock, fcntl.LOCK_EX)
        if folder.exists():
            return folder, lock
        # Another process cleared it between its making and its locking.
        os.close(lock)


def _clear(left: Path) -> None:
    """Remove a folder that nobody builds in any more."""
    try:
        lock = os.open(left, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(left, ignore_errors=True)
    except BlockingIOError:
        return
    finally:
        os.close(lock)


def _publish(folder: Path, out: Path) -> None:
    try:
        folder.rename(out)
    except OSError as error:
        raise UsageError(f"{out} was taken while the release was built; name another") from error
    _sync_folder(out.parent)


def _sync_folder(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
