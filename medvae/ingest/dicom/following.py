"""The frames of slices that repeat the one before, by their stored bytes alone."""

from __future__ import annotations

from dataclasses import replace
from typing import BinaryIO

import numpy as np
from pydicom.dataset import Dataset

from medvae.errors import InputError
from medvae.ingest.dicom.frames import Frame, frame_like
from medvae.ingest.dicom.pixels import TOO_LARGE, layout_of
from medvae.ingest.dicom.repeated import PIXEL_DATA, POSITION, Repeated
from medvae.ingest.dicom.values import floats_in


class Following:
    """Reads frames of files that repeat one: of each, place and pixels are looked at."""

    def __init__(self, repeated: Repeated, data: Dataset) -> None:
        """data: of the file that `repeated` is of, uncompressed, with one frame."""
        self._repeated = repeated
        layout = layout_of(data, 1) if repeated.is_plain else None
        # Where the sign is not said, the numbers themselves are looked at (`check_sign`).
        self._layout = layout if layout is not None and layout.is_sign_said else None

    def frame(self, file: BinaryIO, previous: Frame, most_voxels: int) -> Frame | None:
        """The frame of the next file, read from its beginning; None where pydicom has to read it.

        Raises:
            InputError: as `frame_like`.
        """
        varied = self._repeated.varying(file)
        if varied is None:
            return None
        if previous.pixels.size > most_voxels:
            raise InputError(TOO_LARGE)
        if self._layout is not None and POSITION in varied and PIXEL_DATA in varied:
            position = floats_in(varied[POSITION][1], 3)
            pixels = self._layout.pixels(varied[PIXEL_DATA][1])
            if position is not None and pixels is not None:
                return replace(previous, pixels=pixels[0], position=np.array(position))
        return frame_like(previous, self._repeated.dataset(varied), most_voxels)
