"""Volumes of a data set, read one beside another."""

from pathlib import Path

from calvaria.datasets.files import log_warnings
from calvaria.errors import CalvariaError, ErrorCode
from calvaria.io import read
from calvaria.volume import SAME_PLACE_MM, BinaryVolume


def read_logged(path: Path) -> BinaryVolume:
    """A mask; what had to be assumed about its file is logged. Raises what `io.read` raises."""
    decoded = read(path)
    log_warnings(path, decoded.remarks)
    return decoded.volume


def check_same_grid(one: Path, first: BinaryVolume, other: Path, second: BinaryVolume) -> None:
    """CalvariaError BAD_GEOMETRY where two volumes, which are called by their files, lie on different grids."""
    if not first.same_grid(second, SAME_PLACE_MM):
        raise CalvariaError(
            ErrorCode.BAD_GEOMETRY,
            f"{one} and {other} lie on different grids, {first.grid} and {second.grid}; resample one onto the other.",
        )
