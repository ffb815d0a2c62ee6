"""Frontal sinuses: behind the forehead's outer wall and before the brain, in most heads on both sides."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from calvaria.synthetic import make_skull, pneumatise
from calvaria.synthetic.sinuses import FOREHEAD_MM
from calvaria.synthetic.vault_map import VaultMap, to_patient
from calvaria.vault.cavity import direction
from calvaria.volume import BinaryVolume, Mask

SPACING_MM = 1.5


@pytest.fixture(scope="module")
def skull() -> BinaryVolume:
    return make_skull(7, SPACING_MM)


def _from_middle(skull: BinaryVolume, mask: Mask) -> np.ndarray:
    return to_patient(skull.affine, np.argwhere(mask)) - VaultMap.of(skull).centre_mm


@given(seed=st.integers(0, 10_000))
@settings(max_examples=12, deadline=None)
def test_the_head_keeps_its_outside_and_changes_at_the_forehead_alone(skull: BinaryVolume, seed: int) -> None:
    made = pneumatise(skull, seed)
    places = _from_middle(skull, made.mask != skull.mask)
    for along, (low, high) in zip(places.T, FOREHEAD_MM, strict=True):
        assert ((along > low - SPACING_MM) & (along < high + SPACING_MM)).all()
    seen, before = (head.mask.argmax(axis=1) for head in (made, skull))  # from the front
    assert np.array_equal(seen, before)


def test_the_seed_decides_and_most_heads_get_air_behind_bone_on_both_sides(skull: BinaryVolume) -> None:
    once, again = (pneumatise(skull, 1).mask for _ in range(2))
    assert np.array_equal(once, again)
    taken = [_from_middle(skull, skull.mask & ~pneumatise(skull, seed).mask) for seed in range(12)]
    assert sum(len(places) * skull.voxel_mm3 > 500 for places in taken) >= 10
    assert sum((places[:, 0] < -5).any() and (places[:, 0] > 5).any() for places in taken) >= 8


def test_no_way_leads_from_the_brain_into_the_air(skull: BinaryVolume) -> None:
    ways = np.array([direction(azimuth, elevation) for azimuth in range(-36, 37, 3) for elevation in range(-33, 1, 3)])
    steps_mm = np.arange(30, 120, SPACING_MM / 2)

    def wall_mm(head: BinaryVolume) -> np.ndarray:
        places = VaultMap.of(skull).centre_mm + ways[:, None] * steps_mm[:, None]
        voxels = np.linalg.solve(head.affine, np.insert(places.reshape(-1, 3), 3, 1, axis=1).T)[:3]
        bone = ndimage.map_coordinates(head.mask.astype(np.uint8), voxels, order=0).reshape(len(ways), -1)
        return steps_mm[bone.argmax(axis=1)]

    moved = np.concatenate([wall_mm(pneumatise(skull, seed)) - wall_mm(skull) for seed in range(6)])
    assert (moved < -2 * SPACING_MM).mean() > 0.1
    assert (moved > SPACING_MM).mean() < 0.01  # pores
