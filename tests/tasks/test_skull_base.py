"""Openings that a head has by itself, away from the vault, stay as they are."""

import numpy as np
import pytest

from calvaria.grid import WorkingGrid
from calvaria.tasks import Settings, skull_base
from calvaria.tasks.closeup import INPUTS, CloseUp, Given
from calvaria.tasks.completion import finish, look, prepare
from calvaria.tasks.skull_base import without_openings
from calvaria.tasks.task import Inferred
from calvaria.volume import BinaryVolume, Mask
from tests.vault.shells import cut, head


def kept(wanted: Mask, astray: Mask, opened: Mask | None = None, mirrored: Mask | None = None) -> Mask:
    """What stays of what is wanted in a volume with a little bone at its far end; `opened`: what is open on the other side, too;
    `mirrored`: what the skull's mirror image has."""
    bone = np.zeros(wanted.shape, np.bool_)
    bone[:, :, -1] = True
    grid = WorkingGrid.filling(BinaryVolume.on_grid(bone, (1.0, 1.0, 1.0)), 1.0)
    shares = grid.coarsen(bone)
    field, away, empty = np.zeros_like(shares), np.zeros(shares.shape, np.bool_), np.zeros(shares.shape, np.bool_)
    part = tuple(map(slice, wanted.shape))
    field[part], away[part], empty[part] = wanted * np.float32(0.9), astray, False if opened is None else astray & opened
    image = np.zeros(shares.shape, np.float32)
    image[part] = False if mirrored is None else mirrored
    features = np.zeros((image.size, INPUTS), np.float32)
    features[:, Given.MIRRORED] = image.ravel()
    sites, nothing = np.ones_like(away), np.zeros_like(shares)
    closeup = CloseUp(grid, shares, sites, features, np.s_[:, :, :], nothing, away, empty, np.array)
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


def test_a_large_piece_stays_wherever_it_seems_to_lie(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(skull_base, "LARGEST_CM3", PIECE.sum() / 1000 - 1e-6)
    np.testing.assert_array_equal(kept(PIECE, X >= 0), PIECE)


@pytest.mark.parametrize(("seen", "largest_cm3", "stays"), [(7, 0.2, True), (5, 0.2, False), (10, 0.4, False)])
def test_a_piece_that_the_other_side_has_stays_unless_it_is_small(
    seen: int, largest_cm3: float, stays: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert PIECE.sum() == 300
    monkeypatch.setattr(skull_base, "LARGEST_ONE_SIDED_CM3", largest_cm3)
    np.testing.assert_array_equal(kept(PIECE, X >= 0, mirrored=seen + 4 > X), PIECE & stays)


def test_what_is_open_on_the_other_side_stays_open_and_the_rest_is_filled() -> None:
    """Of a piece that reaches away from the vault, and of none in the vault."""
    np.testing.assert_array_equal(kept(PIECE | OTHER, X < 8, X < 7), PIECE & (X >= 7) | OTHER)


def test_where_nothing_is_wanted_nothing_changes() -> None:
    assert not kept(PIECE & False, X >= 0).any()


SETTINGS, CLOSER = Settings(spacing_mm=3.0, occupied_share=0.1), Settings(spacing_mm=1.5, occupied_share=0.1)


@pytest.mark.parametrize("sides", [(1,), (-1, 1)])
def test_holes_of_a_floor_inside_a_head_are_left_open_whatever_the_networks_want(sides: tuple[int, ...]) -> None:
    """On one side or both, and a hole of the vault is filled."""
    shell = head(orbits=True)
    x, y, z = np.moveaxis(np.indices(shell.shape).T * shell.spacing_mm + shell.origin_mm, -1, 0).transpose(0, 3, 2, 1)
    whole = shell.like(shell.mask | (np.hypot(x / 55, y / 70) < 1) & (abs(z + 15) < 4))
    holes = np.logical_or.reduce([np.hypot(x - 20 * side, y + 40) < 12 for side in sides]) & whole.mask & (z < 0)
    missing = cut(whole, (60, 10, 35), 22) & (z > 0)
    prepared = prepare(whole.like(whole.mask & ~missing & ~holes), SETTINGS)
    closeup = look(prepared, prepared.grid.coarsen(whole.mask)[None], SETTINGS, CLOSER)
    assert closeup is not None
    wanted = closeup.grid.coarsen(whole.mask[closeup.box])
    assert closeup.grid.coarsen(holes[closeup.box])[closeup.sites].sum() > 0.8 * holes[closeup.box].sum() * (2 / 1.5) ** 3
    implant = finish(prepared, Inferred(prepared.shares, closeup, wanted), SETTINGS)["implant"]
    assert implant[missing].mean() > 0.9
    assert not implant[holes].any()
