"""`dataset declare`: other declared facts for volumes that are sealed already."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medvae.api import datasets
from medvae.api.records import Declaration
from medvae.api.results import DatasetInfo
from medvae.errors import UsageError

if TYPE_CHECKING:
    from medvae.vault import Tenant


def declare(
    tenant: Tenant,
    ref: str,
    declared: Declaration,
    files_are_patients: bool = False,
    subjects_are_patients: bool = False,
) -> DatasetInfo:
    """The same sealed volumes as a new version, with other declared facts; reads no voxel.

    Args:
        declared: as `declaration.parse` gives it; what is None stays as it is.
        files_are_patients: every subject is a single file: the unit of privacy is the file.
        subjects_are_patients: every subject is a patient, of a version that did not record it.

    Raises:
        NotFoundError: there is no such data set.
        UsageError: the version did not record who its subjects are and neither is said, both
            are, or files are said to be patients after all.
    """
    if files_are_patients and subjects_are_patients:
        raise UsageError("give --files-are-patients or --subjects-are-patients, not both")
    with tenant.writer():
        before = datasets.load(tenant, ref)
        label = f"{before['name']}@{before['version']}"
        unit = before.get("unit")
        if unit is None and not (files_are_patients or subjects_are_patients):
            raise UsageError(
                f"data set {label} does not record who a patient is; say --subjects-are-patients "
                "if every file was assigned to its patient when it was ingested, else "
                "--files-are-patients"
            )
        if unit == "file" and subjects_are_patients:
            raise UsageError(
                f"the subjects of data set {label} are files; delete it and ingest the files with "
                "--subjects, a table of filename and subject"
            )
        volumes = before["volumes"]
        if files_are_patients:
            volumes = [entry | {"own_subject": True} for entry in volumes]
        elif unit is None:
            volumes = [
                entry | {"own_subject": entry.get("own_subject", False)} for entry in volumes
            ]
        manifest = datasets.next_version(tenant, before["name"], before, volumes, declared)
        version = f"{manifest['name']}@{manifest['version']}"
        tenant.record("declare dataset", dataset=version, source=label, unit=manifest["unit"])
    return datasets.summary(manifest)
