"""What `work` is asked for."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, field

from medvae.options.flags import PathLike, flag
from medvae.progress import SILENT, Progress


@dataclass(frozen=True)
class WorkOptions:
    """`medvae work`.

    Attributes:
        invitation: the file that a training with `listen` has written.
        vault: the vault's folder on this machine; None: the default one. Of a tenant in an object
            store it may be empty.
        processes: that take part, each of which counts.
        wait: minutes for which the invitation and its training are waited for.
    """

    invitation: PathLike = field(
        metadata=flag("File that medvae train --listen has written on the first machine.")
    )
    _: KW_ONLY
    vault: PathLike | None = None
    processes: int = field(
        default=1,
        metadata=flag("Processes of this machine that take part; each one counts (default 1)."),
    )
    wait: float = field(
        default=0.0,
        metadata=flag("Minutes to wait for the invitation to be there (default 0)."),
    )
    progress: Progress = SILENT
