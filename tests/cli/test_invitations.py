"""The file by which other machines join a training: what it may be, and that it goes."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator

import pytest

from medvae.api import invitations, joining
from medvae.api.invitations import Invitation
from medvae.api.joining import Asked
from medvae.errors import AccessError, InputError, NotFoundError, UsageError
from medvae.vault.certificates import issue
from tests.cli.joiners import HOUR, Heard, of


@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError])
def test_the_invitation_goes_whatever_ends_the_training(tmp_path, error) -> None:
    path = tmp_path / "in"

    def training() -> None:
        with joining.joining(Asked("127.0.0.1:0", path, "local", 1.0), 1, Heard()):
            assert path.exists()
            raise error

    with pytest.raises(error):
        training()
    assert not path.exists()


def test_an_invitation_that_is_there_is_left_alone(tmp_path) -> None:
    path = tmp_path / "in"
    path.write_text("somebody's")
    with (
        pytest.raises(UsageError, match="is there already"),
        joining.joining(Asked("127.0.0.1:0", path, "local", 1.0), 1, Heard()),
    ):
        pass
    assert path.read_text() == "somebody's"


def test_what_is_no_invitation_is_refused(tmp_path) -> None:
    path = tmp_path / "in"
    with pytest.raises(NotFoundError, match="there is no invitation"):
        invitations.load(path)
    good = {"medvae": "invitation", "format": 1} | vars(of(issue(HOUR), "h", 1))
    for text in (
        "",
        "[]",
        "{}",
        json.dumps(good | {"port": "1"}),
        json.dumps(good | {"port": 65536}),
        json.dumps(good | {"format": 2}),
    ):
        path.write_text(text)
        path.chmod(0o600)
        with pytest.raises(InputError, match="is no invitation"):
            invitations.load(path)
    path.write_text(json.dumps(good))
    assert invitations.load(path).address == "h:1"
    path.chmod(0o640)
    with pytest.raises(AccessError, match="open to other accounts"):
        invitations.load(path)
    path.chmod(0o600)
    (tmp_path / "link").symlink_to(path)
    with pytest.raises(AccessError, match="cannot be read"):
        invitations.load(tmp_path / "link")
    (tmp_path / "folder").mkdir(mode=0o700)
    with pytest.raises(InputError, match="no plain file"):
        invitations.load(tmp_path / "folder")
    with pytest.raises(InputError, match="no certificates"):
        invitations.client_context(Invitation(**(vars(of(issue(HOUR), "h", 1)) | {"key": "x"})))


@pytest.fixture(autouse=True)
def _nothing_left() -> Iterator[None]:
    yield
    assert not [one for one in threading.enumerate() if one.name == "medvae machines"]
