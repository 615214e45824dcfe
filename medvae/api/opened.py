"""`medvae.Release`: a verified release as a data set for PyTorch, MONAI and TorchIO."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from medvae.api.context import PathLike
from medvae.api.results import Json, ReleaseCheck
from medvae.errors import UsageError
from medvae.progress import SILENT, Progress

if TYPE_CHECKING:
    import torchio

    from medvae.api.torch_dataset import Item, ReleaseDataset
    from medvae.release import OpenRelease, Sample


@dataclass(frozen=True)
class Release:
    """A release that was verified when it was opened. Needs no vault and no network.

        release = medvae.Release.open("synthetic", public_key="hospital.pem")
        loader = torch.utils.data.DataLoader(release.dataset(), batch_size=2)

    Formal guarantee: every volume that is read has the SHA-256 that was signed.

    Attributes:
        path: the folder.
        check: what verification found; `check.trusted` is False where no key was given.
        card: the contents of `card.json`: guarantee, grid, model.
    """

    path: Path
    check: ReleaseCheck
    card: Mapping[str, Json]
    _files: OpenRelease

    @classmethod
    def open(
        cls, path: PathLike, public_key: PathLike | None = None, *, progress: Progress = SILENT
    ) -> Release:
        """Verify a release and open it.

        Args:
            public_key: the signer's key as the publisher states it elsewhere. Without it an
                unchanged release opens, whoever signed it.

        Raises:
            IntegrityError: it was changed, forged, damaged or signed by another key.
            UsageError: it is a DICOM release, or `public_key` cannot be read.
            NotFoundError: the folder is not there.
        """
        from medvae import release
        from medvae.api.releases import checked

        key = None if public_key is None else Path(public_key)
        files = release.open_release(Path(path), key, progress)
        return cls(Path(path), checked(files.result), files.card, files)

    @property
    def samples(self) -> tuple[Sample, ...]:
        """The volumes in the order of `dataset()`."""
        return self._files.samples

    def __len__(self) -> int:
        return len(self.samples)

    def dataset(self, transform: Callable[[Item], Item] | None = None) -> ReleaseDataset:
        """A map-style PyTorch data set of dictionaries, as MONAI's dictionary transforms take.

        Each item holds `image` (MONAI MetaTensor [1, X, Y, Z], float32, in the modality's
        units, with its affine), `label` (the same grid, uint8) where the release has label
        maps, `class` (int) and `site` where the model has some, and `subject`.
        """
        from medvae.api.torch_dataset import ReleaseDataset

        return ReleaseDataset(self._files, transform)

    def torchio(self, transform: torchio.Transform | None = None) -> torchio.SubjectsDataset:
        """The volumes as TorchIO subjects: `image` (ScalarImage) and `label` (LabelMap).

        Raises:
            UsageError: TorchIO is not installed.
        """
        try:
            import torchio
        except ImportError as error:
            raise UsageError(
                "TorchIO is not installed; install it (pip install torchio), or use dataset()"
            ) from error
        from medvae.api.torch_dataset import subjects

        return torchio.SubjectsDataset(subjects(self._files), transform=transform)
