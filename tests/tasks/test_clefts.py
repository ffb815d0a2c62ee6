"""An implant fills a hole, and none of the clefts that lead away from it."""

import numpy as np
import pytest

from calvaria.grid import WorkingGrid
from calvaria.tasks.clefts import without_strips
from calvaria.tasks.closeup import CloseUp
from calvaria.volume import BinaryVolume, Mask

X, Y = np.meshgrid(np.arange(80.0), np.arange(80.0), indexing="ij")


def judged(opening: Mask, wanted: Mask | None = None) -> tuple[Mask, Mask]:
    """What is wanted of an opening in a plate, 80 mm wide and 6 mm thick, and what stays of that."""
    wanted = opening if wanted is None else wanted
    plate = np.repeat(~opening[..., None], 6, axis=2)
    grid = WorkingGrid.filling(BinaryVolume.on_grid(plate, (1.0, 1.0, 1.0)), 1.0)
    shares = grid.coarsen(plate)
    field = np.zeros_like(shares)
    field[:80, :80, :6] = wanted[..., None] * np.float32(0.9)
    closeup = CloseUp(
        grid, shares, shares > 0, np.zeros((0, 4), np.float32), np.s_[:, :, :], np.zeros_like(shares), shares > 1, shares > 1, np.array
    )
    kept = without_strips(field, closeup, 0.5) > 0.5
    return field > 0.5, kept


HOLE = (X - 30) ** 2 + (Y - 30) ** 2 < 12**2
CLEFT = (abs(Y - 30) < 2) & (X > 30) & (X < 70)


def test_a_cleft_that_leads_away_from_a_hole_stays_open() -> None:
    wanted, kept = judged(HOLE | CLEFT)
    assert kept[:80, :80][HOLE].all()
    assert not kept[46:70, 28:33].any()
    assert (kept <= wanted).all()


@pytest.mark.parametrize("edge", [9, 12, 30])
def test_square_holes_keep_their_corners(edge: int) -> None:
    wanted, kept = judged((abs(X - 40) < edge / 2) & (abs(Y - 40) < edge / 2))
    np.testing.assert_array_equal(kept, wanted)


def test_a_piece_that_is_narrow_all_over_is_left_to_be_judged_as_a_whole() -> None:
    wanted, kept = judged(CLEFT)
    np.testing.assert_array_equal(kept, wanted)


def test_a_narrow_piece_beside_a_wide_one_is_left_too() -> None:
    apart = (abs(Y - 60) < 2) & (abs(X - 40) < 20)
    wanted, kept = judged(HOLE | apart)
    np.testing.assert_array_equal(kept, wanted)


def test_nothing_wanted_is_nothing() -> None:
    wanted, kept = judged(HOLE, np.zeros_like(HOLE))
    assert not wanted.any()
    assert not kept.any()
