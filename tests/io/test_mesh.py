"""Surfaces against what a ball, a box and single voxels must give, and against what an STL reader of another hand reads."""

import itertools
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from calvaria.io import encode
from calvaria.io.mesh import Surface, serialise, surface
from calvaria.volume import BinaryVolume


def ball(radius: int) -> np.ndarray:
    at = np.indices((2 * radius + 5,) * 3) - (radius + 2)
    return np.asfortranarray((at**2).sum(axis=0) <= radius**2)


def enclosed(found: Surface) -> float:
    """Volume by the divergence theorem: positive where triangles face outwards."""
    corners = found.vertices[found.triangles]
    return float(np.einsum("ij,ij->", corners[:, 0], np.cross(corners[:, 1], corners[:, 2])) / 6)


def area(found: Surface) -> float:
    corners = found.vertices[found.triangles]
    return float(np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1).sum() / 2)


def read_stl(content: bytes) -> tuple[np.ndarray, np.ndarray]:
    """Normals [T, 3] and corners [T, 3, 3], byte by byte as the format says."""
    count = int.from_bytes(content[80:84], "little")
    assert len(content) == 84 + 50 * count
    records = np.frombuffer(content[84:], np.uint8).reshape(count, 50)
    numbers = np.ascontiguousarray(records[:, :48]).view("<f4").reshape(count, 4, 3)
    return numbers[:, 0], numbers[:, 1:]


def test_a_ball_has_its_volume_and_nearly_its_area_in_place():
    mask = ball(20)
    volume = BinaryVolume.on_grid(mask, (0.5, 0.5, 0.5), (10, -20, 30))
    found = surface(volume)
    assert found.block == 1
    assert enclosed(found) == pytest.approx(volume.occupied * volume.voxel_mm3, rel=0.003)
    assert area(found) == pytest.approx(4 * np.pi * 10**2, rel=0.02)  # the staircase's own is 1.5 times that
    np.testing.assert_allclose(found.vertices.mean(axis=0), np.array([10, -20, 30]) + 22 * 0.5, atol=0.02)
    radii = np.linalg.norm(found.vertices - found.vertices.mean(axis=0), axis=1)
    assert radii.std() < 0.06


@given(arrays.arrays(np.bool_, st.tuples(*[st.integers(1, 6)] * 3)), st.sampled_from([1, 2, 3]))
@settings(max_examples=60)
def test_any_surface_is_closed_faces_outwards_and_bounds_the_voxels(mask, few):
    found = surface(BinaryVolume.on_grid(np.asfortranarray(mask), (1, 1, 1)), 40 * few)
    assert len(found.triangles) <= 40 * few
    edges = found.triangles[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2)
    forth, back = (np.unique(each, axis=0) for each in (edges, edges[:, ::-1]))
    assert len(forth) == len(edges), "an edge has two triangles"
    np.testing.assert_array_equal(forth, back)
    assert (enclosed(found) > 0) == (len(found.triangles) > 0)
    if found.block == 1 and mask.any():
        occupied = np.argwhere(mask)
        assert (found.vertices >= occupied.min(axis=0) - 1).all()
        assert (found.vertices <= occupied.max(axis=0) + 1).all()


@pytest.mark.parametrize("signs", list(itertools.product([1, -1], repeat=3)))
def test_it_faces_outwards_in_the_patient_however_the_axes_run(signs):
    affine = np.diag([0.5 * signs[0], 0.7 * signs[1], 2.0 * signs[2], 1])[[1, 0, 2, 3]]
    affine[:3, 3] = 5, 6, 7
    mask = np.zeros((9, 10, 11), np.bool_, order="F")
    mask[2:6, 3:9, 4:6] = True
    volume = BinaryVolume(mask, affine)
    found = surface(volume)
    assert 0 < enclosed(found) < volume.occupied * volume.voxel_mm3
    assert enclosed(found) > 0.6 * volume.occupied * volume.voxel_mm3
    centre = (affine @ [3.5, 5.5, 4.5, 1])[:3]
    np.testing.assert_allclose(found.vertices.mean(axis=0), centre, atol=1e-3)


def test_a_single_voxel_does_not_vanish_and_a_touched_border_is_closed():
    lone = np.zeros((3, 3, 3), np.bool_)
    lone[1, 1, 1] = True
    full = np.ones((4, 5, 6), np.bool_)
    assert enclosed(surface(BinaryVolume.on_grid(lone, (1, 1, 1)))) > 0
    assert enclosed(surface(BinaryVolume.on_grid(full, (1, 1, 1)))) == pytest.approx(120, rel=0.15)


def test_too_many_triangles_are_drawn_on_larger_blocks():
    volume = BinaryVolume.on_grid(ball(30), (1, 1, 1), (1, 2, 3))
    fine, coarse = surface(volume), surface(volume, 5000)
    assert (fine.block, coarse.block) == (1, 3)
    assert 2000 < len(coarse.triangles) <= 5000 < len(fine.triangles)
    assert enclosed(coarse) == pytest.approx(enclosed(fine), rel=0.01)
    np.testing.assert_allclose(coarse.vertices.mean(axis=0), fine.vertices.mean(axis=0), atol=0.05)


def test_noise_is_bounded_too():
    noise = BinaryVolume.on_grid(np.random.default_rng(0).random((40, 40, 40)) < 0.5, (1, 1, 1))
    assert len(surface(noise, 1000).triangles) <= 1000


def test_stl_holds_the_triangles_and_their_normals():
    volume = BinaryVolume.on_grid(ball(5), (0.5, 0.6, 0.7), (10, -20, 30))
    found, content = surface(volume), encode(volume, "stl")
    assert content == serialise(found)
    assert not content.startswith((b"solid", b"{"))
    assert b"SPACE=LPS" in content[:80]
    normals, corners = read_stl(content)
    np.testing.assert_allclose(corners, found.vertices[found.triangles], rtol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1, rtol=1e-5)
    outwards = corners.mean(axis=1) - corners.mean(axis=(0, 1))
    assert (np.einsum("ij,ij->i", normals, outwards) > 0).all()


def test_an_empty_mask_has_an_empty_surface():
    normals, corners = read_stl(encode(BinaryVolume.on_grid(np.zeros((3, 4, 5), np.bool_), (1, 1, 1)), "stl"))
    assert len(normals) == len(corners) == 0


def test_a_solid_block_takes_no_more_memory_than_a_shell():
    mask = np.zeros((96, 96, 96), np.bool_, order="F")
    mask[8:88, 8:88, 8:88] = True
    surface(BinaryVolume.on_grid(mask[:8, :8, :8], (1.0, 1.0, 1.0)))  # imports
    tracemalloc.start()
    surface(BinaryVolume.on_grid(mask, (1.0, 1.0, 1.0)))
    solid = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    hollow = mask.copy(order="F")
    hollow[20:76, 20:76, 20:76] = False
    tracemalloc.start()
    surface(BinaryVolume.on_grid(hollow, (1.0, 1.0, 1.0)))
    assert solid < 1.2 * tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
