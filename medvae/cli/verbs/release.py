"""medvae release create | list | approve | recall | verify"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medvae.cli.flags import flags
from medvae.cli.output import objects, plural, show, table
from medvae.cli.progress import progress
from medvae.cli.settings import settings
from medvae.errors import IntegrityError
from medvae.options.flags import arguments
from medvae.options.release import ReleaseOptions

AFTER = "model"

app = typer.Typer(help="Releases: signed folders of synthetic volumes.", no_args_is_help=True)


@app.command()
@flags(ReleaseOptions)
def create(options: ReleaseOptions) -> None:
    """Create a release: generate volumes, check them at the gate, describe and sign them."""
    with progress() as bar:
        result = settings.session().releases.create(**arguments(options, bar))
    images = f" and {plural(result.public, 'public image')}" if result.public else ""
    lines = [
        f"Release: {result.release}",
        f"Report:  {result.report}",
        f"Id:      {result.id}",
        f"{plural(options.n, 'volume')}{images}; epsilon {result.epsilon:.4g} for each "
        f"{result.unit}; "
        f"signed by {result.signer}",
        "Scores: " + ", ".join(f"{name} {_score(score)}" for name, score in result.scores.items()),
    ]
    if result.status == "awaiting approval":
        lines.append("It is not valid before another identity has approved it (release approve).")
    show(result, lines)


@app.command()
def verify(
    folder: Annotated[Path, typer.Argument(help="Folder of the release.")],
    public_key: Annotated[
        Path | None,
        typer.Option(help="File of the signer's key, from another source than the release."),
    ] = None,
    recalled: Annotated[
        Path | None, typer.Option(help="The publisher's recall list, the newest there is.")
    ] = None,
    approver: Annotated[
        str | None,
        typer.Option(help="Fingerprint (SHA256:...) of the key that must have approved it."),
    ] = None,
) -> int:
    """Check a release; needs no vault. Changes, forgery, a recall, and an approval that is
    demanded and missing end with exit code 4."""
    from medvae.api import verify_release

    with progress() as bar:
        result = verify_release(
            folder, public_key, recalled=recalled, approver=approver, progress=bar
        )
    state = {
        True: f"valid; signed by {result.signer}",
        None: f"unchanged, signer unknown ({result.signer})",
        False: "RECALLED: do not use it" if result.recalled else "NOT VALID",
    }[result.valid]
    lines = [f"{folder}: {state}", *(f"  {problem}" for problem in result.problems)]
    if result.recalled is False:
        lines.append(f"Not recalled by list {result.recall_list}; ask for a newer one.")
    if result.approved:
        lines.append(f"Approved by {result.approver}.")
    if result.valid is None:
        lines.append(
            "Compare the fingerprint with the one that the hospital publishes, or give "
            "--public-key."
        )
    show(result, lines)
    return IntegrityError.exit_code if result.valid is False else 0


def _score(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.1f} of 10"


@app.command("list")
def list_() -> None:
    """List the releases that the tenant has signed: what, when, for whom."""
    releases = settings.session().releases.list()
    rows = [
        (
            release.release[:16], release.model, release.volumes, release.epsilon, release.format,
            release.issues[-1].time, release.status, release.issues[-1].recipient or None,
        )
        for release in releases
    ]  # fmt: skip
    heads = ("release", "model", "n", "epsilon", "format", "when", "status", "recipient")
    show({"releases": objects(releases)}, table(heads, rows) if rows else ["No release yet."])


@app.command()
def approve(
    release: Annotated[str, typer.Argument(help="Folder of the release, or its id.")],
) -> None:
    """Approve a release that another identity made, where the tenant demands it."""
    result = settings.session().releases.approve(release)
    lines = [f"Release {result.release[:16]} is approved by {result.approver} ({result.folder})."]
    show(result, lines)


@app.command()
def recall(
    release: Annotated[str, typer.Argument(help="Id of the release, or its first digits.")],
    reason: Annotated[str, typer.Option(help="Why, in one line; recipients read it.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="New file for the signed list.")],
) -> None:
    """Sign the list of all recalls with this release on it, for recipients to check against."""
    result = settings.session().releases.recall(release, reason, out)
    lines = [
        f"Release {result.release[:16]} was recalled on {result.date}: {result.reason}",
        f"List {result.number}: {result.file}",
        "Publish it: a release that has left does not come back, and only who checks is warned.",
    ]
    show(result, lines)
