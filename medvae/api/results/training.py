"""Results of the verbs that plan, train and account."""

from __future__ import annotations

from dataclasses import dataclass

from medvae.api.results.base import Result


@dataclass(frozen=True)
class StagePlan(Result):
    """One mechanism of a plan.

    Attributes:
        name: as plan and ledger keep it; `title`: in one style for all parts of a model.
        noise_multiplier: noise in units of the clip.
        sample_rate: probability that a patient takes part in a step.
        epsilon_alone: what it would cost if it were the only one.
    """

    name: str
    title: str
    noise_multiplier: float
    sample_rate: float
    steps: int
    epsilon_alone: float


@dataclass(frozen=True)
class BudgetState(Result):
    """Epsilon of the patient who has spent most."""

    limit: float
    spent: float
    remaining: float


@dataclass(frozen=True)
class Cost(Result):
    """An estimate of what a run takes on this machine."""

    seconds: float
    memory_bytes: int


@dataclass(frozen=True)
class Coverage(Result):
    """What the grid shows of a cohort's labels: figures of private data, so `releasable` is False.

    Attributes:
        volumes: with labels; beyond: those whose labels reach beyond the grid.
        grid_mm: edges of the grid, in mm (median over the volumes).
        size, spacing: voxels and their size in mm of a grid that shows nearly all labels whole,
            where it is centred on them (data.crop labels).
    """

    volumes: int
    beyond: int
    grid_mm: tuple[float, ...]
    size: tuple[int, int, int]
    spacing: tuple[float, float, float]
    releasable: bool = False


@dataclass(frozen=True)
class Simulated(Result):
    """The row of the map of simulated cohorts that is nearest to a plan. Public.

    Attributes:
        page: where the map is; cohorts: how many were simulated, of hidden parameters.
        patients, epsilon: the row's own.
        draws, real: AUC of a classifier trained on draws, and on the simulated patients.
        plain: on draws of one plain Gaussian a class, so that `draws` less it is what the model's
            parts gain.
        distance: Frechet distance of the texture of draws over that of those plain ones.
    """

    page: str
    cohorts: int
    patients: int
    epsilon: float
    draws: float
    real: float
    plain: float
    distance: float


@dataclass(frozen=True)
class Expected(Result):
    """The benchmark's row that is most like a plan, by patients times epsilon. Public.

    Attributes:
        cohort: what it shows; page: where the row and its history are.
        patients, epsilon: the row's own.
        figure: what was measured of draws, and of real patients beside them.
        without_patients: the same of draws that need no patient; None: there are none.
        simulated: what simulated cohorts of that size say; None: there are none of the kind.
    """

    cohort: str
    page: str
    patients: int
    epsilon: float
    figure: str
    draws: float
    real: float
    without_patients: float | None
    simulated: Simulated | None = None


@dataclass(frozen=True)
class Coefficients(Result):
    """How much of an image the cosine model learns: by the plan, whatever the patients are.

    Attributes:
        total: cosine coefficients of an image on the grid, with its channels and labels.
        means: of how many the means of each class are released.
        covariances: of how many the covariance is; what is finer has the power of its band.
    """

    total: int
    means: int
    covariances: int


@dataclass(frozen=True)
class PlanResult(Result):
    """What a training would spend, before anything is spent.

    Attributes:
        epsilon, delta: of all stages together, for each patient.
        digest: SHA-256 of the plan, in hex.
        dataset: as name@version.
        unit: "patient" or "file": whom the guarantee protects, and `patients` counts.
        atlas_alone_below: epsilon times patients below which the atlas gets the whole budget;
            None where it does not.
        anatomy: the entry of the public library that volumes are drawn from; None: none covers
            the cohort, or the configuration wants none.
        shape_source: where the shapes of drawn volumes come from: "public people", the patients'
            "masks", or "automatic tissues" that a public rule finds in each scan; None where
            volumes have no anatomy model.
        memory_lacks: why this machine's memory cannot hold the training, so that `train` would
            refuse; None: it can.
        coverage: of the cohort's labels by the grid; None: nothing is known of it.
        sites: names of those whose grey values are learnt apart.
        anatomy_if_named: entries of label maps that a cohort without labels, or with channels that
            no entry draws, can be drawn from where the user names one in `anatomy.library`.
        maps_if_spaced: whether channels with masks that cosines draw would be drawn from mean maps
            if data.spacing said how large a voxel is.
        expected: what the model is likely to be worth; None: nothing like it was measured.
        coefficients: how many a cosine model keeps; None: the run has none.
        channels: names of the contrasts or modalities of a volume; empty: it has one image.
        spacing_known: whether drawn volumes have a true voxel size; else their files say 1 mm.
    """

    epsilon: float
    delta: float
    digest: str
    stages: tuple[StagePlan, ...]
    dataset: str
    patients: int
    atlas_alone_below: float | None
    anatomy: str | None
    budget: BudgetState
    cost: Cost
    unit: str = "patient"
    coverage: Coverage | None = None
    sites: tuple[str, ...] = ()
    anatomy_if_named: tuple[str, ...] = ()
    maps_if_spaced: bool = False
    expected: Expected | None = None
    shape_source: str | None = None
    coefficients: Coefficients | None = None
    memory_lacks: str | None = None
    spacing_known: bool = True
    channels: tuple[str, ...] = ()


@dataclass(frozen=True)
class PretrainResult(Result):
    """A public model; `private` is False, for no patient was involved."""

    model: str
    private: bool
    parameters: int


@dataclass(frozen=True)
class TrainResult(Result):
    """A private model and what it cost each patient.

    Attributes:
        steps: private steps of all stages.
        dataset: as name@version.
        seconds: of the training itself.
        notes: remarks for a person, of private data.
        unit: "patient" or "file": whom the guarantee protects.
        continues: the private model that the training went on from; None: a public start. Who is
            in both has lost what both compose to (see `Session.budget`).
    """

    model: str
    epsilon: float
    delta: float
    steps: int
    dataset: str
    seconds: float
    notes: tuple[str, ...]
    unit: str = "patient"
    continues: str | None = None


@dataclass(frozen=True)
class WorkResult(Result):
    """That a training which another machine has led is done.

    Attributes:
        address: of its first process.
        processes: of this machine that took part.
        refused: more that were asked for, for which the training had no place.
        seconds: from the call to the end.
    """

    address: str
    processes: int
    refused: int
    seconds: float


@dataclass(frozen=True)
class Debit(Result):
    """One entry of the ledger: what a run has cost its patients."""

    run: str
    dataset: str
    patients: int
    mechanisms: int
    epsilon: float
    delta: float


@dataclass(frozen=True)
class Budget(BudgetState):
    """Spent and left at the tenant's delta, and the debits that make it up, oldest first.

    They say who took part in several trainings, without noise: `releasable` is False.
    """

    delta: float
    events: tuple[Debit, ...]
    releasable: bool = False
