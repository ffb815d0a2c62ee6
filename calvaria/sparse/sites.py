"""Which sites of a batch of grids are occupied, and where each one's row of features lies.

A site is a cell of the grid at some stride. Sites are kept in raster order, (batch, x, y, z) with z fastest, and the row of a
site is its rank in that order. A bounded grid needs no hash table: an array of ranks over the grid answers every look-up.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product

import torch
from torch import Tensor

Extent = tuple[int, int, int]


def taps(kernel: int) -> list[tuple[int, int, int]]:
    """Offsets of a cubic kernel's taps, (x, y, z), in the order of its weights: x varies fastest.

    Odd kernels are centred (-1, 0, 1); even kernels are anchored at their corner (0 … kernel-1). MinkowskiEngine's conventions.
    """
    along = range(kernel) if kernel % 2 == 0 else range(-(kernel // 2), kernel // 2 + 1)
    return [(x, y, z) for z, y, x in product(along, along, along)]


@dataclass(frozen=True, eq=False)
class SiteSet:
    """The occupied sites of a batch of grids at one stride.

    cells    int64 [N], ascending: the raster index of each site in the grid [B, X, Y, Z] that holds every item of the batch.
    extents  the size (x, y, z) of each item at stride 1; no site lies outside its own item's, whatever its neighbours' sizes.
    stride   finest cells per cell along each axis; the grid at stride s has ceil(extent / s) cells.
    """

    cells: Tensor
    extents: tuple[Extent, ...]
    stride: int = 1

    @classmethod
    def from_masks(cls, masks: Sequence[Tensor]) -> "SiteSet":
        """The sites of a batch of masks, each bool [X, Y, Z] of any size, at stride 1."""
        if not masks or any(mask.ndim != 3 or mask.dtype != torch.bool or 0 in mask.shape for mask in masks):
            raise ValueError("a batch is one or more bool masks [X, Y, Z], none of size zero")
        empty = cls(torch.empty(0, dtype=torch.int64, device=masks[0].device), tuple(_extent(mask) for mask in masks))
        grid = empty.grid()
        for item, mask in zip(grid, masks, strict=True):
            x, y, z = mask.shape
            item[:x, :y, :z] = mask
        return empty.with_cells(grid.flatten().nonzero().flatten())

    def with_cells(self, cells: Tensor) -> "SiteSet":
        """Other sites on the same grid."""
        return SiteSet(cells, self.extents, self.stride)

    def __len__(self) -> int:
        return len(self.cells)

    @property
    def batch(self) -> int:
        return len(self.extents)

    @cached_property
    def shape(self) -> tuple[int, int, int, int]:
        """(B, X, Y, Z) of the grid at this stride."""
        x, y, z = (max(-(-extent[axis] // self.stride) for extent in self.extents) for axis in range(3))
        return self.batch, x, y, z

    @cached_property
    def columns(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """(batch, x, y, z) of each site in cells of this stride, int64 [N] each."""
        _, x, y, z = self.shape
        rest, k = self.cells // z, self.cells % z
        rest, j = rest // y, rest % y
        return rest // x, rest % x, j, k

    @property
    def coordinates(self) -> Tensor:
        """int32 [N, 4]: (batch, x, y, z) in finest cells, as general sparse engines want them."""
        b, x, y, z = self.columns
        return torch.stack([b, x * self.stride, y * self.stride, z * self.stride], dim=1).int()

    def counts(self) -> Tensor:
        """Sites of each item, int64 [B]."""
        return torch.bincount(self.columns[0], minlength=self.batch)

    def grid(self, cells: Tensor | None = None) -> Tensor:
        """bool [B, X, Y, Z]: true at `cells` (default: this set's)."""
        flags = torch.zeros(self.shape, dtype=torch.bool, device=self.cells.device)
        flags.view(-1)[self.cells if cells is None else cells] = True
        return flags

    def masks(self) -> list[Tensor]:
        """Each item's mask, bool [X, Y, Z], at its own size: the inverse of `from_masks` at stride 1."""
        sizes = ([-(-size // self.stride) for size in extent] for extent in self.extents)
        return [item[:x, :y, :z] for item, (x, y, z) in zip(self.grid(), sizes, strict=True)]

    @cached_property
    def ranks(self) -> Tensor:
        """int32 [B, X + 2, Y + 2, Z + 2]: the row of each site; N, one past the last, elsewhere and on the border all around."""
        b, x, y, z = self.shape
        ranks = torch.full((b, x + 2, y + 2, z + 2), len(self), dtype=torch.int32, device=self.cells.device)
        i, j, k, m = self.columns
        ranks[i, j + 1, k + 1, m + 1] = torch.arange(len(self), dtype=torch.int32, device=self.cells.device)
        return ranks

    def rows(self, batch: Tensor, x: Tensor, y: Tensor, z: Tensor) -> Tensor:
        """int32: rows of the sites at these cells, N where there is none. Cells may lie up to one outside the grid."""
        return self.ranks[batch, x + 1, y + 1, z + 1]

    @cached_property
    def neighbours(self) -> Tensor:
        """Kernel map of a 3×3×3 convolution on these very sites: int32 [N, 27], the row under each tap, N where there is none.

        Tap 26 - t is the mirror of tap t, so the same map serves the backward pass.
        """
        _, x, y, z = self.shape
        i, j, k, m = self.columns
        centre = ((i * (x + 2) + j + 1) * (y + 2) + k + 1) * (z + 2) + m + 1
        steps = torch.tensor([(dx * (y + 2) + dy) * (z + 2) + dz for dx, dy, dz in taps(3)], device=self.cells.device)
        return self.ranks.view(-1)[centre[:, None] + steps]

    @cached_property
    def parents(self) -> "SiteSet":
        """The sites at twice the stride that hold at least one of these."""
        i, j, k, m = self.columns
        coarser = SiteSet(self.cells[:0], self.extents, self.stride * 2)
        grid = coarser.grid()
        grid[i, j // 2, k // 2, m // 2] = True
        return coarser.with_cells(grid.flatten().nonzero().flatten())

    @cached_property
    def parent_taps(self) -> Tensor:
        """int64 [N]: which corner of its parent each site is, in the order of `taps(2)`."""
        _, j, k, m = self.columns
        return (j % 2) + 2 * (k % 2) + 4 * (m % 2)

    @cached_property
    def parent_rows(self) -> Tensor:
        """int64 [N]: the row of each site's parent among `parents`."""
        i, j, k, m = self.columns
        return self.parents.rows(i, j // 2, k // 2, m // 2).long()

    def reached(self, kernel: int) -> "SiteSet":
        """The sites at half the stride that a generative transposed convolution of this kernel and stride 2 reaches.

        An even kernel covers the cells 2u … 2u + kernel - 1 along each axis; what overshoots an item's extent is clipped.
        """
        if self.stride < 2 or kernel not in (2, 4):
            raise ValueError("generation halves a stride of at least 2 with a kernel of 2 or 4")
        finer = SiteSet(self.cells[:0], self.extents, self.stride // 2)
        device = self.cells.device
        i, j, k, m = self.columns
        offset = torch.tensor(taps(kernel), device=device)
        limits = torch.tensor([[-(-size // finer.stride) for size in extent] for extent in self.extents], device=device)
        child = 2 * torch.stack([j, k, m], dim=1)[:, None, :] + offset
        inside = (child < limits[i][:, None, :]).all(dim=2)
        batch = i[:, None].expand(inside.shape)[inside]
        x, y, z = child[inside].unbind(dim=1)
        grid = finer.grid()
        grid[batch, x, y, z] = True
        return finer.with_cells(grid.flatten().nonzero().flatten())

    def union(self, other: "SiteSet") -> "SiteSet":
        """The sites of either."""
        self._same_grid(other)
        grid = self.grid()
        grid.view(-1)[other.cells] = True
        return self.with_cells(grid.flatten().nonzero().flatten())

    def rows_of(self, other: "SiteSet") -> Tensor:
        """int64 [len(other)]: the row in this set of each of the other's sites, N where this set lacks it."""
        self._same_grid(other)
        return self.rows(*other.columns).long()

    def holds(self, other: "SiteSet") -> Tensor:
        """bool [len(other)]: which of the other's sites this set has."""
        return self.rows_of(other) < len(self)

    def select(self, keep: Tensor) -> "SiteSet":
        """The sites where `keep` (bool [N]) is true."""
        return self.with_cells(self.cells[keep])

    def _same_grid(self, other: "SiteSet") -> None:
        if (self.extents, self.stride) != (other.extents, other.stride):
            raise ValueError("the two site sets lie on different grids or strides")


def _extent(mask: Tensor) -> Extent:
    x, y, z = mask.shape
    return x, y, z
