"""medvae model list | show | shift | nearest | compress | export | join"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medvae.cli.output import note, objects, show, table
from medvae.cli.progress import progress
from medvae.cli.settings import settings
from medvae.cli.words import Model, NewFolder, Volumes
from medvae.errors import UsageError
from medvae.space import words

if TYPE_CHECKING:
    from medvae.api.results import Compression, Nearest

AFTER = "subject"

app = typer.Typer(help="Models: the sealed results of training.", no_args_is_help=True)

# Characters of a pseudonym by which a person distinguishes patients.
PSEUDONYM = 12
_COLUMNS = ("model", "private", "epsilon", "delta", "dataset", "weights", "source")


@app.command("list")
def list_() -> None:
    """List the models."""
    models = settings.session().models.list()
    rows = [[getattr(model, column) for column in _COLUMNS] for model in models]
    show({"models": objects(models)}, table(_COLUMNS, rows) if rows else ["No model yet."])


@app.command("show")
def show_(name: Model) -> None:
    """Show a model's guarantee, size, loss by compression, and configuration."""
    result = settings.session().models.show(name)
    facts = result.facts
    values = [(column, getattr(result, column)) for column in _COLUMNS]
    rows = [row for row in values if row[1] is not None]
    rows += [("parameters", result.parameters), ("bytes", words(result.bytes))]
    lines = table(("", ""), rows)
    if result.compression is not None:
        lines += ["", *_compressed(result.compression)]
    shown = ("config", "plan", "stages", "hospitals")
    rest = {key: value for key, value in facts.items() if key in shown}
    show(result, [*lines, "", *json.dumps(rest, indent=2, default=str).splitlines()])


def _compressed(compression: Compression) -> list[str]:
    """What compression cost, for a person."""
    before, after = words(compression.bytes_before), words(compression.bytes_after)
    lines = [
        f"Compressed from {compression.source}: {before} to {after}; reconstruction "
        f"{compression.psnr_before:.2f} dB to {compression.psnr_after:.2f} dB "
        f"({compression.psnr_of})."
    ]
    drift = compression.volumes
    if drift is not None:
        lines.append(
            f"Volumes of one seed are {drift.rms:.2%} of the intensity range apart "
            f"(root mean square of {drift.n}), {drift.largest:.2%} at most."
        )
    return lines


@app.command()
def shift(name: Model) -> None:
    """Show by what the sites of a model differ, from released numbers alone. Costs no privacy."""
    result = settings.session().models.shift(name)
    shares = ", ".join(
        f"{site} {share:.0%}" for site, share in zip(result.sites, result.shares, strict=True)
    )
    lines = [f"Sites and their released shares: {shares}."]
    differing = [difference for difference in result.differences if difference.differs]
    differing.sort(
        key=lambda difference: (
            -abs(difference.difference) / max(difference.noise, difference.chance)
        )
    )
    rows = [
        [
            difference.site,
            difference.statistic,
            *(f"{x:.2f}" for x in (difference.difference, difference.noise, difference.chance)),
        ]
        for difference in differing
    ]
    if rows:
        heads = ("site", "statistic", "difference", "noise", "chance")
        lines += table(heads, rows)
    lines.append(
        f"{result.differing} of {len(result.differences)} differ by more than released noise and "
        f"who happened to be scanned explain (level {result.level:g} for all of them together); "
        "differences from all sites, in standard deviations of all patients."
    )
    show(result, lines)


@app.command()
def nearest(
    name: Model,
    against: Annotated[
        str | None, typer.Option(help="Data set with patients that the model never saw.")
    ] = None,
    n: Volumes = 32,
    most: Annotated[int, typer.Option(help="How many volumes to list, the nearest first.")] = 10,
    last: Annotated[
        bool, typer.Option("--last", help="Show what was sealed before; draw nothing.")
    ] = False,
) -> None:
    """Show the patients that volumes of a model are nearest to; sealed, and in no release."""
    if last and against is not None:
        raise UsageError("--last shows what was compared before: leave out --against")
    if most < 1:
        raise UsageError(f"--most must be at least 1, not {most}")
    with progress() as bar:
        result = settings.session().models.nearest(
            name, against=against, n=n, last=last, progress=bar
        )
    note("Distances to real patients, without noise: they stay in the tenant and in no release.")
    show(result, _nearest(result, most))


