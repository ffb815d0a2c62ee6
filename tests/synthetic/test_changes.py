"""What every change of a skull that is learned from has in common."""

from collections.abc import Callable

import numpy as np
import pytest

from calvaria.synthetic import cleave, make_skull, mould, perforate, pneumatise, symmetrise
from calvaria.volume import BinaryVolume
from tests.synthetic.turned_skulls import changes_the_same_whatever_the_axes

Change = Callable[[BinaryVolume, int], BinaryVolume]

every_change = pytest.mark.parametrize("change", [cleave, mould, perforate, pneumatise, symmetrise])


@every_change
def test_axis_order_and_flips_do_not_matter(change: Change) -> None:
    skull = make_skull(4, 2.0)
    changed = change(skull, 3)
    assert not np.array_equal(changed.mask, skull.mask)
    assert changes_the_same_whatever_the_axes(lambda turned: change(turned, 3), skull)


@every_change
def test_a_single_voxel_may_be_given(change: Change) -> None:
    mask = np.zeros((4, 5, 6), np.bool_)
    mask[1, 2, 3] = True
    assert change(BinaryVolume.on_grid(mask, (1.0, 1.0, 1.0)), 0).shape == mask.shape
