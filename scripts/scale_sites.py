"""Two hospitals in one data set: is what is drawn by site nearer to its own site's people?

`scripts/bench scale --only sites` needs MEDVAE_REAL_DATA (mri_cardiac_acdc, public_heart). Two
thirds of each site's people train, the others are held out. One model learns the sites apart,
another one all as one, each at the same budget; volumes of either are compared with the held-out
people of each site by the Frechet distance. Two pairs of sites: hearts of two real hospitals, drawn
from the patients' own maps; and hearts of one hospital of which half were given the look of another
scanner, drawn from public people. A third pair is a control: one hospital whose people are sent to
two sites by chance.
"""

from __future__ import annotations

import csv
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from scipy import ndimage

from medvae import api
from medvae.api import results
from medvae.config import DataConfig
from medvae.evaluate.run import Options, evaluate
from medvae.volume import Volume

SCHEME = {1: "right ventricle", 2: "myocardium", 3: "left ventricle"}
SIZE, SPACING, EPSILON = (64, 64, 8), (2.0, 2.0, 8.0), 8.0
DRAWN, QUICK_DRAWN, QUICK_PEOPLE = 60, 8, 6
# Another scanner: bent grey values, blur in voxels, noise as a part of the brightest grey value.
BENT, BLUR, NOISE = 0.6, 0.8, 0.05

Image = tuple[Path, Path]
Look = Callable[[np.ndarray, np.random.Generator], np.ndarray]


@dataclass(frozen=True)
class Site:
    """People of one site: image and labels of each, and how its scanner sees them."""

    name: str
    people: list[Image]
    look: Look | None = None

    def voxels(self, at: int) -> tuple[nib.Nifti1Image, np.ndarray]:
        """The file of a person and the grey values that this site has of him or her."""
        image = nib.load(self.people[at][0])
        values = np.asarray(image.dataobj, np.float32)
        return image, values if self.look is None else self.look(values, np.random.default_rng(at))

    def split(self, quick: bool) -> tuple[Site, Site]:
        """Two thirds of the people, and the others."""
        order = np.random.default_rng(0).permutation(len(self.people))
        end = QUICK_PEOPLE if quick else 2 * len(order) // 3
        parts = (order[:end], order[end : 2 * end] if quick else order[end:])
        train, test = ([self.people[i] for i in part] for part in parts)
        return Site(self.name, train, self.look), Site(self.name, test, self.look)


@dataclass(frozen=True)
class Pair:
    """Two sites; `public`: a folder of public people to draw, or None for the patients' maps."""

    name: str
    sites: tuple[Site, Site]
    public: Path | None