def _nearest(result: Nearest, most: int) -> list[str]:
    """A table of the nearest volumes, and how near patients are."""
    heads = ("volume", "nearest patient", "distance", "next patient", "distance", "as near")
    rows = [
        [
            f"{row.number:04d}",
            row.subject[:PSEUDONYM] + (" (mirrored)" if row.mirrored else ""),
            f"{row.distance:.3f}",
            row.next_subject[:PSEUDONYM],
            f"{row.next_distance:.3f}",
            f"{row.nearer:.0f}%",
        ]
        for row in result.rows[:most]
    ]
    whom = (
        f"the {result.compared} patients of {result.against}, whom the model never saw,"
        if result.unseen
        else f"its {result.compared} patients, each beside the others,"
    )
    return [
        *table(heads, rows),
        f"{len(rows)} of {len(result.rows)} volumes, as of generate -n {result.n} --seed "
        f"{result.seed}. A distance of 0 is a copy, 1.41 has nothing in common.",
        f"As near: the share of {whom} who are as near to a patient of the training",
        f"(their distances: median {result.usual:.3f}, smallest {result.least:.3f}).",
    ]


@app.command()
def compress(
    name: Model,
    to: Annotated[str, typer.Option("--to", help="Name of the smaller model.")],
    weights: Annotated[str, typer.Option(help="Form of the weights: bf16 or int8.")] = "int8",
    prune: Annotated[
        float, typer.Option(help="Fraction of the smallest weights to prune, 0 <= p < 1.")
    ] = 0.0,
) -> None:
    """Make a smaller form of a model: the same guarantee, fewer bytes. Costs no privacy."""
    with progress() as bar:
        result = settings.session().models.compress(
            name, to, weights=weights, prune=prune, progress=bar
        )
    show(result, _compressed(result))


@app.command()
def export(
    name: Model,
    out: NewFolder,
    fmt: Annotated[
        str,
        typer.Option(
            "--format",
            help="Format: safetensors, onnx, torchscript, monai-bundle, or statistics, which model "
            "join joins with those of other hospitals.",
        ),
    ] = "safetensors",
) -> None:
    """Write a model's weights as plain files; they carry its guarantee."""
    result = settings.session().models.export(name, out, fmt)
    show(result, [f"Wrote {', '.join(map(str, result.files))}"])


@app.command()
def join(
    sources: Annotated[
        list[str],
        typer.Argument(
            help="What hospitals exported with --format statistics: files, or their folders; or "
            "models of this tenant."
        ),
    ],
    name: Annotated[str, typer.Option("--as", help="Name of the joint model.")],
    public_keys: Annotated[
        list[Path] | None,
        typer.Option(
            "--public-key",
            help="File with the public key (PEM) of a hospital; once for each. Where any is given, "
            "every file must be signed by one of them.",
        ),
    ] = None,
) -> None:
    """Make one model of several hospitals' patients, from released numbers. Costs no privacy."""
    with progress() as bar:
        result = settings.session().models.join(
            sources, name, public_keys=public_keys or (), progress=bar
        )
    if not all(hospital.known for hospital in result.hospitals):
        note("Nobody checked who signed these files: give the hospitals' keys with --public-key.")
    heads = ("hospital", "model", "patients", "epsilon", "delta", "signer known")
    rows = [
        [
            *(hospital.tenant, hospital.model, hospital.patients),
            *(f"{hospital.epsilon:.4g}", f"{hospital.delta:.3g}", hospital.known),
        ]
        for hospital in result.hospitals
    ]
    lines = table(heads, rows)
    lines.append(
        f"Model {result.model}: {result.patients} {result.unit}s; epsilon {result.epsilon:.4g}, "
        f"delta {result.delta:.3g} for whoever is in one hospital, and epsilon "
        f"{result.everywhere:.4g} for whoever is in all of them."
    )
    show(result, lines)
