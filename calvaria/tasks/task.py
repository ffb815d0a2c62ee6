"""The shape of a task: how a volume becomes a network's input, and how the network's answer becomes volumes again."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from calvaria.errors import CalvariaError, ErrorCode
from calvaria.geometry import Canonical, Field, WorkingGrid, to_canonical
from calvaria.volume import BinaryVolume, Mask


@dataclass(frozen=True)
class Settings:
    """What a network was trained for and travels with its weights.

    spacing_mm      edge of a cell of the working grid
    margin_mm       how far the working grid reaches beyond the occupied voxels, where the field of view allows
    occupied_share  a cell is occupied where more than this share of it is
    threshold       a site belongs to the answer where its probability, interpolated, exceeds this
    smallest_mm3    smaller components of an answer are dropped
    """

    spacing_mm: float
    margin_mm: float = 30.0
    occupied_share: float = 0.5
    threshold: float = 0.5
    smallest_mm3: float = 200.0


@dataclass(frozen=True, eq=False)
class Prepared:
    """A volume on its way through a task.

    volume     as it came
    canonical  the same along the patient's axes
    grid       the working grid over it
    sites      bool [x, y, z]: occupied cells of the working grid, the network's input
    """

    volume: BinaryVolume
    canonical: Canonical
    grid: WorkingGrid
    sites: Mask

    @property
    def occupied(self) -> int:
        """Occupied voxels of the volume as it came."""
        return self.volume.occupied


@dataclass(frozen=True)
class Task:
    """A task as data: its name, its outputs (the first is the default), and its way back from a network's answer.

    finish  (prepared, probability float32 [x, y, z] on the working grid, settings) -> one mask per output, on the canonical grid
    """

    name: str
    outputs: tuple[str, ...]
    finish: Callable[[Prepared, Field, Settings], dict[str, Mask]]
    settings: type[Settings] = Settings

    def settings_from(self, values: dict[str, Any]) -> Settings:
        return self.settings(**values)


def prepare(volume: BinaryVolume, settings: Settings) -> Prepared:
    """Lay a working grid over a volume; CalvariaError if there is nothing to work on."""
    if volume.occupied == 0:
        raise CalvariaError(ErrorCode.EMPTY_MASK, "The mask is empty: no voxel is above zero. Send the mask of a skull.")
    if volume.occupied == volume.mask.size:
        raise CalvariaError(ErrorCode.FULL_MASK, "Every voxel of the mask is occupied, so it shows no shape. Send the mask of a skull.")
    canonical = to_canonical(volume.mask, volume.affine)
    grid = WorkingGrid.over(canonical.volume, settings.spacing_mm, settings.margin_mm)
    sites = grid.coarsen(canonical.mask) > settings.occupied_share
    if not sites.any():
        raise CalvariaError(
            ErrorCode.EMPTY_MASK,
            f"Nothing in the mask is as large as a cell of the working grid ({settings.spacing_mm:g} mm). "
            "Check the spacing in the header and that the mask is a skull.",
        )
    return Prepared(volume, canonical, grid, sites)
