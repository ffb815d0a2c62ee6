"""Holes of a vault are continued over, as far as it can be known what was there."""

import numpy as np
import pytest

from calvaria.vault import continued as module
from calvaria.vault.continued import Plates, continued, depths_mm
from calvaria.vault.unrolled import unroll
from calvaria.volume import BinaryVolume, Mask
from tests.vault.shells import HALF_MM, INNER, cut, head


def plates_of(skull: BinaryVolume) -> list[Plates]:
    unrolled = unroll(skull, lambda: skull.mask.astype(np.float32), skull.affine)
    return continued(unrolled) if unrolled else []


def plates_over(skull: BinaryVolume, *missing: Mask) -> tuple[BinaryVolume, list[Plates]]:
    defective = skull.like(skull.mask & ~np.logical_or.reduce(missing)) if missing else skull
    return defective, plates_of(defective)


def true_depth_mm(skull: BinaryVolume) -> np.ndarray:
    """How deep in the shell every voxel lies, to first order."""
    places = np.indices(skull.shape).T * np.array(skull.spacing_mm) + skull.origin_mm
    size = np.linalg.norm(places / HALF_MM, axis=-1)
    slope = np.linalg.norm(places / HALF_MM**2, axis=-1) / np.maximum(size, 1e-9)
    return np.asarray(np.minimum(1 - size, size - INNER) / slope).T


@pytest.mark.parametrize(("centre_mm", "radius_mm"), [((60, 10, 35), 25), ((0, 0, 80), 35), ((-20, -75, 30), 12)])
def test_over_a_hole_depths_are_those_of_the_bone_that_was_there(centre_mm: tuple[float, float, float], radius_mm: float) -> None:
    skull = head()
    truth = cut(skull, centre_mm, radius_mm)
    _, plates = plates_over(skull, truth)
    assert len(plates) == 1
    depths = depths_mm(plates, skull.affine, np.ones_like(skull.mask))
    assert np.isfinite(depths[truth]).all()
    assert np.percentile(np.abs(depths - true_depth_mm(skull))[truth], 95) < 1.2
    far = ~cut(skull.like(np.ones_like(skull.mask)), centre_mm, radius_mm + 15)
    assert np.isneginf(depths[far]).all()


def test_depths_are_the_same_on_any_grid() -> None:
    skull = head()
    _, plates = plates_over(skull, cut(skull, (60, 10, 35), 25))
    depths = depths_mm(plates, skull.affine, np.ones_like(skull.mask))
    coarse = depths_mm(plates, skull.affine @ np.diag([2, 2, 2, 1]), np.ones((50, 50, 50), np.bool_))
    assert np.array_equal(coarse, depths[::2, ::2, ::2])


def test_two_holes_have_plates_each_the_larger_first_and_no_more_than_are_bearable(monkeypatch: pytest.MonkeyPatch) -> None:
    skull = head()
    missing = cut(skull, (60, 10, 35), 20), cut(skull, (-40, 50, 50), 28)
    _, plates = plates_over(skull, *missing)
    assert len(plates) == 2
    assert (depths_mm(plates[:1], skull.affine, np.ones_like(skull.mask))[missing[1]] > -1.2).mean() > 0.95
    monkeypatch.setattr(module, "MOST_HOLES", 1)
    assert len(plates_over(skull, *missing)[1]) == 1


def test_openings_that_every_head_has_and_whole_heads_have_none() -> None:
    assert not plates_over(head())[1]
    assert not plates_over(head(orbits=True))[1]


@pytest.mark.parametrize(
    ("centre_mm", "radius_mm", "plain"),
    [((60, 10, 35), 9, True), ((-20, -75, 30), 10, True), ((60, 10, 35), 25, False), ((0, 84, -40), 14, False)],
)
def test_small_holes_with_bone_all_around_are_plain(centre_mm: tuple[float, float, float], radius_mm: float, plain: bool) -> None:
    """Neither a large one nor one through the lower edge."""
    skull = head()
    _, plates = plates_over(skull, cut(skull, centre_mm, radius_mm))
    assert [each.plain for each in plates] in ([[True]] if plain else [[False], []])


def hostile() -> dict[str, Mask]:
    rng = np.random.default_rng(0)
    slab = np.zeros((60, 60, 60), np.bool_)
    slab[:, :, 30] = True
    stick = np.zeros((60, 60, 60), np.bool_)
    stick[30, 30, :] = True
    return {
        "block": np.ones((5, 5, 5), np.bool_),
        "voxel": np.pad(np.ones((1, 1, 1), np.bool_), 4),
        "slab": slab,
        "stick": stick,
        "dust": rng.random((60, 60, 60)) < 0.05,
        "corners": np.pad(np.zeros((58, 58, 58), np.bool_), 1, constant_values=True),
    }


@pytest.mark.parametrize("mask", hostile().values(), ids=hostile().keys())
@pytest.mark.filterwarnings("error")
def test_what_is_no_skull_is_no_error(mask: Mask) -> None:
    plates = plates_of(BinaryVolume.on_grid(mask, (3, 3, 3)))
    assert len(plates) <= module.MOST_HOLES
