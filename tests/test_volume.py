"""The volume itself: what it refuses, and what it says of its grid."""

import numpy as np
import pytest

from calvaria.volume import BinaryVolume

MASK = np.zeros((2, 3, 4), bool)


def test_it_says_where_it_lies():
    oblique = np.array([[0, 0.4, 0, 10], [-0.5, 0, 0, 20], [0, 0, 2.0, 30], [0, 0, 0, 1]])
    volume = BinaryVolume(MASK, oblique)
    assert volume.shape == (2, 3, 4)
    assert volume.spacing_mm == (0.5, 0.4, 2.0)
    assert volume.origin_mm == (10, 20, 30)
    assert volume.voxel_mm3 == pytest.approx(0.4)
    assert volume.direction.tolist() == [[0, 1, 0], [-1, 0, 0], [0, 0, 1]]
    assert BinaryVolume.on_grid(MASK, (0.5, 0.4, 2.0), (10, 20, 30)).direction.tolist() == np.eye(3).tolist()


def test_it_counts_what_is_occupied():
    mask = MASK.copy()
    mask[1, 2, 3] = mask[0, 0, 0] = True
    assert BinaryVolume.on_grid(mask, (1, 1, 1)).occupied == 2


@pytest.mark.parametrize(
    ("mask", "affine", "complaint"),
    [
        (MASK.astype("u1"), np.eye(4), "mask must be bool"),
        (MASK[0], np.eye(4), "mask must be bool"),
        (MASK, np.eye(3), "affine must be a finite"),
        (MASK, np.diag([1, 1, np.nan, 1]), "affine must be a finite"),
        (MASK, np.diag([1.0, 0, 1, 1]), "affine must be invertible"),
    ],
)
def test_it_refuses_what_is_no_volume(mask, affine, complaint):
    with pytest.raises(ValueError, match=complaint):
        BinaryVolume(mask, affine)


def test_another_mask_on_its_grid_must_fit():
    volume = BinaryVolume.on_grid(MASK, (1, 2, 3), (4, 5, 6))
    assert volume.like(~MASK).same_grid(volume)
    assert volume.like(~MASK).occupied == MASK.size
    with pytest.raises(ValueError, match="does not lie on a grid"):
        volume.like(MASK[:1])


def test_a_part_of_it_lies_where_it_lay():
    mask = np.random.default_rng(1).random((5, 6, 7)) < 0.5
    oblique = np.array([[0, 0.4, 0, 10], [-0.5, 0, 0, 20], [0, 0, 2.0, 30], [0, 0, 0, 1]])
    part = BinaryVolume(mask, oblique).cropped((slice(1, 3), slice(0, 6), slice(4, 7)))
    assert np.array_equal(part.mask, mask[1:3, :, 4:])
    assert np.allclose(part.affine @ [1, 2, 2, 1], oblique @ [2, 2, 6, 1])


@pytest.mark.parametrize(
    ("other", "same"),
    [
        (BinaryVolume.on_grid(MASK, (1, 2, 3)), True),
        (BinaryVolume.on_grid(MASK, (1, 2, 3), (0, 0, 5e-4)), True),
        (BinaryVolume.on_grid(MASK, (1, 2, 3), (0, 0, 5e-3)), False),
        (BinaryVolume.on_grid(MASK, (1, 2, 3.001)), False),  # by the far corner it is 4 µm off
        (BinaryVolume.on_grid(MASK[:, :, :3], (1, 2, 3)), False),
    ],
)
def test_grids_are_compared_to_a_micrometre(other, same):
    assert BinaryVolume.on_grid(MASK, (1, 2, 3)).same_grid(other) is same
