"""The product as a user drives it: library, tenant, ingest, train, generate, through the API."""

from __future__ import annotations

import csv
import hashlib
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np

from medvae import api
from medvae.config import DataConfig
from medvae.grid import Gridded, to_grid
from medvae.volume import Volume
from organs.cohorts import Cohort, People, PublicPeople

DATASET, MODEL = "patients", "model"
# Above what any row spends on its tenant's patients.
EPSILON_LIMIT = 50.0


@dataclass(frozen=True)
class Product:
    """One cohort's vaults: one for each entry of the library, and one without any.

    A row has a tenant of its own, which is erased when it is done.

    Attributes:
        vaults: the folder that they lie in.
    """

    cohort: Cohort
    vaults: Path

    def add(self, name: str, public: PublicPeople) -> None:
        """Public people as the one entry, `name`, of their vault; nothing if they are there."""
        vault = self.vaults / name
        if name not in {entry.name for entry in api.list_anatomy(vault).entries}:
            api.add_anatomy(
                public.folder,
                name,
                licence=public.licence,
                source=public.source,
                label_scheme=dict(public.scheme),
                vault=vault,
            )

    def add_own(self, name: str, people: People) -> None:
        """Some of the cohort's people as the one entry of their vault."""
        with tempfile.TemporaryDirectory() as folder:
            images = self.cohort.write(people, Path(folder) / "people")
            self.add(
                name,
                PublicPeople(images, "as the cohort", "the cohort", self.cohort.scheme, True),
            )

    def private(
        self, people: People, epsilon: float, count: int, seed: int, entry: str | None
    ) -> list[Gridded]:
        """Draws of a model that was trained on these patients, with an entry of the library."""
        with tempfile.TemporaryDirectory() as folder:
            session = self.tenant(Path(folder), entry, f"{epsilon:g} {seed}")
            self.ingest(session, people)
            session.train(
                self.cohort.preset,
                DATASET,
                MODEL,
                epsilon=epsilon,
                overrides=self.settings(entry),
                small_cohort=len(people) < 20,
            )
            return self._drawn(session, entry, count, seed)

    def public(self, count: int, seed: int, entry: str) -> list[Gridded]:
        """Draws of a model that has seen the entry's people alone."""
        with tempfile.TemporaryDirectory() as folder:
            session = self.tenant(Path(folder), entry, f"public {seed}")
            settings = [*self.settings(entry), _scheme(self.cohort.measured)]
            session.pretrain(self.cohort.preset, MODEL, overrides=settings)
            return self._drawn(session, entry, count, seed)

    def _vault(self, entry: str | None) -> Path:
        return self.vaults / (entry or "none")

    @staticmethod
    def tenant_name(row: str) -> str:
        """What the tenant of a row is called."""
        return f"row-{hashlib.sha256(row.encode()).hexdigest()[:12]}"

    def tenant(self, folder: Path, entry: str | None, row: str) -> api.Session:
        """An empty tenant for a row, with its keys in a folder, in the vault of an entry."""
        name, vault = self.tenant_name(row), self._vault(entry)
        # What a run that was stopped has left.
        if name in {one.tenant for one in api.tenants(vault)}:
            api.erase_tenant(vault, name)
        return api.create_tenant(
            vault,
            name,
            identity=folder / "identity",
            recovery=folder / "recovery",
            epsilon_limit=EPSILON_LIMIT,
        )

    def ingest(self, session: api.Session, people: People) -> None:
        """These people as the tenant's patients; says whom it refused."""
        cohort = self.cohort
        with tempfile.TemporaryDirectory() as folder:
            found = session.ingest(
                [cohort.write(people, Path(folder) / "hospital")],
                DATASET,
                modality=cohort.drawn.modality,
                class_column="class" if cohort.classes else None,
                label_scheme=dict(cohort.scheme) or None,
                classes=cohort.classes,
            )
        if found.subjects != len(people):
            print(f"  {found.subjects} of {len(people)} people: {found.quarantined[:3]}")

    def settings(self, entry: str | None) -> list[str]:
        """What --set would be given; entry: of the library, or "none" for the atlas."""
        # What has no people to draw has no detail of theirs either: it draws what is compared.
        grid = self.cohort.measured if entry in (None, "none") else self.cohort.drawn
        library = [f"anatomy.library={entry}"] if entry else []
        return [*_grid(grid), *self.cohort.overrides, *library]

    def _drawn(
        self, session: api.Session, entry: str | None, count: int, seed: int
    ) -> list[Gridded]:
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "drawn"
            session.generate(MODEL, count, out, seed=seed)
            drawn = read_folder(out, self.cohort.measured)
        api.erase_tenant(self._vault(entry), session.tenant.name)
        return drawn


def _grid(data: DataConfig) -> list[str]:
    return [f"data.size={list(data.size)}", f"data.spacing={list(data.spacing or ())}"]


def _scheme(data: DataConfig) -> str:
    """The cohort's labels: without patients, nobody else declares them."""
    return f"data.label_scheme={json.dumps(data.label_scheme)}"


def read_folder(folder: Path, data: DataConfig) -> list[Gridded]:
    """Volumes that `generate` wrote, with masks and classes, on a grid."""
    classes: dict[str, int] = {}
    if (folder / "subjects.csv").exists():
        with (folder / "subjects.csv").open() as file:
            classes = {row["filename"]: int(row["class"]) for row in csv.DictReader(file)}
    found = []
    for path in sorted(folder.glob("*.nii.gz")):
        if path.name.endswith("_dseg.nii.gz"):
            continue
        image = nib.load(path)
        labels = path.with_name(path.name.replace(".nii.gz", "_dseg.nii.gz"))
        mask = np.asarray(nib.load(labels).dataobj).astype(np.uint8) if labels.exists() else None
        meta = {"class": classes[path.name]} if path.name in classes else {}
        affine = np.asarray(image.affine, np.float64)
        volume = Volume(np.asarray(image.dataobj), affine, data.modality, mask, meta)
        found.append(to_grid(volume, data))
    return found
