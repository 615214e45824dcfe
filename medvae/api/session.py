"""A session: one tenant's vault, opened with an identity, and the verbs of the journey."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from medvae.api import results
from medvae.api.arrivals import Arrivals
from medvae.api.context import PathLike
from medvae.api.namespaces import Datasets, Keys, Log, Models, Releases
from medvae.options.evaluate import EvaluateOptions
from medvae.options.flags import takes
from medvae.options.generate import GenerateOptions
from medvae.options.train import PlanOptions, PretrainOptions, TrainOptions
from medvae.progress import SILENT, Progress


@dataclass(frozen=True)
class Session(Arrivals):
    """An open tenant; each method is one verb of the command line.

    What is stored is reached by nouns: `datasets`, `models`, `keys`, `log` and `releases`. Every
    method raises the errors of `medvae.errors` and gives a frozen value of `medvae.api.results`,
    whose `to_json()` is the object of `--json`. What needs no open tenant is a function of
    `medvae.api`. It is a context manager, which closes it at the end of its block.

    Attributes:
        vault, tenant: as they were opened.
        device: "auto", "cpu", "gpu", "gpu:N" or "mps".
    """

    def close(self) -> None:
        """Close the tenant's catalogue; a method that is called later opens it again."""
        self.tenant.close()

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

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

    def verify(
        self, ref: str | None = None, *, read_data: bool = False, progress: Progress = SILENT
    ) -> results.IntegrityReport:
        """Check what is stored; `read_data` also opens and authenticates everything."""
        from medvae.api import integrity

        return integrity.verify(self.tenant, ref, read_data, progress)

    @takes(PlanOptions)
    def plan(self, options: PlanOptions) -> results.PlanResult:
        """What a training would spend and cost, before anything is spent.

        `small_cohort`: go on with fewer than 20 patients, which is refused otherwise.
        """
        from medvae.api import planning

        return planning.plan(self.tenant, options)

    @takes(PretrainOptions)
    def pretrain(self, options: PretrainOptions) -> results.PretrainResult:
        """Train the public stage on procedural volumes; no patient is involved."""
        from medvae.api import training

        return training.pretrain(self, options)

    @takes(TrainOptions)
    def train(self, options: TrainOptions) -> results.TrainResult:
        """Train under patient-level differential privacy; the whole plan is debited first.

        `small_cohort`: fewer than 20 patients may do. `workers`: processes that share them."""
        from medvae.api import training

        return training.train(self, options)

    def budget(self, dataset: str | None = None) -> results.Budget:
        """Epsilon spent and left, for the patient who has spent most."""
        from medvae.api import accounts

        return accounts.budget(self.tenant, dataset)

    @takes(GenerateOptions)
    def generate(self, options: GenerateOptions) -> results.GenerateResult:
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

        return models.generate(self, options)

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

    @takes(EvaluateOptions)
    def evaluate(self, options: EvaluateOptions) -> results.EvaluateResult:
        """Fidelity, diversity and use of a model's (or a folder's) volumes beside real ones.

        `downstream`: also train a segmentation on them where there are masks (minutes).
        `baselines`: the same figures of the public people that a model draws, without any patient.
        """
        from medvae.api import evaluation

        return evaluation.evaluate(self, options)

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
