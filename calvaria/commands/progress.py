"""What a person sees of long work on many files."""

from collections.abc import Iterable
from typing import TypeVar

import typer
from rich.console import Console
from rich.progress import track

from calvaria.datasets.index import INDEX, DataSet

T = TypeVar("T")


def shown(work: Iterable[T], count: int, what: str) -> list[T]:
    """Do the work, showing on standard error how far it is."""
    return list(track(work, what, total=count, console=Console(stderr=True)))


def finish(made: DataSet) -> None:
    """Put the index in order and say what there is; each failure on standard error, and exit status 1 where there is one."""
    made.sort()
    made.close()
    failures = made.failures
    for said in dict.fromkeys(f"{row.source}: {row.message} [{row.error}]" for row in failures):  # once for all files of a source
        typer.echo(said, err=True)
    whole = sum(not row.error for row in made.rows.values())
    typer.echo(f"{made.folder / INDEX}: {whole} files" + (f", {len(failures)} failed" if failures else ""))
    if failures:
        raise typer.Exit(1)
