"""Bits of a grid on a GPU: the first half of `calvaria.sparse.engine.Engine`, which says what each function does."""

from collections.abc import Sequence
from itertools import accumulate, islice

import torch
from torch import Tensor

from calvaria.sparse.engine import Bits, Shape
from calvaria.sparse.triton_engine import bit_kernels as kernels
from calvaria.sparse.triton_engine.launch import CELLS_LIMIT, blocks, launch

# Words of 64 cells per program, where a program spreads them out and where it does not.
WORDS = 32
SCANNED = 1024
ROWS = 256
# Up to this many words, every program that numbers some may count all before its own: one kernel instead of three.
FEW_WORDS = 2**15
COUNTED, AHEAD = 128, 4096
# From this many words on, the parents of what a decoder level judges are indexed along with it: what convolutions by cubes would
# otherwise wait for.
CUBED_WORDS = 2**14

# What operations on a set of sites begin with is found once and hung on its `starts`, to live as long: its cells, its parents, and on
# the host the sites up to the end of each item.
CELLS, PARENTS, ENDS = "_calvaria_cells", "_calvaria_parents", "_calvaria_ends"


def pack(mask: Tensor, words: Tensor) -> None:
    x, y, z = mask.shape
    across, along, width = words.shape
    if mask.dtype is not torch.bool or x > across or y > along or z > 64 * width:
        raise ValueError(f"a {mask.dtype} mask {list(mask.shape)} does not fit words {list(words.shape)}")
    if mask.stride(2) != 1:
        mask = mask.contiguous()
    grid = (blocks(x * y, WORDS), blocks(z, 64))
    strides = mask.stride(0), mask.stride(1)
    launch(kernels.pack_mask, grid, (mask.view(torch.uint8), words), (x * y, y, z, *strides, along, width), BLOCK=WORDS)


def unpack(words: Tensor, depth: int) -> Tensor:
    *lines, width = words.shape
    words = words.contiguous()
    mask = torch.empty(*lines, depth, dtype=torch.bool, device=words.device)
    count = words.numel() // width
    grid = (blocks(count, WORDS), blocks(depth, 64))
    launch(kernels.unpack_words, grid, (words, mask.view(torch.int8)), (count, width, depth), BLOCK=WORDS)
    return mask


def index(words: Tensor) -> Bits:
    return index_all([words])[0]


def index_all(grids: Sequence[Tensor]) -> list[Bits]:
    """`index` of several grids at once: the host waits for the device once, not once for each."""
    if not grids:
        return []
    firsts = [0, *accumulate(len(words) for words in grids)]
    totals = torch.empty(firsts[-1], dtype=torch.int32, device=grids[0].device)
    found = [_index(words, totals, first) for words, first in zip(grids, firsts, strict=False)]
    return _counted(grids, found, totals)


def ends(bits: Bits) -> list[int]:
    known: list[int] = getattr(bits.starts, ENDS)
    return known


# starts, and where words are few the cells, at the front of a tensor long enough for any.
_Index = tuple[Tensor, Tensor | None]


def _counted(grids: Sequence[Tensor], found: Sequence[_Index], totals: Tensor) -> list[Bits]:
    """Bits with the number of sites, known on the host: the one wait for the device. `totals`: the items' ends, grid by grid."""
    known, numbers = [], iter(totals.tolist())
    for words, (starts, numbered) in zip(grids, found, strict=True):
        here = list(islice(numbers, len(words)))
        setattr(starts, ENDS, here)
        if numbered is not None:
            setattr(starts, CELLS, numbered[: here[-1]])
        known.append(Bits(words, starts, here[-1]))
    return known


def _room(words: Tensor) -> _Index:
    n = words.numel()
    if n * 64 > CELLS_LIMIT:
        raise ValueError(f"a grid of words {list(words.shape)} holds more than 2³¹ cells: make the batch smaller")
    starts = torch.empty(n + 1, dtype=torch.int32, device=words.device)
    return starts, torch.empty(n * 64, dtype=torch.int32, device=words.device) if n <= FEW_WORDS else None


