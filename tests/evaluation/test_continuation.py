import numpy as np
import pytest

from calvaria.evaluation.continuation import continuation
from calvaria.evaluation.metrics import dice
from calvaria.vault.cavity import Cavity, direction, trimmed_sphere
from calvaria.vault.continued import holes
from calvaria.vault.unrolled import PIXEL, Unrolled, lattice, on_map
from calvaria.volume import BinaryVolume, Mask

STEP_MM = 2.0


def head(bottom_mm: float = -45.0, orbits: bool = False) -> BinaryVolume:
    """An egg-shaped shell 6 mm thick, open below; `orbits` adds a round opening low in front on either side."""
    axis = (np.arange(100) + 0.5) * STEP_MM - 100
    x, y, z = np.meshgrid(axis, axis, axis, indexing="ij")
    size = np.sqrt((x / 70) ** 2 + (y / 88) ** 2 + (z / 82) ** 2)
    mask = (size < 1) & (size > 0.925) & (z > bottom_mm)
    if orbits:
        mask &= ~((np.hypot(np.abs(x) - 30, z + 15) < 17) & (y < 0))
    return BinaryVolume.on_grid(mask, (STEP_MM,) * 3, (float(axis[0]),) * 3)


def cut(skull: BinaryVolume, centre_mm: tuple[float, float, float], radius_mm: float) -> Mask:
    places = np.indices(skull.shape).T * STEP_MM + skull.origin_mm
    distance = np.linalg.norm(places - centre_mm, axis=-1).T
    return skull.mask & (distance < radius_mm)


@pytest.mark.parametrize(("centre_mm", "radius_mm"), [((60, 10, 35), 25), ((0, 0, 80), 35), ((-20, -75, 30), 12)])
def test_a_hole_is_found_and_filled(centre_mm: tuple[float, float, float], radius_mm: float) -> None:
    skull = head()
    truth = cut(skull, centre_mm, radius_mm)
    assert dice(continuation(skull.like(skull.mask & ~truth)).mask, truth) > 0.85


def test_two_holes_are_filled() -> None:
    skull = head()
    truth = cut(skull, (60, 10, 35), 20) | cut(skull, (-40, 50, 50), 18)
    assert dice(continuation(skull.like(skull.mask & ~truth)).mask, truth) > 0.85


def test_openings_that_every_head_has_are_left_open() -> None:
    skull = head(orbits=True)
    assert continuation(skull).occupied * skull.voxel_mm3 < 500
    truth = cut(skull, (60, 10, 35), 25)
    assert dice(continuation(skull.like(skull.mask & ~truth)).mask, truth) > 0.85


def test_without_a_vault_nothing_is_made() -> None:
    assert continuation(BinaryVolume.on_grid(np.ones((5, 5, 5), dtype=bool), (1, 1, 1))).occupied == 0


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
    levels = np.linalg.norm(places[seen] / [70, 88, 82], axis=-1)
    assert np.percentile(np.abs(levels - 1), 99) < 0.03  # the rest lies on the hole's frayed edge
    assert np.median((unrolled.outer_mm - unrolled.inner_mm)[seen]) == pytest.approx(6, abs=1)
    (hole,) = holes(unrolled, PIXEL * cavity.radius_mm)
    assert hole[tuple(np.array(hole.shape) // 2)]


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
