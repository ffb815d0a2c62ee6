"""What examples are held against: cells counted edge by edge, and each other."""

import numpy as np
from numpy.typing import NDArray

from calvaria.training.data import Example
from calvaria.volume import Affine, BinaryVolume


def shares_of(volume: BinaryVolume, affine: Affine, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """How much of each cell [x, y, z] of a grid is occupied, edge by edge, where both run along the patient's axes."""
    weights = []
    for axis, count in enumerate(shape):
        cell, voxel = affine[axis, axis], volume.affine[axis, axis]
        low = affine[axis, 3] + cell * (np.arange(count)[:, None] - 0.5)
        edge = volume.affine[axis, 3] + voxel * (np.arange(volume.shape[axis]) - 0.5)
        weights.append((np.minimum(low + cell, edge + voxel) - np.maximum(low, edge)).clip(0) / cell)
    return np.einsum("ai,bj,ck,ijk->abc", *weights, volume.mask.astype(np.float64), optimize=True)


def same(one: Example, other: Example) -> bool:
    assert one.features is not None
    assert other.features is not None
    pairs = ((one.sites, other.sites), (one.had, other.had), (one.features, other.features), (one.wanted, other.wanted))
    return all(np.array_equal(a, b) for a, b in pairs)


def unshifted(example: Example, shape: tuple[int, ...]) -> Example:
    """A kept example on the grid of a shape that it was made on: nothing lies before that."""
    x, y, z = (slice(end - count, None) for end, count in zip(example.sites.shape, shape, strict=True))
    sites, had, wanted = (each[x, y, z] for each in (example.sites, example.had, example.wanted))
    assert np.count_nonzero(example.sites) == np.count_nonzero(sites)
    assert np.count_nonzero(example.wanted) == np.count_nonzero(wanted)
    return Example(sites, had, example.features, wanted)