def _index(words: Tensor, totals: Tensor, first: int) -> _Index:
    """Index one grid; its items' ends go to `totals` from `first` on."""
    starts, numbered = _room(words)
    n, per = words.numel(), words[0].numel()
    if numbered is not None:
        tensors = words, starts, numbered, totals
        launch(kernels.index_small, (blocks(n, COUNTED),), tensors, (n, first, per), BLOCK=COUNTED, AHEAD=AHEAD, num_warps=8)
        return starts, numbered
    count = blocks(n, SCANNED)
    sums = torch.empty(count, dtype=torch.int32, device=words.device)
    launch(kernels.count_blocks, (count,), (words, sums), (n,), BLOCK=SCANNED)
    launch(kernels.scan_blocks, (count,), (words, sums, starts, totals), (n, first, per), BLOCK=SCANNED, SUMS=SCANNED)
    return starts, None


def cells(bits: Bits) -> Tensor:
    """int32 [N]: 64 · word + bit of each site; found once for a set."""
    known: Tensor | None = getattr(bits.starts, CELLS, None)
    if known is None:
        known = torch.empty(bits.count, dtype=torch.int32, device=bits.words.device)
        n = bits.words.numel()
        grid = (blocks(n, WORDS) if bits.count else 0,)
        launch(kernels.number_cells, grid, (bits.words, bits.starts, known), (n,), BLOCK=WORDS)
        setattr(bits.starts, CELLS, known)
    return known


def parents_of(bits: Bits) -> Bits:
    """The sites' parents with their rank index; found once for a set, and the host waits for the device."""
    known: Bits | None = getattr(bits.starts, PARENTS, None)
    if known is None:
        known = index(parents(bits.words))
        setattr(bits.starts, PARENTS, known)
    return known


def coordinates(bits: Bits) -> Tensor:
    found = torch.empty(bits.count, 4, dtype=torch.int32, device=bits.words.device)
    grid = (blocks(bits.count, ROWS),)
    launch(kernels.place_cells, grid, (cells(bits), found), (bits.count, *bits.words.shape[1:]), BLOCK=ROWS)
    return found


def spread(bits: Bits, values: Tensor, item: int, size: tuple[int, int, int], absent: float) -> Tensor:
    field = torch.full(size, absent, dtype=torch.float32, device=values.device)
    numbers = bits.count, item, *size[1:], *bits.words.shape[1:]
    launch(kernels.spread_values, (blocks(bits.count, ROWS),), (cells(bits), values.contiguous(), field), numbers, BLOCK=ROWS)
    return field


