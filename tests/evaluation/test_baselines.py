import numpy as np
import pytest
from scipy import ndimage
from scipy.spatial.transform import Rotation

from calvaria.evaluation.baselines import BASELINES, closing, largest_piece, mirror, unchanged
from calvaria.evaluation.metrics import dice
from calvaria.vault.mirrored import fit_mirror
from calvaria.volume import BinaryVolume, Mask


def egg(tilt_deg: float = 0.0, offset_mm: tuple[float, float, float] = (0, 0, 0), spacing_mm: float = 2.0) -> BinaryVolume:
    """A shell 8 mm thick, longest front to back and flat below: it has one plane of symmetry across left and right, and no other."""
    count = int(200 / spacing_mm)
    axis = (np.arange(count) + 0.5) * spacing_mm - 100
    points = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), -1) - offset_mm
    x, y, z = np.moveaxis(points @ Rotation.from_euler("z", tilt_deg, degrees=True).as_matrix(), -1, 0)
    size = np.sqrt((x / 65) ** 2 + ((y + 0.1 * z) / 85) ** 2 + (z / np.where(z > 0, 75, 55)) ** 2)
    return BinaryVolume.on_grid((size < 1) & (size > 0.88), (spacing_mm,) * 3)


def hole(skull: BinaryVolume, centre_mm: tuple[float, float, float], radius_mm: float) -> Mask:
    """The part of a skull inside a ball; the centre is counted from the middle of the grid, LPS."""
    centre = np.array(centre_mm) + 100
    distance = np.linalg.norm((np.indices(skull.shape).T + 0.5) * skull.spacing_mm - centre, axis=-1).T
    return skull.mask & (distance < radius_mm)


@pytest.mark.parametrize("tilt_deg", [0.0, 9.0])
def test_mirror_fills_a_hole_on_one_side(tilt_deg: float) -> None:
    skull = egg(tilt_deg, offset_mm=(7, -4, 2))
    truth = hole(skull, (60, 10, 30), 30)
    defective = skull.like(skull.mask & ~truth)
    implant = mirror(defective)
    assert dice(implant.mask, truth) > 0.85
    assert implant.same_grid(defective)


def test_mirror_cannot_fill_what_is_missing_on_both_sides() -> None:
    skull = egg()
    truth = hole(skull, (0, 0, 70), 25)
    implant = mirror(skull.like(skull.mask & ~truth))
    assert dice(implant.mask, truth) < 0.1


def test_reflection_is_its_own_inverse_and_lays_the_skull_upon_itself() -> None:
    share = egg(tilt_deg=6).mask.astype(np.float32)
    matrix, offset = fit_mirror(share, 2.0)
    np.testing.assert_allclose(matrix @ matrix, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(matrix @ offset + offset, 0, atol=1e-9)
    assert np.linalg.det(matrix) == pytest.approx(-1)
    normal = Rotation.from_euler("z", 6, degrees=True).apply([1, 0, 0])
    assert -normal @ matrix @ normal > np.cos(np.radians(1))
    assert dice(ndimage.affine_transform(share, matrix, offset, order=1) > 0.5, share > 0.5) > 0.85


def test_closing_fills_a_small_hole_and_leaves_the_inside_empty() -> None:
    skull = egg()
    truth = hole(skull, (60, 10, 30), 15)
    implant = closing(skull.like(skull.mask & ~truth))
    assert dice(implant.mask, truth) > 0.7
    assert not implant.mask[50, 50, 50]


def test_largest_piece_drops_slivers_and_keeps_one() -> None:
    mask = np.zeros((30, 30, 30), dtype=bool)
    mask[2:12, 2:12, 2:12] = True
    mask[20:26, 20:26, 20:26] = True
    mask[15, :, :] = True
    kept = largest_piece(mask, cell_mm=1.0)
    assert kept[7, 7, 7]
    assert not kept[15:].any()
    assert not largest_piece(np.zeros((5, 5, 5), dtype=bool), 1.0).any()


@pytest.mark.parametrize("name", BASELINES)
def test_every_baseline_stays_out_of_the_skull_and_ignores_the_order_of_axes(name: str) -> None:
    skull = egg()
    defective = skull.like(skull.mask & ~hole(skull, (60, 10, 30), 25))
    implant = BASELINES[name](defective)
    assert not (implant.mask & defective.mask).any()
    turned = BinaryVolume(defective.mask.transpose(2, 0, 1)[:, ::-1], defective.affine[:, [2, 0, 1, 3]] @ _flipped(1, defective.shape[0]))
    np.testing.assert_array_equal(BASELINES[name](turned).mask, implant.mask.transpose(2, 0, 1)[:, ::-1])


def _flipped(axis: int, count: int) -> np.ndarray:
    flip = np.eye(4)
    flip[axis, axis], flip[axis, 3] = -1, count - 1
    return flip


@pytest.mark.parametrize("name", BASELINES)
def test_one_voxel_is_not_too_little(name: str) -> None:
    speck = np.zeros((9, 9, 9), dtype=bool)
    speck[4, 4, 4] = True
    assert not BASELINES[name](BinaryVolume.on_grid(speck, (1, 1, 1))).mask.any()


def test_unchanged_adds_nothing() -> None:
    assert unchanged(egg()).occupied == 0
