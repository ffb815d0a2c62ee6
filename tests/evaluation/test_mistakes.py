"""Drawn mistakes of dense networks, for tests."""

import numpy as np
import pytest

from calvaria.evaluation.metrics import dice
from calvaria.evaluation.mistakes import DICE, corrupted
from calvaria.volume import BinaryVolume
from tests.orientations import stored


def ball(count: int, radius: float) -> BinaryVolume:
    distance = np.linalg.norm(np.indices((count,) * 3) - (count - 1) / 2, axis=0)
    return BinaryVolume.on_grid(distance < radius, (1.0, 1.0, 2.0))


@pytest.mark.parametrize(("axes", "flips"), [((2, 1, 0), (False, False, False)), ((1, 2, 0), (True, False, True))])
@pytest.mark.parametrize("seed", range(4))
def test_they_are_the_same_however_a_file_orders_its_axes(seed: int, axes: tuple[int, int, int], flips: tuple[bool, bool, bool]) -> None:
    truth = ball(40, 15)
    others = truth.like(np.roll(truth.mask, 16, axis=0) & ~truth.mask)
    turned = corrupted(stored(truth, axes, flips), seed, stored(others, axes, flips).mask)
    np.testing.assert_array_equal(turned.mask, stored(corrupted(truth, seed, others.mask), axes, flips).mask)


@pytest.mark.parametrize("radius", [5.5, 9.0])
def test_what_fills_its_grid_gets_some_too(radius: float) -> None:
    truth = ball(8, radius)
    for seed in range(30):
        assert dice(corrupted(truth, seed).mask, truth.mask) < max(DICE) + 0.1
