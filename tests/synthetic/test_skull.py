"""Generated skulls: a seed is a head, whatever the grid, and every head is one a scanner could have seen."""

import cc3d
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import distance_transform_edt, map_coordinates, maximum_filter

from calvaria.evaluation.metrics import dice
from calvaria.synthetic import make_skull
from calvaria.synthetic.shape import HeadShape, draw_shape
from calvaria.volume import BinaryVolume

seeds = st.integers(0, 2**31)


def sampled_at(source: BinaryVolume, grid: BinaryVolume) -> BinaryVolume:
    """One skull at the voxel centres of another's grid."""
    places = np.moveaxis(np.indices(grid.shape), 0, -1) @ grid.affine[:3, :3].T + grid.affine[:3, 3]
    voxels = np.moveaxis(places - source.affine[:3, 3], -1, 0) / np.array(source.spacing_mm).reshape(3, 1, 1, 1)
    return grid.like(map_coordinates(source.mask.astype(np.float32), voxels, order=1) > 0.5)


def in_head_frame(head: HeadShape, volume: BinaryVolume, place_mm: tuple[float, float, float]) -> tuple[int, int, int]:
    """The voxel at a place given in the head's frame."""
    patient = head.rotation @ np.array(place_mm) + head.centre_mm
    i, j, k = np.round((patient - volume.affine[:3, 3]) / np.array(volume.spacing_mm)).astype(int)
    return int(i), int(j), int(k)


def test_the_seed_decides() -> None:
    once, again, other = make_skull(3, 3.0), make_skull(3, 3.0), make_skull(4, 3.0)
    assert np.array_equal(once.mask, again.mask)
    assert np.array_equal(once.affine, again.affine)
    assert once.shape != other.shape or not np.array_equal(once.mask, other.mask)


@pytest.fixture(scope="module")
def fine() -> BinaryVolume:
    return make_skull(8, 1.0)


@pytest.mark.parametrize("spacing_mm", [2.0, 3.0, (1.0, 2.0, 3.0)])
def test_the_same_head_at_every_spacing(fine: BinaryVolume, spacing_mm: float | tuple[float, float, float]) -> None:
    coarse = make_skull(8, spacing_mm)
    assert dice(sampled_at(fine, coarse).mask, coarse.mask) > 0.9
    assert coarse.spacing_mm == pytest.approx(np.broadcast_to(spacing_mm, 3))


def test_the_same_head_on_a_grid_of_chosen_shape() -> None:
    own, chosen = make_skull(8, 2.0), make_skull(8, 2.0, (120, 140, 60))
    assert chosen.shape == (120, 140, 60)
    assert dice(sampled_at(own, chosen).mask, chosen.mask) > 0.9


@given(seed=seeds)
@settings(max_examples=10, deadline=None)
def test_one_skull_without_crumbs_that_fills_a_plausible_share(seed: int) -> None:
    skull = make_skull(seed, 3.0)
    assert 0.02 < skull.occupied / skull.mask.size < 0.16
    pieces = cc3d.statistics(cc3d.connected_components(skull.mask, connectivity=26))["voxel_counts"][1:]
    assert max(pieces) > 0.7 * skull.occupied
    assert min(pieces) * skull.voxel_mm3 >= 1500


@given(seed=seeds)
@settings(max_examples=10, deadline=None)
def test_the_cranial_cavity_is_empty_and_closed_above(seed: int) -> None:
    head, skull = draw_shape(seed), make_skull(seed, 3.0)
    i, j, k = in_head_frame(head, skull, (0, 5, 10))
    away = np.indices(skull.shape) - np.array([i, j, k]).reshape(3, 1, 1, 1)
    dome = (np.square(away).sum(0) < (30 / 3) ** 2) & (away[2] >= -10 / 3)
    assert not skull.mask[dome].any()
    # Bundles three voxels wide: a single ray may find one of the small holes that thresholding leaves in thin bone.
    x, y, z = (slice(at - 1, at + 2) for at in (i, j, k))
    for bundle in (skull.mask[x, y, k:], skull.mask[:i, y, z], skull.mask[i:, y, z], skull.mask[x, :j, z], skull.mask[x, j:, z]):
        assert bundle.any()


@given(seed=seeds)
@settings(max_examples=5, deadline=None)
def test_the_vault_is_as_thick_as_bone(seed: int) -> None:
    head, skull = draw_shape(seed), make_skull(seed, 1.5)
    _, _, level = in_head_frame(head, skull, (0, 0, 5))
    vault = skull.mask[:, :, level : level + 25]
    inside = distance_transform_edt(vault) * 1.5
    ridge = (inside == maximum_filter(inside, 5)) & vault
    assert abs(np.median(2 * inside[ridge]) - head.thickness) < 1.6 + 0.35 * head.thickness


@given(seed=seeds)
@settings(max_examples=8, deadline=None)
def test_no_head_is_symmetric_but_every_head_nearly(seed: int) -> None:
    head, skull = draw_shape(seed), make_skull(seed, 3.0)
    across = np.indices(skull.shape).reshape(3, -1)[:, skull.mask.ravel()].T * 3.0 + skull.affine[:3, 3]
    sides = ((across - head.centre_mm) @ head.rotation)[:, 0]
    assert not np.array_equal(skull.mask, skull.mask[::-1])
    assert abs(np.mean(sides > 0) - 0.5) < 0.1
    assert abs(sides.max() + sides.min()) < 16


def test_heads_vary_as_people_do() -> None:
    heads = [draw_shape(seed) for seed in range(300)]
    for sizes, low, high in (([h.length for h in heads], 125, 205), ([h.width for h in heads], 98, 170)):
        assert low <= min(sizes)
        assert max(sizes) <= high
        assert np.ptp(sizes) > 0.6 * (high - low)
    extents = [h.centre_mm[2] - h.cut_z_mm for h in heads]
    assert min(extents) < 60  # the vault alone
    assert max(extents) > 140  # with the lower jaw


@pytest.mark.parametrize("spacing_mm", [0, -1.0, (1.0, 1.0, 0.0)])
def test_a_spacing_must_be_positive(spacing_mm: float | tuple[float, float, float]) -> None:
    with pytest.raises(ValueError, match="must be positive"):
        make_skull(1, spacing_mm)
