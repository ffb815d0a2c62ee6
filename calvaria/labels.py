"""A map of labels: several masks that do not overlap, in one volume."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil, prod

import edt
import numpy as np
from numpy.typing import NDArray

from calvaria.errors import CalvariaError, ErrorCode
from calvaria.geometry import Box, bounding_box, grown
from calvaria.volume import BinaryVolume, Mask

Labels = NDArray[np.uint8]

NEAR_MM = 20.0
"""How far from a voxel that several labels claim the nearest mask is looked for."""

MOST_IN_PARTS = 2**28
"""Voxels of all parts of a map together: as many as the largest volume has. Labels strewn over it would each be a part as large."""

_CHUNK = 2**20


@dataclass(frozen=True, eq=False)
class LabelMap(BinaryVolume):
    """A volume whose occupied voxels have a label each: uint8 [X, Y, Z], 0 where `mask` is empty."""

    labels: Labels

    @classmethod
    def of(cls, labels: Labels, grid: BinaryVolume) -> "LabelMap":
        """Labels on a volume's grid."""
        return cls(labels > 0, grid.affine, labels)

    @property
    def samples(self) -> Labels:
        return self.labels

    @property
    def present(self) -> list[int]:
        """The labels that any voxel has, in order."""
        return present_labels(self.labels)

    def parts(self, margin_mm: float) -> Iterator["Part"]:
        """Each label by itself, with a margin, as far as the field of view goes. CalvariaError TOO_LARGE beyond `MOST_IN_PARTS`."""
        margins, voxels = [ceil(margin_mm / mm) for mm in self.spacing_mm], 0
        for label in self.present:
            mask = self.labels == label
            box = grown(bounding_box(mask), margins, self.shape)
            voxels += prod(axis.stop - axis.start for axis in box)
            if voxels > MOST_IN_PARTS:
                message = f"The labels lie so far apart that their parts of the volume have more than {MOST_IN_PARTS:,} voxels together."
                raise CalvariaError(ErrorCode.TOO_LARGE, f"{message} Send fewer labels at once, or a coarser map.")
            part = BinaryVolume(mask, self.affine).cropped(box)
            yield Part(label, box, part.like(np.asfortranarray(part.mask)))

    def redrawn(self, parts: Sequence["Part"]) -> "LabelMap":
        """These parts drawn anew: their labels go elsewhere, all others stay. No voxel gets two labels.

        What several claim stays what it was if that is among them; else it goes to the one whose mask in this map is nearest, the smaller
        label where none is near.
        """
        is_free = np.zeros(256, np.bool_)  # by label; np.isin would take eight bytes a voxel
        is_free[[0, *(part.label for part in parts)]] = True
        free = is_free[self.labels]
        drawn = np.where(free, np.uint8(0), self.labels)
        claims = np.zeros(self.shape, np.uint8)
        for part in sorted(parts, key=lambda each: -each.label):  # the smaller label is written last
            claimed = part.volume.mask & free[part.box]
            drawn[part.box][claimed] = part.label
            claims[part.box] += claimed
        contested = claims > 1
        if contested.any():
            self._settle(drawn, contested, parts)
        return LabelMap.of(drawn, self)

    def _settle(self, drawn: Labels, contested: Mask, parts: Sequence["Part"]) -> None:
        box = grown(bounding_box(contested), [ceil(NEAR_MM / mm) for mm in self.spacing_mm], self.shape)
        voxels = contested[box]
        nearest = np.full(np.count_nonzero(voxels), np.inf)
        best = drawn[box][voxels]
        for part in sorted(parts, key=lambda each: each.label):
            claimed = np.zeros(self.shape, np.bool_)
            claimed[part.box] = part.volume.mask
            claims = claimed[box][voxels]
            if not claims.any():
                continue
            away = edt.edt(np.asfortranarray(self.labels[box] != part.label), anisotropy=self.spacing_mm)[voxels]  # 0 where it was
            nearer = claims & (away < nearest)
            best[nearer], nearest[nearer] = part.label, away[nearer]
        drawn[box][voxels] = best


@dataclass(frozen=True, eq=False)
class Part:
    """One label's mask in a box [X, Y, Z] of its map."""

    label: int
    box: Box
    volume: BinaryVolume


def present_labels(labels: Labels) -> list[int]:
    """The labels of any voxel but 0, in order; counted by and by, since counting takes eight bytes a voxel."""
    line = labels.reshape(-1, order="A")
    counts = np.zeros(256, np.int64)
    for start in range(0, line.size, _CHUNK):
        counts += np.bincount(line[start : start + _CHUNK], minlength=256)
    return [label for label in np.flatnonzero(counts).tolist() if label]
