"""The shape of a task: how a volume becomes a network's input, and how the network's answer becomes volumes again."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from math import prod

import numpy as np

from calvaria.errors import CalvariaError, ErrorCode
from calvaria.geometry import Box, Canonical, Field, WorkingGrid, to_canonical
from calvaria.volume import BinaryVolume, Mask

MOST_VOXELS_ALONG = 4096
"""Voxels along an axis of a volume: eight times what a CT has. Work in planes of the volume takes memory by the square of it."""

MOST_CELLS_ALONG = 1024
"""Cells along an axis of a working grid: at 3 mm, more than the tallest person."""

MOST_CELLS = 2**22
"""Cells of a working grid. A head has about 300,000 at 3 mm."""

MOST_SITES = 2**17
"""Occupied cells of a working grid. A head has about 30,000 at 3 mm.

This many scattered over as many cells as there may be take `prepare` and the shipped networks 0.35 GiB beside the process itself, mirror
images included, on the native engine (measured: the growth of the peak resident size).
"""


@dataclass(frozen=True)
class Settings:
    """What a network was trained for and travels with its weights.

    spacing_mm      edge of a cell of the working grid
    margin_mm       how far the working grid reaches beyond the occupied voxels, where the field of view allows
    occupied_share  a cell is occupied where more than this share of it is
    threshold       a site belongs to the answer where its probability, interpolated, exceeds this
    smallest_mm3    smaller components of an answer are dropped
    mirrored        the network is also asked about the mirror image, left for right, and both answers are averaged: a head says
                    much about its other side, and this costs less than a network twice as large
    """

    spacing_mm: float
    margin_mm: float = 30.0
    occupied_share: float = 0.5
    threshold: float = 0.5
    smallest_mm3: float = 200.0
    mirrored: bool = False


@dataclass(frozen=True, eq=False)
class Prepared:
    """A volume on its way through a task.

    volume     as it came
    canonical  the same along the patient's axes
    grid       the working grid over it
    shares     float32 [x, y, z]: how much of each cell of the working grid is occupied
    sites      bool [x, y, z]: occupied cells, the network's input
    """

    volume: BinaryVolume
    canonical: Canonical
    grid: WorkingGrid
    shares: Field
    sites: Mask

    @property
    def features(self) -> Field:
        """float32 [N, 1]: how full each occupied cell is, in raster order."""
        return self.shares[self.sites][:, None]

    @property
    def occupied(self) -> int:
        """Occupied voxels of the volume as it came."""
        return self.volume.occupied

    @cached_property
    def occupied_cells(self) -> int:
        """Occupied cells of the working grid."""
        return int(np.count_nonzero(self.sites))


@dataclass(frozen=True, eq=False)
class CloseUp:
    """A box of a volume on a finer grid, for a second look by another network.

    box       of the canonical grid [X, Y, Z]
    grid      the finer working grid, over that box alone
    shares    float32 [x, y, z]: how much of each cell is occupied
    sites     bool [x, y, z]: the cells that are judged, or seen
    features  float32 [N, 2]: of each site how full it is, and the first guess
    """

    box: Box
    grid: WorkingGrid
    shares: Field
    sites: Mask
    features: Field

    @property
    def occupied_cells(self) -> int:
        """Sites."""
        return len(self.features)


@dataclass(frozen=True, eq=False)
class Inferred:
    """What the networks say of one volume: the probability of each cell to belong to the answer.

    field    float32 [x, y, z] on the working grid
    closeup  the second look, where there was something to look at, and
    closer   float32 [x, y, z] on its grid
    """

    field: Field
    closeup: CloseUp | None = None
    closer: Field | None = None


@dataclass(frozen=True)
class Task:
    """A task as data: its name, its outputs (the first is the default), and its way back from a network's answer.

    finish  (prepared, probability float32 [x, y, z] on the working grid, settings) -> one mask per output, on the canonical grid
    options  which options a request for it may carry beside those of every task; see `calvaria.serving.options`
    """

    name: str
    outputs: tuple[str, ...]
    finish: Callable[[Prepared, Inferred, Settings], dict[str, Mask]]
    look: Callable[[Prepared, Field, Settings, Settings], CloseUp | None] | None = None
    options: tuple[str, ...] = ("threshold", "smallest_mm3")


def prepare(volume: BinaryVolume, settings: Settings) -> Prepared:
    """Lay a working grid over a volume.

    Raises CalvariaError EMPTY_MASK or FULL_MASK where there is no shape to work on, TOO_LARGE where there is more work than any
    head makes, however few bytes its file has.
    """
    if volume.occupied == 0:
        raise CalvariaError(ErrorCode.EMPTY_MASK, "The mask is empty: no voxel is above zero. Send the mask of a skull.")
    if volume.occupied == volume.mask.size:
        raise CalvariaError(ErrorCode.FULL_MASK, "Every voxel of the mask is occupied, so it shows no shape. Send the mask of a skull.")
    if max(volume.shape) > MOST_VOXELS_ALONG:
        raise _too_large(f"An axis of the volume has {max(volume.shape):,} voxels and at most {MOST_VOXELS_ALONG:,} are accepted")
    canonical = to_canonical(volume.mask, volume.affine)
    grid = WorkingGrid.over(canonical.volume, settings.spacing_mm, settings.margin_mm)
    if prod(grid.shape) > MOST_CELLS or max(grid.shape) > MOST_CELLS_ALONG:
        spanned = " × ".join(f"{count * settings.spacing_mm:,.0f}" for count in grid.shape)
        raise _too_large(f"The mask spans {spanned} mm, more than a working grid of {settings.spacing_mm:g} mm may")
    shares = grid.coarsen(canonical.mask)
    prepared = Prepared(volume, canonical, grid, shares, shares > settings.occupied_share)
    if prepared.occupied_cells == 0:
        raise CalvariaError(
            ErrorCode.EMPTY_MASK,
            f"Nothing in the mask is as large as a cell of the working grid ({settings.spacing_mm:g} mm). "
            "Check the spacing in the header and that the mask is a skull.",
        )
    if prepared.occupied_cells > MOST_SITES:
        litres = [count * settings.spacing_mm**3 / 1e6 for count in (prepared.occupied_cells, MOST_SITES)]
        raise _too_large("The mask fills {:.1f} litres, more than the {:.1f} that are worked on".format(*litres))
    return prepared


def _too_large(what: str) -> CalvariaError:
    return CalvariaError(ErrorCode.TOO_LARGE, f"{what}; crop it to the head, and check the spacing's unit and that it is a skull.")
