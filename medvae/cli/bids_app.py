"""`medvae-bids BIDS OUT participant|group`: the journey as a BIDS App calls it.

participant   ingest the BIDS data set; patients' data stay in the vault, OUT is left as it is
group         train on what was ingested, and write the signed release into OUT
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from medvae.cli.main import run
from medvae.version import __version__

_LABEL = re.compile(r"[A-Za-z0-9]+")


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run one level and leave with the exit code of the verb that ended it."""
    sys.exit(level(sys.argv[1:] if argv is None else list(argv)))


def level(argv: Sequence[str]) -> int:
    """Run one level; returns the exit code, as `medvae.cli.main.run` has them."""
    options, rest = _parser().parse_known_args(argv)
    if options.level == "participant":
        return run(
            ["ingest", *_sources(options.bids, options.participants), "-d", options.dataset, *rest]
        )
    name = options.name
    done = run(["train", "-c", options.config, "-d", options.dataset, "--name", name, *rest])
    if done != 0:
        return done
    return run(["release", "create", name, "-n", str(options.number), "-o", str(options.out)])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="medvae-bids",
        description="Ingest a BIDS data set, or train on it and write a synthetic one.",
        epilog="Options that are not named here go to `medvae ingest` (participant) or `medvae "
        "train` (group): --modality, --contrast, --label-scheme, --epsilon. Vault, tenant and "
        "identity come from MEDVAE_VAULT, MEDVAE_TENANT and MEDVAE_IDENTITY.",
        allow_abbrev=False,
    )
    parser.add_argument("bids", type=Path, help="folder of the BIDS data set")
    parser.add_argument("out", type=Path, help="new or empty folder; group writes the release here")
    parser.add_argument("level", choices=("participant", "group"))
    parser.add_argument(
        "--participant-label", "--participant_label", dest="participants", nargs="+", type=_label,
        metavar="LABEL", default=(), help="only these participants, with or without sub-",
    )  # fmt: skip
    parser.add_argument("--dataset", default="bids", help="data set in the vault (bids)")
    parser.add_argument("--config", default="mri", help="preset or file of the training (mri)")
    parser.add_argument("--name", default="bids-1", help="name of the model (bids-1)")
    parser.add_argument("--number", type=int, default=50, help="synthetic volumes (50)")
    parser.add_argument("--version", action="version", version=f"medvae {__version__}")
    return parser


def _label(text: str) -> str:
    """A participant's label without `sub-`; it names a folder, so nothing else may be in it."""
    label = text.removeprefix("sub-")
    if not _LABEL.fullmatch(label):
        raise argparse.ArgumentTypeError(f"{text!r} is no label: expected letters and digits")
    return label


def _sources(bids: Path, participants: Sequence[str]) -> list[str]:
    folders = [bids / f"sub-{label}" for label in participants]
    return [str(folder) for folder in folders or [bids]]
