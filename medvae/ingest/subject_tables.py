"""Where the table of subjects of a source is: at its top, or named by the user."""

from __future__ import annotations

from medvae.errors import InputError
from medvae.ingest.records import printable
from medvae.ingest.steps import ReadRequest
from medvae.ingest.subjects import MOST_BYTES, Subjects, parse_subjects
from medvae.ingest.trees import File, SingleFile, Tree

TABLES = ("subjects.csv", "subjects.tsv")


def table_at_top(tree: Tree, options: ReadRequest) -> Subjects | None:
    """The table at the top of a source, if there is one.

    Raises:
        InputError: there are two, or as `table_for`.
    """
    # Names are as different systems write them: Subjects.csv is the same table.
    tables = sorted(name for name in tree.top() if name.lower() in TABLES)
    if len(tables) > 1:
        raise InputError(
            f"{printable(tree.label)} holds {' and '.join(tables)}: keep one table of subjects"
        )
    if not tables:
        return None
    file = tree.find(tables[0])
    if file is None:
        raise InputError(f"{printable(tree.label)} holds {tables[0]} twice: keep one")
    return _table(file, options)


def table_for(table: SingleFile, options: ReadRequest) -> Subjects:
    """The table that the user named.

    Raises:
        InputError: it cannot be opened, or is not such a table.
    """
    return _table(table.file, options)


def _table(file: File, options: ReadRequest) -> Subjects:
    try:
        data = file.tree.read(file.name, MOST_BYTES + 1)
    except InputError as error:
        raise InputError(f"{file.source}: {error}") from error
    columns = (options.label_column, options.class_column, options.site_column)
    return parse_subjects(data, file.source, *columns)
