"""A session: one tenant's vault, opened with an identity, and the verbs of the journey."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medvae.progress import SILENT, Progress

if TYPE_CHECKING:
    from medvae.api.declaration import Scheme
    from medvae.vault import Tenant, Vault

PathLike = str | os.PathLike[str]


@dataclass(frozen=True)
class Session:
    """An open tenant; each method is one verb of the command line.

    Every method raises the errors of `medvae.errors`; results are JSON-ready dictionaries
    with at least the keys of `--json`. What needs no open tenant is a function of `medvae.api`.
    """

    vault: Vault
    tenant: Tenant
    device: str = "auto"

    def ingest(
        self,
        sources: Sequence[PathLike],
        dataset: str,
        *,
        subjects: PathLike | None = None,
        labels: PathLike | None = None,
        modality: str | None = None,
        label_column: str | None = None,
        class_column: str | None = None,
        demographics: bool = False,
        files_are_patients: bool = False,
        label_scheme: Scheme | None = None,
        classes: int | None = None,
        progress: Progress = SILENT,
    ) -> dict[str, Any]:
        """Read scans, de-identify them, seal them, and make a new version of a data set.

        `label_scheme` (a mapping, "1=name,2=name" or a file) and `classes` (how many) declare
        public facts of the protocol. `files_are_patients`: an image that names no patient is a
        subject of its own, and the unit of privacy is the file.
        """
        from medvae.api import intake

        paths = [Path(source) for source in sources]
        options = intake.Options(
            subjects=None if subjects is None else Path(subjects),
            labels=None if labels is None else Path(labels),
            modality=modality,
            label_column=label_column,
            class_column=class_column,
            demographics=demographics,
            files_are_patients=files_are_patients,
            label_scheme=label_scheme,
            classes=classes,
        )
        return intake.ingest(self.tenant, paths, dataset, options, progress)

    def datasets(self) -> list[dict[str, Any]]:
        """Every data set, newest version of each, with counts."""
        from medvae.api import datasets

        return datasets.listing(self.tenant)

    def dataset(self, ref: str) -> dict[str, Any]:
        """One data set (`name` or `name@version`): counts, shapes, spacings; no patient named."""
        from medvae.api import datasets

        return datasets.show(self.tenant, ref)

    def declare_dataset(
        self,
        ref: str,
        *,
        label_scheme: Scheme | None = None,
        classes: int | None = None,
        files_are_patients: bool = False,
        subjects_are_patients: bool = False,
    ) -> dict[str, Any]:
        """A new version of the same volumes, with other declared facts (see `ingest`).

        `subjects_are_patients`: every file was assigned to its patient (no record of it exists).
        """
        from medvae.api import declaration
        from medvae.api.declare import declare

        declared = declaration.parse(label_scheme, classes)
        return declare(self.tenant, ref, declared, files_are_patients, subjects_are_patients)

    def export_dataset(
        self, ref: str, out: PathLike, progress: Progress = SILENT
    ) -> dict[str, Any]:
        """Write the volumes as plain NIfTI: they leave the vault, and it is logged."""
        from medvae.api import datasets

        return datasets.export(self.tenant, ref, Path(out), progress)

    def delete_dataset(self, ref: str) -> dict[str, Any]:
        """Delete a data set and every volume that no other data set holds."""
        from medvae.api import erasure

        return erasure.delete(self.tenant, ref)

    def erase_subject(self, source_id: str) -> dict[str, Any]:
        """A patient withdraws: volumes gone, models trained on the patient listed."""
        from medvae.api import erasure

        return erasure.erase_subject(self.tenant, source_id)

    def verify(
        self, ref: str | None = None, *, read_data: bool = False, progress: Progress = SILENT
    ) -> dict[str, Any]:
        """Check what is stored; `read_data` also opens and authenticates everything."""
        from medvae.api import integrity

        return integrity.verify(self.tenant, ref, read_data, progress)

    def plan(
        self,
        config: PathLike,
        dataset: str,
        *,
        epsilon: float | None = None,
        overrides: Sequence[str] = (),
        small_cohort: bool = False,
    ) -> dict[str, Any]:
        """What a training would spend and cost, before anything is spent.

        `small_cohort`: go on with fewer than 20 patients, which is refused otherwise.
        """
        from medvae.api import training

        chosen = _config(config, overrides, epsilon)
        return training.plan(self.tenant, chosen, dataset, small_cohort=small_cohort)

    def pretrain(
        self,
        config: PathLike,
        name: str,
        *,
        overrides: Sequence[str] = (),
        progress: Progress = SILENT,
    ) -> dict[str, Any]:
        """Train the public stage on procedural volumes; no patient is involved."""
        from medvae.api import training

        return training.pretrain(self, _config(config, overrides), name, progress)

    def train(
        self,
        config: PathLike,
        dataset: str,
        name: str,
        *,
        epsilon: float | None = None,
        init: str | None = None,
        resume: bool = False,
        overrides: Sequence[str] = (),
        small_cohort: bool = False,
        progress: Progress = SILENT,
    ) -> dict[str, Any]:
        """Train under patient-level differential privacy; the whole plan is debited first.

        `small_cohort`: begin with fewer than 20 patients, which is refused otherwise.
        """
        from medvae.api import training

        request = training.Request(dataset, name, init, resume, small_cohort)
        return training.train(self, _config(config, overrides, epsilon), request, progress)

    def budget(self, dataset: str | None = None) -> dict[str, Any]:
        """Epsilon spent and left, for the patient who has spent most."""
        from medvae.api import training

        return training.budget(self.tenant, dataset)

    def models(self) -> list[dict[str, Any]]:
        """Every model of the tenant."""
        from medvae.api import models

        return models.listing(self.tenant)

    def model(self, name: str) -> dict[str, Any]:
        """One model's facts."""
        from medvae.api import models

        return models.show(self.tenant, name)

    def export_model(self, name: str, out: PathLike, fmt: str = "safetensors") -> dict[str, Any]:
        """Write a model's weights to a folder; a model without a guarantee is refused."""
        from medvae.api import models

        return models.export(self.tenant, name, Path(out), fmt)

    def compress_model(
        self,
        name: str,
        to: str,
        *,
        weights: str = "int8",
        prune: float = 0.0,
        progress: Progress = SILENT,
    ) -> dict[str, Any]:
        """Seal a smaller form of a model; says what is lost, measured on public volumes."""
        from medvae.api import compression

        request = compression.Request(name, to, weights, prune)
        return compression.compress(self, request, progress)

    def generate(
        self,
        model: str,
        n: int,
        out: PathLike,
        *,
        seed: int | None = None,
        fmt: str = "nifti",
        category: int | None = None,
        progress: Progress = SILENT,
    ) -> dict[str, Any]:
        """Write `n` synthetic volumes; the same seed gives the same voxels.

        `category`: all of this class, of a model that has classes; else each of one drawn as
        often as released, which `subjects.csv` beside the volumes says.
        """
        from medvae.api import models

        order = models.Order(n, Path(out), seed, fmt, category)
        return models.generate(self, model, order, progress)

    def reconstruct(self, model: str, source: PathLike, out: PathLike) -> dict[str, Any]:
        """Encode and decode one scan on its own grid; gives PSNR, SSIM and MS-SSIM."""
        from medvae.api import models

        return models.reconstruct(self, model, Path(source), Path(out))

    def encode(self, model: str, source: PathLike, out: PathLike) -> dict[str, Any]:
        """Write a scan's latents as a safetensors file."""
        from medvae.api import models

        return models.encode(self, model, Path(source), Path(out))

    def decode(self, model: str, source: PathLike, out: PathLike) -> dict[str, Any]:
        """Write the volume of a latents file."""
        from medvae.api import models

        return models.decode(self, model, Path(source), Path(out))

    def evaluate(
        self,
        what: str,
        against: str,
        *,
        n: int = 32,
        downstream: bool = True,
        progress: Progress = SILENT,
    ) -> dict[str, Any]:
        """Fidelity, diversity and use of a model's (or a folder's) volumes beside real ones.

        `downstream`: also train a segmentation on them where there are masks (minutes).
        """
        from medvae.api import evaluation

        return evaluation.evaluate(self, what, against, n, downstream, progress)

    def audit(
        self, model: str, *, against: str | None = None, n: int = 32, progress: Progress = SILENT
    ) -> dict[str, Any]:
        """Attack a model: membership, copies of patients."""
        from medvae.api import evaluation

        return evaluation.audit(self, model, against, n, progress)

    def release(
        self,
        model: str,
        n: int,
        out: PathLike,
        *,
        progress: Progress = SILENT,
        **words: Any,
    ) -> dict[str, Any]:
        """Generate, gate, write, describe and sign a synthetic data set.

        `words`: seed, fmt ("bids" or "dicom"), title, body_part, suffix, label_names,
        licence, category.
        """
        from medvae.api import releases

        return releases.create(self, model, releases.Order(n, Path(out), **words), progress)

    def events(self) -> list[dict[str, Any]]:
        """The audit trail, oldest first."""
        return self.tenant.events()

    def anchor(self, out: PathLike | None = None) -> dict[str, Any]:
        """A signed line that names the present state; keep it away from the vault."""
        from medvae.api import trail

        return trail.anchor(self.tenant, None if out is None else Path(out))

    def export_log(self, style: str = "json") -> Iterator[str]:
        """The audit trail for another system, a line an event: "json" or "syslog" (RFC 5424)."""
        return self.tenant.export_log(style)

    def repair(self, progress: Progress = SILENT) -> dict[str, Any]:
        """Move damaged files aside and say what is lost; overwrites nothing."""
        report = self.tenant.repair(progress=progress)
        lost = [{"object": one.object, "reason": one.reason} for one in report.lost]
        return {"objects": report.objects, "lost": lost, "quarantined": report.quarantined}

    def rotate_keys(self) -> dict[str, Any]:
        """A new epoch key; every data key is wrapped again (seconds)."""
        return {"epoch": self.tenant.rotate()}

    def reseal_keys(self, progress: Progress = SILENT) -> dict[str, Any]:
        """New data keys for every object: needed when keys may have leaked. Can be interrupted."""
        return {"resealed": self.tenant.reseal(progress=progress)}

    def recipients(self) -> list[dict[str, Any]]:
        """Who can open the tenant."""
        from medvae.api import keys

        return keys.listing(self.tenant)

    def add_recipient(self, public: PathLike, label: str = "colleague") -> dict[str, Any]:
        """Let the holder of a key (the .pub file of `new_identity`) open the tenant."""
        from medvae.api import keys

        return keys.add(self.tenant, Path(public), label)

    def remove_recipient(self, fingerprint: str) -> dict[str, Any]:
        """Take a key away: a new epoch begins that is not wrapped to it."""
        return {"removed": fingerprint, "epoch": self.tenant.remove_recipient(fingerprint)}

    def verify_log(self, anchors: PathLike | None = None) -> dict[str, Any]:
        """Check the trail; with a file of anchors also that nothing was rolled back."""
        from medvae.api import trail

        return trail.verify(self.tenant, None if anchors is None else Path(anchors))


def _config(path: PathLike, overrides: Sequence[str], epsilon: float | None = None) -> Any:
    from medvae.config_files import load_config

    chosen = list(overrides)
    if epsilon is not None:
        chosen.append(f"privacy.epsilon={float(epsilon)!r}")
    return load_config(path, chosen)
