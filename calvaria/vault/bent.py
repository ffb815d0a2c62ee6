"""A head's mirror image, bent to lie on the head itself: no head's sides are quite alike, but its left differs from its right smoothly."""

from dataclasses import dataclass
from math import ceil

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import KDTree

from calvaria.geometry import Field, bared
from calvaria.sampling import transformed
from calvaria.vault.mirrored import Reflection

NODE_MM = 8.0
MOST_NODES = 2**16  # a head has 20,000; on a wider grid they lie further apart
THINNED = np.array([1, 3, 5]), 8  # of the cells of a surface one in eight is kept, whichever way it faces
MOST_POINTS = 50_000  # most points of a surface; heads have 15,000 to 30,000
WIDTHS_MM = 40.0, 30.0, 20.0, 15.0, 12.0
"""Standard deviations: how far around a place its neighbours move with it, round by round. Chosen on validation heads (from 900,600)."""

FAR_MM = 6.0
ALIKE = 0.7  # cosine between normals of surfaces that may belong together
STIFFNESS = 0.05
"""Resistance to all movement, as a share of the pull along the normals: where these agree, hardly anything slides along the surface."""

FLAT = 0.1  # a slope of occupancy below this, per cell, tells no direction

Points = NDArray[np.float64]  # [n, 3], mm along the axes of a grid, from its first cell


@dataclass(frozen=True, eq=False)
class Bent:
    """Where in a skull to look for what lies opposite a place. All in mm along the axes of a grid, from its first cell.

    reflection  matrix [3, 3] and offset [3]
    node_mm     how far apart nodes are
    shift_mm    how far to go from a node before the reflection, [3, x, y, z]
    """

    reflection: Reflection
    node_mm: float
    shift_mm: NDArray[np.float64]

    def opposite(self, places_mm: NDArray[np.float64]) -> NDArray[np.float64]:
        """Points opposite others, [3, n] both."""
        return transformed(*self.reflection, places_mm + _read(self.shift_mm, places_mm / self.node_mm))


def bend(share: Field, cell_mm: float, reflection: Reflection) -> Bent:
    """Bend the mirror image of a skull until its surfaces lie on the skull's own.

    share       float32 [x, y, z], how full cells of a millimetre or so are
    reflection  of cells of this grid: as near as a plane brings the image (`fit_mirror`)

    Alternately, points of the skull are paired with the nearest of the image that face the same way, and every place moves as those
    around it want: least squares along their normals (point-to-plane; Chen and Medioni, 1992), weighted by a Gaussian. Over a hole,
    where nothing is paired, the movement goes on as around it, as far as four standard deviations.
    """
    matrix, offset = reflection[0], reflection[1] * cell_mm
    extent_mm = np.array(share.shape) * cell_mm
    node_mm = max(NODE_MM, float(np.prod(extent_mm + NODE_MM) / MOST_NODES) ** (1 / 3))
    shift = np.zeros((3, *(ceil(each / node_mm) + 1 for each in extent_mm)))
    points, normals = surface(share, cell_mm)
    if len(points):
        image, facing = points @ matrix.T + offset, normals @ matrix.T
        tree, at = KDTree(image), points / node_mm
        for width_mm in WIDTHS_MM:
            here = points + _read(shift, at.T).T
            apart, nearest = tree.query(here, distance_upper_bound=FAR_MM)
            near = np.flatnonzero(np.isfinite(apart))
            paired = near[(facing[nearest[near]] * normals[near]).sum(axis=1) > ALIKE]
            other = nearest[paired]
            wanted = ((image[other] - here[paired]) * facing[other]).sum(axis=1)
            shift += _step(at[paired], facing[other], wanted, shift.shape[1:], width_mm / node_mm)
    return Bent((matrix, offset), node_mm, shift)  # a reflection undoes itself


def surface(share: Field, cell_mm: float) -> tuple[Points, Points]:
    """Points [n, 3] on the surface where cells are half full, and the unit normals there, out of the bone. A grid's end is no surface."""
    cells = np.argwhere(bared(share > 0.5))
    cells = cells[cells @ THINNED[0] % THINNED[1] == 0]
    cells = cells[:: len(cells) // MOST_POINTS + 1]
    values, slopes = _slopes(share, cells)
    steep = np.linalg.norm(slopes, axis=1)
    cells, values, slopes, steep = (each[steep > FLAT] for each in (cells, values, slopes, steep))
    normals = -slopes / steep[:, None]
    return (cells + normals * ((values - 0.5) / steep).clip(-1, 1)[:, None]) * cell_mm, normals


def _slopes(share: Field, cells: NDArray[np.intp]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Occupancy [n], smoothed by binomials, and its slopes [n, 3], per cell, at cells [n, 3]."""
    smooth, slope = np.array([1, 4, 6, 4, 1]) / 16, np.array([-1, -2, 0, 2, 1]) / 8
    around = np.indices((5, 5, 5)).reshape(3, -1)
    padded = np.pad(share, 2, mode="edge")
    at = np.ravel_multi_index(tuple(cells.T), padded.shape)[:, None] + np.ravel_multi_index(tuple(around), padded.shape)
    seen = padded.ravel()[at].astype(np.float64)

    def weighed(*masks: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(seen @ np.prod([mask[along] for mask, along in zip(masks, around, strict=True)], axis=0))

    slopes = weighed(slope, smooth, smooth), weighed(smooth, slope, smooth), weighed(smooth, smooth, slope)
    return weighed(smooth, smooth, smooth), np.stack(slopes, axis=1)


def _step(
    places: NDArray[np.float64], normals: Points, wanted: NDArray[np.float64], shape: tuple[int, ...], width: float
) -> NDArray[np.float64]:
    """How every node should move, mm [3, x, y, z], where points at `places` (nodes, [n, 3]) want to move so far along their normals."""
    flat = np.ravel_multi_index(tuple(np.rint(places).astype(np.intp).T), shape, mode="clip")

    def spread(values: NDArray[np.float64]) -> NDArray[np.float64]:
        gathered = np.bincount(flat, values, minlength=int(np.prod(shape))).reshape(shape)
        return np.asarray(ndimage.gaussian_filter(gathered, width, mode="constant"))

    pulls = np.stack([spread(normals[:, axis] * wanted) for axis in range(3)], axis=-1)
    system = np.zeros((*shape, 3, 3))
    for row in range(3):
        for column in range(row, 3):
            system[..., row, column] = system[..., column, row] = spread(normals[:, row] * normals[:, column])
    stiff = STIFFNESS * np.trace(system, axis1=-2, axis2=-1) + 1e-9  # the last, so that what nothing pulls stays
    system[..., range(3), range(3)] += stiff[..., None]
    return np.asarray(np.linalg.solve(system, pulls[..., None])[..., 0].transpose(3, 0, 1, 2), np.float64)


def _read(field: NDArray[np.float64], places: NDArray[np.float64]) -> NDArray[np.float64]:
    """Vectors [3, n] of a field [3, x, y, z] at places [3, n], in nodes; as at its border beyond it."""
    return np.stack([ndimage.map_coordinates(each, places, order=1, mode="nearest", prefilter=False) for each in field])
