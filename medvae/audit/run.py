"""`audit`: every attack that the data at hand allow."""

from __future__ import annotations

from collections.abc import Iterable

from medvae.audit.copies import part_copies, whole_copies
from medvae.audit.embed import embed
from medvae.audit.membership import membership
from medvae.audit.report import Finding, Report
from medvae.config import DataConfig
from medvae.errors import InputError
from medvae.progress import SILENT, Progress
from medvae.volume import Volume

# Fewer patients give no scale to measure a copy by, and no power to an attack.
_FEWEST = 8


def audit(
    synthetic: Iterable[Volume],
    members: Iterable[tuple[str, Volume]],
    *,
    data: DataConfig,
    others: Iterable[tuple[str, Volume]] = (),
    progress: Progress = SILENT,
) -> Report:
    """Attack synthetic volumes with the patients that their model was trained on.

    Args:
        synthetic: volumes drawn from the model.
        members: (subject, volume) of the patients that it was trained on.
        data: the model's grid.
        others: (subject, volume) of patients of the same kind that it never saw; without
            them the membership attack cannot be run.

    Raises:
        InputError: no synthetic volume, or fewer than eight members.
    """
    made = embed(((str(i), v) for i, v in enumerate(synthetic)), data, "synthetic", progress)
    real = embed(members, data, "members'", progress)
    outside = embed(others, data, "other patients'", progress)
    patients = len(set(real.subjects.tolist()))
    if not len(made):
        raise InputError("there is no synthetic volume to audit")
    if patients < _FEWEST:
        raise InputError(f"an audit needs at least {_FEWEST} patients, and there are {patients}")
    findings: list[Finding] = [whole_copies(made, real), part_copies(made, real)]
    not_run = []
    strangers = len(set(outside.subjects.tolist()))
    if strangers >= _FEWEST:
        findings.append(membership(made, real, outside))
    else:
        not_run.append(
            f"membership: needs at least {_FEWEST} patients that the model never saw, "
            f"and {strangers} were given"
        )
    return Report(tuple(findings), tuple(not_run))
