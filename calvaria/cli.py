"""The `calvaria` command. Each command imports what it needs when it runs, so that `calvaria --help` is quick."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from calvaria.errors import CalvariaError

app = typer.Typer(help=__doc__, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
synth = typer.Typer(help="Make skulls and defects from a seed.", no_args_is_help=True)
app.add_typer(synth, name="synth")


@app.callback()
def _logging(verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show what was chosen and how long it took.")] = False) -> None:
    import logging

    from rich.logging import RichHandler

    level = logging.INFO if verbose else logging.WARNING
    logging.basicConfig(level=level, format="%(message)s", handlers=[RichHandler(show_path=False)])


def main() -> None:
    """Run the command line; a refusal is printed as its sentence and code, with exit status 2."""
    try:
        app()
    except CalvariaError as error:
        typer.echo(f"{error.message} [{error.code.value}]", err=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
