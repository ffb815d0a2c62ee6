"""The shape of a task: how a volume becomes a network's input, and how the network's answer becomes volumes again."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calvaria.errors import CalvariaError, ErrorCode
from calvaria.geometry import Canonical, Field, to_canonical
from calvaria.grid import WorkingGrid
from calvaria.sampling import sampled
from calvaria.volume import BinaryVolume, Mask

MOST_VOXELS_ALONG = 4096
"""Most voxels along an axis of a volume, eight times what a CT has: work in planes takes memory by the square of it."""


@dataclass(frozen=True)
class Settings:
    """What a network was trained for; it travels with its weights.

    spacing_mm      edge of a cell of the working grid; for tasks that fit cells to each volume, the smallest; for completion, 0 stands for
                    the longest edge of each volume's own voxels
    margin_mm       how far the working grid reaches beyond the occupied voxels, where the field of view allows
    occupied_share  a cell is occupied where more than this share of it is
    threshold       a site belongs to the answer where its probability, interpolated, exceeds this; super-resolution first makes odds of it
                    by which all probabilities are raised, and then asks for as much as they add up to
    smallest_mm3    smaller components of an answer are dropped
    mirrored        the network is also asked about the mirror image, left for right, and both answers are averaged: a head says
                    much about its other side, and this costs less than a network twice as large; completion's first network is also
                    asked about cells that lie otherwise
    """

    spacing_mm: float
    margin_mm: float = 30.0
    occupied_share: float = 0.5
    threshold: float = 0.5
    smallest_mm3: float = 200.0
    mirrored: bool = False


@dataclass(frozen=True, eq=False)
class Extras:
    """What may come with a mask, for tasks that make use of it.

    spacing_mm  edge of the answer's voxels, or
    factor      how many times smaller than the input's they are along every axis
    image       the scan that the mask was drawn in, on the mask's grid: real numbers [X, Y, Z], HU
    """

    spacing_mm: float | None = None
    factor: float | None = None
    image: NDArray[Any] | None = None


@dataclass(frozen=True, eq=False)
class Cells:
    """The cells of a working grid that a network is asked about.

    grid      the working grid, over a volume or a part of it
    shares    float32 [x, y, z]: how much of each cell is occupied, as far as the input shows it
    sites     bool [x, y, z]: the cells that the network is given
    features  float32 [N, F]: what comes with each of them, in raster order; the first is how full it is, or whether it is occupied
    """

    grid: WorkingGrid
    shares: Field
    sites: Mask
    features: Field

    @property
    def occupied_cells(self) -> int:
        """Sites."""
        return len(self.features)

    @property
    def kept_bytes(self) -> int:
        """Bytes kept until the answer about them is finished, and those of the answer."""
        return 2 * self.shares.nbytes + self.sites.nbytes + self.features.nbytes


@dataclass(frozen=True, eq=False)
class Prepared(Cells):
    """A volume on its way through a task, and the cells of the working grid over it.

    volume     as it came
    canonical  the same along the patient's axes
    answer     the grid of the answer, along the axes of the file; what its mask holds is no matter
    elsewhere  the same in cells that lie otherwise, which the network is asked about, too
    """

    volume: BinaryVolume
    canonical: Canonical
    answer: BinaryVolume
    elsewhere: tuple[Cells, ...] = ()

    @property
    def placements(self) -> tuple[Cells, ...]:
        """All that the network is asked about: these cells first."""
        return self, *self.elsewhere

    def brought_here(self, answers: Sequence[Field]) -> Field:
        """What it says of each of these placements, float32 [placements, x, y, z] on this grid."""
        here, *others = answers
        there = [sampled(answer, cells.grid, self.grid) for answer, cells in zip(others, self.elsewhere, strict=True)]
        return np.stack([here, *there]) if there else here[None]

    @property
    def waiting_bytes(self) -> int:
        """Bytes kept beside the volume until its answer is finished, and those of the network's answers."""
        return sum(cells.kept_bytes for cells in self.placements)

    def answered(self, mask: Mask) -> BinaryVolume:
        """The volume of a mask on the answer's grid along the patient's axes, turned back to the file's axes."""
        return self.answer.like(to_canonical(self.answer).from_canonical(mask))


@dataclass(frozen=True, eq=False)
class Inferred:
    """What the networks say of one volume: the probability of each cell to belong to the answer.

    field    float32 [x, y, z] on the working grid; the mean where cells were placed in several ways
    closeup  the second look, where there was something to look at, and
    closer   float32 [x, y, z] on its grid
    refusal  why there can be no second look, and so no answer, to this volume
    """

    field: Field
    closeup: Cells | None = None
    closer: Field | None = None
    refusal: CalvariaError | None = None


@dataclass(frozen=True)
class Task:
    """A task as data: its name, its outputs (the first is the default), its way to a network, and its way back from the answer.

    prepare  (volume, settings, what came with it) -> what the network is asked; CalvariaError where there is nothing to ask
    finish   (prepared, what the networks say, settings) -> one mask per output, on the answer's grid along the patient's axes
    look     (prepared, what the first network says of its placements, settings, the second's) -> what a second network is asked; or None
    spans    voxels of the largest grid that is laid over a volume, known before it is
    options  which options a request for it may carry beside those of every task; see `calvaria.serving.options`
    unlike   what is unusual about a volume, compared with those that the network learned from, as a sentence in ASCII; None: nothing
    remark   (volume, all outputs by name, settings) -> what is to be said of an answer, a stable code and a sentence in ASCII; or None
    pieces   the output whose connected pieces a report lists; None: none
    imaged   whether the scan may come with the mask
    label_margin_mm  each label of a map of labels is a mask of its own, and what lies up to here around it matters; None: all labels
             together are the mask
    """

    name: str
    outputs: tuple[str, ...]
    prepare: Callable[[BinaryVolume, Settings, Extras], Prepared]
    finish: Callable[[Prepared, Inferred, Settings], dict[str, Mask]]
    look: Callable[[Prepared, Field, Settings, Settings], Cells | None] | None = None
    spans: Callable[[BinaryVolume, Extras], int] = lambda volume, extras: volume.mask.size
    options: tuple[str, ...] = ("threshold", "smallest_mm3")
    unlike: Callable[[Prepared], str | None] = lambda prepared: None
    remark: Callable[[BinaryVolume, Mapping[str, BinaryVolume], Settings], tuple[str, str] | None] = lambda volume, outputs, settings: None
    pieces: str | None = None
    imaged: bool = False
    label_margin_mm: float | None = None


def check_mask(volume: BinaryVolume, subject: str) -> None:
    """CalvariaError EMPTY_MASK or FULL_MASK where there is no shape to work on, TOO_LARGE where an axis is longer than any scan's.

    `subject`: what a client should have sent, such as "a skull".
    """
    if volume.occupied == 0:
        raise CalvariaError(ErrorCode.EMPTY_MASK, f"The mask is empty: no voxel is above zero. Send the mask of {subject}.")
    if volume.occupied == volume.mask.size:
        raise CalvariaError(ErrorCode.FULL_MASK, f"Every voxel of the mask is occupied, so it shows no shape. Send the mask of {subject}.")
    if max(volume.shape) > MOST_VOXELS_ALONG:
        longest = f"An axis of the volume has {max(volume.shape):,} voxels and at most {MOST_VOXELS_ALONG:,} are accepted"
        raise too_large(longest, subject)


def too_large(what: str, subject: str) -> CalvariaError:
    return CalvariaError(ErrorCode.TOO_LARGE, f"{what}; crop it, and check the spacing's unit and that it is {subject}.")
