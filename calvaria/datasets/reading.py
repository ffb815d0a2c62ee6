"""Volumes of a data set, read one beside another."""

from pathlib import Path

from calvaria.datasets.files import log_warnings
from calvaria.errors import CalvariaError, ErrorCode
from calvaria.geometry import to_canonical
from calvaria.io import read
from calvaria.volume import SAME_PLACE_MM, BinaryVolume, Mask


def read_logged(path: Path) -> BinaryVolume:
    """A mask; what had to be assumed about its file is logged. Raises what `io.read` raises, with the file's name."""
    try:
        decoded = read(path)
    except CalvariaError as error:
        if str(path) in error.message:
            raise
        raise CalvariaError(error.code, f"{path}: {error.message}") from error
    log_warnings(path, decoded.remarks)
    return decoded.volume


def seen_along(one: Path, first: BinaryVolume, other: Path, second: BinaryVolume) -> Mask:
    """The second volume's mask [X, Y, Z] along the first's axes, however either file, which they are called by, orders and flips its own.

    CalvariaError BAD_GEOMETRY where they lie on different voxels.
    """
    if first.same_grid(second, SAME_PLACE_MM):
        return second.mask
    here, there = to_canonical(first), to_canonical(second)
    if not here.volume.same_grid(there.volume, SAME_PLACE_MM):
        raise CalvariaError(
            ErrorCode.BAD_GEOMETRY,
            f"{one} and {other} lie on different grids, {first.grid} and {second.grid}; resample one onto the other.",
        )
    return here.from_canonical(there.mask)
