"""A public template with labels: read, laid on the grid, and what it may and may not change."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage
from scipy.spatial.transform import Rotation

from medvae.atlas import fit, mechanisms, moments, placing, public
from medvae.config import RunConfig
from medvae.errors import IntegrityError, UsageError
from medvae.grid import Gridded
from medvae.privacy import NoiseSource, StageRequest, make_plan
from medvae.train.release import PlannedRelease
from tests.atlas.cohorts import SIZE, Cohort, Recorder, anatomy, cohort, config

# A wider view of the cohort's anatomy, larger and turned.
WIDE, SCALE, TURN = (44, 48, 44), 1.2, 0.15


def _dice(one: np.ndarray, two: np.ndarray) -> float:
    return float(2 * (one & two).sum() / max(1, one.sum() + two.sum()))


def _bent(rng: np.random.Generator, shift: float = 1.0) -> Gridded:
    """A bent tube of two labels, which no two ellipsoids are like."""
    place = np.stack(np.meshgrid(*(np.linspace(-1, 1, n) for n in SIZE), indexing="ij"))
    x, y, z = place - shift * rng.normal(0, 0.06, (3, 1, 1, 1))
    inside = ((x / 0.3) ** 2 + ((z - 1.6 * y**2 + 0.5) / 0.25) ** 2 < 1) & (np.abs(y) < 0.75)
    mask = np.where(inside, np.where(y > 0, 1, 2), 0).astype(np.uint8)
    image = ndimage.gaussian_filter(np.where(inside, 0.6, -0.4) + 0.2 * z, 0.6)
    return Gridded((image + rng.normal(0, 0.05, SIZE)).astype(np.float32), mask)


def _wide(labels: int, make: Callable[..., Gridded] = anatomy) -> tuple[np.ndarray, np.ndarray]:
    """Image and labels (told apart, or all one) of a public volume."""
    typical = make(np.random.default_rng(0), shift=0.0)
    turn = Rotation.from_rotvec([TURN, 0.0, -TURN / 2]).as_matrix() / SCALE
    offset = (np.array(SIZE) - 1) / 2 - turn @ ((np.array(WIDE) - 1) / 2 + [3.0, -2.0, 1.0])
    image = ndimage.affine_transform(typical.image, turn, offset, WIDE, mode="nearest")
    mask = ndimage.affine_transform(typical.mask, turn, offset, WIDE, order=0)
    return 300.0 + 90.0 * image, np.minimum(mask, labels)


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """A public image and its labels, which are not told apart."""
    image, mask = _wide(1)
    return _save(tmp_path / "image.nii.gz", image), _save(tmp_path / "labels.nii.gz", mask)


def _save(path: Path, voxels: np.ndarray) -> Path:
    nib.save(nib.Nifti1Image(voxels.astype(np.float32), np.diag([2.0, 2, 2, 1])), path)
    return path


def _config(image: Path | str, labels: Path | None, epsilon: float = 40.0) -> RunConfig:
    cfg = config(2, epsilon).model_dump()
    cfg["atlas"] |= {"public": str(image), "public_labels": labels and str(labels)}
    return RunConfig.model_validate(cfg)


def test_a_similarity_brings_image_and_labels_onto_the_grid():
    typical = anatomy(np.random.default_rng(0), shift=0.0)
    image, mask = _wide(2)
    mean = ndimage.gaussian_filter(typical.image, 1.0)
    laid = placing.by_labels(mean - mean.mean(), typical.mask > 0, image, mask)
    assert laid is not None
    found, labels = laid
    assert np.corrcoef(found.ravel(), typical.image.ravel())[0, 1] > 0.9
    for label in (1, 2):
        assert _dice(labels == label, typical.mask == label) > 0.85


def test_a_volume_smaller_than_the_grid_is_not_laid():
    typical = anatomy(np.random.default_rng(0), shift=0.0)
    image, mask = _wide(2)
    cut = (slice(None), slice(None), slice(16, 28))
    assert placing.by_labels(typical.image, typical.mask > 0, image[cut], mask[cut]) is None


@pytest.mark.parametrize("before", [6, 40])
@pytest.mark.parametrize("axis", [0, 2])
def test_a_volume_that_ends_near_its_labels_is_laid(axis, before):
    """Where the grid reaches beyond it, by more than half of itself too, it goes on as its edge."""
    typical = anatomy(np.random.default_rng(0), shift=0.0)
    more = [(before, 6) if one == axis else (6, 6) for one in range(3)]
    grid, inside = np.pad(typical.image, more, mode="edge"), np.pad(typical.mask, more)
    image, mask = (np.pad(one, ((0, 70),) * 3, mode="edge") for one in _wide(2))
    first = int(np.argwhere(mask > 0)[:, axis].min()) - 1
    cut = tuple(slice(first, None) if one == axis else slice(None) for one in range(3))
    laid = placing.by_labels(grid - grid.mean(), inside > 0, image[cut], mask[cut])
    assert laid is not None
    found, labels = laid
    assert np.corrcoef(found.ravel(), grid.ravel())[0, 1] > 0.8
    assert _dice(labels > 0, inside > 0) > 0.8


@pytest.mark.parametrize("shift", [-4, 0, 4])
def test_a_union_is_split_where_the_centroids_say(shift):
    typical = anatomy(np.random.default_rng(0), shift=0.0)
    union = typical.mask > 0
    y = np.arange(SIZE[1])[None, :, None]
    wanted = np.where(union, np.where(y > 11 + shift, 1, 2), 0).astype(np.uint8)
    mask = moments.split(union, moments.describe(wanted, 2))
    assert np.array_equal(mask > 0, union)
    assert all(_dice(mask == label, wanted == label) > 0.95 for label in (1, 2))


def test_labels_of_a_public_template_help_a_cohort_with_little_budget(tmp_path):
    """The same budget, spent by each on its own releases."""
    image, mask = _wide(1, _bent)
    files = _save(tmp_path / "image.nii", image), _save(tmp_path / "labels.nii", mask)
    typical = _bent(np.random.default_rng(0), shift=0.0).mask > 0
    count = 40
    patients = Cohort([[_bent(np.random.default_rng(seed))] for seed in range(1, count + 1)])

    def worth(cfg: RunConfig) -> float:
        requests = [StageRequest(name, part, 1.0, 1) for name, part in mechanisms(cfg, True, count)]
        plan = make_plan(requests, patients=count, epsilon=3.0, delta=1e-3)
        atlases = [
            fit(patients, PlannedRelease(plan, NoiseSource(bytes([key] * 32))), cfg)
            for key in range(3)
        ]
        drawn = [mask for atlas in atlases for _, mask in atlas.sample(6, 0)]
        return np.mean([_dice(mask > 0, typical) for mask in drawn])

    assert worth(_config(*files, epsilon=3.0)) > worth(config(2, 3.0)) + 0.03


@pytest.mark.parametrize("laid", [True, False])
def test_it_is_told_whether_the_template_was_used(files, tmp_path, laid):
    image, labels = files
    if not laid:
        # Less of the anatomy than the grid holds.
        thin = [
            _save(tmp_path / f"thin-{k}.nii", one[:, :, 16:28]) for k, one in enumerate(_wide(1))
        ]
        image, labels = thin
    told = Told()
    fit(cohort(), Recorder(divisor=6), _config(image, labels), progress=told)
    (note,) = told.notes["public template"]
    assert note.startswith("laid" if laid else "left aside")


class Told:
    """Listens to notes."""

    def __init__(self) -> None:
        self.notes: dict[str, list[str]] = {}
        self._stage = ""

    def start(self, stage: str, total: int) -> None:
        self._stage = stage

    def advance(self, done: int, note: str = "") -> None: ...

    def finish(self, note: str = "") -> None:
        self.notes.setdefault(self._stage, []).append(note)


def test_without_noise_the_cohort_corrects_the_template(files):
    typical = anatomy(np.random.default_rng(0), shift=0.0)
    atlas = fit(cohort(), Recorder(6), _config(*files))
    drawn = atlas.mask_from_template(atlas.basis.synthesise(atlas.centre))
    assert all(_dice(drawn == label, typical.mask == label) > 0.8 for label in (1, 2))


def test_it_is_a_function_of_the_releases_and_of_the_public_files_alone(files):
    cfg = _config(*files)
    release = Recorder(6, noise=0.2)
    atlas = fit(cohort(), release, cfg)
    assert [name for name, _, _ in release.calls] == [n for n, _ in mechanisms(cfg, True, 6)]
    replay = Recorder(6, noise=0.2)
    replay.frozen = release.results
    other = fit(cohort(seed=5), replay, cfg)
    for name, values in atlas.to_tensors().items():
        assert np.array_equal(values, other.to_tensors()[name]), name


def test_voxels_of_another_size_are_resampled(files):
    found = public.known(_config(*files))
    assert found is not None
    assert found.image.shape == WIDE
    cfg = _config(*files)
    cfg = cfg.model_copy(update={"data": cfg.data.model_copy(update={"spacing": (4.0, 2.0, 2.0)})})
    halved = public.known(cfg)
    assert halved is not None
    assert halved.labels is not None
    assert halved.image.shape == halved.labels.shape == (22, 48, 44)


def test_what_is_wrong_with_a_public_file_is_named(files, tmp_path):
    image, labels = files
    whole = image.read_bytes()
    bad = {
        "none.nii": (None, "names no file"),
        "text.nii": (b"no image", "cannot be read"),
        "cut.nii.gz": (whole[: len(whole) // 2], "cut off"),
        "flipped.nii.gz": (whole[:-8] + bytes(8), "cannot be read"),
        "series.nii": (_nifti(np.ones((4, 4, 4, 2), np.float32)), "one volume"),
        "flat.nii": (_nifti(np.ones((4, 4, 1), np.float32)), "one volume"),
        "complex.nii": (_nifti(np.ones((4, 4, 4), np.complex64)), "one volume"),
        "hole.nii": (_nifti(np.full((4, 4, 4), np.nan, np.float32)), "finite"),
    }
    for name, (data, word) in bad.items():
        if data is not None:
            (tmp_path / name).write_bytes(data)
        with pytest.raises(UsageError, match=word) as caught:
            public.known(_config(tmp_path / name, None))
        assert name in str(caught.value)
        assert "\n" not in str(caught.value)
    for name, voxels, word in (
        ("small.nii", np.ones((4, 4, 4)), "own grid"),
        ("empty.nii", np.zeros(WIDE), "no label"),
        ("faint.nii", np.full(WIDE, 0.4), "no label"),
    ):
        with pytest.raises(UsageError, match=word):
            public.known(_config(image, _save(tmp_path / name, voxels)))
    with pytest.raises(UsageError, match="names no file"):
        public.digest(_config(tmp_path, labels))


def _nifti(voxels: np.ndarray) -> bytes:
    return nib.Nifti1Image(voxels, np.eye(4)).to_bytes()


def test_labels_too_thin_for_the_grid_are_refused_by_name(files, tmp_path):
    line = np.zeros(WIDE)
    line[21, 10, 10] = 1
    cfg = _config(files[0], _save(tmp_path / "line.nii", line))
    data = cfg.data.model_copy(update={"spacing": (8.0, 8.0, 8.0)})
    with pytest.raises(UsageError, match="no label above 0 on voxels"):
        public.known(cfg.model_copy(update={"data": data}))


def test_a_last_axis_of_one_and_any_unit_are_taken(files, tmp_path):
    image, labels = files
    voxels = np.asarray(nib.load(image).dataobj)
    again = _save(tmp_path / "again.nii", 1e-5 * voxels[..., None])
    one, other = (public.known(_config(name, labels)) for name in (image, again))
    assert one is not None
    assert other is not None
    assert np.allclose(one.image, other.image, atol=1e-3)


def test_a_mean_that_noise_has_drowned_still_finds_the_place_by_labels():
    typical = anatomy(np.random.default_rng(0), shift=0.0)
    image, mask = _wide(2)
    laid = placing.by_labels(np.zeros(SIZE), typical.mask > 0, image / image.std(), mask)
    assert laid is not None
    assert np.isfinite(laid[0]).all()
    assert _dice(laid[1] > 0, typical.mask > 0) > 0.6


def test_many_specks_of_labels_cost_no_time():
    typical = anatomy(np.random.default_rng(0), shift=0.0)
    image, mask = _wide(2)
    specks = np.where(np.random.default_rng(0).random(WIDE) < 0.02, 1, mask)
    started = time.process_time()
    assert placing.by_labels(typical.image, typical.mask > 0, image, specks) is not None
    assert time.process_time() - started < 20
    assert placing.by_labels(typical.image, typical.mask > 0, image, np.zeros(WIDE)) is None


def test_a_template_that_changed_after_the_plan_is_refused(files):
    image, labels = files
    cfg = _config(image, labels)
    told = {"public_digest": public.digest(cfg)}
    cfg = cfg.model_copy(update={"atlas": cfg.atlas.model_copy(update=told)})
    assert public.known(cfg) is not None
    _save(labels, _wide(2)[1])
    with pytest.raises(IntegrityError, match="changed after the plan"):
        public.known(cfg)


def test_drawn_labels_are_as_large_as_the_cohorts(files):
    """Also where the released centre, which noise draws to 0, makes them too small or large."""
    patients = cohort()
    typical = np.mean([(v.mask > 0).sum() for i in range(6) for v in patients.volumes(i)])
    atlas = fit(patients, Recorder(6, noise=0.1), _config(*files))
    drawn = np.mean([(mask > 0).sum() for _, mask in atlas.sample(12, 0)])
    assert drawn == pytest.approx(typical, rel=0.12)
