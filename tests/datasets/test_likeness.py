"""Likeness: measurements that are known of a spherical shell, and generated skulls beside a given one."""

import numpy as np
import pytest

from calvaria.datasets.likeness import Measurement, likeness, measurements, table
from calvaria.synthetic import make_skull
from calvaria.volume import BinaryVolume

RADIUS_MM, THICK_MM = 72.0, 7.0  # the middle that is looked from lies 72 mm below the top


def shell(spacing_mm: float = 1.5, drilled_mm: float = 0.0, dented_mm: float = 0.0, lumps_mm: float = 0.0) -> BinaryVolume:
    """A spherical shell cut off below, with a hole through its left and one through its right side, or a flat left one, or lumps within."""
    half = int(80 / spacing_mm)
    x, y, z = np.indices((2 * half + 1,) * 3) * spacing_mm - half * spacing_mm
    radius = np.sqrt(x * x + y * y + z * z)
    lumps = lumps_mm * np.sin(x / 5) * np.sin(y / 5) * np.sin(z / 5)
    bone = (radius < RADIUS_MM) & (radius > RADIUS_MM - THICK_MM + lumps) & (z > -50)
    bone &= (np.hypot(y, z - 30) > drilled_mm) | (drilled_mm == 0)
    if dented_mm:
        flat = RADIUS_MM - dented_mm
        bone = bone & (x < flat) | (radius < RADIUS_MM) & (z > -50) & (x < flat) & (x > flat - THICK_MM)
    return BinaryVolume.on_grid(bone, (spacing_mm,) * 3)


@pytest.fixture(scope="module")
def of_shell() -> dict[str, float]:
    return measurements(shell())


def test_a_shell_is_as_thick_as_it_is(of_shell: dict[str, float]) -> None:
    for region in ("frontal", "temple", "temporal", "parietal", "vertex", "occipital"):
        assert of_shell[f"thickness, {region}, mm"] == pytest.approx(THICK_MM, abs=0.6)
        assert of_shell[f"spread of thickness, {region}, mm"] < 2.1


def test_a_sphere_is_curved_by_its_radius(of_shell: dict[str, float]) -> None:
    assert of_shell["curvature of the vault, 1/m"] == pytest.approx(1000 / RADIUS_MM, rel=0.05)
    assert of_shell["spread of its curvature, 1/m"] < 7


def test_a_shell_is_one_closed_even_piece(of_shell: dict[str, float]) -> None:
    assert of_shell["pieces"] == 1
    assert of_shell["openings"] == of_shell["open directions, %"] == of_shell["bone under 2 mm, %"] == 0
    assert of_shell["roughness, mm"] < 0.6
    assert of_shell["lumps, mm"] < 0.2
    assert of_shell["asymmetry of the vault, mm"] < 0.2
    assert of_shell["outer table from its bent mirror image, mm"] < 0.2
    assert of_shell["inner table from its bent mirror image, mm"] < 0.2
    assert of_shell["length of the brain case, mm"] == pytest.approx(2 * RADIUS_MM, abs=4)
    assert of_shell["width over length"] == pytest.approx(1, abs=0.02)
    assert of_shell["height of the scan's bone, mm"] == pytest.approx(RADIUS_MM + 50, abs=3)


def test_holes_are_counted_and_measured() -> None:
    drilled = measurements(shell(drilled_mm=8))
    assert drilled["openings"] == 2
    cap = 100 * 2 * (1 - np.sqrt(1 - (8 / RADIUS_MM) ** 2))  # of two caps, in % of the half sphere
    assert drilled["open directions, %"] == pytest.approx(cap, rel=0.35)


def test_a_flat_side_is_asymmetric(of_shell: dict[str, float]) -> None:
    assert measurements(shell(dented_mm=20))["asymmetry of the vault, mm"] > of_shell["asymmetry of the vault, mm"] + 0.5


def test_lumps_within_are_no_roughness(of_shell: dict[str, float]) -> None:
    lumpy = measurements(shell(lumps_mm=3.0))
    assert lumpy["lumps, mm"] > of_shell["lumps, mm"] + 0.2
    assert lumpy["roughness, mm"] == pytest.approx(of_shell["roughness, mm"], abs=0.1)


def test_a_thick_side_is_found_where_bending_cannot_undo_it() -> None:
    """Lumps within on one side alone: the inner tables differ, the outer ones do not."""
    even, lumpy = shell(), shell(lumps_mm=3.0)
    left = np.arange(even.shape[0])[:, None, None] < even.shape[0] // 2
    found = measurements(even.like(np.where(left, lumpy.mask, even.mask)))
    assert found["inner table from its bent mirror image, mm"] > 2 * found["outer table from its bent mirror image, mm"]


def test_axis_order_does_not_matter(of_shell: dict[str, float]) -> None:
    one = shell()
    turned = BinaryVolume(one.mask.transpose(2, 0, 1), one.affine[:, [2, 0, 1, 3]])
    assert measurements(turned) == pytest.approx(of_shell)


def test_a_generated_skull_beside_generated_ones() -> None:
    skulls = [make_skull(seed, 3.0) for seed in range(3)]
    rows = likeness(skulls[0], skulls)
    assert all(row.low <= row.median <= row.high for row in rows)
    assert table(rows, "three skulls").row_count == len(rows) == len(measurements(skulls[0]))


def test_what_differs_is_told() -> None:
    assert Measurement("thickness, mm", 12.0, 4.0, 6.0, 9.0).differs
    assert not Measurement("thickness, mm", 5.0, 4.0, 6.0, 9.0).differs


def test_nothing_to_compare_with_is_an_error() -> None:
    with pytest.raises(ValueError, match="no generated skull"):
        likeness(shell(3.0), [])
