"""Surfaces from files: STL, OBJ and PLY, read by trimesh, in the patient's millimetres."""

from collections.abc import Iterable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import trimesh
from numpy.typing import NDArray

from calvaria.datasets.files import MESHES, suffix_of
from calvaria.errors import CalvariaError, ErrorCode, bad_option
from calvaria.files import reading
from calvaria.io import DEFAULT_MAX_VOXELS
from calvaria.volume import Affine

MARGIN = 1 / 30
"""Air on each side of a cubic grid, as a share of its width: one voxel at 30³, four at 120³, so that all of them cover the same cube."""
SMALL_MM = 20.0
"""A surface narrower than this is hardly a skull in millimetres."""

_HEAD_BYTES = 1024
_STL_HEAD_BYTES, _STL_TRIANGLE_BYTES = 84, 50  # binary; the head ends in the number of triangles

MESH_SIZES = (30, 60, 90, 120)
"""Voxels along each axis: those of the paper's MRI skulls, Li et al., Scientific Reports 13 (2023), doi 10.1038/s41598-023-47437-6."""

Extent = tuple[NDArray[np.float64], NDArray[np.float64]]
"""The least and the greatest x, y, z, LPS mm."""


@dataclass(frozen=True, eq=False)
class Mesh:
    """Triangles in patient space.

    vertices  float64 [V, 3], LPS mm
    faces     int64 [F, 3], rows of `vertices`; their order says which side is out
    warnings  what was assumed because the file does not say it
    """

    vertices: NDArray[np.float64]
    faces: NDArray[np.int64]
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Grid:
    """Where voxels shall lie: how many along each axis, and float64 [4, 4], voxel index (voxel centres) to LPS mm."""

    shape: tuple[int, int, int]
    affine: Affine

    @classmethod
    def cube(cls, box: Extent, cells: int) -> "Grid":
        """`cells`³ isotropic voxels: a cube about a box, with MARGIN on each side of its longest.

        CalvariaError TOO_LARGE for fewer than one, or more than are made.
        """
        if cells < 1 or cells**3 > DEFAULT_MAX_VOXELS:
            message = f"A grid of {cells}³ voxels was asked for; from 1 to {DEFAULT_MAX_VOXELS:,} are made. Choose another size."
            raise CalvariaError(ErrorCode.TOO_LARGE, message)
        low, high = box
        spacing_mm = float((high - low).max()) / (1 - 2 * MARGIN) / cells
        affine = np.diag([spacing_mm] * 3 + [1.0])
        affine[:3, 3] = (low + high) / 2 - (cells - 1) / 2 * spacing_mm
        return cls((cells, cells, cells), affine)


def read_mesh(path: Path | str) -> Mesh:
    """A surface from an STL, OBJ or PLY file; the suffix says which.

    Coordinates are millimetres, in the space that the file's head names (SPACE=LPS or SPACE=RAS, as 3D Slicer writes), else LPS, with a
    warning. Nothing that the file refers to is opened. Raises BAD_OPTION if it cannot be read or the suffix is another, NOT_A_VOLUME if it
    is no such mesh, BAD_GEOMETRY if it has no extent or coordinates that are not finite.
    """
    path = Path(path)
    suffix = suffix_of(path, MESHES)
    if not suffix:
        raise bad_option(f"{path} is no mesh that is read; the name must end in {', '.join(MESHES)}.")
    with reading(path):
        content = path.read_bytes()
    if suffix == ".stl":
        _check_stl(path, content)
    try:
        mesh = trimesh.load_mesh(BytesIO(_in_utf8(content, suffix)), file_type=suffix[1:], process=False)
        vertices, faces = np.array(mesh.vertices, np.float64), np.array(mesh.faces, np.int64)
    except Exception as error:  # whatever a damaged file makes the parsers raise
        raise CalvariaError(ErrorCode.NOT_A_VOLUME, f"{path.name} cannot be read as {suffix[1:].upper()}: {error!r}.") from error
    return _checked(path, vertices, faces, content[:_HEAD_BYTES])


def _check_stl(path: Path, content: bytes) -> None:
    """NOT_A_VOLUME unless an STL holds triangles as text, or as many bytes as its number of triangles takes."""
    if not _is_binary_stl(content) and b"vertex" not in content.lower():
        count = int.from_bytes(content[80:84], "little")
        raise CalvariaError(
            ErrorCode.NOT_A_VOLUME,
            f"{path.name} holds no triangles as text, and {len(content):,} bytes, where a binary STL of {count:,} triangles has "
            f"{_STL_HEAD_BYTES + _STL_TRIANGLE_BYTES * count:,}: it was cut short, or is no STL. Save the mesh again.",
        )


def _is_binary_stl(content: bytes) -> bool:
    return len(content) == _STL_HEAD_BYTES + _STL_TRIANGLE_BYTES * int.from_bytes(content[80:84], "little")


def _in_utf8(content: bytes, suffix: str) -> bytes:
    """A mesh's file with its text, of a PLY its head, as the parsers take it: what is not UTF-8 is taken for Latin-1."""
    if suffix == ".stl" and _is_binary_stl(content):
        return content
    text, end, data = content.partition(b"end_header") if suffix == ".ply" else (content, b"", b"")
    try:
        text.decode()
    except UnicodeDecodeError:
        text = text.decode("latin-1").encode()
    return text + end + data


def _checked(path: Path, vertices: NDArray[np.float64], faces: NDArray[np.int64], head: bytes) -> Mesh:
    if not len(faces) or faces.min() < 0 or faces.max() >= len(vertices):
        raise CalvariaError(
            ErrorCode.NOT_A_VOLUME, f"{path.name} holds no triangles, or triangles with missing vertices; save the mesh again."
        )
    corners = vertices[faces.reshape(-1)]
    width = float(np.ptp(corners, axis=0).max()) if np.isfinite(corners).all() and abs(corners).max() < 1e6 else 0.0
    if width <= 0:
        raise CalvariaError(ErrorCode.BAD_GEOMETRY, f"{path.name} has no extent, or coordinates that are no millimetres of a patient.")
    warnings = []
    if b"SPACE=RAS" in head:
        vertices = vertices * [-1, -1, 1]  # half a turn: which side of a triangle is out stays as it is
    elif b"SPACE=LPS" not in head:
        warnings.append("The mesh does not say which patient space its coordinates are in; left-posterior-superior is assumed.")
    if width < SMALL_MM:
        warnings.append(f"The mesh is {width:.3g} mm wide. If that is another unit, scale it to millimetres.")
    return Mesh(vertices, faces, tuple(warnings))


def box_of(surface: Mesh) -> Extent:
    """The box that holds a surface's triangles; vertices in no triangle do not count."""
    used = surface.vertices[surface.faces.reshape(-1)]
    return used.min(axis=0), used.max(axis=0)


def box_around(boxes: Iterable[Extent]) -> Extent:
    """The box that holds one or more boxes."""
    low, high = zip(*boxes, strict=True)
    return np.min(low, axis=0), np.max(high, axis=0)
