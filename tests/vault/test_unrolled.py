"""A vault is found and unrolled."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage
from shells import HALF_MM, cut, head

from calvaria.vault.cavity import Cavity, direction, trimmed_sphere
from calvaria.vault.continued import holes
from calvaria.vault.unrolled import PIXEL, Unrolled, _closed, lattice, on_map


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
    (hole,) = holes(unrolled, PIXEL * cavity.radius_mm)
    assert hole[tuple(np.array(hole.shape) // 2)]


@given(st.integers(0, 99), st.integers(1, 6))
def test_gaps_are_closed_as_a_closing_does(seed: int, gap: int) -> None:
    solid = np.random.default_rng(seed).random((5, 40)) > 0.7
    padded = np.pad(solid, ((0, 0), (9, 9)))
    expected = ndimage.binary_closing(padded, np.ones((1, gap + 1), np.bool_))[:, 9:-9]
    assert np.array_equal(_closed(solid, gap), expected)


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
