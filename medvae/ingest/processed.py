"""Images that are named like results of processing another image beside them.

SPM puts letters in front (`mx`, `c1x`, `wc1x`), others words behind (`x_brain`, `xWarped`,
`x_pve_0`). A copy of a scan is known by its voxels; what was stripped, segmented or warped is not.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import PurePosixPath

from medvae.ingest.names import stem

SPM = re.compile(r"[rmwsau]{0,4}(c[1-6])?")
BEHIND = re.compile(
    r"[-_. ]*(inverse)?(brain|bet|strip(ped)?|skull-?strip(ped)?|(pre-?)?proc(essed)?|pp"
    r"|warped|registered|reg|coreg|resampled"
    r"|n4|bias(-?corr(ected)?)?|denoised|norm(ali[sz]ed)?|smooth(ed)?|restore|defaced|prob(s|ability"
    r"|seg)?|posteriors?|(fast[-_])?(pve|seg)([-_][0-9])?|to[-_](std|mni|standard)[-_a-z0-9]*|softmax|dist(ance)?|sdf|jac(obian)?|copy)([-_][0-9])?"
)


def processed(names: Iterable[str]) -> set[str]:
    """Those names that are another one of their folder with letters or words of processing."""
    folders: dict[str, list[tuple[str, str]]] = {}
    for name in names:
        path = PurePosixPath(name)
        folders.setdefault(str(path.parent), []).append((stem(path.name).lower(), name))
    derived: set[str] = set()
    for members in folders.values():
        bare = {own for own, _ in members}
        derived.update(name for own, name in members if _is_of_another(own, bare))
    return derived


def _is_of_another(own: str, others: set[str]) -> bool:
    for at in range(1, len(own)):
        front, behind = own[:at], own[at:]
        if behind in others and SPM.fullmatch(front):
            return True
        if front in others and BEHIND.fullmatch(behind):
            return True
    return False
