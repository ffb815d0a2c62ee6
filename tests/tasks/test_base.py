"""Openings that a head has by itself, away from the vault, stay as they are."""

import numpy as np
import pytest

from calvaria.grid import WorkingGrid
from calvaria.tasks import CloseUp
from calvaria.tasks.base import without_openings
from calvaria.volume import BinaryVolume, Mask


def kept(wanted: Mask, astray: Mask) -> Mask:
    """What stays of what is wanted in a volume with a little bone at its far end."""
    bone = np.zeros(wanted.shape, np.bool_)
    bone[:, :, -1] = True
    grid = WorkingGrid.filling(BinaryVolume.on_grid(bone, (1.0, 1.0, 1.0)), 1.0)
    shares = grid.coarsen(bone)
    field, away = np.zeros_like(shares), np.zeros(shares.shape, np.bool_)
    part = tuple(map(slice, wanted.shape))
    field[part], away[part] = wanted * np.float32(0.9), astray
    closeup = CloseUp(np.s_[:, :, :], grid, shares, shares > 0, np.zeros((0, 4), np.float32), np.zeros_like(shares), away)
    return np.asarray(without_openings(field, closeup, 0.5)[part] > 0.5)


X = np.indices((40, 20, 12))[0]
PIECE = np.zeros((40, 20, 12), np.bool_)
PIECE[4:14, 4:14, 3:6] = True
OTHER = PIECE[::-1].copy()


def test_a_piece_away_from_the_vault_goes_and_another_stays() -> None:
    np.testing.assert_array_equal(kept(PIECE | OTHER, X < 20), OTHER)


@pytest.mark.parametrize(("share", "stays"), [(0, True), (5, True), (7, False), (10, False)])
def test_a_piece_that_reaches_the_vault_stays_whole(share: int, stays: bool) -> None:
    np.testing.assert_array_equal(kept(PIECE, share + 4 > X), PIECE & stays)


def test_where_nothing_is_wanted_nothing_changes() -> None:
    assert not kept(PIECE & False, X >= 0).any()
