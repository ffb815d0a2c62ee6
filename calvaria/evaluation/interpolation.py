"""Plain ways to a finer mask, which a network must beat: each takes a coarse mask and the grid that is wanted."""

from math import ceil

import numpy as np

from calvaria.distance import signed_distance
from calvaria.geometry import Field, bounding_box, grown
from calvaria.sampling import nearest, sampled
from calvaria.tasks import Extras
from calvaria.tasks.super_resolution import answer_grid
from calvaria.volume import BinaryVolume


def nearest_neighbour(coarse: BinaryVolume, extras: Extras) -> BinaryVolume:
    """Every fine voxel is as the coarse one that it lies in."""
    target = answer_grid(coarse, extras)
    return target.like(nearest(coarse.mask, coarse, target))


def linear(coarse: BinaryVolume, extras: Extras) -> BinaryVolume:
    """Where the trilinear interpolation of the mask exceeds a half."""
    return _above(coarse, coarse.mask.astype(np.float32), 0.5, extras)


def shape_based(coarse: BinaryVolume, extras: Extras) -> BinaryVolume:
    """Where the trilinear interpolation of the signed distance to the mask's surface is positive.

    Raya and Udupa, IEEE Trans Med Imaging 9 (1990), doi 10.1109/42.52980.
    """
    return _above(coarse, signed_distance(coarse.mask, coarse.spacing_mm), 0.0, extras)


BASELINES = {"shape-based": shape_based, "linear": linear, "nearest": nearest_neighbour}


def _above(coarse: BinaryVolume, values: Field, threshold: float, extras: Extras) -> BinaryVolume:
    """Where interpolated values exceed a threshold. None does where all coarse voxels around are empty: only others are looked at."""
    target = answer_grid(coarse, extras)
    scale = np.array(target.shape) / coarse.shape
    near = grown(bounding_box(coarse.mask), (1, 1, 1), coarse.shape)
    x, y, z = (slice(int(axis.start * step), ceil(axis.stop * step)) for axis, step in zip(near, scale, strict=True))
    mask = np.zeros(target.shape, np.bool_)
    mask[x, y, z] = sampled(values, coarse, target.cropped((x, y, z))) > threshold
    return target.like(mask)
