"""Volumes of a data set, read one beside another."""

from pathlib import Path

from calvaria.datasets.files import log_warnings
from calvaria.errors import CalvariaError, ErrorCode
from calvaria.io import read
from calvaria.volume import BinaryVolume

SAME_PLACE_MM = 0.01
"""How far apart the grids of one case may lie: headers of some formats are rounded to single precision."""


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
            f"{one} and {other} lie on different grids, {_grid(first)} and {_grid(second)}; resample one onto the other.",
        )


def _grid(volume: BinaryVolume) -> str:
    spacing, origin = (", ".join(f"{value:g}" for value in values) for values in (volume.spacing_mm, volume.origin_mm))
    return f"{' × '.join(map(str, volume.shape))} voxels of {spacing} mm from {origin} mm"
