"""Voxels of surfaces, against formulas, against brute force, and there and back."""

import logging

import numpy as np
import pytest
import trimesh
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from calvaria.datasets.meshes import Grid, Mesh, box_of
from calvaria.datasets.voxelise import voxelise
from calvaria.errors import CalvariaError, ErrorCode
from calvaria.io.mesh import surface
from calvaria.volume import BinaryVolume


def mesh_of(made: trimesh.Trimesh, faces: np.ndarray | None = None) -> Mesh:
    return Mesh(np.array(made.vertices, np.float64), np.array(made.faces if faces is None else faces, np.int64))


def cubes(mask: np.ndarray) -> Mesh:
    """The faces between occupied voxels and empty ones, two triangles each, seen from outside counter-clockwise; index coordinates."""
    padded = np.pad(mask, 1)
    corners = []
    for axis in range(3):
        for side in (1, -1):
            open_faces = np.argwhere(padded & ~np.roll(padded, -side, axis)) - 1.0
            u, v = np.eye(3)[(axis + 1) % 3], np.eye(3)[(axis + 2) % 3]
            square = np.array([-u - v, u - v, u + v, -u + v])[::side] / 2 + side * np.eye(3)[axis] / 2
            corners.append(open_faces[:, None] + square)
    quads = np.concatenate(corners)
    first = 4 * np.arange(len(quads))[:, None]
    return Mesh(quads.reshape(-1, 3), np.concatenate([first + np.array(half) for half in ([0, 1, 2], [0, 2, 3])]))


BALL, TORUS = trimesh.creation.icosphere(5, radius=80.0), trimesh.creation.torus(80.0, 25.0, major_sections=256, minor_sections=128)


@pytest.mark.parametrize(("made", "volume_mm3"), [(BALL, 4 / 3 * np.pi * 80**3), (TORUS, 2 * np.pi**2 * 80 * 25**2)], ids=["ball", "torus"])
@pytest.mark.parametrize(("cells", "tolerance"), [(30, 0.03), (60, 0.01), (90, 0.01), (120, 0.005)])
def test_the_volume_enclosed_is_the_formulas(made, volume_mm3, cells, tolerance):
    mesh = mesh_of(made)
    filled = voxelise(mesh, Grid.cube(box_of(mesh), cells))
    assert filled.shape == (cells,) * 3
    assert filled.occupied * filled.voxel_mm3 == pytest.approx(volume_mm3, rel=tolerance)
    border = filled.mask.copy()
    border[1:-1, 1:-1, 1:-1] = False
    assert not border.any()


def test_every_voxel_of_a_ball_is_decided_by_its_centre():
    mesh = mesh_of(BALL)
    filled = voxelise(mesh, Grid.cube(box_of(mesh), 43))
    centres = np.moveaxis(np.indices(filled.shape), 0, -1) @ filled.affine[:3, :3].T + filled.affine[:3, 3]
    radius = np.linalg.norm(centres, axis=-1)
    sagitta = 80 - np.linalg.norm(BALL.triangles_center, axis=1).min()
    assert filled.mask[radius < 80 - sagitta - 1e-3].all()
    assert not filled.mask[radius > 80 + 1e-3].any()


@given(arrays.arrays(np.bool_, st.tuples(*[st.integers(1, 6)] * 3)), st.data())
def test_a_mask_of_cubes_comes_back_to_the_last_voxel(mask, data):
    """Touching edges and corners, cavities and walls one voxel thick included; on a grid that lies obliquely in the patient, too."""
    if not mask.any():
        mask[0, 0, 0] = True
    turn = trimesh.transformations.random_rotation_matrix(data.draw(arrays.arrays(np.float64, 3, elements=st.floats(0, 1))))
    affine = turn @ np.diag([0.4, 1.1, 0.7, 1.0])
    affine[:3, 3] = [5, -80, 33]
    drawn = cubes(mask)
    placed = Mesh(drawn.vertices @ affine[:3, :3].T + affine[:3, 3], drawn.faces)
    back = voxelise(placed, Grid(mask.shape, affine))
    assert np.array_equal(back.mask, mask)
    inside_out = voxelise(Mesh(placed.vertices, placed.faces[:, ::-1]), Grid(mask.shape, affine))
    assert np.array_equal(inside_out.mask, mask)


