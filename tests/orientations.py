"""Volumes as scanners may store them, for tests of whatever must not depend on that."""

from itertools import permutations, product

import numpy as np
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from calvaria.volume import BinaryVolume

ORIENTATIONS = [(axes, flips) for axes in permutations(range(3)) for flips in product([False, True], repeat=3)]


def blob(seed: int, shape: tuple[int, int, int] = (11, 9, 13)) -> np.ndarray:
    mask = np.zeros(shape, bool)
    inner = tuple(slice(2, n - 1) for n in shape)
    mask[inner] = np.random.default_rng(seed).random(mask[inner].shape) < 0.4
    mask[shape[0] // 2, shape[1] // 2, shape[2] // 2] = True
    return mask


def stored(volume: BinaryVolume, axes: tuple[int, ...], flips: tuple[bool, ...], in_order: str = "F") -> BinaryVolume:
    """The same anatomy as another scanner would have stored it: axes reordered, some running backwards."""
    affine = np.eye(4)
    affine[:3, :3] = volume.affine[:3, :3][:, axes]
    affine[:3, 3] = volume.affine[:3, 3]
    mask = volume.mask.transpose(axes)
    for axis, flip in enumerate(flips):
        if flip:
            affine[:3, 3] += affine[:3, axis] * (mask.shape[axis] - 1)
            affine[:3, axis] *= -1
            mask = np.flip(mask, axis)
    return BinaryVolume(np.array(mask, order=in_order), affine)


def oblique(spacing_mm: tuple[float, float, float], turn: tuple[float, float, float], seed: int = 0) -> BinaryVolume:
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", turn, degrees=True).as_matrix() * spacing_mm
    affine[:3, 3] = (-101.3, 47.77, 12.01)
    return BinaryVolume(blob(seed), affine)


turns = st.tuples(*[st.floats(-40, 40)] * 3)
spacings = st.tuples(*[st.floats(0.3, 3.0)] * 3)
