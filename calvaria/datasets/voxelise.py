"""A surface mesh to a mask: which voxel centres it encloses, or which voxels it passes through.

A line of voxel centres crosses each triangle or misses it, decided on vertices rounded to 1/65536 of a voxel, in whole numbers, with one
rule for lines that meet an edge or a corner: neighbouring triangles never both claim such a line nor both leave it.
"""

import logging
from collections.abc import Iterator

import numpy as np
import trimesh
from numpy.typing import NDArray

from calvaria.datasets.meshes import Grid, Mesh
from calvaria.errors import CalvariaError, ErrorCode
from calvaria.volume import BinaryVolume, Mask

Ints = NDArray[np.int64]

STEPS = 2**16
"""Vertices are rounded to this share of a voxel."""
SAMPLE_VOXELS = 0.5
"""How long the edges of the pieces of a surface may be whose corners mark a shell."""

_REACH_VOXELS = 2**12  # beyond it products of three coordinates would not fit 64 bits
_CANDIDATES = 2**21  # lines looked at together: what bounds memory
_PIECES = 2**21
_HALVINGS = 16  # from the longest edge there can be to half a voxel, and one to spare

_log = logging.getLogger(__name__)


def voxelise(surface: Mesh, grid: Grid, shell: bool = False, name: str = "The mesh") -> BinaryVolume:
    """The voxels of `grid` that a surface fills; with `shell`, those it passes through.

    Filled: a voxel is occupied where its centre lies inside. For a closed surface whose triangles agree on which side is out, that is
    where the winding number is not zero: bodies that overlap are one, and a cavity whose triangles face into it stays empty. If closed but
    its triangles disagree, inside is where a line has crossed it an odd number of times. If open, lines along all three axes vote,
    those that cross an odd number of times in all abstain, and more votes for inside than against fill the voxel (after Nooruddin and Turk,
    IEEE TVCG 9(2), 2003). The last two are logged as warnings, with `name`.

    Shell: a voxel is occupied where a corner of the surface lies in it, after its triangles are cut to edges of at most half a voxel.

    Raises EMPTY_MASK where no voxel is occupied, BAD_GEOMETRY where the surface reaches thousands of voxels beyond the grid.
    """
    index = np.linalg.inv(grid.affine)
    points = surface.vertices @ index[:3, :3].T + index[:3, 3]
    used = points[surface.faces.reshape(-1)]
    if abs(used).max() > _REACH_VOXELS:
        raise CalvariaError(ErrorCode.BAD_GEOMETRY, f"{name} reaches far beyond its grid; choose a coarser one.")
    mask = _shell(points, surface.faces, grid.shape) if shell else _filled(points, surface.faces, grid.shape, name)
    if not mask.any():
        raise CalvariaError(
            ErrorCode.EMPTY_MASK,
            f"{name} {'passes through' if shell else 'encloses'} no voxel of the grid"
            + ("." if shell else ": it is an open sheet, or thinner than the voxels. Choose more voxels, or a shell."),
        )
    return BinaryVolume(mask, grid.affine)


def _filled(points: NDArray[np.float64], faces: Ints, shape: tuple[int, int, int], name: str) -> Mask:
    fixed, number = _distinct(np.rint(points * STEPS).astype(np.int64))
    triangles = number[faces]
    wound, open_edges = _edges(triangles)
    if wound:
        return np.asarray(_crossed(fixed, triangles, shape, 2)[..., :-1] != 0)
    if not open_edges:
        _log.warning("%s is closed, but its triangles disagree on which side is out: each crossing of it counts as a change.", name)
        return np.asarray(_crossed(fixed, triangles, shape, 2)[..., :-1] & 1 == 1)
    inside, disputed = _voted(fixed, triangles, shape)
    _log.warning(
        "%s is not watertight: %d edges are open. Lines along three axes decided what lies inside, for %d of %d voxels not unanimously.",
        name,
        open_edges,
        disputed,
        np.count_nonzero(inside),
    )
    return inside


def _distinct(rows: Ints) -> tuple[Ints, Ints]:
    """The distinct rows, in order, and which of these each row is: `np.unique` along an axis, but that one number a row is sorted."""
    number, first = rows[:, 0] - rows[:, 0].min(), np.arange(len(rows))
    for column in rows.T[1:]:
        low, high = column.min(), column.max()
        # Below 2⁵⁹ for coordinates in reach, and for edges.
        _, first, number = np.unique(number * (high - low + 1) + column - low, return_index=True, return_inverse=True)
    return rows[first], number


def _edges(triangles: Ints) -> tuple[bool, int]:
    """Whether every edge is run through as often in one direction as in the other; and how many belong to an odd number of triangles."""
    ends = np.concatenate([triangles[:, [a, b]] for a, b in ((0, 1), (1, 2), (2, 0))])
    ends = ends[ends[:, 0] != ends[:, 1]]
    _, edge = _distinct(np.sort(ends, axis=1))
    balance = np.bincount(edge, weights=np.where(ends[:, 0] < ends[:, 1], 1, -1))
    return not balance.any(), int(np.count_nonzero(np.bincount(edge) & 1))


