"""The surface of a mask as triangles, and binary STL (3D Systems, 1989: 80 bytes of text, a count, 50 bytes a triangle)."""

from dataclasses import dataclass
from math import ceil, sqrt

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array

from calvaria.geometry import bounding_box
from calvaria.volume import BinaryVolume, Mask

MOST_TRIANGLES = 500_000
"""Most triangles of a surface: 25 MB as STL. A larger one is drawn on blocks of 2, 3, 4 … voxels along each axis."""

SMOOTHING_STEPS = 20
"""Each step shrinks the surface a little and grows it again. A ball of radius 30 voxels is round to 0.10 voxels then, not 0.21 (standard
deviation of the radius), its area right to 0.6 %, not 9 %, and its volume to 0.1 %. Long terraces of gently sloping planes stay.
"""

_SHRINK, _GROW = 0.5, -0.53  # Taubin's lambda and mu (SIGGRAPH 1995): together they keep the volume
_FARTHEST = 0.5  # blocks
_HEADER = b"Calvaria; SPACE=LPS; UNIT=mm"  # 3D Slicer reads SPACE; the text must not begin with "solid", as an STL in ASCII does
_STL_TRIANGLE = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attributes", "<u2")])

Vertices = NDArray[np.float64]
Triangles = NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class Surface:
    """Closed surfaces around the occupied voxels.

    vertices   float64 [V, 3]: patient mm, left-posterior-superior (LPS)
    triangles  int32 [T, 3]: rows of `vertices`, counter-clockwise as seen from outside
    block      edge of the blocks it was drawn on, in voxels; 1 unless it had too many triangles
    """

    vertices: Vertices
    triangles: Triangles
    block: int


def surface(volume: BinaryVolume, most_triangles: int = MOST_TRIANGLES) -> Surface:
    """Marching cubes (Lewiner's, of scikit-image) at the volume's own geometry, its staircases smoothed.

    No vertex moves further than half a voxel along any index axis from where marching cubes put it, so plates one voxel thick stay; threads
    and specks of one voxel shrink to nearly nothing. Above `most_triangles`, voxels are first counted in blocks, as large as it takes, and
    a block is inside where more than half of it is; what is thinner than half a block is lost then. Extra memory: about 10 bytes a voxel
    of the occupied box.
    """
    if not volume.occupied:
        return Surface(np.zeros((0, 3)), np.zeros((0, 3), np.int32), 1)
    block = max(ceil(sqrt(2 * _boundary_faces(volume.mask) / most_triangles)), 1)  # a face makes about two triangles
    while True:
        vertices, triangles = _marching_cubes(volume.mask, block)
        if len(triangles) <= most_triangles:
            break
        block += 1
    at = (_smoothed(vertices, triangles) + 0.5) * block - 0.5  # from block to voxel indices, both at centres
    placed = at @ volume.affine[:3, :3].T + volume.affine[:3, 3]
    mirrored = np.linalg.det(volume.affine[:3, :3]) < 0
    return Surface(placed, triangles if mirrored else triangles[:, ::-1], block)  # marching cubes goes clockwise


def serialise(surface: Surface) -> bytes:
    """A binary STL in patient mm, LPS, as 3D Slicer expects it; an empty surface is one with no triangles."""
    records = np.zeros(len(surface.triangles), _STL_TRIANGLE)
    corners = surface.vertices[surface.triangles]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    lengths = np.linalg.norm(normals, axis=1, keepdims=True)
    records["normal"] = np.divide(normals, lengths, out=np.zeros_like(normals), where=lengths > 0)
    records["corners"] = corners
    return _HEADER.ljust(80) + len(records).to_bytes(4, "little") + records.tobytes()


BETWEEN = 0.499
"""Level between two counts, so that no vertex falls on a centre and no triangle is degenerate. Not half-way: where voxels meet at an edge
alone scikit-image would leave edges of four triangles, in a file that no printer's program takes for closed. Below, such voxels are joined.
"""


def _marching_cubes(mask: Mask, block: int) -> tuple[Vertices, Triangles]:
    """The surface in block indices; around every block's centre that is inside, for the outside of the mask is empty."""
    from skimage.measure import marching_cubes  # most requests can do without its import, 0.2 s

    counts = mask.view(np.uint8) if block == 1 else _counts(mask, block)
    kept = bounding_box(counts > 0)
    padded = np.pad(counts[kept], 1).astype(np.float32)
    level = block**3 // 2 + BETWEEN
    if padded.max() < level:
        return np.zeros((0, 3)), np.zeros((0, 3), np.int32)
    vertices, triangles, _, _ = marching_cubes(padded, level)
    return vertices.astype(np.float64) + [axis.start - 1 for axis in kept], triangles


def _counts(mask: Mask, block: int) -> NDArray[np.uint32]:
    """Occupied voxels in each block; blocks at the far end reach beyond the mask."""
    counts: NDArray[np.uint32] = mask.view(np.uint8)
    for axis in (2, 1, 0):  # the slowest in memory first
        counts = np.add.reduceat(counts, np.arange(0, counts.shape[axis], block), axis, dtype=np.uint32)
    return counts


def _boundary_faces(mask: Mask) -> int:
    """Faces between an occupied voxel and an empty one inside the volume."""
    return sum(int(np.count_nonzero(np.diff(mask, axis=axis))) for axis in range(3))


def _smoothed(vertices: Vertices, triangles: Triangles) -> Vertices:
    """Taubin's smoothing, each vertex held within half a block of where it was (as Gibson's surface nets hold it in its cell)."""
    start, end = triangles.ravel(), triangles[:, [1, 2, 0]].ravel()  # closed: every edge is met once in each direction
    neighbours = coo_array((np.ones(len(start)), (start, end)), shape=(len(vertices),) * 2).tocsr()
    count = neighbours.sum(axis=1)[:, None]
    at = vertices
    for factor in (_SHRINK, _GROW) * SMOOTHING_STEPS:
        at = np.clip(at + factor * (neighbours @ at / count - at), vertices - _FARTHEST, vertices + _FARTHEST)
    return at
