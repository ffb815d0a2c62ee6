"""How much memory a plan will take, known before it runs, and batches cut to a budget.

The sites alone tell: how many there are at every stride follows from bits, at almost no cost, and nearly all that lives while a plan
runs is so many bytes for each of them. What is counted is what PyTorch's allocator hands out from the call's beginning on; weights
and the sites given were there before.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import prod
from typing import TypeVar

import torch
from torch import Tensor

from calvaria.networks import LEVELS, NetworkConfig, pyramid
from calvaria.sparse import SiteSet
from calvaria.sparse.engine import Shape
from calvaria.sparse.footprint import CELLS, WORD, Footprint, Sites, footprint
from calvaria.sparse.sites import Extent

Item = TypeVar("Item")


@dataclass(frozen=True)
class Load:
    """What one volume brings to a call, in numbers of sites.

    extent      its size (x, y, z) at stride 1
    given       sites that the encoder has at strides 1, 2 … 64
    candidates  sites that the decoder generates at strides 1, 2 … 32
    judged      those and the encoder's
    """

    extent: Extent
    given: tuple[int, ...]
    candidates: tuple[int, ...]
    judged: tuple[int, ...]

    @classmethod
    def free(cls, sites: SiteSet, kept: float) -> list["Load"]:
        """Loads of a batch's items, by its sites at stride 1, if the network decides.

        Assumed: at every level above the last it keeps `kept` sites for each of the encoder's, these among them. More than its `growth` it
        never keeps.
        """
        levels = pyramid(sites)
        coarsest = levels[-1].reached(4)
        given = list(zip(*(level.counts for level in levels), strict=True))
        return [_free(*numbers, kept) for numbers in zip(sites.extents, given, coarsest.counts, strict=True)]

    @classmethod
    def forced(cls, sites: SiteSet, target: SiteSet) -> list["Load"]:
        """Loads of a batch's items, if exactly the target's sites are kept at every level: nothing is assumed."""
        levels, wanted = pyramid(sites), pyramid(target)
        kept, candidates, judged = levels[-1], [], []
        for encoder, truth in zip(reversed(levels[:-1]), reversed(wanted[:-1]), strict=True):
            candidates.append(kept.reached(4 if encoder.stride == 2 ** (LEVELS - 2) else 2))
            judged.append(candidates[-1].union(encoder))
            kept = truth.intersection(judged[-1])
        counts = (zip(*(level.counts for level in sets), strict=True) for sets in (levels, reversed(candidates), reversed(judged)))
        return [cls(*numbers) for numbers in zip(sites.extents, *counts, strict=True)]

    def after(self, cells: Extent) -> "Load":
        """What the volume brings where so many empty cells lie before it along each axis."""
        (x, y, z), (before_x, before_y, before_z) = self.extent, cells
        return replace(self, extent=(x + before_x, y + before_y, z + before_z))


def _free(extent: Extent, given: tuple[int, ...], coarsest: int, kept: float) -> Load:
    """The load, if the network decides: every kept site has its eight children, but no more than the grid has cells."""
    cells = [prod(-(-size // 2**level) for size in extent) for level in range(LEVELS)]
    children = [min(round(8 * kept * above), room) for above, room in zip(given[1:-1], cells, strict=False)]
    candidates = (*children, coarsest)
    return Load(extent, given, candidates, tuple(map(max, candidates, given)))


def predicted_peak_bytes(
    loads: Sequence[Load], config: NetworkConfig, engine: str, device_type: str, dtype: torch.dtype = torch.float32, forced: bool = False
) -> int:
    """The most bytes of tensors that live at once while a plan answers for these volumes together, beyond its weights and input.

    engine, device_type  as `calvaria.sparse.engines.choose` gives and takes them
    dtype                of the weights, and so of the features
    forced               whether the call has a target: the very sites that it is given
    """
    return _Call(loads, config, config.computed_channels(device_type), footprint(engine, device_type, dtype.itemsize), forced).peak_bytes()


class _Call:
    """A plan's call as `calvaria.plan.Plan` makes it, with bytes in place of tensors."""

    def __init__(self, loads: Sequence[Load], config: NetworkConfig, channels: Sequence[int], engine: Footprint, forced: bool):
        self.config, self.channels, self.engine, self.forced = config, channels, engine, forced
        self.grids = [_grid([load.extent for load in loads], level) for level in range(LEVELS + 1)]
        given = [sum(column) for column in zip(*(load.given for load in loads), strict=True)]
        self.given = [self._sites(level, count, above) for level, (count, above) in enumerate(pairwise([*given, given[-1]]))]
        self.live = self.peak = 0
        if not config.grows:
            self.candidates = self.judged = self.given[:-1]
            return
        self.candidates = [self._sites(level, sum(load.candidates[level] for load in loads), 0) for level in range(LEVELS - 1)]
        # Eight children a kept site: an eighth of the candidates are the cubes of the judged.
        self.judged = [
            self._sites(level, sum(load.judged[level] for load in loads), max(given[level + 1], self.candidates[level].occupied // 8))
            for level in range(LEVELS - 1)
        ]
        self.largest = [max(column) for column in zip(*(load.judged for load in loads), strict=True)]

    def _sites(self, level: int, count: int, cubes: int) -> Sites:
        return Sites(self.grids[level], count, self.grids[level + 1], cubes)

    def peak_bytes(self) -> int:
        self._encode()
        for level in reversed(range(LEVELS - 1)):
            self._decode(level)
        return self.peak

    def _during(self, most: int, left: int) -> None:
        """A step that takes `most` bytes at once, and leaves `left`."""
        self.peak = max(self.peak, self.live + most)
        self.live += left

    def _encode(self) -> None:
        engine, channels = self.engine, self.channels
        for level, sites in enumerate(self.given):
            self.live += WORD * sites.words * (level > 0)
            self._during(engine.index(sites), engine.held_index(sites))
        finest = self.given[0]
        self.live += engine.held_sites(finest)
        if self.config.inputs:
            self._around(finest)
            self._during(engine.convolve(finest, self.config.inputs, channels[0]), engine.rows(finest.occupied, channels[0]))
        else:
            self._during(engine.stem(finest, channels[0]), engine.rows(finest.occupied, channels[0]))
        for (fine, coarse), (c_in, c_out) in zip(pairwise(self.given), pairwise(channels), strict=True):
            self.live += engine.held_sites(coarse)
            out = engine.rows(coarse.occupied, c_out)
            self._during(engine.downsample(fine, coarse, c_in, c_out), out)
            self._around(coarse)
            self._during(engine.convolve(coarse, c_out, c_out), 0)  # in place of what it was made from

    def _decode(self, level: int) -> None:
        engine, channels, grows = self.engine, self.channels[level], self.config.grows
        candidates, union, encoder = self.candidates[level], self.judged[level], self.given[level]
        coarse = self.judged[level + 1] if level < LEVELS - 2 else self.given[-1]
        skip, above = engine.rows(encoder.occupied, channels), engine.rows(coarse.occupied, self.channels[level + 1])
        before = self._expand(candidates, union) if grows else self.live
        taps = 64 if level == LEVELS - 2 else 8
        generated = engine.generate(coarse, candidates, taps, self.channels[level + 1], channels)
        self._during(generated, engine.rows(candidates.occupied, channels))
        if grows or (level == 0 and not self.config.inputs):  # the encoder looked around all others
            self._around(candidates)
        lasting = engine.held_judged(union, channels) if grows else 0
        self._during(lasting, lasting)
        features = level > 0
        decided = engine.decided(union, channels, features)
        self._during(engine.decide(candidates, encoder, union, channels, features), decided)
        self.live -= engine.rows(candidates.occupied, channels)
        kept = self._bound(union, self.largest[level], above) if grows else 0
        self.live = before + lasting + decided + kept - skip - above

    def _bound(self, union: Sites, largest: int, above: int) -> int:
        """Keep the target's sites, or the best of every item once the features `above` are gone; returns what lives on of an index."""
        words = WORD * union.words  # of those kept, while what they were taken from lives
        if self.forced:
            self._during(words, 0)
            return 0
        kept = self.engine.held_index(union)
        ranking = union.occupied + self.engine.ranked(largest)
        self._during(max(self.engine.index(union), kept + ranking - above) + words, kept)
        return kept

    def _expand(self, candidates: Sites, union: Sites) -> int:
        """Generate a level's sites; returns what lives on when the candidates do not."""
        self.live += WORD * (candidates.words + union.words)
        before = self.live - WORD * candidates.words
        for sites in (union, candidates):
            self._during(self.engine.index(sites), self.engine.held_index(sites))
        self.live += self.engine.held_sites(candidates)
        return before + self.engine.held_index(union)

    def _around(self, sites: Sites) -> None:
        self._during(self.engine.around(sites), self.engine.held_around(sites))


def _grid(extents: Sequence[Extent], level: int) -> Shape:
    """(B, X, Y, words along z) of the grid at stride 2^level that holds all of a batch."""
    x, y, z = (-(-int(max(along)) // (1 << level)) for along in zip(*extents, strict=True))
    return len(extents), x, y, -(-z // 64)


def split(items: Sequence[Item], fits: Callable[[Sequence[Item]], bool]) -> list[list[Item]]:
    """Items in order, in pieces that each fit; filled one after the other.

    An item that does not fit alone is a piece of its own, and the only kind of piece that does not. The caller says whether it is tried
    or refused; no other item waits for that.
    """
    pieces: list[list[Item]] = []
    for item in items:
        if pieces and fits([*pieces[-1], item]):
            pieces[-1].append(item)
        else:
            pieces.append([item])
    return pieces


def split_to_fit(
    items: Sequence[Item],
    mask_of: Callable[[Item], Tensor],
    config: NetworkConfig,
    engine: str,
    device: torch.device,
    budget_bytes: int,
    before: Sequence[Extent] = ((0, 0, 0),),
) -> list[list[Item]]:
    """`split` items whose sites at stride 1 are `mask_of`, bool [x, y, z].

    A piece fits where the peak of a plan that keeps all its `growth` allows is within the budget, and the engine can number the cells of
    the grid that its items share.

    engine  of the plan on the device; the sites are counted on the CPU.
    before  how many empty cells lie before an item along each axis, each time that a call asks about it: twice with its mirror image.
    """
    counting = engine if device.type == "cpu" else "auto"
    loads = [Load.free(SiteSet.from_masks([mask_of(item)], counting), config.growth)[0] for item in items]
    most_cells = footprint(engine, device.type, torch.float32.itemsize).most_cells

    def fits(piece: Sequence[tuple[Item, Load]]) -> bool:
        shared = [load.after(cells) for cells in before for _, load in piece]
        cells = CELLS * prod(_grid([load.extent for load in shared], 0))
        return cells <= most_cells and predicted_peak_bytes(shared, config, engine, device.type) <= budget_bytes

    pieces = split(list(zip(items, loads, strict=True)), fits)
    return [[item for item, _ in piece] for piece in pieces]
