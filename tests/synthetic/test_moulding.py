"""Moulded skulls: the vault otherwise, smoothly; the rest, and what a skull is, as before."""

import cc3d
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from calvaria.synthetic import make_skull, mould
from calvaria.synthetic.moulding import FACTORS
from calvaria.synthetic.vault_map import VaultMap
from calvaria.volume import BinaryVolume

SPACING_MM = 2.5
RADIUS_MM, THICKNESS_MM = 80.0, 8.0
TOLERANCE_MM = 2.0


@pytest.fixture(scope="module")
def skull() -> BinaryVolume:
    return make_skull(4, SPACING_MM)


def _shell(mm: float = 1.0) -> BinaryVolume:
    half = int(84 / mm)
    away = mm * np.linalg.norm(np.mgrid[-half : half + 1, -half : half + 1, -half : half + 1].astype(np.float32), axis=0)
    return BinaryVolume.on_grid((away < RADIUS_MM) & (away > RADIUS_MM - THICKNESS_MM), (mm, mm, mm))


def _tables(shell: BinaryVolume, centre_mm: np.ndarray, azimuth: float, elevation: float) -> tuple[float, float]:
    """Distances of the inner and the outer surface from a point in a direction, mm; they are not far from the shell's."""
    a, e = np.radians([azimuth, elevation])
    along = np.array([np.cos(e) * np.sin(a), -np.cos(e) * np.cos(a), np.sin(e)])
    radii = np.arange(40, 100, 0.1)
    places = np.linalg.inv(shell.affine)[:3] @ np.vstack([(centre_mm[:, None] + along[:, None] * radii), np.ones_like(radii)])
    bone = radii[ndimage.map_coordinates(shell.mask.astype(np.float32), places, order=1) > 0.5]
    return float(bone.min()), float(bone.max())


def test_a_shell_is_dented_inwards_and_its_thickness_stays_within_bounds_and_thins_at_the_temples() -> None:
    shell = _shell(2.0)
    centre = VaultMap.of(shell).centre_mm.astype(np.float64)
    thickness: dict[str, list[float]] = {"temple": [], "vertex": []}
    dents = []
    for seed in range(16):
        moulded = mould(shell, seed)
        for name, elevation in (("temple", 2.0), ("vertex", 60.0)):
            for azimuth in (-95.0, -70.0, 70.0, 95.0):
                before, (inner, outer) = _tables(shell, centre, azimuth, elevation), _tables(moulded, centre, azimuth, elevation)
                assert outer < before[1] + TOLERANCE_MM
                was = before[1] - before[0]
                assert FACTORS[0] * was - TOLERANCE_MM < outer - inner < FACTORS[1] * was + TOLERANCE_MM
                thickness[name].append((outer - inner) / was)
                dents.append(before[1] - outer)
    assert np.mean(thickness["temple"]) < np.mean(thickness["vertex"]) - 0.05
    assert np.mean(dents) > 1
    assert np.std(dents) > 0.5


def test_both_sides_are_moulded_nearly_alike() -> None:
    shell = _shell(2.0)
    centre = VaultMap.of(shell).centre_mm.astype(np.float64)
    moulded = mould(shell, 3)
    outer = np.array([[_tables(moulded, centre, side * azimuth, 35.0)[1] for azimuth in range(15, 170, 15)] for side in (-1, 1)])
    assert np.abs(outer[0] - outer[1]).mean() < outer.std(axis=1).mean()


@given(seed=st.integers(0, 10_000))
@settings(max_examples=8, deadline=None)
def test_skulls_stay_whole_and_their_base_as_it_was(skull: BinaryVolume, seed: int) -> None:
    moulded = mould(skull, seed)
    assert moulded.shape == skull.shape
    assert np.array_equal(moulded.affine, skull.affine)
    assert np.count_nonzero(moulded.mask ^ skull.mask) > 0.05 * skull.occupied
    assert abs(moulded.occupied - skull.occupied) < 0.5 * skull.occupied
    low = int((VaultMap.of(skull).centre_mm[2] - 75 - skull.affine[2, 3]) / SPACING_MM)  # below 30 degrees, everywhere
    assert np.array_equal(moulded.mask[:, :, :low], skull.mask[:, :, :low])
    sizes = [np.sort(cc3d.statistics(cc3d.connected_components(each.mask))["voxel_counts"][1:]) for each in (skull, moulded)]
    assert sizes[1][-1] > 0.95 * moulded.occupied * sizes[0][-1] / skull.occupied, "in one piece, as far as it was"


def test_the_seed_decides(skull: BinaryVolume) -> None:
    once, again, other = (mould(skull, seed).mask for seed in (1, 1, 2))
    assert np.array_equal(once, again)
    assert not np.array_equal(once, other)
