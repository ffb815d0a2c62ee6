"""Builds archive/model_store/<task>.mar for every models/<task>/ that holds weights."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from calvaria.errors import CalvariaError
from calvaria.server.archive import build_archives

ROOT = Path(__file__).resolve().parent.parent


def build(
    models: Annotated[
        Path, typer.Option(help="Folder of model folders; without model-config.yaml they get the shipped one of their name.")
    ] = ROOT / "models",
    store: Annotated[Path, typer.Option(help="Where the archives go.")] = ROOT / "archive" / "model_store",
) -> None:
    try:
        archives = build_archives(models, ROOT / "handlers" / "calvaria_handler.py", store, shipped=ROOT / "models")
    except CalvariaError as error:
        sys.exit(error.message)
    for archive in archives:
        typer.echo(f"{archive} ({archive.stat().st_size / 2**20:.1f} MiB)")


if __name__ == "__main__":
    typer.run(build)
