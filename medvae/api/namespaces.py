"""The nouns of a session: `session.datasets`, `.models`, `.keys`, `.log` and `.releases`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from medvae.api import results
from medvae.api.context import PathLike, TenantContext
from medvae.options.flags import takes
from medvae.options.release import ReleaseOptions
from medvae.progress import SILENT, Progress

if TYPE_CHECKING:
    from medvae.api.declaration import Scheme


@dataclass(frozen=True)
class Datasets:
    """Data sets: immutable, versioned, by patient. `ref` is `name` or `name@version`."""

    _context: TenantContext

    def list(self) -> tuple[results.DatasetInfo, ...]:
        """The newest version of every data set."""
        from medvae.api import datasets

        return datasets.listing(self._context.tenant)

    def show(self, ref: str) -> results.DatasetDetail:
        """Counts, shapes and spacings of a data set; names no patient."""
        from medvae.api import datasets

        return datasets.show(self._context.tenant, ref)

    def declare(
        self,
        ref: str,
        *,
        label_scheme: Scheme | None = None,
        classes: int | None = None,
        sites: Sequence[str] | None = None,
        files_are_patients: bool = False,
        subjects_are_patients: bool = False,
    ) -> results.DatasetInfo:
        """A new version of the same volumes, with other declared facts (see `Session.ingest`).

        `subjects_are_patients`: every file was assigned to its patient (no record of it exists).
        """
        from medvae.api import declaration
        from medvae.api.declare import declare

        declared = declaration.parse(label_scheme, classes, sites)
        tenant = self._context.tenant
        return declare(tenant, ref, declared, files_are_patients, subjects_are_patients)

    def export(self, ref: str, out: PathLike, progress: Progress = SILENT) -> results.DatasetExport:
        """Write the volumes as plain NIfTI: they leave the vault, and it is logged."""
        from medvae.api import datasets

        return datasets.export(self._context.tenant, ref, Path(out), progress)

    def preview(
        self, ref: str, out: PathLike, *, volumes: int = 6, progress: Progress = SILENT
    ) -> results.DatasetPreview:
        """Draw some volumes in three planes with their masks into a PNG; it is logged.

        The picture shows patients: it is for the people who hold their scans anyway.
        """
        from medvae.api import preview

        return preview.preview(self._context.tenant, ref, Path(out), volumes, progress)

    def delete(self, ref: str) -> results.DatasetDeletion:
        """Delete a data set and every volume that no other data set holds."""
        from medvae.api import erasure

        return erasure.delete(self._context.tenant, ref)

    def erase_subject(self, source_id: str) -> results.SubjectErasure:
        """Erase a patient, by the id in the source; lists the models trained on the patient."""
        from medvae.api import erasure

        return erasure.erase_subject(self._context.tenant, source_id)


@dataclass(frozen=True)
class Models:
    """Models: the sealed results of training."""

    _context: TenantContext

    def list(self) -> tuple[results.ModelInfo, ...]:
        """Every model of the tenant."""
        from medvae.api import models

        return models.listing(self._context.tenant)

    def show(self, name: str) -> results.ModelDetail:
        """One model's guarantee, size and stored facts."""
        from medvae.api import models

        return models.show(self._context.tenant, name)

    def shift(self, name: str) -> results.Shift:
        """By what the sites of a model differ, from released numbers alone."""
        from medvae.api.shift import shift

        return shift(self._context.tenant, name)

    def nearest(
        self,
        name: str,
        *,
        against: str | None = None,
        n: int = 32,
        last: bool = False,
        progress: Progress = SILENT,
    ) -> results.Nearest:
        """Which patients `n` volumes of a model are nearest to; sealed in the tenant.

        `against`: a data set with patients that it never saw, whose distances stand beside these.
        `last`: what was sealed before, without drawing anything.
        """
        from medvae.api import nearest

        if last:
            return nearest.last(self._context.tenant, name)
        request = nearest.NearestRequest(against, n)
        return nearest.nearest(self._context, name, request, progress)

    def export(self, name: str, out: PathLike, fmt: str = "safetensors") -> results.ModelExport:
        """Write a model's weights to a folder; a model without a guarantee is refused.

        `fmt`: "statistics" writes what the training released, for `join`.
        """
        from medvae.api import hospitals, models

        if fmt == models.STATISTICS:
            return hospitals.export(self._context.tenant, name, Path(out))
        return models.export(self._context.tenant, name, Path(out), fmt)

    def join(
        self,
        sources: Sequence[PathLike],
        name: str,
        *,
        public_keys: Sequence[PathLike] = (),
        progress: Progress = SILENT,
    ) -> results.JoinedModel:
        """Seal one model of several hospitals' patients, from exports of format "statistics".

        `sources`: files, folders that hold one, or models of the tenant. Costs no privacy.
        `public_keys`: files of the hospitals' keys; where any is given, every file must be signed
        by one of them.
        """
        from medvae.api import hospitals

        keys = tuple(Path(key) for key in public_keys)
        request = hospitals.JoinRequest([str(source) for source in sources], name, keys)
        return hospitals.join(self._context, request, progress)

    def compress(
        self,
        name: str,
        to: str,
        *,
        weights: str = "int8",
        prune: float = 0.0,
        progress: Progress = SILENT,
    ) -> results.Compression:
        """Seal a smaller form of a model; says what is lost, measured on public volumes.

        `weights`: "bf16" or "int8". `prune`: fraction of the smallest weights, 0 <= p < 1.
        """
        from medvae.api import compression

        request = compression.CompressRequest(name, to, weights, prune)
        return compression.compress(self._context, request, progress)


