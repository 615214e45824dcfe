"""One class says what a verb is asked for: the command line, Python and the work agree with it."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, field, fields
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from medvae.api import Session, send_release, stitch, work
from medvae.api.namespaces import Releases
from medvae.cli.app import build
from medvae.cli.flags import flags
from medvae.ingest import read
from medvae.ingest.steps import ReadRequest
from medvae.options.archives import ListenOptions, PullOptions, SendOptions
from medvae.options.evaluate import EvaluateOptions
from medvae.options.flags import (
    GROUP,
    KEY,
    PathLike,
    argument,
    arguments,
    called_with,
    flag,
    group,
    takes,
)
from medvae.options.generate import GenerateOptions
from medvae.options.ingest import IngestOptions, ReadOptions
from medvae.options.release import ReleaseOptions
from medvae.options.stitch import StitchOptions
from medvae.options.train import PlanOptions, PretrainOptions, TrainOptions
from medvae.options.work import WorkOptions
from medvae.progress import SILENT, Progress, Silent

VERBS: dict[str, tuple[Any, Any]] = {
    "ingest": (IngestOptions, Session.ingest),
    "plan": (PlanOptions, Session.plan),
    "pretrain": (PretrainOptions, Session.pretrain),
    "train": (TrainOptions, Session.train),
    "generate": (GenerateOptions, Session.generate),
    "evaluate": (EvaluateOptions, Session.evaluate),
    "release create": (ReleaseOptions, Releases.create),
    "pull": (PullOptions, Session.pull),
    "listen": (ListenOptions, Session.listen),
    "send": (SendOptions, send_release),
    "stitch": (StitchOptions, stitch),
    "work": (WorkOptions, work),
}
# For programs alone.
NO_FLAG = {
    "pull": {"progress", "classes"},
    "listen": {"progress", "classes", "ready"},
    # A global option of the command line.
    "work": {"progress", "vault"},
}


@dataclass(frozen=True)
class Oven:
    """What a group of flags becomes."""

    heat: float = 200.0
    stone: PathLike | None = None
    door: str = "left"


@dataclass(frozen=True)
class BakeOptions:
    """Every kind of field that a verb has."""

    sources: Sequence[PathLike] = field(metadata=argument("source", "Flour."))
    name: str = field(metadata=flag("Name of the loaf.", "-n", "--name"))
    _: KW_ONLY
    table: PathLike | None = field(default=None, metadata=flag("Where it cools."))
    hours: float = field(default=1.5, metadata=flag("How long."))
    lids: Sequence[str] = field(default=(), metadata=flag("Repeatable.", "--lid"))
    turns: Sequence[int] | None = field(
        default=None, metadata=flag("Numbers.", read=lambda text: [int(x) for x in text.split(",")])
    )
    steam: bool = field(default=False, metadata=flag("Wet.", "--steam"))
    fan: bool = field(default=True, metadata=flag("Moving."))
    oven: Oven | None = field(
        default=None, metadata=group(heat=flag("Degrees.", "--degrees"), stone=flag("Flat."))
    )
    progress: Progress = SILENT


def baked(*line: str) -> BakeOptions:
    """What the options of a line become."""
    loaves: list[BakeOptions] = []
    app = typer.Typer()
    app.command()(flags(BakeOptions)(loaves.append))
    answer = CliRunner().invoke(app, line)
    assert answer.exit_code == 0, answer.output
    return loaves[0]


def test_a_line_becomes_a_value_of_the_class() -> None:
    line = ("a", "b", "-n", "rye", "--table", "x", "--hours", "2", "--lid", "p", "--lid", "q")
    loaf = baked(*line, "--turns", "1,2", "--steam", "--no-fan")
    assert loaf == BakeOptions(
        [Path("a"), Path("b")],
        "rye",
        table=Path("x"),
        hours=2.0,
        lids=["p", "q"],
        turns=[1, 2],
        steam=True,
        fan=False,
        oven=Oven(),
    )


def test_flags_of_a_group_become_one_value() -> None:
    assert baked("a", "-n", "rye", "--degrees", "250").oven == Oven(250.0)
    assert baked("a", "-n", "rye", "--stone", "s").oven == Oven(stone=Path("s"))


def test_what_a_line_does_not_name_is_the_default_of_the_field() -> None:
    assert baked("a", "-n", "rye") == BakeOptions([Path("a")], "rye", oven=Oven())


def test_a_word_that_cannot_be_read_is_a_usage_error_with_its_sentence() -> None:
    app = typer.Typer()
    app.command()(flags(BakeOptions)(lambda options: None))
    answer = CliRunner().invoke(app, ["a", "-n", "rye", "--turns", "x"])
    assert answer.exit_code == 2
    assert "invalid literal" in answer.output


def test_a_method_takes_the_fields_as_arguments() -> None:
    class Kitchen:
        @takes(BakeOptions)
        def bake(self, options: BakeOptions) -> BakeOptions:
            """Bake."""
            return options

    loaf = Kitchen().bake(["a"], "rye", hours=3)
    assert loaf == BakeOptions(["a"], "rye", hours=3)
    assert Kitchen.bake.__doc__ == "Bake."
    with pytest.raises(TypeError, match="yeast"):
        Kitchen().bake(["a"], "rye", yeast=1)  # type: ignore[call-arg]
    listener = Silent()
    assert Kitchen().bake(**arguments(loaf, listener)).progress is listener
    assert arguments(loaf)["progress"] is SILENT


def test_a_function_takes_the_fields_as_arguments() -> None:
    @called_with(BakeOptions)
    def bake(options: BakeOptions) -> BakeOptions:
        """Bake."""
        return options

    assert bake(["a"], name="rye", hours=3) == BakeOptions(["a"], "rye", hours=3)
    assert bake.__doc__ == "Bake."
    with pytest.raises(TypeError, match="yeast"):
        bake(["a"], "rye", yeast=1)  # type: ignore[call-arg]


@pytest.mark.parametrize("verb", VERBS)
def test_the_line_and_python_ask_what_the_class_says(verb: str) -> None:
    options, method = VERBS[verb]
    command = build()
    for word in verb.split():
        command = command.commands[word]  # type: ignore[attr-defined]
    on_line = {one.help for one in command.params if one.name != "help"}  # type: ignore[attr-defined]
    described = {one.name: one.metadata for one in fields(options) if one.metadata}
    texts = {metadata[KEY].text for metadata in described.values() if KEY in metadata}
    for metadata in described.values():
        texts |= {part.text for part in metadata.get(GROUP, {}).values()}
    assert on_line == texts
    silent = {one.name for one in fields(options)} - set(described)
    assert silent <= NO_FLAG.get(verb, {"progress"})
    asked = list(inspect.signature(options).parameters.items())
    parameters = list(inspect.signature(method).parameters.items())
    assert [one for one in parameters if one[0] != "self"] == asked


def test_reading_takes_every_option_of_reading() -> None:
    parameters = set(inspect.signature(read).parameters)
    assert {one.name for one in fields(ReadRequest)} | {"sources"} == parameters
    own = {one.name for one in fields(ReadOptions)}
    options = IngestOptions(["a"], "d", modality="mri", dry_run=True)
    assert set(options.reading()) == own
    assert options.reading()["modality"] == "mri"
    assert own < {one.name for one in fields(IngestOptions)}
