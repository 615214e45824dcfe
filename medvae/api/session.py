"""A session: one tenant's vault, opened with an identity, and the verbs of the journey."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from medvae.api import results
from medvae.api.context import PathLike
from medvae.api.namespaces import Datasets, Keys, Log, Models, Releases
from medvae.progress import SILENT, Progress

if TYPE_CHECKING:
    from medvae.api.declaration import Scheme
    from medvae.api.links import Link
    from medvae.config import RunConfig
    from medvae.vault import Tenant, Vault


@dataclass(frozen=True)
class Session:
    """An open tenant; each method is one verb of the command line.

    What is stored is reached by nouns: `datasets`, `models`, `keys`, `log` and `releases`. Every
    method raises the errors of `medvae.errors` and gives a frozen value of `medvae.api.results`,
    whose `to_json()` is the object of `--json`. What needs no open tenant is a function of
    `medvae.api`.

    Attributes:
        vault, tenant: as they were opened.
        device: "auto", "cpu", "gpu", "gpu:N" or "mps".
    """

    vault: Vault
    tenant: Tenant
    device: str = "auto"

    @property
    def datasets(self) -> Datasets:
        """Data sets: list, show, declare, export, delete, erase a subject."""
        return Datasets(self)

    @property
    def models(self) -> Models:
        """Models: list, show, export, compress."""
        return Models(self)

    @property
    def keys(self) -> Keys:
        """Keys: list, add, remove, rotate, reseal."""
        return Keys(self)

    @property
    def log(self) -> Log:
        """The audit log: events, anchor, verify, export."""
        return Log(self)

    @property
    def releases(self) -> Releases:
        """Releases: create."""
        return Releases(self)

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
        site_column: str | None = None,
        contrast: str | None = None,
        channels: Sequence[str] = (),
        orientation: str | None = None,
        demographics: bool = False,
        files_are_patients: bool = False,
        label_scheme: Scheme | None = None,
        classes: int | None = None,
        sites: Sequence[str] | None = None,
        workers: int = 1,
        require_sandbox: bool = False,
        dry_run: bool = False,
        sheet: PathLike | None = None,
        progress: Progress = SILENT,
    ) -> results.IngestResult:
        """Read scans, de-identify them, seal them, and make a new version of a data set.

        `label_scheme` (a mapping, "1=name,2=name" or a file), `classes` (how many) and `sites`
        (names, () for none) declare public facts of the protocol; the table's `site_column` is
        then site by default. `channels`: contrasts of one case, such as t1 and t2, that become the
        channels of one volume. `files_are_patients`: an image that names no patient is a subject of
        its own, and the unit of privacy is the file. `orientation`: how the axes run of files that
        do not say it, such as "LPS". `workers`: confined processes that read at a time; the result
        is the same for any number. `require_sandbox`: refuse where a layer of their confinement is
        missing, which is a note otherwise. `dry_run`: store nothing, and list what would be stored;
        `sheet`: a new .png of it, which shows patients.
        """
        from medvae.api import intake

        paths = [Path(source) for source in sources]
        options = intake.IngestOptions(
            subjects=None if subjects is None else Path(subjects),
            labels=None if labels is None else Path(labels),
            modality=modality,
            label_column=label_column,
            class_column=class_column,
            site_column=site_column,
            contrast=contrast,
            channels=tuple(channels),
            orientation=orientation,
            demographics=demographics,
            files_are_patients=files_are_patients,
            label_scheme=label_scheme,
            classes=classes,
            sites=None if sites is None else tuple(sites),
            workers=workers,
            require_sandbox=require_sandbox,
            dry_run=dry_run,
            sheet=None if sheet is None else Path(sheet),
        )
        return intake.ingest(self.tenant, paths, dataset, options, progress)

    def pull(
        self,
        peer: str,
        dataset: str,
        *,
        studies: Sequence[str] = (),
        patient: str = "",
        modality: str | None = None,
        dates: str = "",
        limit: int | None = None,
        memory_limit: float = 4.0,
        link: Link | None = None,
        demographics: bool = False,
        label_scheme: Scheme | None = None,
        classes: int | None = None,
        workers: int = 1,
        require_sandbox: bool = False,
        progress: Progress = SILENT,
    ) -> results.PullResult:
        """Fetch studies from an image archive (PACS) and ingest them; all of them or none.

        `peer`: the https:// address of a DICOMweb service, or AETITLE@HOST:PORT (DIMSE, which
        fetches the series of CT, MR and PET with their masks). `studies` (UIDs), `patient` (one
        PatientID), `modality` ("ct", "mri", "pet"), `dates` (YYYYMMDD or a range of two with a
        hyphen) and `limit` say which. They are held in memory alone, `memory_limit` GiB at most;
        a study that is cut short, or holds another study or patient, is stored in no part.

        `link`: how to reach it; as a rule by TLS, whose certificate the system's authorities
        must have signed. Credentials are taken from MEDVAE_PACS_USER and MEDVAE_PACS_PASSWORD,
        or MEDVAE_PACS_TOKEN. The rest as in `ingest`.
        """
        from medvae.api import archives, intake, links

        order = archives.PullRequest(tuple(studies), patient, modality, dates, limit, memory_limit)
        options = intake.IngestOptions(
            modality=archives.modality_of(modality),
            demographics=demographics,
            label_scheme=label_scheme,
            classes=classes,
            workers=workers,
            require_sandbox=require_sandbox,
        )
        return archives.pull(
            self.tenant, peer, dataset, order, link or links.Link(), options, progress
        )

    def listen(
        self,
        dataset: str,
        port: int,
        *,
        bind: str = "127.0.0.1",
        aet: str = "MEDVAE",
        allow: Sequence[str] = (),
        studies: int | None = None,
        seconds: float | None = None,
        settle: float = 5.0,
        associations: int = 8,
        memory_limit: float = 4.0,
        link: Link | None = None,
        demographics: bool = False,
        label_scheme: Scheme | None = None,
        classes: int | None = None,
        workers: int = 1,
        require_sandbox: bool = False,
        ready: Callable[[str], object] | None = None,
        progress: Progress = SILENT,
    ) -> results.ListenResult:
        """Receive what archives and scanners send by DIMSE (C-STORE), then ingest it, all or none.

        It ends when `studies` have come whole and nobody has been sending for `settle` seconds,
        after `seconds`, or at Ctrl-C (KeyboardInterrupt); a study that had not come whole by then
        is left out, and a note says so. `aet` is what senders must call us, `allow` are the titles
        that may send (none: any; a title proves nothing). At most `associations` at a time.

        `link`: `client_cert` and `client_key` are ours, `ca` has signed those of the senders;
        beyond this machine it is TLS or `plaintext`. `ready` is called with the address. The
        rest as in `pull`.
        """
        from medvae.api import intake, links, listening

        order = listening.ListenRequest(
            port, bind, aet, tuple(allow), studies, seconds, settle, associations, memory_limit
        )
        options = intake.IngestOptions(
            demographics=demographics,
            label_scheme=label_scheme,
            classes=classes,
            workers=workers,
            require_sandbox=require_sandbox,
        )
        return listening.listen(
            self.tenant, dataset, order, link or links.Link(), options, ready, progress
        )

    def verify(
        self, ref: str | None = None, *, read_data: bool = False, progress: Progress = SILENT
    ) -> results.IntegrityReport:
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
    ) -> results.PlanResult:
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
    ) -> results.PretrainResult:
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
        workers: int | None = None,
        progress: Progress = SILENT,
    ) -> results.TrainResult:
        """Train under patient-level differential privacy; the whole plan is debited first.

        `small_cohort`: fewer than 20 patients may do. `workers`: processes that share them."""
        from medvae.api.training import TrainRequest, train

        request = TrainRequest(dataset, name, init, resume, small_cohort, workers)
        return train(self, _config(config, overrides, epsilon), request, progress)

    def budget(self, dataset: str | None = None) -> results.Budget:
        """Epsilon spent and left, for the patient who has spent most."""
        from medvae.api import accounts

        return accounts.budget(self.tenant, dataset)

    def generate(
        self,
        model: str,
        n: int,
        out: PathLike,
        *,
        seed: int | None = None,
        fmt: str | None = None,
        category: int | None = None,
        site: str | None = None,
        spacing: Sequence[float] | None = None,
        shard: tuple[int, int] | None = None,
        from_labels: PathLike | None = None,
        progress: Progress = SILENT,
    ) -> results.GenerateResult:
        """Write `n` synthetic volumes; the same seed gives the same voxels.

        `shard`: (i, k) writes part i of k alone, i from 1, named and drawn as in the whole set: k
        folders on k machines hold what one run would. Needs a seed.
        `spacing`: voxel size in mm, one number or three, of a model with an anatomy library.
        `fmt`: "nifti" or "dicom" of volumes, "png" of pictures; None: the first of these.

        `from_labels`: a file of labels in the model's scheme; every volume shows these, on the
        file's grid, of a model with an anatomy. They are as private as the file is.

        `category`, `site`: all of this class or site, of a model that has some; else each of one
        drawn as often as released, which `subjects.csv` beside the volumes says.
        """
        from medvae.api import models

        fine = None if spacing is None else tuple(spacing)
        given = None if from_labels is None else Path(from_labels)
        order = models.GenerateRequest(n, Path(out), seed, fmt, category, fine, shard, given, site)
        return models.generate(self, model, order, progress)

    def reconstruct(self, model: str, source: PathLike, out: PathLike) -> results.Reconstruction:
        """Encode and decode one scan on its own grid; gives PSNR, SSIM and MS-SSIM."""
        from medvae.api import models

        return models.reconstruct(self, model, Path(source), Path(out))

    def encode(self, model: str, source: PathLike, out: PathLike) -> results.Encoding:
        """Write a scan's latents as a safetensors file."""
        from medvae.api import models

        return models.encode(self, model, Path(source), Path(out))

    def features(self, model: str, source: PathLike, out: PathLike) -> results.FeatureTable:
        """Write one vector a scan (the code pooled over space) as a new .csv or .npy file.

        Vectors are as private as the scans.
        """
        from medvae.api import features

        return features.table(self, model, Path(source), Path(out))

    def decode(self, model: str, source: PathLike, out: PathLike) -> results.Decoding:
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
        baselines: bool = True,
        progress: Progress = SILENT,
    ) -> results.EvaluateResult:
        """Fidelity, diversity and use of a model's (or a folder's) volumes beside real ones.

        `downstream`: also train a segmentation on them where there are masks (minutes).
        `baselines`: the same figures of the public people that a model draws, without any patient.
        """
        from medvae.api import evaluation

        order = evaluation.EvaluateRequest(n, downstream, baselines)
        return evaluation.evaluate(self, what, against, order, progress)

    def audit(
        self, model: str, *, against: str | None = None, n: int = 32, progress: Progress = SILENT
    ) -> results.AuditResult:
        """Attack a model: membership, copies of patients."""
        from medvae.api import evaluation

        return evaluation.audit(self, model, against, n, progress)

    def accept_older_catalogue(self) -> int:
        """Go on from an older catalogue than the key ring's; see `Tenant`."""
        return self.tenant.accept_catalogue()

    def repair(self, *, gc: bool = False, progress: Progress = SILENT) -> results.RepairReport:
        """Move damaged files aside and say what is lost; overwrites nothing.

        `gc`: also remove files older than a day that nothing refers to, where nothing is lost.
        They may be all that is left of a newer state: check `log.verify` with an anchor first.
        """
        from medvae.api import integrity

        return integrity.repair(self.tenant, gc, progress)


def _config(path: PathLike, overrides: Sequence[str], epsilon: float | None = None) -> RunConfig:
    from medvae.config_files import load_config

    chosen = list(overrides)
    if epsilon is not None:
        chosen.append(f"privacy.epsilon={float(epsilon)!r}")
    return load_config(path, chosen)
