"""A public template with labels: reading, alignment with the grid, and its effect on an atlas."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage
from scipy.spatial.transform import Rotation

from medvae.atlas import fit, mechanisms, moments, public, template_alignment
from medvae.config import RunConfig
from medvae.errors import IntegrityError, UsageError
from medvae.grid import Gridded
from medvae.privacy import NoiseSource, StageRequest, make_plan
from medvae.train.release import PlannedRelease
from tests.atlas.cohorts import SIZE, Cohort, Recorder, anatomy, cohort, config

# A wider view of the cohort's anatomy, larger and turned.
WIDE, SCALE, TURN = (44, 48, 44), 1.2, 0.15


def _dice(first: np.ndarray, second: np.ndarray) -> float:
    return float(2 * (first & second).sum() / max(1, first.sum() + second.sum()))


def _bent(rng: np.random.Generator, shift: float = 1.0) -> Gridded:
    """A bent tube of two labels, which two ellipsoids cannot represent."""
    points = np.stack(np.meshgrid(*(np.linspace(-1, 1, n) for n in SIZE), indexing="ij"))
    x, y, z = points - shift * rng.normal(0, 0.06, (3, 1, 1, 1))
    inside = ((x / 0.3) ** 2 + ((z - 1.6 * y**2 + 0.5) / 0.25) ** 2 < 1) & (np.abs(y) < 0.75)
    mask = np.where(inside, np.where(y > 0, 1, 2), 0).astype(np.uint8)
    image = ndimage.gaussian_filter(np.where(inside, 0.6, -0.4) + 0.2 * z, 0.6)
    return Gridded((image + rng.normal(0, 0.05, SIZE)).astype(np.float32), mask)


def _wide(labels: int, shape: Callable[..., Gridded] = anatomy) -> tuple[np.ndarray, np.ndarray]:
    """Image and labels of a public volume; labels above `labels` are merged into it."""
    typical = shape(np.random.default_rng(0), shift=0.0)
    turn = Rotation.from_rotvec([TURN, 0.0, -TURN / 2]).as_matrix() / SCALE
    offset = (np.array(SIZE) - 1) / 2 - turn @ ((np.array(WIDE) - 1) / 2 + [3.0, -2.0, 1.0])
    image = ndimage.affine_transform(typical.image, turn, offset, WIDE, mode="nearest")
    mask = ndimage.affine_transform(typical.mask, turn, offset, WIDE, order=0)
    return 300.0 + 90.0 * image, np.minimum(mask, labels)


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """A public image and its labels, merged into one."""
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
    aligned = template_alignment.align_by_labels(mean - mean.mean(), typical.mask > 0, image, mask)
    assert aligned is not None
    resampled, labels = aligned
    assert np.corrcoef(resampled.ravel(), typical.image.ravel())[0, 1] > 0.9
    for label in (1, 2):
        assert _dice(labels == label, typical.mask == label) > 0.85


def test_a_volume_smaller_than_the_grid_is_not_aligned():
    typical = anatomy(np.random.default_rng(0), shift=0.0)
    image, mask = _wide(2)
    cut = (slice(None), slice(None), slice(16, 28))
    assert (
        template_alignment.align_by_labels(typical.image, typical.mask > 0, image[cut], mask[cut])
        is None
    )


@pytest.mark.parametrize("before", [6, 40])
@pytest.mark.parametrize("axis", [0, 2])
def test_a_volume_that_ends_near_its_labels_is_aligned(axis, before):
    """The grid may exceed the volume by more than half of itself; its edge is repeated there."""
    typical = anatomy(np.random.default_rng(0), shift=0.0)
    more = [(before, 6) if side == axis else (6, 6) for side in range(3)]
    grid, inside = np.pad(typical.image, more, mode="edge"), np.pad(typical.mask, more)
    image, mask = (np.pad(values, ((0, 70),) * 3, mode="edge") for values in _wide(2))
    first = int(np.argwhere(mask > 0)[:, axis].min()) - 1
    cut = tuple(slice(first, None) if side == axis else slice(None) for side in range(3))
    aligned = template_alignment.align_by_labels(
        grid - grid.mean(), inside > 0, image[cut], mask[cut]
    )
    assert aligned is not None
    resampled, labels = aligned
    assert np.corrcoef(resampled.ravel(), grid.ravel())[0, 1] > 0.8
    assert _dice(labels > 0, inside > 0) > 0.8


@pytest.mark.parametrize("shift", [-4, 0, 4])
def test_a_union_is_split_by_the_centroids(shift):
    typical = anatomy(np.random.default_rng(0), shift=0.0)
    union = typical.mask > 0
    y = np.arange(SIZE[1])[None, :, None]
    target = np.where(union, np.where(y > 11 + shift, 1, 2), 0).astype(np.uint8)
    mask = moments.split_union(union, moments.label_moments(target, 2))
    assert np.array_equal(mask > 0, union)
    assert all(_dice(mask == label, target == label) > 0.95 for label in (1, 2))


def test_labels_of_a_public_template_help_a_cohort_with_little_budget(tmp_path):
    """Both spend the same budget, each on its own mechanisms."""
    image, mask = _wide(1, _bent)
    files = _save(tmp_path / "image.nii", image), _save(tmp_path / "labels.nii", mask)
    typical = _bent(np.random.default_rng(0), shift=0.0).mask > 0
    count = 40
    patients = Cohort([[_bent(np.random.default_rng(seed))] for seed in range(1, count + 1)])

    def overlap(cfg: RunConfig) -> float:
        requests = [StageRequest(name, part, 1.0, 1) for name, part in mechanisms(cfg, True, count)]
        plan = make_plan(requests, patients=count, epsilon=3.0, delta=1e-3)
        atlases = [
            fit(patients, PlannedRelease(plan, NoiseSource(bytes([key] * 32))), cfg)
            for key in range(3)
        ]
        masks = [mask for atlas in atlases for _, mask in atlas.pairs(6, 0)]
        return np.mean([_dice(mask > 0, typical) for mask in masks])

    assert overlap(_config(*files, epsilon=3.0)) > overlap(config(2, 3.0)) + 0.03


@pytest.mark.parametrize("fits", [True, False])
def test_progress_shows_whether_the_template_was_used(files, tmp_path, fits):
    image, labels = files
    if not fits:
        # The volume is smaller than the grid.
        thin = [
            _save(tmp_path / f"thin-{k}.nii", values[:, :, 16:28])
            for k, values in enumerate(_wide(1))
        ]
        image, labels = thin
    notes = Notes()
    fit(cohort(), Recorder(divisor=6), _config(image, labels), progress=notes)
    (note,) = notes.of["public template"]
    assert note.startswith("aligned" if fits else "unused")


class Notes:
    """A progress that records the notes of each stage."""

    def __init__(self) -> None:
        self.of: dict[str, list[str]] = {}
        self._stage = ""

    def start(self, stage: str, total: int) -> None:
        self._stage = stage

    def advance(self, done: int, note: str = "") -> None: ...

    def finish(self, note: str = "") -> None:
        self.of.setdefault(self._stage, []).append(note)


def test_without_noise_the_cohort_corrects_the_template(files):
    typical = anatomy(np.random.default_rng(0), shift=0.0)
    atlas = fit(cohort(), Recorder(6), _config(*files))
    mask = atlas.mask_from_template(atlas.basis.synthesise(atlas.centre))
    assert all(_dice(mask == label, typical.mask == label) > 0.8 for label in (1, 2))


def test_the_atlas_is_a_function_of_the_noisy_means_and_the_public_files_alone(files):
    cfg = _config(*files)
    recorder = Recorder(6, noise=0.2)
    atlas = fit(cohort(), recorder, cfg)
    assert [name for name, _, _ in recorder.calls] == [n for n, _ in mechanisms(cfg, True, 6)]
    replay = Recorder(6, noise=0.2)
    replay.frozen = recorder.results
    other = fit(cohort(seed=5), replay, cfg)
    for name, values in atlas.to_tensors().items():
        assert np.array_equal(values, other.to_tensors()[name]), name


def test_voxels_of_another_size_are_resampled(files):
    template = public.load(_config(*files))
    assert template is not None
    assert template.image.shape == WIDE
    cfg = _config(*files)
    cfg = cfg.model_copy(update={"data": cfg.data.model_copy(update={"spacing": (4.0, 2.0, 2.0)})})
    halved = public.load(cfg)
    assert halved is not None
    assert halved.labels is not None
    assert halved.image.shape == halved.labels.shape == (22, 48, 44)


def test_an_invalid_public_file_is_named(files, tmp_path):
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
            public.load(_config(tmp_path / name, None))
        assert name in str(caught.value)
        assert "\n" not in str(caught.value)
    for name, voxels, word in (
        ("small.nii", np.ones((4, 4, 4)), "own grid"),
        ("empty.nii", np.zeros(WIDE), "no label"),
        ("faint.nii", np.full(WIDE, 0.4), "no label"),
    ):
        with pytest.raises(UsageError, match=word):
            public.load(_config(image, _save(tmp_path / name, voxels)))
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
        public.load(cfg.model_copy(update={"data": data}))


def test_a_fourth_axis_of_length_one_and_any_unit_are_accepted(files, tmp_path):
    image, labels = files
    voxels = np.asarray(nib.load(image).dataobj)
    scaled = _save(tmp_path / "scaled.nii", 1e-5 * voxels[..., None])
    templates = [public.load(_config(path, labels)) for path in (image, scaled)]
    assert None not in templates
    assert np.allclose(*(template.image for template in templates), atol=1e-3)


def test_labels_alone_align_the_template_if_the_mean_is_below_its_noise():
    typical = anatomy(np.random.default_rng(0), shift=0.0)
    image, mask = _wide(2)
    aligned = template_alignment.align_by_labels(
        np.zeros(SIZE), typical.mask > 0, image / image.std(), mask
    )
    assert aligned is not None
    assert np.isfinite(aligned[0]).all()
    assert _dice(aligned[1] > 0, typical.mask > 0) > 0.6


def test_many_small_components_of_labels_cost_no_time():
    typical = anatomy(np.random.default_rng(0), shift=0.0)
    image, mask = _wide(2)
    specks = np.where(np.random.default_rng(0).random(WIDE) < 0.02, 1, mask)
    started = time.process_time()
    cohort_data = typical.image, typical.mask > 0
    assert template_alignment.align_by_labels(*cohort_data, image, specks) is not None
    assert time.process_time() - started < 20
    assert template_alignment.align_by_labels(*cohort_data, image, np.zeros(WIDE)) is None


def test_a_template_that_changed_after_the_plan_is_refused(files):
    image, labels = files
    cfg = _config(image, labels)
    update = {"public_digest": public.digest(cfg)}
    cfg = cfg.model_copy(update={"atlas": cfg.atlas.model_copy(update=update)})
    assert public.load(cfg) is not None
    _save(labels, _wide(2)[1])
    with pytest.raises(IntegrityError, match="changed after the plan"):
        public.load(cfg)


def test_sampled_labels_are_as_large_as_the_cohorts(files):
    """Also if the released centre, shrunk for its noise, makes them too small or too large."""
    patients = cohort()
    typical = np.mean([(v.mask > 0).sum() for i in range(6) for v in patients.volumes(i)])
    atlas = fit(patients, Recorder(6, noise=0.1), _config(*files))
    sampled = np.mean([(mask > 0).sum() for _, mask in atlas.pairs(12, 0)])
    assert sampled == pytest.approx(typical, rel=0.12)
