"""Skulls on cubic grids, and what coarse scans make of them: super-resolution's questions and their truths.

Coarse voxels are whole numbers of fine ones, so that both grids fill one field of view. Training coarsens by other code
(`calvaria.synthetic.coarse`), with voxels of any size.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from calvaria.errors import bad_option
from calvaria.evaluation.scoring import Case
from calvaria.geometry import laid, regridded, to_canonical
from calvaria.grid import HALF, GridAxis, shares
from calvaria.synthetic import make_skull
from calvaria.tasks import Extras
from calvaria.volume import BinaryVolume

WIDEST_MM = 300.0
"""A field of view for heads is no wider."""

SLICES_MM = 2.0, 5.0
"""Distances of slices, one for each seed."""

SHIFT = 1 / 64
"""How far the placements of one skull in its cube lie apart at most, as a share of the cube: a voxel of the coarsest grid."""

SCAN_MM = 4.0  # coarse voxels suffice to tell a generated scan's field of view


@dataclass(frozen=True)
class Resolutions:
    """A row of the test.

    fine    voxels along each axis of the truth's cube
    coarse  voxels of the cube that is given; None: slices of SLICES_MM with the truth's pixels
    method  a coarse voxel is occupied where more than half of it is, or where the fine voxel at its centre (beside it, beyond) is
    """

    fine: int
    coarse: int | None
    method: Literal["mean", "nearest"] = "mean"


def head_in_cube(seed: int, count: int) -> BinaryVolume:
    """A generated skull on `count` voxels along each axis, in a cube as wide as the longest side of its scan."""
    scan = make_skull(seed, SCAN_MM)
    return make_skull(seed, max(scan.shape) * SCAN_MM / count, (count, count, count))


def supports(skull: BinaryVolume, count: int) -> bool:
    """Whether a cube of `count` voxels along each axis, none smaller than the skull's own, is no wider than a scan of a head."""
    return count * max(skull.spacing_mm) <= WIDEST_MM


def placed_in_cube(skull: BinaryVolume, count: int, seed: int) -> BinaryVolume:
    """A skull from a file on `count` cubes along each axis, occupied where more than half of them is; axes left, posterior, superior.

    The cube is wide enough for the whole field of view and for voxels no smaller than the skull's; the seed shifts it a little.
    CalvariaError BAD_OPTION where it would be too wide, see `supports`.
    """
    if not supports(skull, count):
        largest = max(skull.spacing_mm)
        raise bad_option(f"Voxels of {largest:.3g} mm do not support {count} along each axis: a head is not {count * largest:.0f} mm wide.")
    canonical = to_canonical(skull)
    spacing_mm = np.array(canonical.volume.spacing_mm)
    extent_mm = np.array(canonical.mask.shape) * spacing_mm
    edge_mm = max(float(extent_mm.max()) / (1 - SHIFT), count * float(spacing_mm.max()))
    shift_mm = np.random.default_rng([seed, count]).uniform(-0.5, 0.5, 3) * SHIFT * edge_mm
    starts_mm = (extent_mm - edge_mm) / 2 + shift_mm
    cell_mm = edge_mm / count
    before, after = (np.ceil(np.maximum(room, 0) / spacing_mm).astype(int) for room in (-starts_mm, starts_mm + edge_mm - extent_mm))
    in_air = np.pad(canonical.mask, list(zip(before.tolist(), after.tolist(), strict=True)))
    corner_mm = starts_mm + before * spacing_mm
    placed = zip(in_air.shape, spacing_mm.tolist(), corner_mm.tolist(), strict=True)
    axes = [GridAxis(along, mm, count, start, cell_mm) for along, mm, start in placed]
    return BinaryVolume(shares(in_air, axes) > HALF, laid(canonical.volume, cell_mm, starts_mm))


def question(fine: BinaryVolume, grid: Resolutions, seed: int) -> Case:
    """A case of a row: a skull on its cube, coarsened, and what the task is asked for."""
    if grid.coarse:
        factor = grid.fine // grid.coarse
        return Case(coarsened(fine, (factor, factor, factor), grid.method), fine, Extras(factor=factor))
    fine_mm = fine.spacing_mm[2]
    step = max(round(float(np.random.default_rng([seed, fine.shape[2]]).uniform(*SLICES_MM)) / fine_mm), 2)
    whole = BinaryVolume(fine.mask[:, :, : fine.shape[2] // step * step], fine.affine)  # as many slices as fit
    return Case(coarsened(whole, (1, 1, step), grid.method), whole, Extras(spacing_mm=fine_mm))


def coarsened(fine: BinaryVolume, steps: tuple[int, int, int], method: Literal["mean", "nearest"]) -> BinaryVolume:
    """A mask on voxels `steps` times as large along (x, y, z), which must divide its shape; the field of view stays."""
    if any(count % step for count, step in zip(fine.shape, steps, strict=True)):
        raise ValueError(f"voxels {steps} times as large do not fill a grid of shape {fine.shape}")
    if method == "nearest":
        mask = fine.mask[tuple(slice(step // 2, None, step) for step in steps)]
    else:
        blocks = fine.mask.reshape([each for count, step in zip(fine.shape, steps, strict=True) for each in (count // step, step)])
        mask = np.count_nonzero(blocks, axis=(1, 3, 5)) * 2 > np.prod(steps)
    return BinaryVolume(mask, regridded(fine.affine, steps))
