"""A binary mask and where it lies in the patient."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]
Affine = NDArray[np.float64]

SAME_PLACE_MM = 0.01
"""How far apart the grids of several files may lie and count as one: headers of some formats are rounded to single precision."""


SPACING_MM = 0.001, 100.0
"""Spacings of voxels that are read or made: outside, the unit is not the millimetre."""


@dataclass(frozen=True, eq=False)
class BinaryVolume:
    """A mask on a regular grid in patient space.

    mask    bool [X, Y, Z]; X is the first NRRD axis (the fastest in the file), so `mask[i, j, k]` is NRRD's sample (i, j, k).
    affine  float64 [4, 4]: voxel index (i, j, k, 1), at voxel centres, to patient millimetres, left-posterior-superior (LPS).
    """

    mask: Mask
    affine: Affine

    def __post_init__(self) -> None:
        if self.mask.ndim != 3 or self.mask.dtype != np.bool_:
            raise ValueError(f"mask must be bool [X, Y, Z], not {self.mask.dtype} with {self.mask.ndim} axes")
        if self.affine.shape != (4, 4) or not np.isfinite(self.affine).all():
            raise ValueError("affine must be a finite [4, 4] matrix")
        if abs(np.linalg.det(self.affine[:3, :3])) < 1e-12:
            raise ValueError("affine must be invertible: no axis may have zero spacing or lie along another")

    @classmethod
    def on_grid(
        cls, mask: Mask, spacing_mm: tuple[float, float, float], origin_mm: tuple[float, float, float] = (0, 0, 0)
    ) -> "BinaryVolume":
        """A volume whose axes run along left, posterior and superior."""
        affine = np.diag([*spacing_mm, 1.0]).astype(np.float64)
        affine[:3, 3] = origin_mm
        return cls(mask, affine)

    @classmethod
    def empty(cls, shape: tuple[int, ...], affine: Affine) -> "BinaryVolume":
        """A grid where nothing is occupied; its mask cannot be written to, and takes no memory."""
        return cls(np.broadcast_to(np.False_, shape), affine)

    def emptied(self) -> "BinaryVolume":
        """This grid with nothing on it; see `empty`."""
        return BinaryVolume.empty(self.shape, self.affine)

    def like(self, mask: Mask) -> "BinaryVolume":
        """Another mask on this volume's grid."""
        if mask.shape != self.mask.shape:
            raise ValueError(f"a mask of shape {mask.shape} does not lie on a grid of shape {self.mask.shape}")
        return BinaryVolume(mask, self.affine)

    def cropped(self, box: tuple[slice, slice, slice]) -> "BinaryVolume":
        """What lies in a box of slices with a start each [X, Y, Z], in place; its mask is a view."""
        affine = self.affine.copy()
        affine[:3, 3] += affine[:3, :3] @ [axis.start for axis in box]
        return BinaryVolume(self.mask[box], affine)

    @property
    def samples(self) -> NDArray[Any]:
        """What a file of this volume holds, one byte a voxel [X, Y, Z]: 0 where it is empty."""
        return self.mask

    @property
    def shape(self) -> tuple[int, int, int]:
        x, y, z = self.mask.shape
        return x, y, z

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance between voxel centres along each index axis, mm."""
        x, y, z = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(x), float(y), float(z)

    @property
    def origin_mm(self) -> tuple[float, float, float]:
        """Centre of voxel (0, 0, 0) in patient space, mm LPS."""
        x, y, z = self.affine[:3, 3]
        return float(x), float(y), float(z)

    @property
    def direction(self) -> NDArray[np.float64]:
        """Unit vectors of the index axes in patient space (LPS), one per column [3, 3]."""
        return np.asarray(self.affine[:3, :3] / np.linalg.norm(self.affine[:3, :3], axis=0))

    @cached_property
    def occupied(self) -> int:
        """Number of occupied voxels."""
        return int(np.count_nonzero(self.mask))

    @property
    def grid(self) -> str:
        """The grid in words for a message."""
        spacing, origin = (", ".join(f"{value:g}" for value in values) for values in (self.spacing_mm, self.origin_mm))
        return f"{' x '.join(map(str, self.shape))} voxels of {spacing} mm from {origin} mm"

    @property
    def voxel_mm3(self) -> float:
        """Volume of one voxel, mm³."""
        return float(abs(np.linalg.det(self.affine[:3, :3])))

    def same_grid(self, other: "BinaryVolume", tolerance_mm: float = 1e-3) -> bool:
        """Whether both lie on the same voxels: same shape, and no corner of the grid further apart than `tolerance_mm`."""
        if self.shape != other.shape:
            return False
        corners = np.array([[i, j, k, 1] for i in (0, self.shape[0]) for j in (0, self.shape[1]) for k in (0, self.shape[2])])
        apart = (corners @ (self.affine - other.affine).T)[:, :3]
        return bool(np.linalg.norm(apart, axis=1).max() <= tolerance_mm)
