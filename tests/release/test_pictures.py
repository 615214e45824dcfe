"""A release of pictures: PNG files that are the draws, a table, and the same gate and signature."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from PIL import Image

from medvae.config import DataConfig
from medvae.errors import InputError, UsageError
from medvae.grid import from_grid
from medvae.release import ReleaseResult, figures, verify
from medvae.release.figures import contact_sheet, planes_of
from medvae.release.png import pixels, png
from medvae.release.sprites import sprites
from medvae.release.survey import Survey, grey_or_colour, looks
from medvae.release.viewer import MOST_HEIGHT
from medvae.volume import Volume
from tests.release.made import facts, synthetic

Make = Callable[..., ReleaseResult]
DECLARED = {"size": (12, 9, 1), "label_scheme": {}, "labels": 0, "classes": 2}
XRAY, PHOTO = DataConfig(modality="xray", **DECLARED), DataConfig(modality="photo", **DECLARED)


def pictures(n: int, data: DataConfig) -> Iterator[Volume]:
    random = np.random.default_rng(4)
    shape = (len(data.channels), *data.size) if data.channels else data.size
    for index in range(n):
        image = np.clip(random.normal(0.0, 0.4, shape), -1, 1).astype(np.float32)
        yield from_grid(image, data, None, index % 2)


def made(make: Make, data: DataConfig, n: int = 3) -> ReleaseResult:
    drawn = pictures(n, data)
    return make(data, volumes=drawn, facts=facts(data, volumes=n), fmt="folder")


@pytest.mark.parametrize("data", [XRAY, PHOTO], ids=lambda data: data.modality)
def test_a_release_of_pictures_holds_the_draws(make: Make, data: DataConfig) -> None:
    release = made(make, data)
    folder = release.path
    assert verify(folder).unchanged
    rows = list(csv.DictReader((folder / "participants.tsv").open(), delimiter="\t"))
    assert [(row["participant_id"], row["class"]) for row in rows] == [
        ("synth0001", "0"),
        ("synth0002", "1"),
        ("synth0003", "0"),
    ]
    for row, volume in zip(rows, pictures(3, data), strict=True):
        found = np.asarray(Image.open(folder / "images" / f"{row['participant_id']}.png"))
        # Rows run down, and the second axis of a volume runs up.
        back = found[::-1].swapaxes(0, 1)
        back = np.moveaxis(back, 2, 0) if data.channels else back
        np.testing.assert_array_equal(back, volume.voxels[..., 0])
    readme = (folder / "README.md").read_text()
    assert "12 x 9 x 1 voxels" in readme
    assert ("X-ray pictures" if data is XRAY else "photographs") in readme
    report = (folder / "report.html").read_text()
    assert "three planes" not in report
    assert 'class="panel picture"' in report
    one = folder / "images" / "synth0002.png"
    one.write_bytes(one.read_bytes() + b"x")
    assert verify(folder).unchanged is False


def test_equal_pictures_give_equal_files_without_any_text() -> None:
    volume = next(pictures(1, PHOTO))
    assert png(volume) == png(volume)
    assert not Image.open(io.BytesIO(png(volume))).info


def test_a_deep_picture_is_written_with_16_bits_where_it_is_asked_for() -> None:
    values = np.linspace(0, 255, 12, dtype=np.float32).reshape(4, 3, 1)
    volume = Volume(values, np.eye(4), "xray")
    found = np.asarray(Image.open(io.BytesIO(png(volume, deep=True))))
    np.testing.assert_allclose(found[::-1].T / 257, values[..., 0], atol=1 / 257)
    assert np.asarray(Image.open(io.BytesIO(png(volume)))).dtype == np.uint8


def test_the_gate_refuses_other_channels_and_two_equal_pictures(make: Make) -> None:
    grey = [_as_photo(volume) for volume in pictures(3, XRAY)]
    with pytest.raises(InputError, match="has the channels"):
        make(PHOTO, volumes=iter(grey), facts=facts(PHOTO), fmt="folder")
    twice = [next(pictures(1, XRAY))] * 2
    with pytest.raises(InputError, match="identical"):
        make(XRAY, volumes=iter(twice), facts=facts(XRAY), fmt="folder")


def _as_photo(volume: Volume) -> Volume:
    return Volume(volume.voxels, volume.affine, "photo", meta=volume.meta)


def test_png_and_the_other_formats_refuse_what_they_cannot_hold(make: Make) -> None:
    with pytest.raises(UsageError, match="png is for pictures"):
        pixels(next(synthetic(1, DataConfig(modality="mri", size=(12, 16, 10)))))
    for fmt, words in (
        ("bids", "no names of their own for the channels red, green, blue"),
        ("dicom", "photo is not written as a DICOM radiograph"),
    ):
        with pytest.raises(UsageError, match=words):
            make(PHOTO, volumes=pictures(2, PHOTO), facts=facts(PHOTO), fmt=fmt)


def test_the_screen_shows_the_colours(tmp_path: object) -> None:
    values = np.zeros((3, 2, 2, 1), np.int16)
    values[0, 0, 1] = 255
    values[2, 1, 0] = 128
    volume = Volume(values, np.eye(4), "photo", channels=("red", "green", "blue"))
    shown = grey_or_colour(volume, 2, 0, 0.0, 255.0)
    assert shown.tolist() == [[[255, 0, 0], [0, 0, 0]], [[0, 0, 0], [0, 0, 128]]]
    survey = Survey(0.0, 255.0)
    for one in pictures(3, PHOTO):
        survey.add(one)
    assert planes_of(survey.shown[0]) == {2: "picture"}
    sheet = np.asarray(Image.open(io.BytesIO(contact_sheet(survey, "a", "b"))))
    # Some of it is neither grey nor white.
    assert (np.ptp(sheet[..., :3].astype(int), axis=-1) > 60).any()
    ((sprite,), *_) = sprites(looks(survey))
    assert (sprite.plane, sprite.frames) == ("picture", 1)


def test_the_viewer_offers_each_contrast_by_itself_and_whole_volumes() -> None:
    values = np.arange(3 * 3 * 4 * 5, dtype=np.int16).reshape(3, 3, 4, 5)
    survey = Survey(0.0, 255.0)
    for _ in range(4):
        survey.add(Volume(values, np.eye(4), "mri", channels=("t1", "t2", "flair")))
    offered = looks(survey)
    assert [look.name for look in offered[:4]] == [
        *("volume 0001, t1", "volume 0001, t2", "volume 0001, flair"),
        "volume 0002, t1",
    ]
    # A third volume would be cut: eight at most.
    assert len(offered) == 6
    for look, channel in zip(offered, values, strict=False):
        assert np.array_equal(look.volume.voxels, channel)
    (one, *_) = looks(surveyed_once(("frame01", "frame02")))
    assert (one.name, one.volume.channels) == ("volume 0001", ("frame01", "frame02"))


def test_channels_of_several_modalities_have_ranges_of_their_own() -> None:
    survey = surveyed_once(("ct", "pet"), ("ct", "pet"))
    found = [(look.name, look.low, look.high) for look in looks(survey)]
    assert found == [("volume 0001, ct", -1000.0, 1000.0), ("volume 0001, pet", 0.0, 20.0)]


def surveyed_once(channels: tuple[str, ...], modalities: tuple[str, ...] = ()) -> Survey:
    survey = Survey(-1000.0, 1000.0)
    if modalities:
        survey.channels = {"ct": Survey(-1000.0, 1000.0), "pet": Survey(0.0, 20.0)}
    values = np.zeros((len(channels), 3, 4, 5), np.float32)
    own = modalities[0] if modalities else "mri"
    survey.add(Volume(values, np.eye(4), own, channels=channels, modalities=modalities))
    return survey


def test_a_sheet_has_a_row_for_each_contrast_and_one_for_a_colour_picture() -> None:
    values = np.arange(2 * 3 * 4 * 5, dtype=np.int16).reshape(2, 3, 4, 5)
    contrasts = Volume(values, np.eye(4), "mri", channels=("t1", "t2"))
    rows = figures._rows([contrasts] * 3)
    assert [(name, axis, len(shown)) for name, axis, shown in rows] == [("t1", 2, 3), ("t2", 2, 3)]
    assert np.array_equal(rows[1][2][0].voxels, values[1])
    picture = Volume(
        np.zeros((3, 4, 4, 1), np.int16), np.eye(4), "photo", channels=("red", "green", "blue")
    )
    assert [name for name, _, _ in figures._rows([picture])] == ["picture"]
    grey = Volume(values[0], np.eye(4), "mri")
    assert [name for name, _, _ in figures._rows([grey])] == ["axial", "coronal", "sagittal"]


@pytest.mark.parametrize("size", [(16, 8, 1), (8, 24, 1)])
def test_a_picture_keeps_its_proportions_in_the_report(
    make: Make, size: tuple[int, int, int]
) -> None:
    data = XRAY.model_copy(update={"size": size})
    page = made(make, data).report.read_text()
    (rule,) = re.findall(r"data-volume='0'\] \.picture\{(.*?)\}", page)
    ratio, widest = re.fullmatch(r"aspect-ratio:([\d.]+);max-width:(\d+)px", rule).groups()  # type: ignore[union-attr]
    assert float(ratio) == pytest.approx(size[0] / size[1], abs=1e-3)
    # A height that is limited by itself would stretch the picture.
    assert float(widest) / float(ratio) <= MOST_HEIGHT + 1
    assert "max-height" not in page.split(".panel{")[1].split("}")[0]


@pytest.mark.parametrize("spacing", [None, (0.2, 0.2, 1.0)])
def test_a_pixel_of_unknown_size_is_said_to_be_so(
    make: Make, spacing: tuple[float, float, float] | None
) -> None:
    folder = made(make, XRAY.model_copy(update={"spacing": spacing})).path
    for name in ("README.md", "report.html"):
        text = (folder / name).read_text()
        assert ("unknown size, 1 mm in the files" in text) == (spacing is None)
        assert ("0.2 x 0.2 x 1 mm" in text.replace("×", "x")) == (spacing is not None)
