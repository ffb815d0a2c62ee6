"""The scan beside a mask: on its voxels however either file orders its axes, or refused."""

from itertools import permutations, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calvaria.companion import scan_beside
from calvaria.errors import CalvariaError, ErrorCode
from calvaria.io import Image
from calvaria.volume import BinaryVolume
from tests.orientations import oblique, stored

ways = st.tuples(st.permutations(range(3)), st.tuples(*[st.booleans()] * 3))


@given(of_scan=ways, of_mask=ways)
def test_a_scan_is_seen_along_the_masks_axes(of_scan: tuple, of_mask: tuple) -> None:
    anatomy = oblique((0.4, 0.7, 1.1), (10, -20, 5))
    scan, mask = stored(anatomy, *of_scan), stored(anatomy, *of_mask)
    samples = np.where(scan.mask, 40, -1000).astype(np.int16)
    assert np.array_equal(scan_beside(Image(samples, scan.affine, "nrrd"), mask) > 0, mask.mask)


def test_all_48_orientations_of_a_scan_are_one() -> None:
    mask = oblique((0.4, 0.7, 1.1), (0, 0, 0))
    for axes, flips in product(permutations(range(3)), product([False, True], repeat=3)):
        scan = stored(mask, axes, flips)
        image = Image(np.where(scan.mask, 40, -1000).astype(np.int16), scan.affine, "nii")
        assert np.array_equal(scan_beside(image, mask) > 0, mask.mask)


@pytest.mark.parametrize("moved_mm", [0.001, 1.0])
def test_one_that_lies_elsewhere_is_refused_and_both_grids_are_named(moved_mm: float) -> None:
    mask = oblique((1.0, 1.0, 2.0), (0, 0, 0))
    affine = mask.affine.copy()
    affine[0, 3] += moved_mm
    image = Image(np.where(mask.mask, 40, -1000).astype(np.int16), affine, "nrrd")
    if moved_mm < 0.01:  # as headers round
        assert scan_beside(image, mask).shape == mask.shape
        return
    with pytest.raises(CalvariaError, match=r"it has 11 x 9 x 13 voxels of 1, 1, 2 mm from -100\.3, .* the mask 11 x 9 x 13") as refusal:
        scan_beside(image, mask)
    assert refusal.value.code is ErrorCode.BAD_GEOMETRY


def test_samples_that_are_no_hounsfield_units_are_refused() -> None:
    mask = BinaryVolume.on_grid(np.ones((2, 2, 2), np.bool_), (1, 1, 1))
    with pytest.raises(CalvariaError) as refusal:
        scan_beside(Image(np.full((2, 2, 2), 500, np.int16), mask.affine, "nrrd"), mask)
    assert refusal.value.code is ErrorCode.NOT_HOUNSFIELD
