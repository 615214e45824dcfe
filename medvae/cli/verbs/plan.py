"""medvae plan"""

from __future__ import annotations

from typing import TYPE_CHECKING

from medvae.cli.flags import flags
from medvae.cli.output import duration, show, table
from medvae.cli.settings import settings
from medvae.options.flags import arguments
from medvae.options.train import PlanOptions
from medvae.space import words

if TYPE_CHECKING:
    from medvae.api.results import Coefficients, Coverage, Expected, PlanResult, Simulated

AFTER = "repair"


@flags(PlanOptions)
def run(options: PlanOptions) -> None:
    """Show what a training would spend and how long it would take. Spends nothing."""
    result = settings.session().plan(**arguments(options))
    show(result, _lines(result))


def _lines(result: PlanResult) -> list[str]:
    columns = ("title", "noise_multiplier", "sample_rate", "steps", "epsilon_alone")
    heads = ("stage", "noise/clip", "sample rate", "steps", "epsilon alone")
    rows = [[getattr(stage, column) for column in columns] for stage in result.stages]
    budget = result.budget
    cost = result.cost
    return [
        f"{result.dataset}: {result.patients} {result.unit}s; "
        f"epsilon {result.epsilon:.4g}, delta {result.delta:.3g} for all stages together",
        *table(heads, rows),
        *_alone(result.atlas_alone_below),
        *_anatomy(result),
        *_sites(result.sites),
        *_coverage(result.coverage),
        *_voxels(result),
        *_expected(result.expected),
        f"Budget: {budget.spent:.4g} of {budget.limit:g} spent by the {result.unit} that spent "
        "most",
        f"About {duration(cost.seconds)} and {words(cost.memory_bytes)} of memory here.",
        *([] if result.memory_lacks is None else [f"train would refuse: {result.memory_lacks}"]),
    ]


def _anatomy(result: PlanResult) -> list[str]:
    """Where the volumes come from, and what would be better."""
    if result.shape_source == "automatic tissues":
        return [
            "The scans have no labels: volumes are drawn from mean maps of automatic tissues, "
            "which a public rule finds in each scan by its grey values. They show where the "
            "patients' body, gas and bone are, or what is dark and bright, and no organ.",
            *_named(result.anatomy_if_named),
        ]
    if result.anatomy == "patients":
        maps = "mean maps of the patients' labels and pictures. What is not labelled is made up."
        if result.anatomy_if_named:
            made_up = "where maps have made-up structure beside the labels"
            return [
                f"Volumes are drawn from {maps}",
                *_of_channels(result.anatomy_if_named, made_up),
            ]
        # Images have one contrast, and others are not known of them.
        public = "label maps" if result.channels else "images"
        return [
            "No entry of the public anatomy library covers this cohort: volumes are drawn from "
            f"{maps} Public {public} of the region with the same labels make better ones (medvae "
            "anatomy add; docs/benchmarks/anatomy.md has figures)."
        ]
    if result.anatomy is not None:
        return [
            f"Volumes are drawn from the public anatomy {result.anatomy}, as these patients' "
            "numbers say."
        ]
    if any(stage.name.startswith("cosines") for stage in result.stages):
        return [
            "Images are drawn from means and covariances of few cosines of each class; what is "
            "finer has the power of its band, and borders that are made up.",
            *_coefficients(result.coefficients),
            *_of_channels(result.anatomy_if_named, "where cosines have clouds"),
            *(_SPACED if result.maps_if_spaced else ()),
        ]
    if result.anatomy_if_named:
        return [
            "These scans have no labels, so nothing says which entry of the public anatomy library "
            "shows their region: an atlas is made of the patients alone, whose volumes are blurred "
            "and of low resolution.",
            *_named(result.anatomy_if_named),
        ]
    return [
        "No entry of the public anatomy library covers this cohort: an atlas is made of the "
        "patients alone, whose volumes are blurred and of low resolution. With labels and "
        "data.spacing set, mean maps of the patients' labels make better ones; public images of "
        "the region with the same labels better still (medvae anatomy add)."
    ]


