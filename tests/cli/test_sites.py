"""Two hospitals in one data set, their grey values learnt apart, at the command line."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from tests.anatomy.cohorts import NAMES, SPACING, add_people, picture
from tests.anatomy.conftest import person, write
from tests.anatomy.phantoms import MEANS
from tests.cli.conftest import QUICK, Clinic

# The right core: the left one is the brightest there is, and stays so on the scale of a volume.
CORE = 3
FEW = ("--set", "atlas.samples=2", "--set", "atlas.steps=1")
GRID = ("--set", "data.size=[24, 24, 16]", "--set", "data.spacing=[6, 6, 9]")
SCHEME = ",".join(f"{number}={name}" for number, name in NAMES.items())
SITES = ("north", "south")
PATIENTS = 16


def cohort(folder: Path, seeds: Sequence[int]) -> None:
    """People of two hospitals by turns; one core is brighter in the pictures of the south."""
    rows = [("filename", "subject", "site")]
    for seed in seeds:
        means = MEANS.copy()
        means[CORE] += 0.5 * (seed % 2)
        labels, affine = person(70 + seed, SPACING)
        write(folder / "images" / f"s{seed}.nii.gz", picture(labels, seed, means), affine)
        write(folder / "labels" / f"s{seed}.nii.gz", labels.astype(np.uint8), affine)
        rows.append((f"s{seed}.nii.gz", f"s{seed}", SITES[seed % 2]))
    with (folder / "subjects.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Clinic:
    """A tenant with patients of two sites: a model of public people, and one of their own maps."""
    made = Clinic(tmp_path_factory.mktemp("sites"))
    made(
        *("tenant", "create", "clinic", "--recovery-out", made.root / "spare"),
        *("--epsilon-limit", 50),
    )
    add_people(made.root / "vault", made.root / "public")
    folder = made.root / "hospital"
    cohort(folder, range(PATIENTS))
    taken = made(
        *("ingest", folder, "-d", "d", "--modality", "mri", "--label-scheme", SCHEME),
        *("--sites", ",".join(SITES)),
    ).json
    assert taken["declared"]["sites"] == list(SITES)
    assert taken["notes"] == []
    made("train", "-c", QUICK, "-d", "d", "--name", "m", *FEW, "--epsilon", "50")
    # Other people: one patient's budget does not do for two models.
    cohort(made.root / "others", range(100, 100 + PATIENTS))
    made("ingest", made.root / "others", "-d", "e", "--modality", "mri", "--label-scheme", SCHEME)
    own = ("--set", "anatomy.library=patients", *GRID, "--epsilon", "50")
    made("ingest", made.root / "others", "-d", "e", "--modality", "mri", "--sites", "north,south")
    made("train", "-c", QUICK, "-d", "e", "--name", "own", *FEW, *own)
    return made


def core_grey(folder: Path) -> float:
    """Mean grey value of the core in drawn volumes."""
    means = []
    for mask in folder.glob("*_dseg.nii.gz"):
        labels = np.asarray(nib.load(mask).dataobj)
        image = np.asarray(nib.load(str(mask).replace("_dseg", "")).dataobj)
        means.append(image[labels == CORE].mean())
    return float(np.mean(means))


def written(folder: Path) -> list[str]:
    with (folder / "subjects.csv").open() as file:
        return [row["site"] for row in csv.DictReader(file)]


def table(folder: Path, path: Path, sites: dict[str, str]) -> Path:
    """The table of subjects with other sites of some of them."""
    with (folder / "subjects.csv").open() as file:
        rows = [
            row | {"site": sites.get(row["subject"], row["site"])} for row in csv.DictReader(file)
        ]
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def test_sites_have_a_mechanism_of_their_own_and_the_plan_names_them(trained: Clinic) -> None:
    planned = trained("plan", "-c", QUICK, "-d", "d", "--epsilon", "50").json
    assert planned["sites"] == list(SITES)
    assert "anatomy-by-site" in {stage["name"] for stage in planned["stages"]}
    none = ("--set", "data.sites=[]", "--epsilon", "50")
    without = trained("plan", "-c", QUICK, "-d", "d", *none).json
    assert without["sites"] == []
    assert "anatomy-by-site" not in {stage["name"] for stage in without["stages"]}
    # One budget: the same epsilon for all stages together.
    assert planned["epsilon"] == pytest.approx(without["epsilon"], rel=0.01)


@pytest.mark.parametrize("model", ["m", "own"])
def test_volumes_of_a_site_look_like_its_patients(trained: Clinic, tmp_path, model) -> None:
    greys = []
    for site in SITES:
        out = tmp_path / site
        trained("generate", model, "-n", 6, "-o", out, "--seed", 1, "--site", site)
        assert written(out) == [site] * 6
        greys.append(core_grey(out))
    assert greys[1] > greys[0] + 10.0


def test_without_a_name_each_site_is_drawn(trained: Clinic, tmp_path: Path) -> None:
    trained("generate", "m", "-n", 12, "-o", tmp_path / "all", "--seed", 2)
    assert set(written(tmp_path / "all")) == set(SITES)


def test_a_site_that_the_model_lacks_is_refused(trained: Clinic, tmp_path: Path) -> None:
    words = ("generate", "m", "-n", 1, "-o", tmp_path / "no")
    refused = trained(*words, "--site", "west", ok=False)
    assert refused.code == 2
    assert "north or south" in refused.err
    assert not (tmp_path / "no").exists()


def test_the_report_of_the_shift_names_what_differs(trained: Clinic) -> None:
    found = trained("model", "shift", "m").json
    assert found["sites"] == list(SITES)
    assert sum(found["shares"]) == pytest.approx(1.0, abs=0.001)
    assert len(found["differences"]) == 2 * found["statistics"]
    differing = {one["statistic"] for one in found["differences"] if one["differs"]}
    assert found["differing"] == sum(one["differs"] for one in found["differences"])
    assert "mean of Right-Core" in differing
    assert not any(name.startswith("deviation") for name in differing)
    assert all(one["noise"] > 0 for one in found["differences"])


def test_a_release_names_the_site_of_each_volume_and_the_shift(trained: Clinic, tmp_path) -> None:
    out = tmp_path / "release"
    assert trained("release", "create", "m", "-n", 6, "-o", out).json["passed"]
    with (out / "participants.tsv").open() as file:
        sites = [row["site"] for row in csv.DictReader(file, delimiter="\t")]
    assert len(sites) == 6
    assert set(sites) <= set(SITES)
    described = json.loads((out / "participants.json").read_text())["site"]
    assert set(described["Levels"]) == set(SITES)
    card = json.loads((out / "card.json").read_text())
    assert card["data"]["sites"] == list(SITES)
    assert card["sites"]["differing"] >= len(card["sites"]["differences"]) > 0
    assert "## Sites" in (out / "CARD.md").read_text()
    assert "<h2>Sites</h2>" in (out / "report.html").read_text()
    of_one = tmp_path / "south"
    trained("release", "create", "m", "-n", 3, "-o", of_one, "--site", "south")
    with (of_one / "participants.tsv").open() as file:
        assert [row["site"] for row in csv.DictReader(file, delimiter="\t")] == ["south"] * 3


def test_it_is_evaluated_and_audited(trained: Clinic) -> None:
    trained("evaluate", "m", "--against", "d", "-n", 4, "--no-downstream", "--no-baselines")
    assert "anatomy-by-site" in json.dumps(trained("audit", "m", "--against", "d", "-n", 4).json)


def test_an_export_can_be_ingested_with_its_sites(trained: Clinic, tmp_path: Path) -> None:
    trained("dataset", "export", "d", "-o", tmp_path / "out")
    with (tmp_path / "out" / "subjects.csv").open() as file:
        assert {row["site"] for row in csv.DictReader(file)} == set(SITES)


@pytest.mark.parametrize(
    ("sites", "says"),
    [
        ({"s1": "west"}, "1 volumes are of a site that is not declared (west), which counts as"),
        ({"s1": "", "s3": ""}, f"2 of {PATIENTS} volumes have no site"),
        ({f"s{n}": "north" for n in range(PATIENTS)}, "no volume is of the site south"),
    ],
)
def test_sites_that_are_not_as_declared_are_told_and_cost_nothing(
    trained: Clinic, tmp_path: Path, sites: dict[str, str], says: str
) -> None:
    folder = trained.root / "hospital"
    given = table(folder, tmp_path / "table.csv", sites)
    words = ("--modality", "mri", "--label-scheme", SCHEME, "--sites", "north,south")
    taken = trained("ingest", folder, "-d", tmp_path.name, "--subjects", given, *words).json
    assert [note for note in taken["notes"] if says in note]
    assert len(taken["notes"]) == 1
    planned = trained("plan", "-c", QUICK, "-d", tmp_path.name, "--epsilon", "50").json
    digest = trained("plan", "-c", QUICK, "-d", "d", "--epsilon", "50").json["digest"]
    # Nothing that is public depends on the patients' sites.
    assert planned["digest"] == digest


def test_a_patient_at_two_sites_is_told(trained: Clinic, tmp_path: Path) -> None:
    cohort(tmp_path / "few", range(200, 204))
    given = tmp_path / "few" / "subjects.csv"
    given.write_text(given.read_text().replace(",s201,", ",s200,"))
    words = ("--modality", "mri", "--label-scheme", SCHEME, "--sites", "north,south")
    taken = trained("ingest", tmp_path / "few", "-d", "two", *words).json
    assert taken["subjects"] == 3
    assert any("1 patients have volumes of more than one site" in n for n in taken["notes"])


def test_one_file_at_two_sites_and_a_name_that_is_none_are_refused_with_their_lines(
    trained: Clinic, tmp_path: Path
) -> None:
    folder = shutil.copytree(trained.root / "hospital", tmp_path / "copy")
    given = folder / "subjects.csv"
    given.write_text(
        given.read_text().replace("s1,south", "s1,a b") + "s2.nii.gz,s2,south\n", newline=""
    )
    words = ("--modality", "mri", "--label-scheme", SCHEME, "--sites", "north,south")
    taken = trained("ingest", folder, "-d", "bad", *words).json
    reasons = {Path(one["source"]).name: one["reason"] for one in taken["quarantined"]}
    assert "line 3" in reasons["s1.nii.gz"]
    assert "names no site" in reasons["s1.nii.gz"]
    assert "different sites: keep one" in reasons["s2.nii.gz"]
    assert len(reasons) == 2


def test_undeclared_sites_are_asked_for_and_declared_ones_must_be_there(
    trained: Clinic, tmp_path: Path
) -> None:
    folder = trained.root / "hospital"
    words = ("--modality", "mri", "--label-scheme", SCHEME)
    taken = trained("ingest", folder, "-d", "open", *words, "--site-column", "site").json
    assert any("no sites are declared" in note for note in taken["notes"])
    refused = trained("plan", "-c", QUICK, "-d", "open", ok=False)
    assert refused.code == 2
    assert "medvae dataset declare open --sites" in refused.err
    declared = trained("dataset", "declare", "open", "--sites", "north,south").json
    assert declared["declared"]["sites"] == list(SITES)
    assert trained("plan", "-c", QUICK, "-d", "open").json["sites"] == list(SITES)
    trained("dataset", "declare", "open", "--sites", "none")
    assert trained("plan", "-c", QUICK, "-d", "open").json["sites"] == []
    plain = trained("ingest", folder, "-d", "plain", *words).json
    assert plain["declared"]["sites"] is None
    named = ("--set", "data.sites=[a, b]")
    refused = trained("plan", "-c", QUICK, "-d", "plain", *named, ok=False)
    assert refused.code == 2
    assert "no volume of data set plain has one" in refused.err
    refused = trained("ingest", folder, "-d", "x", *words, "--sites", "north", ok=False)
    assert refused.code == 2
    assert "two to 16 different names" in refused.err


def test_a_model_that_has_no_statistics_of_sites_is_refused(trained: Clinic) -> None:
    for less in (("anatomy.library=none",), ("data.labels=0",)):
        settings = [word for one in less for word in ("--set", one)]
        refused = trained("plan", "-c", QUICK, "-d", "d", *settings, ok=False)
        assert refused.code == 2
        assert "the atlas has no statistics of sites" in refused.err
        assert "data.sites to []" in refused.err
    refused = trained("model", "shift", "none", ok=False)
    assert refused.code == 7


def test_of_public_people_no_site_is_known(trained: Clinic) -> None:
    named = ("--set", "anatomy.library=people", "--set", "data.sites=[a, b]")
    refused = trained("pretrain", "-c", QUICK, "--name", "p", *named, ok=False)
    assert refused.code == 2
    assert "data.sites" in refused.err


def test_an_evaluation_compares_each_site_with_its_own_patients(
    trained: Clinic, tmp_path: Path
) -> None:
    words = ("--against", "d", "--no-downstream", "--no-baselines")
    figure = trained("evaluate", "m", *words).json["metrics"]["site_frechet"]
    assert set(figure["sites"]) == set(SITES)
    for name, site in figure["sites"].items():
        assert site["own"] > 0
        assert set(site["others"]) == set(SITES) - {name}
        # How near is for cohorts of more than a handful of patients (tests/evaluate/test_sites.py).
        assert site["nearer"] is (site["own"] < site["pooled"])
    # A folder of draws says itself of which site each is.
    trained("generate", "m", "-n", 20, "-o", tmp_path / "drawn", "--seed", 2)
    again = trained("evaluate", tmp_path / "drawn", *words).json["metrics"]["site_frechet"]
    assert sum(site["draws"] for site in again["sites"].values()) == 20
