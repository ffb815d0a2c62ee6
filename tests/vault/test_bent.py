"""The mirror image is bent onto a head that is not quite symmetric."""

from collections.abc import Iterator

import numpy as np
import pytest

from calvaria.geometry import Field
from calvaria.vault.bent import MOST_NODES, Bent, bend, surface
from calvaria.vault.mirrored import Reflection
from calvaria.volume import BinaryVolume
from tests.vault.shells import HALF_MM, STEP_MM, cut, head, lopsided

HOLE = (60.0, 10.0, 35.0), 18.0


def about_the_middle(skull: BinaryVolume, off_cells: float = 0.0, tilt: float = 0.0) -> Reflection:
    """Of cells, left for right; in a plane that lies beside the middle, or leans."""
    normal = np.array([np.cos(tilt), np.sin(tilt), 0.0])
    middle = (np.array(skull.shape) - 1) / 2 + np.array([off_cells, 0, 0])
    matrix = np.eye(3) - 2 * np.outer(normal, normal)
    return matrix, middle - matrix @ middle


def seen(bent: Bent, share: Field, cells: np.ndarray) -> float:
    """How full the cells opposite of some [n, 3] are, on average."""
    opposite = np.rint(bent.opposite(cells.T * STEP_MM) / STEP_MM).astype(int)
    return float(share[tuple(opposite)].mean())


def unbent(bent: Bent) -> Bent:
    return Bent(bent.reflection, bent.node_mm, np.zeros_like(bent.shift_mm))


@pytest.mark.parametrize("bulge_mm", [3.0, 5.0])
def test_over_a_hole_of_a_lopsided_head_the_bent_image_has_the_bone_that_was_there(bulge_mm: float) -> None:
    skull = lopsided(bulge_mm)
    missing = cut(skull, *HOLE)
    share = (skull.mask & ~missing).astype(np.float32)
    bent = bend(share, STEP_MM, about_the_middle(skull))
    assert seen(bent, share, np.argwhere(missing)) > 0.85
    assert seen(unbent(bent), share, np.argwhere(missing)) < seen(bent, share, np.argwhere(missing)) - 0.3


@pytest.mark.parametrize(("off_cells", "tilt"), [(0, 0), (1.0, 0), (-1.0, 0), (-1.0, -0.02)])
def test_a_plane_that_lies_wrong_is_made_good(off_cells: float, tilt: float) -> None:
    skull = head(orbits=True)
    share = (skull.mask & ~cut(skull, *HOLE)).astype(np.float32)
    sides = np.argwhere(skull.mask)
    sides = sides[np.abs(sides[:, 0] - (skull.shape[0] - 1) / 2) * STEP_MM > 50]  # that face left or right
    bent = bend(share, STEP_MM, about_the_middle(skull, off_cells, tilt))
    right = sides[:, 0] * -1 + skull.shape[0] - 1
    error = np.abs(bent.opposite(sides.T * STEP_MM)[0] - right * STEP_MM)
    wrong = np.abs(unbent(bent).opposite(sides.T * STEP_MM)[0] - right * STEP_MM)
    assert np.percentile(error, 90) < 0.3 + 0.2 * np.percentile(wrong, 90)


def test_it_gives_way_where_the_sides_differ() -> None:
    skull = lopsided(5.0)
    bent = bend(skull.mask.astype(np.float32), STEP_MM, about_the_middle(skull))
    y, z = np.arange(-70.0, 71.0, 2.0), np.full(71, 35.0)
    x = HALF_MM[0] * np.sqrt(1 - np.square(y / HALF_MM[1]) - np.square(z / HALF_MM[2]))
    places = np.stack([x, y, z]) - np.array(skull.origin_mm)[:, None]
    given = (bent.opposite(places) - unbent(bent).opposite(places))[0]
    assert given.max() > 3.5
    assert abs(np.average(y, weights=given.clip(0) ** 4) - 10) < 4
    assert given[-1] < 3


def test_nothing_depends_on_how_fine_the_grid_is() -> None:
    skull = lopsided(5.0)
    fine = np.repeat(np.repeat(np.repeat(skull.mask, 2, 0), 2, 1), 2, 2).astype(np.float32)
    coarse = bend(skull.mask.astype(np.float32), STEP_MM, about_the_middle(skull))
    matrix, offset = about_the_middle(skull)
    finer = bend(fine, STEP_MM / 2, (matrix, 2 * offset + (np.eye(3) - matrix) @ np.full(3, 0.5)))
    places = np.argwhere(cut(skull, *HOLE)).T * STEP_MM
    apart = finer.opposite(places + STEP_MM / 4) - STEP_MM / 4 - coarse.opposite(places)
    assert np.linalg.norm(apart, axis=0).mean() < 1.0


def blocks_apart() -> Iterator[Field]:
    """What has no surface, next to none, or one that its image is nowhere near."""
    yield np.zeros((9, 9, 9), np.float32)
    yield np.full((9, 9, 9), 0.4, np.float32)
    yield np.ones((1, 1, 1), np.float32)
    for corner in (4, 5):
        far = np.zeros((80, 20, 20), np.float32)
        far[corner : corner + 9, 5:14, 5:14] = 1
        yield far


@pytest.mark.parametrize("share", list(blocks_apart()))
def test_what_meets_nothing_is_only_reflected(share: Field) -> None:
    matrix, offset = np.diag([-1.0, 1.0, 1.0]), np.array([share.shape[0] - 1.0, 0, 0])
    places = np.array([[3.0], [4.0], [5.0]])
    assert np.array_equal(bend(share, 1.0, (matrix, offset)).opposite(places), matrix @ places + offset[:, None])


def test_on_a_wide_grid_nodes_are_few() -> None:
    wide = np.zeros((1600, 2, 1600), np.float32)
    wide[200:1400:7, :, 300:1200] = 1
    bent = bend(wide, 2.0, (np.diag([-1.0, 1.0, 1.0]), np.array([1599.0, 0, 0])))
    assert bent.shift_mm[0].size < 2.5 * MOST_NODES
    assert np.isfinite(bent.shift_mm).all()


def test_points_of_a_ball_s_surface_lie_on_it_and_face_outwards() -> None:
    axis = np.arange(61) - 30.0
    distance = np.linalg.norm(np.stack(np.meshgrid(axis, axis, axis, indexing="ij")), axis=0)
    points, normals = surface((25.3 - distance + 0.5).clip(0, 1).astype(np.float32), 2.0)
    points = points - 60
    away = np.linalg.norm(points, axis=1)
    assert len(points) > 500
    assert np.abs(away - 2 * 25.3).max() < 0.5
    assert ((points * normals).sum(axis=1) / away).min() > 0.98


@pytest.mark.parametrize("start", range(8))
def test_every_face_of_a_block_has_points_wherever_it_lies(start: int) -> None:
    share = np.zeros((40, 40, 40), np.float32)
    share[start : start + 13, 7:20, 6:21] = 1
    share[:, :, :3] = 1  # bone that the scan cuts off
    points, normals = surface(share, 1.0)
    faces = {tuple(face) for face in np.rint(normals[(points[:, 2] > 5) & (np.abs(normals).max(axis=1) > 0.99)]).astype(int)}
    assert len(faces) >= (6 if start else 5)
    assert not (points[:, 2] < 1).any()