def mark(coordinates: Tensor, shape: Shape) -> Tensor:
    batch, x, y, z = shape
    words = torch.zeros(batch, x, y, -(-z // 64), dtype=torch.int64, device=coordinates.device)
    count = len(coordinates)
    places = coordinates.int().contiguous()
    launch(kernels.set_bits, (blocks(count, ROWS),), (places, words), (count, *words.shape[1:]), BLOCK=ROWS)
    return words


def parents(words: Tensor) -> Tensor:
    batch, x, y, width = words.shape
    coarse = torch.empty(batch, -(-x // 2), -(-y // 2), -(-width // 2), dtype=torch.int64, device=words.device)
    n = coarse.numel()
    shapes = *coarse.shape[1:], x, y, width
    launch(kernels.coarsen, (blocks(n, ROWS),), (words, coarse), (n, *shapes), BLOCK=ROWS)
    return coarse


def children(words: Tensor, limits: Tensor, shape: Shape, kernel: int) -> Tensor:
    fine, numbers = _finer(words, limits, shape, kernel)
    launch(kernels.refine, (blocks(fine.numel(), ROWS),), (words, fine, limits), numbers, KERNEL=kernel, BLOCK=ROWS)
    return fine


def candidates(words: Tensor, limits: Tensor, shape: Shape, kernel: int, encoder: Tensor, also: Sequence[Tensor] = ()) -> list[Bits]:
    fine, numbers = _finer(words, limits, shape, kernel)
    if encoder.shape != fine.shape:
        raise ValueError(f"the encoder's sites lie on a grid of words {list(encoder.shape)}, not {list(fine.shape)}")
    joint, n, batch = torch.empty_like(fine), fine.numel(), len(fine)
    launch(kernels.refine_and_join, (blocks(n, ROWS),), (words, encoder, fine, joint, limits), numbers, KERNEL=kernel, BLOCK=ROWS)
    above = [parents(joint)] if n >= CUBED_WORDS else []
    others = [*above, *also]
    if n > FEW_WORDS:
        one, two, *indexed = index_all([fine, joint, *others])
        return [one, _under(two, indexed[: len(above)]), *indexed[len(above) :]]
    (starts, numbered), (joint_starts, joint_numbered) = _room(fine), _room(joint)
    assert numbered is not None
    assert joint_numbered is not None
    totals = torch.empty((2 + len(others)) * batch, dtype=torch.int32, device=words.device)
    tensors = fine, starts, numbered, joint, joint_starts, joint_numbered, totals
    grid = blocks(n, COUNTED), 2
    launch(kernels.index_two, grid, tensors, (n, batch, n // batch), BLOCK=COUNTED, AHEAD=AHEAD, num_warps=8)
    found: list[_Index] = [(starts, numbered), (joint_starts, joint_numbered)]
    found += [_index(other, totals, (2 + place) * batch) for place, other in enumerate(others)]
    one, two, *indexed = _counted([fine, joint, *others], found, totals)
    return [one, _under(two, indexed[: len(above)]), *indexed[len(above) :]]


def _under(bits: Bits, parents: Sequence[Bits]) -> Bits:
    """The bits, which remember their parents if those are known."""
    for known in parents:
        setattr(bits.starts, PARENTS, known)
    return bits


def _finer(words: Tensor, limits: Tensor, shape: Shape, kernel: int) -> tuple[Tensor, tuple[int, ...]]:
    """Room for the words of a grid at half the stride, and what the kernels want to know of both grids."""
    batch, x, y, z = shape
    width = -(-z // 64)
    if kernel not in (2, 4) or words.shape != (batch, -(-x // 2), -(-y // 2), -(-width // 2)) or limits.shape != (batch, 3):
        raise ValueError(f"no kernel {kernel} from words {list(words.shape)} with limits {list(limits.shape)} to the grid {list(shape)}")
    fine = torch.empty(batch, x, y, width, dtype=torch.int64, device=words.device)
    return fine, (fine.numel(), x, y, width, *words.shape[1:])


def select(bits: Bits, keep: Tensor) -> Tensor:
    if keep.shape != (bits.count,):
        raise ValueError(f"{list(keep.shape)} decisions for {bits.count} sites")
    return select_above(bits, keep.view(torch.uint8), 0.5)


def select_above(bits: Bits, values: Tensor, bar: float) -> Tensor:
    """words of the sites whose value, [N] of any type, exceeds the bar."""
    chosen = torch.empty_like(bits.words)
    n = chosen.numel()
    tensors = bits.words, bits.starts, values.contiguous(), chosen
    # A bar that is a whole number would compile the kernel for such alone.
    launch(kernels.select_bits, (blocks(n, WORDS),), tensors, (n, float(bar)), BLOCK=WORDS)
    return chosen


def rows(bits: Bits, wanted: Bits) -> Tensor:
    if bits.words.shape != wanted.words.shape:
        raise ValueError(f"sites of two grids: words {list(bits.words.shape)} and {list(wanted.words.shape)}")
    found = torch.empty(wanted.count, dtype=torch.int32, device=bits.words.device)
    tensors = bits.words, bits.starts, cells(wanted), found
    launch(kernels.find_rows, (blocks(wanted.count, ROWS),), tensors, (wanted.count, bits.count), BLOCK=ROWS)
    return found


def neighbours(bits: Bits, parents: Bits | None = None) -> Tensor:
    """int32 [N], the sites' cells: this engine looks neighbours up in the bits, which costs less than reading a stored map."""
    return cells(_under(bits, [parents] if parents is not None else []))
