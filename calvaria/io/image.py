"""What a file holds before anyone asks whether it is a mask: samples on a grid in the patient."""

from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calvaria.errors import CalvariaError, ErrorCode
from calvaria.volume import Affine

DEFAULT_MAX_VOXELS = 2**28  # 512 x 512 x 1024
LPS_FROM_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])

_SPACING_MM = 0.001, 100.0  # outside, the unit is not the millimetre
_LARGEST_MM3 = 2e9  # a whole-body scan takes half of this; a working grid over more would not fit into memory


@dataclass(frozen=True, eq=False)
class Image:
    """Samples of any real type on a regular grid.

    samples   [X, Y, Z] in Fortran order, as they lie in the file: X is the fastest
    affine    float64 [4, 4], voxel index to LPS mm
    format    one of `calvaria.io.FORMATS`
    warnings  what was assumed because the file does not say it
    """

    samples: NDArray[Any]
    affine: Affine
    format: str
    warnings: tuple[str, ...] = ()


def checked_shape(sizes: list[int], max_voxels: int) -> tuple[int, int, int]:
    """The three sizes a header promises, before any memory is taken for them.

    Raises BAD_HEADER for a size below 1, WRONG_DIMENSION unless there are three, TOO_LARGE beyond `max_voxels`.
    """
    if any(size < 1 for size in sizes):
        raise CalvariaError(ErrorCode.BAD_HEADER, f"The header gives the sizes {sizes}; each must be at least 1.")
    if len(sizes) != 3:
        raise CalvariaError(
            ErrorCode.WRONG_DIMENSION, f"The file holds an array with {len(sizes)} axes {sizes}; send one volume with three."
        )
    if prod(sizes) > max_voxels:
        raise CalvariaError(
            ErrorCode.TOO_LARGE,
            f"The volume has {prod(sizes):,} voxels and at most {max_voxels:,} are accepted; crop it to the head or resample it.",
        )
    x, y, z = sizes
    return x, y, z


def checked_affine(affine: Affine, shape: tuple[int, int, int]) -> Affine:
    """An affine that a real volume of this shape can have, or BAD_GEOMETRY."""
    with np.errstate(over="ignore", invalid="ignore"):
        spacing = np.linalg.norm(affine[:3, :3], axis=0)
    if not np.isfinite(affine).all() or not ((spacing >= _SPACING_MM[0]) & (spacing <= _SPACING_MM[1])).all():
        low, high = _SPACING_MM
        raise CalvariaError(
            ErrorCode.BAD_GEOMETRY,
            f"The voxel spacing is {_listed(spacing)} mm and the origin {_listed(affine[:3, 3])} mm; "
            f"spacings between {low} and {high:g} mm and a finite origin are accepted.",
        )
    cosine = abs(np.linalg.det(affine[:3, :3] / spacing))
    if cosine < 1e-3:
        raise CalvariaError(
            ErrorCode.BAD_GEOMETRY, "The axis directions do not span space: two of them are parallel, or all lie in a plane."
        )
    if prod(shape) * float(spacing.prod()) * cosine > _LARGEST_MM3:
        raise CalvariaError(
            ErrorCode.BAD_GEOMETRY, f"{shape} voxels of {_listed(spacing)} mm fill more than 2 m³; check the spacing's unit."
        )
    return affine


def _listed(numbers: NDArray[np.float64]) -> str:
    return " × ".join(f"{number:g}" for number in numbers)
