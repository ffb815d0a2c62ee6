"""Bits of a grid: the first half of `calvaria.sparse.engine.Engine`, which says what each function does."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from calvaria.sparse.engine import Bits, Shape
from calvaria.sparse.native.library import blank, library, room
from calvaria.sparse.reference import ends as ends


def pack(mask: Tensor, words: Tensor) -> None:
    x, y, z = mask.shape
    across, along, width = words.shape
    if mask.dtype is not torch.bool or not mask.is_cpu or x > across or y > along or z > 64 * width:
        raise ValueError(f"a {mask.dtype} mask {list(mask.shape)} on {mask.device} does not fit words {list(words.shape)}")
    strides = mask.stride()
    if 1 not in (strides[0], strides[2]):
        mask, strides = mask.contiguous(), (y * z, z, 1)
    library().pack(mask.data_ptr(), x, y, z, *strides, words, along, width)


def unpack(words: Tensor, depth: int) -> Tensor:
    *lines, width = words.shape
    if words.dtype is not torch.int64 or not words.is_cpu or not 0 <= depth <= 64 * width:
        raise ValueError(f"{words.dtype} words {list(words.shape)} on {words.device} do not hold lines of {depth} cells")
    if words.ndim != 3 or words.stride(2) != 1:
        words = words.reshape(1, math.prod(lines), width).contiguous()
    x, y, _ = words.shape
    mask = blank(x, y, depth, dtype=torch.bool)
    library().unpack(words.data_ptr(), x, y, words.stride(0), words.stride(1), depth, mask)
    return mask.view(*lines, depth)


def index(words: Tensor) -> Bits:
    starts = room(words.numel() + 1, dtype=torch.int32)
    count = library().index_words(words, words.numel(), starts)
    if count >= 2**31:
        raise ValueError(f"{count} sites are too many: rows are counted in int32, make the batch smaller")
    return Bits(words, starts, count)


def index_all(grids: Sequence[Tensor]) -> list[Bits]:
    return [index(words) for words in grids]


def coordinates(bits: Bits) -> Tensor:
    found = room(bits.count, 4, dtype=torch.int32)
    library().coordinates(bits.words, bits.starts, *bits.words.shape, found)
    return found


def mark(coordinates: Tensor, shape: Shape) -> Tensor:
    batch, x, y, z = shape
    words = blank(batch, x, y, -(-z // 64), dtype=torch.int64)
    outside = library().mark(coordinates.int().contiguous(), len(coordinates), *shape, words)
    if outside:
        raise ValueError(f"{outside} of {len(coordinates)} coordinates lie outside the grid {list(shape)}")
    return words


def parents(words: Tensor) -> Tensor:
    batch, x, y, width = words.shape
    coarse = room(batch, -(-x // 2), -(-y // 2), -(-width // 2), dtype=torch.int64)
    library().parents(words, batch, x, y, width, coarse)
    return coarse


def children(words: Tensor, limits: Tensor, shape: Shape, kernel: int) -> Tensor:
    batch, x, y, z = shape
    width = -(-z // 64)
    if kernel not in (2, 4) or words.shape != (batch, -(-x // 2), -(-y // 2), -(-width // 2)) or limits.shape != (batch, 3):
        raise ValueError(f"no kernel {kernel} from words {list(words.shape)} with limits {list(limits.shape)} to the grid {list(shape)}")
    fine = room(batch, x, y, width, dtype=torch.int64)
    library().children(words, limits, batch, x, y, width, kernel, fine)
    return fine


def candidates(words: Tensor, limits: Tensor, shape: Shape, kernel: int, encoder: Tensor, also: Sequence[Tensor] = ()) -> list[Bits]:
    fine = children(words, limits, shape, kernel)
    return index_all([fine, fine | encoder, *also])


def select(bits: Bits, keep: Tensor) -> Tensor:
    if keep.shape != (bits.count,):
        raise ValueError(f"{list(keep.shape)} decisions for {bits.count} sites")
    chosen = torch.empty_like(bits.words)
    library().select_sites(bits.words, bits.starts, bits.words.numel(), keep, chosen)
    return chosen


def rows(bits: Bits, wanted: Bits) -> Tensor:
    if bits.words.shape != wanted.words.shape:
        raise ValueError(f"sites of two grids: words {list(bits.words.shape)} and {list(wanted.words.shape)}")
    found = room(wanted.count, dtype=torch.int32)
    library().rows(bits.words, bits.starts, wanted.words, wanted.starts, bits.words.numel(), found)
    return found


def spread(bits: Bits, values: Tensor, item: int, size: tuple[int, int, int], absent: float) -> Tensor:
    """float32 [x, y, z]: the values [N] at the sites of one item, whose size (x, y, z) is given; `absent` elsewhere."""
    _, across, along, width = bits.words.shape
    x, y, z = size
    if values.shape != (bits.count,) or x > across or y > along or z > 64 * width:
        raise ValueError(f"{list(values.shape)} values for {bits.count} sites, {list(size)} of words {list(bits.words.shape)}")
    field = blank(x, y, z, dtype=torch.float32)
    first = item * across * along * width
    words, starts = bits.words.data_ptr() + 8 * first, bits.starts.data_ptr() + 4 * first
    library().spread_values(words, starts, x, y, along * width, width, z, values, absent, field)
    return field


def neighbours(bits: Bits, parents: Bits | None = None) -> Tensor:
    """int32 [0, 27]: the convolution reads the bits."""
    return torch.empty(0, 27, dtype=torch.int32)
