"""Openings: ragged, in the base alone, the same in patient space whatever the file looks like."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calvaria.synthetic import make_skull, perforate
from calvaria.synthetic.openings import AWAY_MM, RADIUS_MM, RAGGED_MM
from calvaria.synthetic.vault_map import VaultMap, to_patient
from calvaria.volume import BinaryVolume

SPACING_MM = 2.0


@pytest.fixture(scope="module")
def skull() -> BinaryVolume:
    return make_skull(4, SPACING_MM)


@given(seed=st.integers(0, 10_000))
@settings(max_examples=12, deadline=None)
def test_only_base_is_taken_and_little_of_it(skull: BinaryVolume, seed: int) -> None:
    opened = perforate(skull, seed)
    assert not (opened.mask & ~skull.mask).any()
    taken = to_patient(skull.affine, np.argwhere(skull.mask & ~opened.mask))
    vault = VaultMap.of(skull)
    assert (vault.depth_mm(taken) > AWAY_MM).all()
    assert (taken[:, 1] < vault.centre_mm[1] + RADIUS_MM[1] * 1.2 + 4 * RAGGED_MM).all()
    assert len(taken) * skull.voxel_mm3 < 20_000


def test_the_seed_decides_most_skulls_lose_something_and_mostly_on_both_sides(skull: BinaryVolume) -> None:
    once, again = (perforate(skull, 1).mask for _ in range(2))
    assert np.array_equal(once, again)
    centre = VaultMap.of(skull).centre_mm[0]
    lost = [to_patient(skull.affine, np.argwhere(skull.mask & ~perforate(skull, seed).mask)) for seed in range(12)]
    assert sum(len(places) * skull.voxel_mm3 > 100 for places in lost) >= 9
    assert sum((places[:, 0] < centre - 5).any() and (places[:, 0] > centre + 5).any() for places in lost) >= 7


def test_a_head_without_thin_bone_away_from_its_vault_stays_as_it_is() -> None:
    axis = np.arange(-50, 51, dtype=np.float32) * 2
    away = np.sqrt(axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2)
    ball = BinaryVolume.on_grid((away < 80) & (away > 72), (2.0, 2.0, 2.0))
    assert perforate(ball, 0) is ball
