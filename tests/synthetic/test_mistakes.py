"""Drawn mistakes: as wrong as wanted, all over the border or in whole pieces."""

import edt
import numpy as np
import pytest

from calvaria.synthetic.thorax import mistakes
from calvaria.synthetic.thorax.mistakes import dice_of, mistaken

MM = (1.0, 1.0, 1.5)


def test_voxels_that_are_cubes_get_mistakes_too() -> None:
    """Their surface's voxels lie one edge from the other side, not less."""
    truth = ball()[:, :, :35]
    found = [dice_of(mistaken(truth, (1.0, 1.0, 1.0), np.random.default_rng(seed), 0.8), truth) for seed in range(8)]
    assert np.mean(np.abs(np.array(found) - 0.8) < 0.1) > 0.7


def ball(radius_mm: float = 16.0) -> np.ndarray:
    x, y, z = (mm * (np.arange(round(52 / mm)) - 26 / mm) for mm in MM)
    return np.asarray(np.sqrt(x[:, None, None] ** 2 + y[:, None] ** 2 + z**2) < radius_mm)


def test_masks_are_as_wrong_as_wanted() -> None:
    truth = ball()
    for wanted in (0.7, 0.85, 0.95):
        found = [dice_of(mistaken(truth, MM, np.random.default_rng(seed), wanted), truth) for seed in range(10)]
        assert np.mean(np.abs(np.array(found) - wanted) < 0.1) > 0.75, "pieces are whole, so some go too far"
    assert dice_of(mistaken(truth, MM, np.random.default_rng(0), 1.0), truth) == 1


def test_whole_pieces_are_wrong_and_the_rest_is_right(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where borders are moved, as much is wrong nearer to them, and more of them."""
    truth = ball()
    depth = np.abs(edt.edt(truth, anisotropy=MM) - edt.edt(~truth, anisotropy=MM))
    deep, moved = [], []
    for share in (1.0, 0.0):
        monkeypatch.setattr(mistakes, "PIECES_SHARE", share)
        wrong = [mistakes.mistaken(truth, MM, np.random.default_rng(seed), 0.85) ^ truth for seed in range(10)]
        deep.append(np.mean([np.mean(depth[each] > 3) for each in wrong]))
        moved.append(np.mean([np.mean(each[depth < 2]) for each in wrong]))
    assert deep[0] > 1.5 * deep[1]
    assert moved[0] < 0.8 * moved[1]
