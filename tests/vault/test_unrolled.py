"""A vault is found and unrolled."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from calvaria.vault.cavity import Cavity, direction, trimmed_sphere
from calvaria.vault.continued import holes
from calvaria.vault.unrolled import GAP_MM, GROUP, SAMPLE_MM, Unrolled, _along_rays, _Runs, lattice, on_map
from tests.vault.shells import HALF_MM, cut, head


def test_the_map_finds_its_own_directions() -> None:
    directions, within = lattice()
    np.testing.assert_allclose(np.linalg.norm(directions[within], axis=-1), 1)
    rows, columns = on_map(7.0 * directions[within])
    np.testing.assert_allclose(np.stack([rows, columns], axis=1), np.argwhere(within), atol=1e-6)


def test_an_unrolled_skull_shows_its_tables_and_its_hole() -> None:
    skull = head()
    truth = cut(skull, (0, 0, 80), 20)
    cavity = Cavity.of(skull)
    unrolled = Unrolled.of((skull.mask & ~truth).astype(np.float32), skull.affine, cavity)
    seen = unrolled.vault & unrolled.bone
    places = unrolled.centre_mm + unrolled.directions * unrolled.outer_mm[..., None]
    levels = np.linalg.norm(places[seen] / HALF_MM, axis=-1)
    assert np.percentile(np.abs(levels - 1), 99) < 0.03  # the rest lies on the hole's frayed edge
    assert np.median((unrolled.outer_mm - unrolled.inner_mm)[seen]) == pytest.approx(6, abs=1)
    (hole,) = holes(unrolled)
    assert hole[tuple(np.array(hole.shape) // 2)]


def test_what_lies_far_inside_or_outside_the_vault_is_astray() -> None:
    """A head of which a quarter is missing included; what lies straight below the map does not show."""
    skull = head()
    for bone in (skull.mask, skull.mask & ~cut(skull, (60, 10, 35), 40)):
        unrolled = Unrolled.of(bone.astype(np.float32), skull.affine, Cavity.of(skull))
        places = np.argwhere(skull.mask)[::50] @ skull.affine[:3, :3].T + skull.affine[:3, 3]
        offsets = places - unrolled.centre_mm
        vault = offsets[:, 2] > 0
        beside, below = unrolled.astray(places)
        assert not beside.any()
        assert not below[vault].any()
        for share in (0.7, 1.3):
            beside, below = unrolled.astray(unrolled.centre_mm + share * offsets[vault])
            assert beside.all()
            assert not below.any()
        beside, below = unrolled.astray(unrolled.centre_mm + np.array([[0, -1, -30], [0, -30, -90], [0, 1, -30], [0, 30, -90]]))
        assert not beside.any()
        assert below.tolist() == [True, True, False, False]


@given(st.integers(0, 99))
def test_bone_on_a_ray_goes_on_over_small_gaps_as_a_closing_does(seed: int) -> None:
    seen = (np.random.default_rng(seed).random((5, 40)) > 0.7).astype(np.float32)
    gap = int(GAP_MM / SAMPLE_MM)
    closed = ndimage.binary_closing(np.pad(seen > 0.5, ((0, 0), (9, 9))), np.ones((1, gap + 1), np.bool_))
    change = np.diff(closed.astype(np.int8), axis=1)
    radii = SAMPLE_MM * np.arange(40)
    runs = _Runs.of(seen, radii)
    for step, ends in ((1, runs.start_mm), (-1, runs.stop_mm)):
        ray, before = np.nonzero(change == step)
        assert np.array_equal(runs.ray, ray)
        np.testing.assert_allclose(ends, (before - 9 + 0.5) * SAMPLE_MM)  # halfway between a sample without and one with bone


def test_nothing_is_missed_by_looking_first_where_bone_may_be() -> None:
    skull = head()
    share = ndimage.uniform_filter(skull.mask.astype(np.float32), 2)
    directions, within = lattice()
    radii = 30 + SAMPLE_MM * np.arange(40 * GROUP)
    for cell_mm in (1.0, 2.0):
        affine = np.diag([cell_mm, cell_mm, cell_mm, 1.0])
        centre = np.array([50.0, 52.0, 49.0]) * cell_mm
        ways = directions[within][::50]
        places = (centre + ways[:, None] * radii[:, None]) / cell_mm
        expected = ndimage.map_coordinates(share, np.moveaxis(places, -1, 0), order=1)
        assert expected.any()
        np.testing.assert_allclose(_along_rays(share, affine, centre, ways, radii), expected, atol=1e-3)


def test_a_sphere_is_found_in_spite_of_much_that_is_not_on_it() -> None:
    rng = np.random.default_rng(0)
    ways = rng.standard_normal((1000, 3))
    ways /= np.linalg.norm(ways, axis=1, keepdims=True)
    points = np.concatenate([[10, 20, 30] + 80 * ways, rng.uniform(-40, 80, (100, 3))])
    centre, radius = trimmed_sphere(points)
    np.testing.assert_allclose([*centre, radius], [10, 20, 30, 80], atol=0.5)


def test_directions_and_the_surface_in_them() -> None:
    np.testing.assert_allclose([direction(0, 0), direction(90, 0), direction(30, 90)], [[0, -1, 0], [1, 0, 0], [0, 0, 1]], atol=1e-12)
    cavity = Cavity.of(head())
    np.testing.assert_allclose(cavity.surface_mm(direction(0, 90))[2], 82, atol=3)
