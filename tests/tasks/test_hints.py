"""What a skull hints at about its missing part, on any grid over it."""

import numpy as np
import pytest
from scipy import ndimage

from calvaria.grid import WorkingGrid
from calvaria.tasks import Settings, hints
from calvaria.tasks.closeup import Given
from calvaria.tasks.completion import finish, look, prepare
from calvaria.tasks.hints import Hints
from calvaria.tasks.task import Inferred, Prepared
from calvaria.volume import BinaryVolume, Mask
from tests.vault.shells import cut, head, lopsided

SETTINGS, CLOSER = Settings(spacing_mm=3.0, occupied_share=0.1), Settings(spacing_mm=1.5, occupied_share=0.1)
BURR_HOLE = (60.0, 10.0, 35.0), 9.0


def with_hole(centre_mm: tuple[float, float, float], radius_mm: float) -> tuple[Prepared, Mask]:
    """A head with a hole, and the bone that is missing."""
    skull = head()
    missing = cut(skull, centre_mm, radius_mm)
    return prepare(skull.like(skull.mask & ~missing), SETTINGS), missing


@pytest.fixture(scope="module")
def burr_hole() -> tuple[Prepared, Mask]:
    return with_hole(*BURR_HOLE)


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return float(2 * np.minimum(a, b).sum() / (a.sum() + b.sum()))


def test_cells_over_a_hole_are_as_full_as_they_were(burr_hole: tuple[Prepared, Mask]) -> None:
    prepared, missing = burr_hole
    everywhere = np.ones_like(prepared.sites)
    filled, depth = Hints.of(prepared).filled(prepared.grid), Hints.of(prepared).depth(prepared.grid, everywhere)
    truth = prepared.grid.coarsen(missing)
    lacking = np.where(prepared.shares + truth > 0, filled - prepared.shares, 0).clip(0)
    assert dice(lacking, truth) > 0.85
    assert depth.min() == 0
    assert np.array_equal(filled > 0.5, depth > 0.5)


def test_a_hole_is_looked_at_even_if_the_first_network_saw_nothing(burr_hole: tuple[Prepared, Mask]) -> None:
    prepared, missing = burr_hole
    closeup = look(prepared, prepared.shares[None], SETTINGS, CLOSER)
    assert closeup is not None
    truth = closeup.grid.coarsen(missing[closeup.box]) > 0.5
    assert (truth & closeup.sites).sum() > 0.97 * truth.sum()
    assert truth.sum() * 1.5**3 == pytest.approx(missing.sum() * 8, rel=0.05)
    assert closeup.features[truth[closeup.sites], Given.FIRST].mean() > 0.8  # and the second is told that it belongs there
    assert look(prepare(head(), SETTINGS), prepare(head(), SETTINGS).shares[None], SETTINGS, CLOSER) is None


def test_what_one_placement_alone_would_add_is_looked_at_and_the_second_network_is_told_the_mean() -> None:
    prepared = prepare(head(), SETTINGS)
    x, y, z = (count // 2 for count in prepared.grid.shape)
    added = prepared.shares.copy()
    added[x : x + 4, y : y + 4, z : z + 4] = 1
    assert not prepared.shares[x - 4 : x + 8, y - 4 : y + 8, z - 4 : z + 8].any()
    closeup = look(prepared, np.stack([prepared.shares, added, prepared.shares]), SETTINGS, CLOSER)
    assert closeup is not None
    assert closeup.features[:, Given.FIRST].max() == pytest.approx(1 / 3)


def test_a_small_round_hole_is_filled_even_if_neither_network_would(burr_hole: tuple[Prepared, Mask]) -> None:
    prepared, missing = burr_hole
    closeup = look(prepared, prepared.shares[None], SETTINGS, CLOSER)
    assert closeup is not None
    implant = finish(prepared, Inferred(prepared.shares, closeup, np.zeros_like(closeup.shares)), SETTINGS)["implant"]
    assert dice(implant, missing) > 0.8


def test_the_mirror_image_is_bent_to_where_the_bone_was() -> None:
    skull = lopsided(5.0)
    missing = cut(skull, *BURR_HOLE)
    prepared = prepare(skull.like(skull.mask & ~missing), SETTINGS)
    mirrored, opposite = Hints.of(prepared).mirrored(prepared.grid, np.ones_like(prepared.sites))
    there = prepared.grid.coarsen(missing) > 0.5
    assert mirrored[there].mean() > 0.75
    seen = ndimage.map_coordinates(prepared.shares, opposite(np.argwhere(there).T.astype(np.float64)), order=1)
    assert np.abs(seen - mirrored[there]).mean() < 0.25  # of cells, where the image is of finer ones


def test_the_mirror_image_has_what_is_missing(burr_hole: tuple[Prepared, Mask]) -> None:
    prepared, missing = burr_hole
    whole = prepared.grid.coarsen(head().mask)
    mirrored, _ = Hints.of(prepared).mirrored(prepared.grid, np.ones_like(prepared.sites))
    there = prepared.grid.coarsen(missing) > 0.5
    assert np.abs(mirrored - whole)[there].mean() < 0.2
    assert np.abs(prepared.shares - whole)[there].mean() > 0.5


def test_what_has_no_vault_has_no_plates_and_still_a_mirror_image() -> None:
    mask = np.zeros((60, 60, 60), np.bool_)
    mask[10:50, 20:40, 30:33] = True
    found = Hints.of(prepare(BinaryVolume.on_grid(mask, (2, 2, 2)), SETTINGS))
    grid = WorkingGrid.over(BinaryVolume.on_grid(mask, (2, 2, 2)), 2.0, 6.0)
    assert not found.plates
    everywhere = np.ones(grid.shape, np.bool_)
    assert found.depth(grid, everywhere).max() == found.filled(grid).max() == 0
    assert dice(found.mirrored(grid, everywhere)[0], grid.coarsen(mask)) > 0.95


def test_wide_masks_are_looked_at_in_larger_cells(monkeypatch: pytest.MonkeyPatch, burr_hole: tuple[Prepared, Mask]) -> None:
    fine = Hints.of(burr_hole[0])
    assert fine.grid.affine[0, 0] == 2.0 / 2
    monkeypatch.setattr(hints, "MOST_CELLS", 2**17)
    wide = Hints.of(burr_hole[0])
    assert wide.share().size <= 2**17
    assert wide.grid.affine[0, 0] > 2
    assert len(wide.plates) == len(fine.plates) == 1


@pytest.mark.parametrize("axes", [(0, 1, 2), (2, 0, 1), (1, 0, 2)])
@pytest.mark.parametrize("flips", [(True, False, False), (False, True, True)])
def test_a_file_may_order_and_flip_its_axes(burr_hole: tuple[Prepared, Mask], axes: tuple[int, ...], flips: tuple[bool, ...]) -> None:
    prepared = burr_hole[0]
    volume = prepared.volume
    mask, affine = volume.mask.transpose(axes), volume.affine[:, [*axes, 3]].copy()
    for axis in np.flatnonzero(flips):
        mask = np.flip(mask, axis)
        affine[:3, 3] += affine[:3, axis] * (mask.shape[axis] - 1)
        affine[:3, axis] *= -1
    one, other = (look(each, each.shares[None], SETTINGS, CLOSER) for each in (prepared, prepare(BinaryVolume(mask, affine), SETTINGS)))
    assert one is not None
    assert other is not None
    assert np.array_equal(one.sites, other.sites)
    assert np.array_equal(one.features, other.features)
