import numpy as np
import pytest

from calvaria.evaluation.continuation import continuation
from calvaria.evaluation.metrics import dice
from calvaria.volume import BinaryVolume
from tests.vault.shells import cut, head


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


@pytest.mark.parametrize("mask", [np.ones((5, 5, 5), np.bool_), np.zeros((5, 5, 5), np.bool_)], ids=["a block", "nothing"])
def test_without_a_vault_nothing_is_made(mask: np.ndarray) -> None:
    assert continuation(BinaryVolume.on_grid(mask, (1, 1, 1))).occupied == 0
