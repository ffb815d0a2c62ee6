"""What the mirror image alone has is looked at; what that of an answer leaves open stays open, unless the vault is continued there."""

import numpy as np
import pytest

from calvaria.geometry import Field
from calvaria.grid import WorkingGrid
from calvaria.tasks import Settings, other_side
from calvaria.tasks.closeup import INPUTS, MIRRORED, CloseUp, Given
from calvaria.tasks.completion import finish, look, prepare
from calvaria.tasks.hints import Hints
from calvaria.tasks.other_side import AROUND, WELL_CONTINUED, as_opposite, lacked
from calvaria.tasks.task import Inferred
from calvaria.volume import BinaryVolume, Mask
from tests.vault.shells import cut, head

SHAPE = (40, 20, 20)


def opposite(places: np.ndarray) -> np.ndarray:
    return np.stack([SHAPE[0] - 1 - places[0], *places[1:]])


def kept(wanted: Mask, mirrored: Field, depth: float = 0.0, seen: float = 1.0) -> Mask:
    """What stays of what is wanted in air, its other side as full as `mirrored`, its depth in the continued vault the same everywhere.

    Beside it lies bone, which the other side has as far as it is `seen`.
    """
    bone = np.zeros(SHAPE, np.bool_)
    bone[:, :, -1] = True
    mirrored = np.where(bone, np.float32(seen), mirrored)
    grid = WorkingGrid.filling(BinaryVolume.on_grid(np.ones(SHAPE, np.bool_), (1.0, 1.0, 1.0)), 1.0)
    features = np.zeros((wanted.size, INPUTS), np.float32)
    features[:, Given.DEPTH], features[:, Given.MIRRORED] = depth, mirrored.ravel()
    nothing, no_cell = np.zeros(SHAPE, np.float32), np.zeros(SHAPE, np.bool_)
    closeup = CloseUp(grid, bone.astype(np.float32), ~no_cell, features, np.s_[:, :, :], nothing, no_cell, no_cell, opposite)
    return np.asarray(as_opposite(wanted * np.float32(0.9), closeup, 0.5) > 0.5)


OPEN = np.zeros(SHAPE, np.float32)
BLOCK = np.zeros(SHAPE, np.bool_)
BLOCK[4:12, 4:14, 4:14] = True


@pytest.mark.parametrize(("full", "stays"), [(0.0, False), (MIRRORED - 0.01, False), (MIRRORED + 0.01, True), (1.0, True)])
def test_a_block_stays_where_the_other_side_has_bone(full: float, stays: bool) -> None:
    np.testing.assert_array_equal(kept(BLOCK, OPEN + np.float32(full)), BLOCK & stays)


@pytest.mark.parametrize(("seen", "stays"), [(1.0, False), (0.0, True)])
def test_a_side_that_does_not_have_what_this_one_has_is_no_witness(seen: float, stays: bool) -> None:
    np.testing.assert_array_equal(kept(BLOCK, OPEN, seen=seen), BLOCK & stays)


def test_a_hole_on_both_sides_is_filled_on_both() -> None:
    both = BLOCK | BLOCK[::-1]
    np.testing.assert_array_equal(kept(both, OPEN), both)


@pytest.mark.parametrize(("depth", "stays"), [(WELL_CONTINUED - 0.01, False), (WELL_CONTINUED, True)])
def test_where_the_vault_is_continued_the_other_side_is_not_asked(depth: float, stays: bool) -> None:
    np.testing.assert_array_equal(kept(BLOCK, OPEN, depth), BLOCK & stays)


@pytest.mark.parametrize(("cells", "stays"), [(1, True), (2, True), (3, False)])
def test_sides_may_differ_by_a_skin(cells: int, stays: bool) -> None:
    """What is open on the other side lies on what is not."""
    mirrored = np.where(np.indices(SHAPE)[2] < 14 - cells, np.float32(1), np.float32(0))
    skin = BLOCK & (mirrored == 0)
    np.testing.assert_array_equal(kept(BLOCK, mirrored), BLOCK if stays else BLOCK & ~skin)


