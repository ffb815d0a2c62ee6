"""Bodies of no organ: of every size, and some as good as convex."""

import numpy as np
import pytest
from scipy.spatial import ConvexHull

from calvaria.synthetic.thorax.bodies import EDGE_MM, SIZES, make_body
from calvaria.synthetic.thorax.cases import MOST_VOXELS, draw_scene

SEEDS = range(1_000_000, 1_000_024)
CONVEX = 0.9
"""A body that fills so much of its convex hull is nearly convex."""


@pytest.fixture(scope="module")
def bodies() -> list[tuple[float, float]]:
    """Volume, cm³, and share of the convex hull."""
    found = []
    for seed in SEEDS:
        lattice, distance = make_body(seed)
        assert distance.min() < 0 < distance.max()
        assert max(lattice.shape) * lattice.step_mm <= SIZES[1] * (EDGE_MM + 8)
        cells = np.count_nonzero(distance < 0)
        found.append((cells * lattice.step_mm**3 / 1000, cells / ConvexHull(np.argwhere(distance < 0)).volume))
    return found


def test_bodies_are_small_and_large(bodies: list[tuple[float, float]]) -> None:
    cm3 = [volume for volume, _ in bodies]
    assert min(cm3) < 20
    assert max(cm3) > 1000


def test_many_are_nearly_convex_whatever_their_size(bodies: list[tuple[float, float]]) -> None:
    """So that what sticks out of such a one, or is bitten off, can be learned not to belong there."""
    cm3 = [volume for volume, solid in bodies if solid > CONVEX]
    assert len(cm3) > len(bodies) / 4
    assert max(cm3) > 5 * min(cm3)


def test_a_body_is_the_same_whenever_it_is_made() -> None:
    (lattice, distance), (other, again) = (make_body(SEEDS[3]) for _ in range(2))
    assert lattice == other
    np.testing.assert_array_equal(distance, again)


def test_large_bodies_have_larger_voxels_than_organs() -> None:
    """So that more than a part of them fits into the voxels that an example may have."""
    scenes = [draw_scene(seed, "body").truth for seed in SEEDS[:16]]
    assert max(max(scene.shape) for scene in scenes) <= MOST_VOXELS
    assert max(max(scene.spacing_mm) for scene in scenes) > 2.6
    assert all(scene.occupied for scene in scenes)