def _voted(points: Ints, triangles: Ints, shape: tuple[int, int, int]) -> tuple[Mask, int]:
    """Where lines along the axes say inside, and for how many voxels they do not all say the same."""
    votes, voters = np.zeros(shape, np.int8), np.zeros(shape, np.int8)
    for axis in range(3):
        crossed = _crossed(points, triangles, shape, axis) & 1
        valid = np.moveaxis(crossed[..., -1:] == 0, -1, axis)
        votes += (np.moveaxis(crossed[..., :-1], -1, axis) == 1) & valid
        voters += valid
    return 2 * votes > voters, int(np.count_nonzero((votes > 0) & (votes < voters)))


def _crossed(points: Ints, triangles: Ints, shape: tuple[int, int, int], axis: int) -> NDArray[np.int16]:
    """How often, upwards less downwards, the line along `axis` has crossed the surface before each centre, and in all.

    int16 [U, V, W + 1]: W along `axis`, U and V the other two in their order; the last entry is of the whole line. A crossing exactly at a
    centre counts as before it.
    """
    u, v = (other for other in range(3) if other != axis)
    counts = shape[u], shape[v], shape[axis]
    total = np.zeros((*counts[:2], counts[2] + 1), np.int16)
    for triangle, at_u, at_v in _candidates(points[:, [u, v]], triangles, counts[:2]):
        corners = triangles[triangle]
        areas = [_side(points, corners[:, a], corners[:, b], at_u * STEPS, at_v * STEPS, u, v) for a, b in ((1, 2), (2, 0), (0, 1))]
        signs = [sign for _, sign in areas]
        hit = (signs[0] == signs[1]) & (signs[1] == signs[2])
        height = points[:, axis][corners[hit]] / STEPS
        weight = np.stack([area[hit] for area, _ in areas], axis=1).astype(np.float64)
        rise = (weight[:, 1:] * (height[:, 1:] - height[:, :1])).sum(axis=1)
        whole = weight.sum(axis=1)
        before = height[:, 0] + np.divide(rise, whole, out=np.zeros_like(rise), where=whole != 0)
        first = np.clip(np.ceil(before), 0, counts[2]).astype(np.int64)
        np.add.at(total, (at_u[hit], at_v[hit], first), signs[0][hit].astype(np.int16))
    return np.cumsum(total, axis=-1, dtype=np.int16, out=total)


def _candidates(plane: Ints, triangles: Ints, counts: tuple[int, int]) -> Iterator[tuple[Ints, Ints, Ints]]:
    """Every triangle with every line of centres that its box in the plane holds: rows of `triangles`, u, v."""
    corners = plane[triangles]
    low = np.clip(-(-corners.min(axis=1) // STEPS), 0, counts)
    size = np.clip(corners.max(axis=1) // STEPS + 1, 0, counts) - low
    size[(size < 1).any(axis=1)] = 0
    lines = size.prod(axis=1)
    ends = np.cumsum(lines)
    start = 0
    while start < len(triangles):
        done = int(ends[start - 1]) if start else 0
        stop = max(int(np.searchsorted(ends, done + _CANDIDATES, side="right")), start + 1)
        triangle = np.repeat(np.arange(start, stop), lines[start:stop])
        place = np.arange(len(triangle)) - np.repeat(ends[start:stop] - lines[start:stop] - done, lines[start:stop])
        yield triangle, low[triangle, 0] + place // size[triangle, 1], low[triangle, 1] + place % size[triangle, 1]
        start = stop


def _side(points: Ints, start: Ints, end: Ints, at_u: Ints, at_v: Ints, u: int, v: int) -> tuple[Ints, Ints]:
    """Twice the area of (start, end, place), above zero to the left of the edge; and the side of a place a hair off in u, less in v.

    The second is never 0 but for an edge seen end on, and the opposite for the edge run through backwards.
    """
    along_u, along_v = points[end, u] - points[start, u], points[end, v] - points[start, v]
    area = along_u * (at_v - points[start, v]) - along_v * (at_u - points[start, u])
    return area, np.where(area != 0, np.sign(area), np.where(along_v != 0, -np.sign(along_v), np.sign(along_u)))


def _shell(points: NDArray[np.float64], faces: Ints, shape: tuple[int, int, int]) -> Mask:
    mask = np.zeros(shape, np.bool_)
    corners = points[faces]
    longest = np.linalg.norm(corners - np.roll(corners, 1, axis=1), axis=2).max(axis=1)
    pieces = np.cumsum(4 ** np.ceil(np.log2(np.maximum(longest / SAMPLE_VOXELS, 1))))
    for chosen in np.split(faces, np.searchsorted(pieces, np.arange(_PIECES, pieces[-1], _PIECES))):
        if len(chosen):
            each = points[chosen].reshape(-1, 3)
            cut, _ = trimesh.remesh.subdivide_to_size(each, np.arange(len(each)).reshape(-1, 3), SAMPLE_VOXELS, max_iter=_HALVINGS)
            voxels = np.rint(cut).astype(np.int64)
            voxels = voxels[((voxels >= 0) & (voxels < shape)).all(axis=1)]
            mask[tuple(voxels.T)] = True
    return mask
