from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calvaria.errors import CalvariaError, ErrorCode
from calvaria.evaluation.cubes import Resolutions, coarsened, head_in_cube, placed_in_cube, question, supports
from calvaria.io import read
from calvaria.synthetic import make_skull
from calvaria.tasks.super_resolution import answer_grid
from calvaria.volume import BinaryVolume

REAL = Path(__file__).parents[3] / "shared" / "data" / "seg3d_skull.nrrd"

STEPS = st.tuples(*[st.integers(1, 4)] * 3)


def speckle(shape: tuple[int, ...], seed: int, share: float = 0.5) -> BinaryVolume:
    mask = np.random.default_rng(seed).random(shape) < share
    return BinaryVolume.on_grid(mask, (1.0, 1.5, 0.5), (3.0, 4.0, 5.0))


def field_of_view(volume: BinaryVolume) -> np.ndarray:
    """Two opposite outer corners, mm."""
    corners = np.array([[-0.5, -0.5, -0.5, 1], [*(np.array(volume.shape) - 0.5), 1]])
    return (corners @ volume.affine.T)[:, :3]


@given(STEPS, st.tuples(*[st.integers(1, 4)] * 3), st.integers(0, 2**32 - 1))
def test_a_coarse_voxel_is_what_most_of_its_fine_ones_are_or_the_one_at_its_centre(
    steps: tuple[int, int, int], counts: tuple[int, int, int], seed: int
) -> None:
    fine = speckle(tuple(step * count for step, count in zip(steps, counts, strict=True)), seed)
    by_mean, by_nearest = coarsened(fine, steps, "mean"), coarsened(fine, steps, "nearest")
    for place in np.ndindex(counts):
        block = fine.mask[tuple(slice(at * step, (at + 1) * step) for at, step in zip(place, steps, strict=True))]
        assert by_mean.mask[place] == (block.mean() > 0.5)
        assert by_nearest.mask[place] == block[tuple(step // 2 for step in steps)]
    np.testing.assert_allclose(field_of_view(by_mean), field_of_view(fine))
    assert by_nearest.same_grid(by_mean)


def test_voxels_that_do_not_fill_the_field_of_view_are_refused() -> None:
    with pytest.raises(ValueError, match="do not fill"):
        coarsened(speckle((4, 4, 5), 0), (2, 2, 2), "mean")


@pytest.mark.parametrize("grid", [Resolutions(32, 16), Resolutions(32, 8, "nearest"), Resolutions(64, None)])
def test_the_answer_that_is_asked_for_lies_on_the_truths_grid(grid: Resolutions) -> None:
    for seed in range(3):
        case = question(head_in_cube(seed, grid.fine), grid, seed)
        assert answer_grid(case.given, case.extras).same_grid(case.truth)
        assert case.given.occupied


def test_slices_are_two_to_five_millimetres_apart_and_keep_the_pixels() -> None:
    for seed in range(6):
        case = question(head_in_cube(seed, 160), Resolutions(160, None), seed)
        x, y, z = case.given.spacing_mm
        assert x == y == case.truth.spacing_mm[2]
        assert 2 - x / 2 <= z <= 5 + x / 2
        assert case.truth.shape[2] > 160 - z / x


def test_a_generated_head_in_a_cube_is_the_head_of_its_seed() -> None:
    cube, scan = head_in_cube(5, 64), make_skull(5, 4.0)
    assert cube.shape == (64, 64, 64)
    assert 64 * cube.spacing_mm[0] == pytest.approx(4.0 * max(scan.shape))
    assert cube.occupied * cube.voxel_mm3 == pytest.approx(scan.occupied * scan.voxel_mm3, rel=0.05)


@given(st.tuples(*[st.integers(5, 12)] * 3), st.sampled_from([4, 16]), st.integers(0, 1000), st.booleans())
def test_a_placed_skull_keeps_its_mass_and_its_place(shape: tuple[int, int, int], count: int, seed: int, flipped: bool) -> None:
    """The cube of finest cells samples so densely that the mask's own voxels come back."""
    mask = np.zeros(shape, bool)
    mask[1:-2, 2:-1, 1:-1] = True
    skull = BinaryVolume.on_grid(mask, (3.0, 2.0, 4.0), (10.0, 20.0, 30.0))
    if flipped:
        skull = BinaryVolume(mask[::-1].transpose(2, 0, 1), skull.affine @ flip(shape) @ turn())
    placed = placed_in_cube(skull, count, seed)
    assert placed.shape == (count,) * 3
    assert len(set(np.round(placed.spacing_mm, 6))) == 1
    assert placed.spacing_mm[0] >= 4.0 - 1e-9
    low, high = field_of_view(placed)
    assert (low <= np.array([10 - 1.5, 20 - 1.0, 30 - 2.0]) + 1e-6).all()
    assert (high >= np.array([10.0, 20.0, 30.0]) + (np.array(shape) - 0.5) * [3.0, 2.0, 4.0] - 1e-6).all()
    if placed.occupied and count > 4:
        middle = centroid(placed) - centroid(skull)
        assert abs(middle).max() < placed.spacing_mm[0]


def flip(shape: tuple[int, int, int]) -> np.ndarray:
    matrix = np.diag([-1.0, 1, 1, 1])
    matrix[0, 3] = shape[0] - 1
    return matrix


def turn() -> np.ndarray:
    """Index (z, x, y) to index (x, y, z)."""
    return np.array([[0.0, 1, 0, 0], [0, 0, 1, 0], [1, 0, 0, 0], [0, 0, 0, 1]])


def centroid(volume: BinaryVolume) -> np.ndarray:
    return (np.append(np.argwhere(volume.mask).mean(axis=0), 1) @ volume.affine.T)[:3]


def test_placements_differ_by_seed_and_fine_grids_need_fine_voxels() -> None:
    skull = make_skull(1, 4.0)
    assert supports(skull, 64)
    assert not np.array_equal(placed_in_cube(skull, 64, 0).mask, placed_in_cube(skull, 64, 1).mask)
    np.testing.assert_array_equal(placed_in_cube(skull, 64, 1).mask, placed_in_cube(skull, 64, 1).mask)
    assert not supports(skull, 128)
    with pytest.raises(CalvariaError, match="do not support 128") as refusal:
        placed_in_cube(skull, 128, 0)
    assert refusal.value.code is ErrorCode.BAD_OPTION


@pytest.mark.shared
@pytest.mark.skipif(not REAL.exists(), reason="the real volumes in ../shared/data are not here")
def test_the_real_skull_supports_all_rows_but_the_finest() -> None:
    skull = read(REAL).volume
    assert [count for count in (128, 256, 512) if supports(skull, count)] == [128, 256]
    placed = placed_in_cube(skull, 256, 0)
    assert placed.occupied * placed.voxel_mm3 == pytest.approx(skull.occupied * skull.voxel_mm3, rel=0.02)
    assert abs(centroid(placed) - centroid(skull)).max() < 0.5  # half a voxel