def other_scanner(values: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Grey values [X, Y, Z] as a scanner of another contrast, sharpness and noise has them."""
    top = float(np.percentile(values, 99.5)) or 1.0
    bent = np.clip(values / top, 0.0, None) ** BENT
    soft = ndimage.gaussian_filter(bent, (BLUR, BLUR, 0.0))
    return np.asarray(top * (soft + NOISE * random.standard_normal(soft.shape)), np.float32)


def pairs(root: Path) -> list[Pair]:
    """The pairs of sites."""
    one, two = (_people(root / name) for name in ("mri_cardiac_acdc", "public_heart"))
    order = np.random.default_rng(1).permutation(len(one))
    half, rest = ([one[i] for i in part] for part in np.array_split(order, 2))
    public = root / "public_heart"
    return [
        Pair("two hospitals", (Site("acdc", one), Site("ms-cmr", two)), None),
        Pair("two scanners", (Site("own", half), Site("other", rest, other_scanner)), public),
        Pair("by chance", (Site("heads", half), Site("tails", rest)), public),
    ]


def _people(folder: Path) -> list[Image]:
    images = sorted((folder / "images").glob("*.nii.gz"))
    return [(path, folder / "labels" / path.name) for path in images]


def hospital(sites: tuple[Site, ...], folder: Path) -> Path:
    """A folder as `ingest` takes it, with a table that has the column site."""
    for kind in ("images", "labels"):
        (folder / kind).mkdir(parents=True)
    rows = [("filename", "subject", "site")]
    for site in sites:
        for at, (_, labels) in enumerate(site.people):
            image, values = site.voxels(at)
            name = f"{site.name}{at:03d}.nii.gz"
            nib.save(nib.Nifti1Image(values, image.affine), folder / "images" / name)
            shutil.copyfile(labels, folder / "labels" / name)
            rows.append((name, f"{site.name}{at:03d}", site.name))
    with (folder / "subjects.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return folder


def measured(pair: Pair, quick: bool) -> dict[str, Any]:
    """Frechet distances of one pair, and by what its sites are said to differ."""
    parts = [site.split(quick) for site in pair.sites]
    count, names = QUICK_DRAWN if quick else DRAWN, [site.name for site in pair.sites]
    with tempfile.TemporaryDirectory() as place:
        top = Path(place)
        session = _tenant(top, pair)
        folder = hospital(tuple(train for train, _ in parts), top / "hospital")
        session.ingest([folder], "d", modality="mri", label_scheme=SCHEME, sites=names)
        _train(session, "apart", pair, [], quick)
        _train(session, "pooled", pair, ["data.sites=[]"], quick)
        ways: dict[str, tuple[str, str | None]] = {name: ("apart", name) for name in names}
        ways |= {"pooled": ("pooled", None), "apart, any site": ("apart", None)}
        drawn = {}
        for way, (model, site) in ways.items():
            out = top / "drawn" / way
            session.generate(model, count, out, seed=5, site=site)
            drawn[way] = _volumes(out)
        shift = session.models.shift("apart")
    held = {test.name: _held_out(test) for _, test in parts}
    rows = [
        {"site": name, "drawn": way, **_distances(drawn[way], real)}
        for name, real in held.items()
        for way in drawn
    ]
    for row in rows:
        print(pair.name, row, flush=True)
    return {
        "pair": pair.name,
        "trained": [len(train.people) for train, _ in parts],
        "held_out": [len(test.people) for _, test in parts],
        "rows": rows,
        "shift": _told(shift),
    }


def _tenant(top: Path, pair: Pair) -> api.Session:
    if pair.public is not None:
        api.add_anatomy(
            pair.public,
            "hearts",
            licence="research use",
            source="MS-CMRSeg 2019",
            label_scheme=SCHEME,
            vault=top / "vault",
        )
    return api.create_tenant(
        top / "vault", "t", identity=top / "key", recovery=top / "spare", epsilon_limit=50.0
    )


def _train(session: api.Session, name: str, pair: Pair, more: list[str], quick: bool) -> None:
    settings = [
        f"data.size={list(SIZE)}",
        f"data.spacing={list(SPACING)}",
        f"anatomy.library={'hearts' if pair.public else 'patients'}",
        "atlas.samples=2",
        "atlas.steps=1",
        *more,
    ]
    preset = "quick" if quick else "mri"
    session.train(preset, "d", name, epsilon=EPSILON, overrides=settings, small_cohort=quick)


def _volumes(folder: Path) -> list[Volume]:
    paths = [path for path in sorted(folder.glob("*.nii.gz")) if "_dseg" not in path.name]
    return [_volume(nib.load(path)) for path in paths]


def _volume(image: nib.Nifti1Image, values: np.ndarray | None = None) -> Volume:
    voxels = np.asarray(image.dataobj, np.float32) if values is None else values
    whole = nib.as_closest_canonical(nib.Nifti1Image(voxels, image.affine))
    return Volume(np.asarray(whole.dataobj), np.asarray(whole.affine, np.float64), "mri")


def _held_out(site: Site) -> list[tuple[str, Volume]]:
    return [(f"{at}", _volume(*site.voxels(at))) for at in range(len(site.people))]


def _distances(drawn: list[Volume], real: list[tuple[str, Volume]]) -> dict[str, float]:
    grid = DataConfig(modality="mri", size=SIZE, spacing=SPACING, labels=0, label_scheme={})
    found = evaluate(drawn, real, data=grid, options=Options(downstream=False))
    names = [name for name in found if name.endswith("_frechet")]
    return {name.removesuffix("_frechet"): float(found[name]["value"]) for name in names}


def _told(shift: results.Shift) -> dict[str, Any]:
    differing = [one for one in shift.differences if one.differs]
    differing.sort(key=lambda one: -abs(one.difference))
    return {
        "shares": list(shift.shares),
        "compared": len(shift.differences),
        "differing": shift.differing,
        "largest": [
            f"{one.site}: {one.statistic} {one.difference:+.2f} (noise {one.noise:.2f}, chance "
            f"{one.chance:.2f})"
            for one in differing[:6]
        ],
    }


def run(quick: bool) -> dict[str, Any]:
    """All pairs; the control has no distances that should differ."""
    root = Path(os.environ["MEDVAE_REAL_DATA"])
    return {"sites": [measured(pair, quick) for pair in pairs(root)]}


def targets(results: dict[str, Any]) -> list[dict[str, Any]]:
    """Each site nearer to its own people than the model of all as one; and the reports."""
    made = []
    for pair in results["sites"]:
        control = pair["pair"] == "by chance"
        told = pair["shift"]["differing"]
        for site in () if control else dict.fromkeys(row["site"] for row in pair["rows"]):
            of = {row["drawn"]: row for row in pair["rows"] if row["site"] == site}
            for features in sorted(set(of[site]) - {"site", "drawn"}):
                ratio = of[site][features] / of["pooled"][features]
                made.append(
                    {
                        "name": f"{pair['pair']}, {site}: {features}, Frechet over the pooled one",
                        "value": ratio,
                        "target": "< 1",
                        "met": ratio < 1.0,
                    }
                )
        made.append(
            {
                "name": f"{pair['pair']}: statistics said to differ",
                "value": told,
                "target": "0" if control else "> 0",
                "met": (told == 0) is control,
            }
        )
    return made