@dataclass(frozen=True)
class Keys:
    """Keys: epochs, and the recipients who can open the tenant."""

    _context: TenantContext

    def list(self) -> tuple[results.Recipient, ...]:
        """Who can open the tenant."""
        from medvae.api import keys

        return keys.listing(self._context.tenant)

    def add(self, public: PathLike, label: str = "colleague") -> results.RecipientAdded:
        """Let the holder of a key (the .pub file of `new_identity`) open the tenant."""
        from medvae.api import keys

        return keys.add(self._context.tenant, Path(public), label)

    def add_passphrase(self, passphrase: str, label: str = "passphrase") -> results.RecipientAdded:
        """Let a passphrase alone open the tenant: no file is needed then.

        Anybody with a copy of the key ring can try passphrases off line, so it must carry 80
        bits: seven words drawn by dice, say.

        Raises:
            UsageError: it has fewer than 20 characters.
        """
        from medvae.api import keys

        return keys.add_passphrase(self._context.tenant, passphrase, label)

    def remove(self, fingerprint: str) -> results.RecipientRemoved:
        """Take a key away: a new epoch begins that is not wrapped to it."""
        epoch = self._context.tenant.remove_recipient(fingerprint)
        return results.RecipientRemoved(fingerprint, epoch)

    def rotate(self) -> results.Epoch:
        """A new epoch key; every data key is wrapped again (seconds)."""
        return results.Epoch(self._context.tenant.rotate())

    def reseal(self, progress: Progress = SILENT) -> results.Resealing:
        """New data keys for every object: needed when keys may have leaked. Can be interrupted."""
        return results.Resealing(self._context.tenant.reseal(progress=progress))


@dataclass(frozen=True)
class Log:
    """The audit log."""

    _context: TenantContext

    def events(self) -> tuple[results.Event, ...]:
        """Every event, oldest first."""
        from medvae.api import audit_log

        return audit_log.events(self._context.tenant)

    def anchor(self, out: PathLike | None = None) -> results.Anchor:
        """Sign the present state, so that `verify` can detect a rollback; keep it elsewhere."""
        from medvae.api import audit_log

        return audit_log.anchor(self._context.tenant, None if out is None else Path(out))

    def verify(self, anchors: PathLike | None = None) -> results.LogCheck:
        """Check the log; with a file of anchors also that nothing was rolled back."""
        from medvae.api import audit_log

        return audit_log.verify(self._context.tenant, None if anchors is None else Path(anchors))

    def export(self, style: str = "json") -> Iterator[str]:
        """The log for another system, a line an event: "json" or "syslog" (RFC 5424)."""
        return self._context.tenant.export_log(style)


@dataclass(frozen=True)
class Releases:
    """Releases: signed folders of synthetic volumes."""

    _context: TenantContext

    @takes(ReleaseOptions)
    def create(self, options: ReleaseOptions) -> results.ReleaseResult:
        """Generate, gate, write, describe and sign a synthetic data set of `n` volumes.

        Args:
            fmt: "bids" (NIfTI), "dicom" (one series a channel) or "nnunet" (NIfTI with label maps
                as nnU-Net v2 trains on them) of volumes, "folder" (PNG and a table) of pictures;
                None: the first of these.
            title, body_part, licence: printed on the card; the licence as SPDX.
            suffix: BIDS suffix of MR images.
            label_names: of mask labels 1, 2, ... in place of the declared ones.
            recipient: for whom it is, for the tenant's own book; not in the release.
            category, site: only volumes of this class, and of this site.
            with_public: also the labelled images of the public people that the model draws, on
                the release's grid, marked as such (not in DICOM).
            reference: entry of the public library that the quality score is measured against, or
                "none"; None: the one that the model draws from, else the first one that covers
                the labels.
            structures: also the labels as contours (RTSTRUCT), in DICOM.

        Raises:
            BudgetError: the model has no finite guarantee, or none that its plan covers.
            UsageError: the folder is taken, the format is unknown, or public images were asked
                for that there are not, that a patient is among, or whose licence is not known to
                permit redistribution of modified images; or a patient is among the people of
                `reference`.
        """
        from medvae.api import releases

        return releases.create(self._context, options)

    def list(self) -> tuple[results.ReleaseInfo, ...]:
        """Every release that was signed: what, when, for whom, with what epsilon."""
        from medvae.api import release_book

        return release_book.listing(self._context.tenant)

    def approve(self, release: PathLike) -> results.ApprovalResult:
        """Approve a release that awaits it, with the identity that the tenant was opened with.

        Args:
            release: its folder; or its id, where it is as it was made.

        Raises:
            NotFoundError: there is no such release of this tenant.
            IntegrityError: it is not as the tenant signed it.
            UsageError: it needs no approval, or was recalled.
            AccessError: the identity made the release, or is not on its list.
        """
        from medvae.api import approvals

        return approvals.approve(self._context.tenant, str(release))

    def recall(self, release: str, reason: str, out: PathLike) -> results.RecallResult:
        """Recall a release by its id, and write the signed list of all recalls to a new file.

        Raises:
            NotFoundError: there is no such release.
            UsageError: the id is not unique, the reason no printable line, or the file exists.
        """
        from medvae.api import release_book

        return release_book.recall(self._context.tenant, release, reason, Path(out))
