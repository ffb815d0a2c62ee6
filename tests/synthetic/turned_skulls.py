"""One skull in files of every axis order."""

from collections.abc import Callable
from itertools import permutations

import numpy as np

from calvaria.volume import BinaryVolume


def changes_the_same_whatever_the_axes(change: Callable[[BinaryVolume], BinaryVolume], skull: BinaryVolume) -> bool:
    """Whether a change of a skull is the same in patient space however its file orders the axes, the first of them flipped."""

    def along(axes: tuple[int, ...]) -> bool:
        mask = np.flip(skull.mask.transpose(axes), 0)
        affine = skull.affine[:, [*axes, 3]].copy()
        affine[:3, 3] += affine[:3, 0] * (mask.shape[0] - 1)
        affine[:3, 0] *= -1
        turned = change(BinaryVolume(mask, affine)).mask
        return np.array_equal(np.flip(turned, 0).transpose(np.argsort(axes)), expected)

    expected = change(skull).mask
    return all(along(axes) for axes in permutations(range(3)))
