"""What the command line says to a person."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter

from rich.console import Console
from rich.table import Table

from calvaria.io import read
from calvaria.volume import BinaryVolume


def read_volume(path: Path) -> BinaryVolume:
    """A mask from a file; what had to be assumed about it is said on standard error."""
    decoded = read(path)
    warn(path, decoded.remarks)
    return decoded.volume


def warn(path: Path, warnings: tuple[str, ...]) -> None:
    """Say what was assumed about a file."""
    for warning in warnings:
        Console(stderr=True).print(f"warning: {path}: {warning}", highlight=False, markup=False, soft_wrap=True)


def size(volume: BinaryVolume) -> str:
    return f"{volume.occupied} voxels, {volume.occupied * volume.voxel_mm3 / 1000:.1f} cm³"


class Report:
    """Tells a person what is being done, and how long it took."""

    def __init__(self, console: Console):
        self._console = console

    @contextmanager
    def stage(self, what: str) -> Iterator[None]:
        """Off a terminal, where nothing can move, a line before and one after."""
        start = perf_counter()
        if self._console.is_terminal:
            with self._console.status(f"{what} …"):
                yield
        else:
            self.say(f"{what} …")
            yield
        self.say(f"{what}: {perf_counter() - start:.1f} s")

    def say(self, text: str) -> None:
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)

    def show(self, table: Table) -> None:
        self._console.print(table)