def _named(entries: tuple[str, ...]) -> list[str]:
    """How to use an entry whose region nothing but the user can say to be the cohort's."""
    if not entries:
        return []
    return [
        f"Where {' or '.join(entries)} of the public anatomy library shows their region, name it "
        f"(--set anatomy.library={entries[0]}); to have labels drawn, too, declare them first by "
        "the entry's names (medvae dataset declare --label-scheme)."
    ]


_SPACED = (
    "With data.spacing set (--set data.spacing=[1,1,1], the millimetres of a voxel of the grid) "
    "they are drawn from mean maps of the patients' labels and pictures: labels then have borders.",
)


def _of_channels(entries: tuple[str, ...], otherwise: str) -> list[str]:
    """How to draw contrasts from an entry; `otherwise`: what they have without one."""
    if not entries:
        return []
    return [
        f"Where {' or '.join(entries)} of the public anatomy library shows their region, name it "
        f"(--set anatomy.library={entries[0]}): volumes then have its anatomy in every contrast, "
        f"{otherwise}."
    ]


def _coefficients(kept: Coefficients | None) -> list[str]:
    if kept is None:
        return []
    return [
        f"Of {kept.total:,} cosines of an image means of {kept.means:,} are released and "
        f"covariances of {kept.covariances:,}: as many as noise leaves of use with so many "
        "patients at this epsilon, whoever they are."
    ]


def _sites(sites: tuple[str, ...]) -> list[str]:
    if not sites:
        return []
    return [
        f"Grey values are learnt apart of the sites {', '.join(sites)}, as declared; how large "
        "each is stays private."
    ]


def _expected(row: Expected | None) -> list[str]:
    """What such models were worth on the cohort of the benchmarks that is most like this one."""
    if row is None:
        return []
    without = row.without_patients
    others = "" if without is None else f", draws without any patient {without:.4g}"
    return [
        f"What to expect: {row.figure}: draws {row.draws:.4g}, real people {row.real:.4g}{others}. "
        f"Measured on {row.cohort} ({row.patients:,} people, epsilon {row.epsilon:g}), the "
        f"nearest to your cohort in patients times epsilon; yours may differ ({row.page}).",
        *_simulated(row.simulated),
    ]


def _simulated(row: Simulated | None) -> list[str]:
    """What the statistics gain at this size over the plainest ones."""
    if row is None:
        return []
    return [
        f"All statistics run, and no network. On {row.cohorts} simulated cohorts of "
        f"{row.patients:,} people at epsilon {row.epsilon:g} (the nearest row of the map in "
        f"{row.page}) a classifier trained on draws had AUC {row.draws:.2f}, on the people "
        f"{row.real:.2f}. Beside a plain Gaussian that is {row.draws - row.plain:+.2f}, at "
        f"{row.distance:.2f} of its distance in texture."
    ]


def _voxels(result: PlanResult) -> list[str]:
    """That drawn volumes will have no true size, if so."""
    if result.spacing_known:
        return []
    return [
        "Nobody declares a voxel size (data.spacing): the files of drawn volumes will say 1 mm, "
        "whatever that of the scans is. Declare one where sizes matter."
    ]


def _coverage(coverage: Coverage | None) -> list[str]:
    """What the grid cuts off, and a grid that would not."""
    if coverage is None or not coverage.beyond:
        return []
    edges = " x ".join(f"{edge:g}" for edge in coverage.grid_mm)
    size = ",".join(map(str, coverage.size))
    spacing = ",".join(f"{step:g}" for step in coverage.spacing)
    return [
        f"The grid shows {edges} mm of a scan, and labels reach beyond it in {coverage.beyond} of "
        f"{coverage.volumes} volumes. For whole organs declare another grid, for example --set "
        f"data.crop=labels --set 'data.size=[{size}]' --set 'data.spacing=[{spacing}]'. Choose "
        "what is usual for the organ rather than what fits these patients: the grid will be on the "
        "model's card, and the guarantee does not cover a choice by these figures."
    ]


def _alone(below: float | None) -> list[str]:
    """Why there are fewer stages than the configuration names."""
    if below is None:
        return []
    return [
        f"Epsilon times patients is below {below:g} (atlas.alone_below): the atlas has all of the "
        "budget; DP-SGD and the latent prior are left out"
    ]
