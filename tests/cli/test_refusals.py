"""What the operating system refuses ends in one sentence and the contract's exit code."""

from __future__ import annotations

import errno
import json
import os
import sys

import pytest

import medvae.cli.main  # noqa: F401 - the module, which the package's function of that name hides

main = sys.modules["medvae.cli.main"]


STORAGE = (errno.EACCES, errno.EPERM, errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)


@pytest.mark.parametrize(
    ("number", "code"), [*((one, 5) for one in STORAGE), (errno.EINVAL, 1), (errno.ENOENT, 1)]
)
def test_a_refusal_of_the_system(
    number: int, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(line: list[str]) -> None:
        raise OSError(number, os.strerror(number), "/media/stick")

    monkeypatch.setattr(main, "build", refused)
    assert main.run(["--json", "doctor"]) == code
    seen = capsys.readouterr()
    assert seen.err.count("\n") == 1
    assert "/media/stick" in seen.err
    assert "Traceback" not in seen.err
    if seen.out:
        assert json.loads(seen.out)["exit_code"] == code
