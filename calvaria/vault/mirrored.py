"""A head's mirror image, left for right, about a plane fitted to its skull."""

from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, optimize

from calvaria.geometry import Field
from calvaria.sampling import Lattice
from calvaria.volume import Affine

Reflection = tuple[NDArray[np.float64], NDArray[np.float64]]

BLUR_MM = 3.0
REACH_MM, TILT_DEG = 15.0, 15.0
FEW_POINTS, SOME_POINTS, MANY_POINTS = 250, 1_000, 30_000  # to find a plane, to approach the best, and to refine it
NEAR_MM, NEARER_MM, FINEST_MM = 2.0, 0.6, 0.1


def fit_mirror(share: Field, cell_mm: float, many: int = MANY_POINTS) -> Reflection:
    """The reflection x → matrix · x + offset, in cells, that lays a skull best upon itself.

    `share` is float32 [x, y, z], x running near the left-right axis. The plane is sought around the centroid, within 15 mm and 15
    degrees, first on a lattice of planes, then by Nelder-Mead with few points and with `many` at most, maximising the mean blurred
    occupancy at the reflected cells. It is found to about 0.1 mm, at the centroid and as far from it as the bone is.
    """
    blurred = ndimage.gaussian_filter(share, BLUR_MM / cell_mm)
    cells = np.argwhere(share >= min(0.5, share.max())).astype(np.float64)
    centroid = cells.mean(axis=0)
    cells -= centroid
    far = max(float(np.sqrt(np.square(cells).sum(axis=1).mean())), 1.0)

    def mismatch(planes: NDArray[np.float64], most: int, order: int = 1) -> NDArray[np.float64]:
        """How badly planes [..., 3] fit: their distance from the centroid, and two tilts, in cells as seen `far` away. Less is better."""
        points = cells[:: len(cells) // most + 1].T
        normals = _normals(planes[..., 1:] / far)
        twice = 2 * (normals @ points - planes[..., :1])
        places = (points + centroid[:, None])[:, *[None] * (planes.ndim - 1)] - np.moveaxis(normals, -1, 0)[..., None] * twice
        seen = ndimage.map_coordinates(blurred, places, order=order, mode="grid-constant", prefilter=False)
        return -np.asarray(seen.mean(axis=-1, dtype=np.float64))

    reach, tilt = REACH_MM / cell_mm, far * np.tan(np.radians(TILT_DEG))
    lattice = np.array(list(product(np.linspace(-reach, reach, 11), np.linspace(-tilt, tilt, 7), np.linspace(-tilt, tilt, 7))))
    plane = lattice[mismatch(lattice, FEW_POINTS, order=0).argmin()]
    for most, around_mm in ((SOME_POINTS, NEAR_MM), (many, NEARER_MM)):
        simplex = plane + np.vstack([np.zeros(3), np.eye(3) * around_mm / cell_mm])
        options = {"initial_simplex": simplex, "xatol": FINEST_MM / cell_mm, "fatol": np.inf}
        plane = optimize.minimize(mismatch, plane, args=(most,), method="Nelder-Mead", options=options).x
    normal = _normals(plane[1:] / far)
    return np.eye(3) - 2 * np.outer(normal, normal), 2 * (normal @ centroid + plane[0]) * normal


def between(reflection: Reflection, grid: Lattice, other: Lattice) -> Reflection:
    """The reflection of one grid's cells as one of another's, whose axes are parallel and whose cells are cubes, too."""
    to_other = np.linalg.inv(other.affine) @ grid.affine
    scale, start = to_other[0, 0], to_other[:3, 3]
    matrix, offset = reflection
    return matrix, scale * offset + start - matrix @ start


def in_patient(reflection: Reflection, affine: Affine) -> Affine:
    """A reflection of cells as one of patient space, float64 [4, 4]; `affine` takes cells to patient mm."""
    of_cells = np.eye(4)
    of_cells[:3, :3], of_cells[:3, 3] = reflection
    return np.asarray(affine @ of_cells @ np.linalg.inv(affine))


def normal_of(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """The unit normal [3] of the plane of a reflection with this matrix [3, 3], its first component positive."""
    normal = np.linalg.eigh(matrix)[1][:, 0]  # of the eigenvalue -1
    return np.asarray(normal * np.sign(normal[0]))


def _normals(tilts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Unit vectors [..., 3] along (1, tilts [..., 2])."""
    normals = np.concatenate([np.ones_like(tilts[..., :1]), tilts], axis=-1)
    return np.asarray(normals / np.linalg.norm(normals, axis=-1, keepdims=True))
