"""Whose an identity file has to be."""

from __future__ import annotations

import os

import pytest

from medvae.errors import AccessError


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_an_identity_that_another_account_owns_is_refused(place) -> None:
    place.create("clinic").close()
    path = place.identity("clinic")
    os.chown(path, 4711, -1)
    with pytest.raises(AccessError, match="belongs to user id 4711"):
        place.open("clinic")
    os.chown(path, 0, -1)
    place.open("clinic").close()
