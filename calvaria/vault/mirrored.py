"""A head's mirror image, left for right, about a plane fitted to its skull."""

from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, optimize

from calvaria.geometry import Field
from calvaria.volume import Affine

Reflection = tuple[NDArray[np.float64], NDArray[np.float64]]

BLUR_MM = 3.0
FEW_POINTS = 2_000  # to find a plane
MANY_POINTS = 30_000  # to refine it
REACH_MM, TILT_DEG = 15.0, 15.0


def fit_mirror(share: Field, cell_mm: float, many: int = MANY_POINTS) -> Reflection:
    """The reflection x → matrix · x + offset, in cells, that lays a skull best upon itself.

    `share` is float32 [x, y, z], x running near the left-right axis. The plane is sought around the centroid, within 15 mm and 15
    degrees, first on a lattice of planes, then by Nelder-Mead, maximising the mean blurred occupancy at the reflected cells, `many` of
    them at most.
    """
    blurred = ndimage.gaussian_filter(share, BLUR_MM / cell_mm)
    cells = np.argwhere(share >= min(0.5, share.max())).astype(np.float64)
    centroid = cells.mean(axis=0)

    def mismatch(plane: NDArray[np.float64], points: NDArray[np.float64]) -> float:
        matrix, offset = _reflection(plane, centroid)
        return -float(ndimage.map_coordinates(blurred, matrix @ points + offset[:, None], order=1, mode="constant").mean())

    few, more = (cells[:: len(cells) // count + 1].T for count in (FEW_POINTS, many))
    reach, tilt = REACH_MM / cell_mm, np.tan(np.radians(TILT_DEG))
    lattice = product(np.linspace(-tilt, tilt, 7), np.linspace(-tilt, tilt, 7), np.linspace(-reach, reach, 11))
    start = min((np.array(plane) for plane in lattice), key=lambda plane: mismatch(plane, few))
    simplex = start + np.vstack([np.zeros(3), np.diag([0.05, 0.05, 2 / cell_mm])])
    options = {"initial_simplex": simplex, "xatol": 1e-3, "fatol": 1e-6}
    return _reflection(optimize.minimize(mismatch, start, args=(more,), method="Nelder-Mead", options=options).x, centroid)


def in_patient(reflection: Reflection, affine: Affine) -> Affine:
    """A reflection of cells as one of patient space, float64 [4, 4]; `affine` takes cells to patient mm."""
    of_cells = np.eye(4)
    of_cells[:3, :3], of_cells[:3, 3] = reflection
    return np.asarray(affine @ of_cells @ np.linalg.inv(affine))


def _reflection(plane: NDArray[np.float64], centroid: NDArray[np.float64]) -> Reflection:
    """Reflection in the plane with normal (1, plane[0], plane[1]), plane[2] cells from the centroid."""
    normal = np.array([1.0, plane[0], plane[1]])
    normal /= np.linalg.norm(normal)
    return np.eye(3) - 2 * np.outer(normal, normal), 2 * (normal @ centroid + plane[2]) * normal