@given(arrays.arrays(np.int64, (4, 3), elements=st.integers(-2, 8)), st.sampled_from([1.0, 0.5, 1 / 3]))
def test_tetrahedra_with_corners_on_voxels_share_them_out(corners, scale):
    """A tetrahedron cut in four at a point inside it: every voxel belongs to exactly one of the four, wherever faces and edges meet it."""
    corners = corners * scale
    edges = corners[1:] - corners[0]
    assume(abs(np.linalg.det(edges)) > 1)
    middle = np.round(corners.mean(axis=0) * 4) / 4
    shares = np.linalg.solve(edges.T, middle - corners[0])
    assume((shares > 0).all() and shares.sum() < 1)
    faces = np.array([[0, 1, 2], [0, 3, 1], [0, 2, 3], [1, 3, 2]])
    grid = Grid((9, 9, 9), np.eye(4))
    parts = [np.where(np.arange(4)[:, None] == i, middle, corners) for i in range(4)]

    def filled(points):
        try:
            return voxelise(Mesh(points, faces), grid).mask.astype(int)
        except CalvariaError:  # no centre inside
            return np.zeros(grid.shape, int)

    assert np.array_equal(sum(filled(part) for part in parts), filled(corners))


def test_a_face_through_centres_belongs_to_one_side():
    box = trimesh.creation.box(bounds=[[1, 1, 1], [4, 5, 6]])
    assert voxelise(mesh_of(box), Grid((9, 9, 9), np.eye(4))).occupied == 3 * 4 * 5


def test_marching_cubes_and_back():
    """The surface that the server sends is smoothed; little but voxels at the surface may differ."""
    radius = np.linalg.norm(np.moveaxis(np.indices((40, 44, 36)), 0, -1) - [20, 22, 18], axis=-1)
    volume = BinaryVolume.on_grid((radius < 15) & (radius > 9), (0.8, 0.9, 1.2), (-20, 10, 30))
    drawn = surface(volume)
    back = voxelise(Mesh(drawn.vertices, drawn.triangles.astype(np.int64)), Grid(volume.shape, volume.affine))
    assert 2 * np.count_nonzero(back.mask & volume.mask) / (back.occupied + volume.occupied) > 0.98


def two_balls(apart: float, cavity: bool = False) -> Mesh:
    first, second = trimesh.creation.icosphere(3, radius=50.0), trimesh.creation.icosphere(3, radius=25.0 if cavity else 50.0)
    second.apply_translation([apart, 0, 0])
    if cavity:
        second.invert()
    return mesh_of(trimesh.util.concatenate([first, second]))


def test_bodies_that_overlap_are_one_and_a_cavity_is_empty(caplog):
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    affine[:3, 3] = -60
    grid = Grid((60, 60, 60), affine)
    one = voxelise(mesh_of(trimesh.creation.icosphere(3, radius=50.0)), grid)
    overlapping = voxelise(two_balls(20.0), grid)
    assert (overlapping.mask >= one.mask).all()
    assert overlapping.mask[30, 30, 30]
    hollow = voxelise(two_balls(0.0, cavity=True), grid)
    assert not hollow.mask[30, 30, 30]
    assert hollow.occupied * 8 == pytest.approx(4 / 3 * np.pi * (50**3 - 25**3), rel=0.03)
    assert not caplog.records


def test_triangles_that_disagree_count_as_changes(caplog):
    faces = np.array(BALL.faces)
    faces[::2] = faces[::2, ::-1]
    mesh = mesh_of(BALL)
    grid = Grid.cube(box_of(mesh), 40)
    with caplog.at_level(logging.WARNING):
        assert np.array_equal(voxelise(mesh_of(BALL, faces), grid, name="ball.stl").mask, voxelise(mesh, grid).mask)
    assert "ball.stl is closed, but its triangles disagree" in caplog.text


