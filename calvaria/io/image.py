"""What a file holds before anyone asks whether it is a mask: samples on a grid in the patient."""

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calvaria.errors import CalvariaError, ErrorCode
from calvaria.volume import SPACING_MM, Affine

DEFAULT_MAX_VOXELS = 2**28  # 512 x 512 x 1024
LPS_FROM_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])

AGAIN = "Save the file again with another program."
"""What to do about a file that another program wrote wrongly."""

_FARTHEST_MM = 1e6  # from the scanner's origin: a kilometre
_MOST_SAMPLE_BYTES = 2**30  # expanded: 512 x 512 x 512 of double, or DEFAULT_MAX_VOXELS of float
_SQUARE_COSINE = 0.01745  # axes within 1 degree of a right angle pass for orthogonal


@dataclass(frozen=True, eq=False)
class Image:
    """Samples of any real type on a regular grid.

    samples   [X, Y, Z] in Fortran order, as they lie in the file: X is the fastest
    affine    float64 [4, 4], voxel index to LPS mm
    format    one of `calvaria.io.VOLUME_FORMATS`
    warnings  what was assumed because the file does not say it, and what in it will not be honoured
    """

    samples: NDArray[Any]
    affine: Affine
    format: str
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Promise:
    """A file whose header has been read and found possible, and whose samples have not been touched.

    sample_bytes  memory that reading them takes, beside a mask of one byte a voxel
    read          the image; once, and CalvariaError where the data does not keep what the header promises
    """

    sample_bytes: int
    read: Callable[[], Image]


def checked_shape(sizes: list[int], dtype: np.dtype[Any], max_voxels: int) -> tuple[int, int, int]:
    """The three sizes a header promises, before any memory is taken for them.

    Raises BAD_HEADER for a size below 1, WRONG_DIMENSION unless there are three, TOO_LARGE beyond `max_voxels` or 1 GiB of samples.
    """
    if any(size < 1 for size in sizes):
        raise CalvariaError(ErrorCode.BAD_HEADER, f"The header gives the sizes {sizes}; each must be at least 1. {AGAIN}")
    if len(sizes) != 3:
        raise CalvariaError(
            ErrorCode.WRONG_DIMENSION, f"The file holds an array with {len(sizes)} axes {sizes}; send one volume with three."
        )
    if prod(sizes) > max_voxels:
        raise CalvariaError(
            ErrorCode.TOO_LARGE,
            f"The volume has {prod(sizes):,} voxels and at most {max_voxels:,} are accepted; crop or resample it.",
        )
    if prod(sizes) * dtype.itemsize > _MOST_SAMPLE_BYTES:
        raise CalvariaError(
            ErrorCode.TOO_LARGE,
            f"The samples take {prod(sizes) * dtype.itemsize / 2**30:.1f} GiB as {dtype.name} and at most 1 GiB is read; "
            "save a mask as unsigned char, a CT as short.",
        )
    x, y, z = sizes
    return x, y, z


def checked_affine(affine: Affine) -> Affine:
    """An affine that a real volume can have, or BAD_GEOMETRY."""
    with np.errstate(over="ignore", invalid="ignore"):
        spacing = np.linalg.norm(affine[:3, :3], axis=0)
    low, high = SPACING_MM
    placed = np.isfinite(affine).all() and (abs(affine[:3, 3]) <= _FARTHEST_MM).all()
    if not placed or not ((spacing >= low) & (spacing <= high)).all():
        raise CalvariaError(
            ErrorCode.BAD_GEOMETRY,
            f"The voxel spacing is {_listed(spacing)} mm and the origin {_listed(affine[:3, 3])} mm; "
            f"spacings between {low} and {high:g} mm and an origin within a kilometre are accepted.",
        )
    if abs(np.linalg.det(affine[:3, :3] / spacing)) < 1e-3:
        raise CalvariaError(
            ErrorCode.BAD_GEOMETRY, f"The axis directions do not span space: two of them are parallel, or all lie in a plane. {AGAIN}"
        )
    return affine


def shear_warnings(affine: Affine) -> list[str]:
    """A warning where the axes do not stand at right angles, as after a tilted gantry: grids and distances take it that they do."""
    directions = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    cosines = abs(directions.T @ directions - np.eye(3))
    if cosines.max() <= _SQUARE_COSINE:
        return []
    return ["The axes are more than a degree off right angles (a tilted gantry?) but are treated as perpendicular; resample the scan."]


def _listed(numbers: NDArray[np.float64]) -> str:
    return " × ".join(f"{number:g}" for number in numbers)
