"""Which sites of a batch of grids are occupied, and where each one's row of features lies.

A site is a cell of the grid at some stride. Sites are bits, one per cell, and the row of a site is its rank: the number of bits set
before it in raster order, (batch, x, y, z) with z fastest. Insertion, union, pruning and look-up are bit operations and counts;
there is no hash table, and coordinates exist only for those outside who want them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from itertools import pairwise

import torch
from torch import Tensor

from calvaria.sparse.engine import Bits, Engine, Shape
from calvaria.sparse.engines import choose, engine

Extent = tuple[int, int, int]


@dataclass(frozen=True, eq=False)
class SiteSet:
    """The occupied sites of a batch of grids at one stride, and the engine that computes on them and all that is derived from them.

    words    int64 [B, X, Y, W]: the bits of the grid [B, X, Y, Z] that holds every item; see `calvaria.sparse.engine`.
    extents  the size (x, y, z) of each item at stride 1; no site lies outside its own item's, whatever its neighbours' sizes.
    stride   finest cells per cell along each axis; the grid at stride s has ceil(extent / s) cells.
    engine   as `engines.choose` names it: `native` or `reference`.
    """

    words: Tensor
    extents: tuple[Extent, ...]
    stride: int = 1
    engine: str = "reference"

    @classmethod
    def from_masks(cls, masks: Sequence[Tensor], engine: str = "auto") -> "SiteSet":
        """The sites of a batch of masks, each bool [X, Y, Z] of any size, at stride 1."""
        if not masks or any(mask.ndim != 3 or mask.dtype != torch.bool or 0 in mask.shape for mask in masks):
            raise ValueError("a batch is one or more bool masks [X, Y, Z], none of size zero")
        empty = cls.empty(tuple(_extent(mask) for mask in masks), 1, masks[0].device, engine)
        for words, mask in zip(empty.words, masks, strict=True):
            empty.compute.pack(mask, words)
        return empty

    @classmethod
    def from_coordinates(cls, coordinates: Tensor, extents: Sequence[Extent], stride: int = 1, engine: str = "auto") -> "SiteSet":
        """The sites at int [N, 4] (batch, x, y, z) in finest cells, in any order; the inverse of `coordinates`.

        ValueError if one lies outside its item.
        """
        empty = cls.empty(tuple(extents), stride, coordinates.device, engine)
        cells = coordinates // empty._scale if stride > 1 else coordinates
        # On a CPU `mark` refuses what lies outside the grid, but numbers may wrap on their way there, and items may be smaller than it.
        if cells.is_cuda or cells.dtype != torch.int32 or empty.batch > 1:
            limits = torch.tensor([(empty.batch, *size) for size in empty.sizes], device=cells.device)
            of = cells[:, 0].clamp(0, empty.batch - 1).long()
            if not ((cells >= 0) & (cells < limits[of])).all():
                raise ValueError("some sites lie outside their items")  # before anything is written there
        return replace(empty, words=empty.compute.mark(cells.int().contiguous(), empty.shape))

    @classmethod
    def empty(cls, extents: tuple[Extent, ...], stride: int, device: torch.device, engine: str = "auto") -> "SiteSet":
        """No site at all on the grids of these items."""
        b, x, y, z = _shape(extents, stride)
        words = torch.zeros(b, x, y, -(-z // 64), dtype=torch.int64, device=device)
        return cls(words, extents, stride, choose(engine, device.type))

    @cached_property
    def bits(self) -> Bits:
        """The words with their rank index."""
        return self.compute.index(self.words)

    @staticmethod
    def index_together(*sets: "SiteSet") -> None:
        """Find the `bits` of several sets on one device at once: on a GPU that is one wait for it, not one for each."""
        fresh = [sites for sites in dict.fromkeys(sets) if "bits" not in sites.__dict__]
        if fresh:
            for sites, bits in zip(fresh, fresh[0].compute.index_all([sites.words for sites in fresh]), strict=True):
                sites.__dict__["bits"] = bits

    def __len__(self) -> int:
        return self.bits.count

    @property
    def device(self) -> torch.device:
        return self.words.device

    def to(self, device: torch.device | str, engine: str = "auto") -> "SiteSet":
        """The same sites on another device, sent there as bits; `engine` computes there."""
        words, chosen = self.words.to(device), choose(engine, torch.device(device).type)
        return self if words is self.words and chosen == self.engine else replace(self, words=words, engine=chosen)

    @property
    def batch(self) -> int:
        return len(self.extents)

    @cached_property
    def shape(self) -> Shape:
        """(B, X, Y, Z) of the grid at this stride."""
        return _shape(self.extents, self.stride)

    @property
    def sizes(self) -> list[Extent]:
        """The size (x, y, z) of each item in cells of this stride."""
        return [_cells(extent, self.stride) for extent in self.extents]

    @property
    def places(self) -> Tensor:
        """int32 [N, 4]: (batch, x, y, z) of each site in cells of this stride."""
        return self.compute.coordinates(self.bits)

    @property
    def coordinates(self) -> Tensor:
        """int32 [N, 4]: (batch, x, y, z) in finest cells, as general sparse engines want them."""
        return self.places * self._scale if self.stride > 1 else self.places

    @cached_property
    def counts(self) -> list[int]:
        """Sites of each item."""
        return [end - start for start, end in pairwise([0, *self.compute.ends(self.bits)])]

    def masks(self) -> list[Tensor]:
        """Each item's mask, bool [X, Y, Z], at its own size: the inverse of `from_masks` at stride 1."""
        return [self.compute.unpack(words[:x, :y], z) for words, (x, y, z) in zip(self.words, self.sizes, strict=True)]

    def spread(self, values: Tensor, absent: float = 0.0) -> list[Tensor]:
        """Each item's values, float32 [X, Y, Z], from one value per site [N]; `absent` where there is no site."""
        values = values.contiguous()
        return [self.compute.spread(self.bits, values, item, size, absent) for item, size in enumerate(self.sizes)]

    def host_spread(self, values: Tensor) -> list[Tensor]:
        """`spread` on the host, zero where there is no site: from a device come the sites as bits, and the values [N]."""
        return self.on_host.spread(values.cpu().float())

    @cached_property
    def on_host(self) -> "SiteSet":
        """The same sites on the CPU."""
        return self if self.device.type == "cpu" else self.to("cpu")

    @cached_property
    def neighbours(self) -> Tensor:
        """What the engine wants to know of the 27 neighbours, found once for every layer on these sites; see `Engine.neighbours`."""
        above = self.__dict__.get("parents")
        return self.compute.neighbours(self.bits, above.bits if above is not None and "bits" in above.__dict__ else None)

    @cached_property
    def parents(self) -> "SiteSet":
        """The sites at twice the stride that hold at least one of these."""
        return SiteSet(self.compute.parents(self.words), self.extents, self.stride * 2, self.engine)

    def reached(self, kernel: int) -> "SiteSet":
        """The sites at half the stride that a generative transposed convolution of this kernel and stride 2 reaches.

        An even kernel covers the cells 2u … 2u + kernel - 1 along each axis; what overshoots an item's extent is clipped.
        """
        return replace(self, words=self.compute.children(self.words, *self._finer(kernel), kernel), stride=self.stride // 2)

    def candidates(self, kernel: int, encoder: "SiteSet", counted: bool = False) -> tuple["SiteSet", "SiteSet"]:
        """The sites that are `reached`, and those with the encoder's; the `bits` of both are known then, and if `counted` of these, too."""
        if (encoder.extents, 2 * encoder.stride) != (self.extents, self.stride):
            raise ValueError("the encoder's sites lie on another grid")
        also = [self.words] if counted and "bits" not in self.__dict__ else []
        one, two, *own = self.compute.candidates(self.words, *self._finer(kernel), kernel, encoder.words, also)
        reached, either = encoder.with_bits(one), encoder.with_bits(two)
        for bits in own:
            self.__dict__["bits"] = bits
        if kernel == 2:
            reached.__dict__["parents"] = self
        return reached, either

    def _finer(self, kernel: int) -> tuple[Tensor, Shape]:
        """The items' sizes in cells of half the stride, and the grid of those."""
        if self.stride < 2 or kernel not in (2, 4):
            raise ValueError("generation halves a stride of at least 2 with a kernel of 2 or 4")
        stride = self.stride // 2
        return _limits(self.extents, stride, self.device), _shape(self.extents, stride)

    def union(self, other: "SiteSet") -> "SiteSet":
        """The sites of either."""
        self._same_grid(other)
        return self.with_words(self.words | other.words)

    def intersection(self, other: "SiteSet") -> "SiteSet":
        """The sites of both."""
        self._same_grid(other)
        return self.with_words(self.words & other.words)

    def rows_of(self, other: "SiteSet") -> Tensor:
        """int32 [len(other)]: the row in this set of each of the other's sites, N where this set lacks it."""
        self._same_grid(other)
        return self.compute.rows(self.bits, other.bits)

    def holds(self, other: "SiteSet") -> Tensor:
        """bool [len(other)]: which of the other's sites this set has."""
        return self.rows_of(other) < len(self)

    def select(self, keep: Tensor) -> "SiteSet":
        """The sites where `keep` (bool [N]) is true."""
        return self.with_words(self.compute.select(self.bits, keep.contiguous()))

    def with_words(self, words: Tensor) -> "SiteSet":
        """Other sites on the same grid."""
        return SiteSet(words, self.extents, self.stride, self.engine)

    def with_bits(self, bits: Bits) -> "SiteSet":
        """Other sites on the same grid, whose index is known."""
        found = self.with_words(bits.words)
        found.__dict__["bits"] = bits
        return found

    @property
    def compute(self) -> Engine:
        """The engine itself."""
        return engine(self.engine, self.device.type)

    @property
    def _scale(self) -> Tensor:
        return torch.tensor([1, self.stride, self.stride, self.stride], dtype=torch.int32, device=self.device)

    def _same_grid(self, other: "SiteSet") -> None:
        if (self.extents, self.stride) != (other.extents, other.stride):
            raise ValueError("the two site sets lie on different grids or strides")


def _extent(mask: Tensor) -> Extent:
    x, y, z = mask.shape
    return x, y, z


def _cells(extent: Extent, stride: int) -> Extent:
    x, y, z = (-(-size // stride) for size in extent)
    return x, y, z


STRIDES = 31
"""Powers of two that a stride may be, from 1 on."""


def _limits(extents: tuple[Extent, ...], stride: int, device: torch.device) -> Tensor:
    """int64 [B, 3]: the items' sizes in cells of this stride."""
    return _every_limit(extents, device)[stride.bit_length() - 1, : len(extents)]


@lru_cache(maxsize=64)
def _every_limit(extents: tuple[Extent, ...], device: torch.device) -> Tensor:
    """int64 [strides, B or B + 1, 3]; sent at once and kept, because sending anything to a GPU halts it.

    An even number of items, the last one twice where B is odd: so every stride's begin at a multiple of 16 bytes, as Triton's kernels are
    compiled for.
    """
    even = (*extents, *extents[-1:])[: len(extents) + len(extents) % 2]
    return torch.tensor([[_cells(extent, 2**level) for extent in even] for level in range(STRIDES)], device=device)


@lru_cache(maxsize=64)
def _shape(extents: tuple[Extent, ...], stride: int) -> Shape:
    x, y, z = (max(along) for along in zip(*(_cells(extent, stride) for extent in extents), strict=True))
    return len(extents), x, y, z