@pytest.mark.parametrize("lost", [1, 20, 400])
def test_a_mesh_with_holes_is_filled_by_vote_and_said(caplog, lost):
    mesh, rng = mesh_of(BALL), np.random.default_rng(lost)
    kept = np.delete(np.array(BALL.faces), rng.choice(len(BALL.faces), lost, replace=False), axis=0)
    grid = Grid.cube(box_of(mesh), 60)
    whole = voxelise(mesh, grid)
    with caplog.at_level(logging.WARNING):
        holed = voxelise(mesh_of(BALL, kept), grid, name="holed.stl")
    assert "holed.stl is not watertight" in caplog.text
    assert np.count_nonzero(holed.mask ^ whole.mask) < 0.002 * whole.occupied


def test_an_open_bowl_is_closed_flat(caplog):
    faces = np.array(BALL.faces)[BALL.triangles_center[:, 2] > -60]
    mesh = mesh_of(BALL, faces)
    bowl = voxelise(mesh, Grid.cube(box_of(mesh), 43))
    cap = np.pi * 20**2 * (3 * 80 - 20) / 3
    assert bowl.occupied * bowl.voxel_mm3 == pytest.approx(BALL.volume - cap, rel=0.02)


def test_a_sheet_encloses_nothing_and_may_be_a_shell():
    sheet = Mesh(np.array([[0, 0, 5], [20, 0, 5], [20, 30, 5], [0, 30, 5.0]]), np.array([[0, 1, 2], [0, 2, 3]]))
    grid = Grid((24, 34, 12), np.eye(4))
    with pytest.raises(CalvariaError, match="a shell") as refusal:
        voxelise(sheet, grid)
    assert refusal.value.code is ErrorCode.EMPTY_MASK
    shell = voxelise(sheet, grid, shell=True)
    expected = np.zeros(grid.shape, np.bool_)
    expected[:21, :31, 5] = True
    assert np.array_equal(shell.mask, expected)


def test_a_shell_has_no_holes_and_lies_on_the_surface():
    mesh = mesh_of(BALL)
    grid = Grid.cube(box_of(mesh), 60)
    shell, filled = voxelise(mesh, grid, shell=True), voxelise(mesh, grid)
    from scipy import ndimage

    outside, count = ndimage.label(~shell.mask)
    assert count == 2
    assert outside[0, 0, 0] != outside[30, 30, 30]
    assert (ndimage.binary_fill_holes(shell.mask) >= filled.mask).all()
    centres = np.argwhere(shell.mask) * grid.affine[0, 0] + grid.affine[:3, 3]
    assert abs(np.linalg.norm(centres, axis=1) - 80).max() <= np.sqrt(3) / 2 * grid.affine[0, 0] + 0.2


def test_the_same_cube_at_every_size():
    mesh = mesh_of(TORUS)
    edges = []
    for cells in (30, 60, 90, 120):
        grid = Grid.cube(box_of(mesh), cells)
        first, last = (grid.affine @ [*[at] * 3, 1] for at in (-0.5, cells - 0.5))
        edges.append(np.concatenate([first[:3], last[:3]]))
    np.testing.assert_allclose(edges, edges[:1] * 4, atol=1e-9)


def test_a_grid_without_end_is_refused():
    mesh = mesh_of(BALL)
    with pytest.raises(CalvariaError) as refusal:
        Grid.cube(box_of(mesh), 17_000)
    assert refusal.value.code is ErrorCode.TOO_LARGE
    with pytest.raises(CalvariaError) as refusal:
        voxelise(mesh, Grid((4, 4, 4), np.diag([0.001, 0.001, 0.001, 1])))
    assert refusal.value.code is ErrorCode.BAD_GEOMETRY
