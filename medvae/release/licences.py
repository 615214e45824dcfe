"""Licences by their SPDX names, and which of them let anybody pass changed images on."""

from __future__ import annotations

import re

from medvae.errors import UsageError

# Each allows redistribution of adapted material to everybody. No licence without derivatives is
# here: resampled images are adapted ones. The -NC- ones allow it for uses that are not commercial.
_REDISTRIBUTABLE = (
    "0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "CC0-1.0",
    *(f"CC-BY{kind}-{version}" for kind in ("", "-SA", "-NC", "-NC-SA")
      for version in ("2.0", "2.5", "3.0", "4.0")),
    "CDLA-Permissive-1.0", "CDLA-Permissive-2.0", "CDLA-Sharing-1.0", "MIT", "MIT-0",
    "ODbL-1.0", "ODC-By-1.0", "PDDL-1.0", "Unlicense",
)  # fmt: skip
_NAMES = {re.sub(r"[^a-z0-9.]", "", name.lower()): name for name in _REDISTRIBUTABLE}


def redistributable(licence: str, what: str) -> str:
    """The SPDX name of a licence that permits the redistribution of modified images.

    Case, spaces and hyphens do not matter: "CC BY 4.0" is CC-BY-4.0. A licence without its version
    is not recognised.

    what: whose licence it is; begins the message.

    Raises:
        UsageError: the licence is not known to permit it.
    """
    identifier = _NAMES.get(re.sub(r"[\s_-]", "", licence.lower()))
    if identifier is None:
        raise UsageError(
            f"{what} has the licence {licence!r}, which is not among the SPDX licences that are "
            "known to permit redistribution of modified images (CC0-1.0, CC-BY-4.0, CC-BY-SA-4.0, "
            "...); release without --with-public, or add the entry again under its SPDX name"
        )
    return identifier