@pytest.mark.parametrize("wanted", [BLOCK & (np.indices(SHAPE)[2] < 6), BLOCK | BLOCK[::-1]])
def test_no_witness_is_sought_where_nothing_is_open_or_but_a_skin(wanted: Mask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(other_side, "witnessed", None)
    np.testing.assert_array_equal(kept(wanted, OPEN), wanted)


def test_what_lies_around_goes_with_it_as_far_as_it_is_open() -> None:
    thread = np.zeros(SHAPE, np.bool_)
    thread[8, 8, 14:18] = True
    left = kept(BLOCK | thread, OPEN)
    assert not left[:, :, : 14 + AROUND].any()
    np.testing.assert_array_equal(left[:, :, 14 + AROUND :], thread[:, :, 14 + AROUND :])


SETTINGS, CLOSER = Settings(spacing_mm=3.0, occupied_share=0.1), Settings(spacing_mm=1.5, occupied_share=0.1)


def test_a_networks_block_in_an_orbit_is_left_out_and_the_wall_beside_it_filled() -> None:
    whole = head(orbits=True)
    x, y, z = np.moveaxis(np.indices(whole.shape).T * whole.spacing_mm + whole.origin_mm, -1, 0).transpose(0, 3, 2, 1)
    missing = cut(whole, (60, 10, 35), 22) & (z > 0)
    prepared = prepare(whole.like(whole.mask & ~missing), SETTINGS)
    block = (np.hypot(x - 30, z + 25) < 14) & (y < -40) & (y > -95) & ~whole.mask
    wrong = whole.like(whole.mask | block)
    closeup = look(prepared, prepared.grid.coarsen(wrong.mask)[None], SETTINGS, CLOSER)
    assert closeup is not None
    said = closeup.grid.coarsen(wrong.mask[closeup.box])
    implant = finish(prepared, Inferred(prepared.shares, closeup, said), SETTINGS)["implant"]
    assert implant[missing].mean() > 0.9
    assert implant[block].mean() < 0.1


LOW, SETTINGS = (45.0, 50.0, -38.0), Settings(spacing_mm=3.0, occupied_share=0.1)
"""Beside the end of the scan, behind the ear."""


def lacking(*gone: Mask, looked: Mask | None = None) -> Mask:
    """What a head without some of its bone lacks by its other side."""
    prepared = prepare(head().like(head().mask & ~np.logical_or.reduce(gone)), SETTINGS)
    return lacked(prepared, Hints.of(prepared), np.zeros_like(prepared.sites) if looked is None else looked)


def test_bone_that_only_the_other_side_has_is_lacking() -> None:
    missing = cut(head(), LOW, 22.0)
    found = lacking(missing)
    grid = prepare(head().like(head().mask & ~missing), SETTINGS).grid
    share = grid.coarsen(missing)
    assert (share[found] > 0).mean() > 0.9
    assert found[share > 0.9].mean() > 0.5  # but for what touches bone
    assert not lacking(missing, looked=share > 0).any()


def test_what_both_sides_or_neither_have_is_not_lacking() -> None:
    left, right = (cut(head(), (side * LOW[0], *LOW[1:]), 22.0) for side in (1, -1))
    assert not lacking(left, right).any()
    assert not lacking(np.zeros_like(left)).any()


def test_a_piece_is_not_lacking_where_the_sides_differ_otherwise() -> None:
    """The other side has bone there, and none of what is around it here."""
    missing = cut(head(), LOW, 22.0)
    mirrored = (-LOW[0], *LOW[1:])
    around = cut(head(), mirrored, 60.0) & ~cut(head(), mirrored, 22.0)
    found = lacking(missing, around)
    grid = prepare(head().like(head().mask & ~(missing | around)), SETTINGS).grid
    assert not found[grid.coarsen(missing) > 0].any()
    assert found[grid.coarsen(around) > 0].any()  # it is that side which lacks something


def test_in_front_both_sides_are_alike_down_to_the_orbits_and_no_two_faces_are() -> None:
    x, y, z = LOW
    brow, face = (cut(head(), (x, -y, height), 22.0) for height in (-10.0, z))
    assert lacking(brow).any()
    assert not lacking(face).any()


def test_what_has_no_vault_lacks_nothing() -> None:
    mask = np.zeros((60, 60, 60), np.bool_)
    mask[10:50, 20:40, 30:33] = True
    mask[12:24, 22:38, 30:33] = False
    prepared = prepare(BinaryVolume.on_grid(mask, (2, 2, 2)), SETTINGS)
    assert not lacked(prepared, Hints.of(prepared), np.zeros_like(prepared.sites)).any()
