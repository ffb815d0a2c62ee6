# mypy: disable-error-code="no-untyped-def, misc, untyped-decorator"
"""Kernels on the bits of a grid, a word of 64 cells at a time; `bits` says what each one is for."""

import triton
import triton.language as tl

from calvaria.sparse.triton_engine.lookup import load_word, place, popcount, rank


@triton.jit(do_not_specialize=["n"])
def count_blocks(words, sums, n, BLOCK: tl.constexpr):
    """sums[p] = sites in the p-th block of words."""
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(sums + tl.program_id(0), tl.sum(popcount(load_word(words, at, at < n))))


@triton.jit
def _keep_ends(totals, first, ends, at, n, per):
    """totals[first + item] = sites up to the end of each item, of `per` words each."""
    tl.store(totals + first + at // per, ends, mask=(at < n) & (at % per == per - 1))


@triton.jit(do_not_specialize=["n", "first", "per"])
def scan_blocks(words, sums, starts, totals, n, first, per, BLOCK: tl.constexpr, SUMS: tl.constexpr):
    """starts from the blocks' sums: each program adds up those before its own; and the items' ends (`_keep_ends`)."""
    block = tl.program_id(0)
    before = tl.zeros([SUMS], tl.int32)
    for begin in range(0, block, SUMS):
        other = begin + tl.arange(0, SUMS)
        before += tl.load(sums + other, mask=other < block, other=0)
    at = block * BLOCK + tl.arange(0, BLOCK)
    ends = tl.sum(before) + tl.cumsum(popcount(load_word(words, at, at < n)))
    tl.store(starts + 1 + at, ends, mask=at < n)
    _keep_ends(totals, first, ends, at, n, per)
    if block == 0:
        tl.store(starts, 0)


@triton.jit
def _number(word, before, at, cells):
    """Write the number of each bit's cell at its row; `before` sites precede each word."""
    bit = tl.arange(0, 64)
    there = (word[:, None] >> bit.to(tl.uint64)[None, :]) & 1
    row = before[:, None] + tl.cumsum(there.to(tl.int32), 1) - 1
    tl.store(cells + row, at[:, None] * 64 + bit[None, :], mask=there != 0)


@triton.jit
def _index(words, starts, cells, totals, n, first, per, BLOCK: tl.constexpr, AHEAD: tl.constexpr):
    top = tl.program_id(0) * BLOCK
    ahead = tl.zeros([AHEAD], tl.int32)
    for begin in range(0, top, AHEAD):
        other = begin + tl.arange(0, AHEAD)
        ahead += popcount(load_word(words, other, other < top))
    at = top + tl.arange(0, BLOCK)
    word = load_word(words, at, at < n)
    sites = popcount(word)
    ends = tl.sum(ahead) + tl.cumsum(sites)
    tl.store(starts + 1 + at, ends, mask=at < n)
    _keep_ends(totals, first, ends, at, n, per)
    if top == 0:
        tl.store(starts, 0)
    if tl.max(sites) > 0:
        _number(word, ends - sites, at, cells)


@triton.jit(do_not_specialize=["n", "first", "per"])
def index_small(words, starts, cells, totals, n, first, per, BLOCK: tl.constexpr, AHEAD: tl.constexpr):
    """starts, cells and the items' ends at once, where words are so few that every program may count all those before its own."""
    _index(words, starts, cells, totals, n, first, per, BLOCK, AHEAD)


@triton.jit(do_not_specialize=["n", "batch", "per"])
def index_two(words, starts, cells, others, other_starts, other_cells, totals, n, batch, per, BLOCK: tl.constexpr, AHEAD: tl.constexpr):
    """`index_small` of two grids of one shape."""
    if tl.program_id(1) == 0:
        _index(words, starts, cells, totals, n, 0, per, BLOCK, AHEAD)
    else:
        _index(others, other_starts, other_cells, totals, n, batch, per, BLOCK, AHEAD)


@triton.jit(do_not_specialize=["n"])
def number_cells(words, starts, cells, n, BLOCK: tl.constexpr):
    """cells[row] = 64 · word + bit of each site."""
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    word = load_word(words, at, at < n)
    if tl.max(popcount(word)) > 0:
        _number(word, tl.load(starts + at, mask=at < n, other=0), at, cells)


@triton.jit(do_not_specialize=["n", "X", "Y", "W"])
def place_cells(cells, coordinates, n, X, Y, W, BLOCK: tl.constexpr):
    row = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    b, x, y, w, bit = place(tl.load(cells + row, mask=row < n, other=0), X, Y, W)
    target = coordinates + row.to(tl.int64) * 4
    tl.store(target, b, mask=row < n)
    tl.store(target + 1, x, mask=row < n)
    tl.store(target + 2, y, mask=row < n)
    tl.store(target + 3, w * 64 + bit, mask=row < n)


@triton.jit(do_not_specialize=["n", "item", "y", "z", "X", "Y", "W"])
def spread_values(cells, values, field, n, item, y, z, X, Y, W, BLOCK: tl.constexpr):
    """field [x, y, z] at the sites of one item."""
    row = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    b, i, j, w, bit = place(tl.load(cells + row, mask=row < n, other=0), X, Y, W)
    target = field + (i.to(tl.int64) * y + j) * z + w * 64 + bit
    tl.store(target, tl.load(values + row, mask=row < n, other=0), mask=(row < n) & (b == item))


@triton.jit(do_not_specialize=["n", "X", "Y", "W"])
def set_bits(coordinates, words, n, X, Y, W, BLOCK: tl.constexpr):
    """Or every coordinate's bit into its word."""
    row = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = row < n
    source = coordinates + row.to(tl.int64) * 4
    b = tl.load(source, mask=inside, other=0)
    x = tl.load(source + 1, mask=inside, other=0)
    y = tl.load(source + 2, mask=inside, other=0)
    z = tl.load(source + 3, mask=inside, other=0)
    bit = tl.full([BLOCK], 1, tl.int64) << (z & 63).to(tl.int64)
    tl.atomic_or(words + ((b * X + x) * Y + y) * W + (z >> 6), bit, mask=inside, sem="relaxed")


# Items of a batch begin wherever the one before them ends; for those that are not at a multiple of 16 bytes Triton would compile anew.
@triton.jit(do_not_specialize=["lines", "y", "z", "Y", "W", "mask_y", "mask_x"], do_not_specialize_on_alignment=["mask", "words"])
def pack_mask(mask, words, lines, y, z, mask_x, mask_y, Y, W, BLOCK: tl.constexpr):
    """One program a block of lines (x, y) and a word of z; mask_x and mask_y are the mask's strides."""
    line = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    i = line // y
    j = line - i * y
    bit = tl.arange(0, 64)
    cell = tl.program_id(1) * 64 + bit
    source = mask + (i.to(tl.int64) * mask_x + j * mask_y)[:, None] + cell[None, :]
    there = tl.load(source, mask=(line < lines)[:, None] & (cell < z)[None, :], other=0) != 0
    word = tl.sum(there.to(tl.int64) << bit.to(tl.int64)[None, :], 1)
    tl.store(words + (i * Y + j) * W + tl.program_id(1), word, mask=line < lines)


@triton.jit(do_not_specialize=["lines", "W", "depth"], do_not_specialize_on_alignment=["words", "mask"])
def unpack_words(words, mask, lines, W, depth, BLOCK: tl.constexpr):
    line = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    word = load_word(words, line * W + tl.program_id(1), line < lines)
    bit = tl.arange(0, 64)
    cell = tl.program_id(1) * 64 + bit
    there = ((word[:, None] >> bit.to(tl.uint64)[None, :]) & 1).to(tl.int8)
    tl.store(mask + line.to(tl.int64)[:, None] * depth + cell[None, :], there, mask=(line < lines)[:, None] & (cell < depth)[None, :])


@triton.jit
def _halved(word):
    """The even bits of a word, moved together into its lower half."""
    word = word & 0x5555555555555555
    word = (word | (word >> 1)) & 0x3333333333333333
    word = (word | (word >> 2)) & 0x0F0F0F0F0F0F0F0F
    word = (word | (word >> 4)) & 0x00FF00FF00FF00FF
    word = (word | (word >> 8)) & 0x0000FFFF0000FFFF
    return (word | (word >> 16)) & 0x00000000FFFFFFFF


@triton.jit
def _doubled(word):
    """The lower half of a word, each bit on two neighbouring bits."""
    word = word & 0x00000000FFFFFFFF
    word = (word | (word << 16)) & 0x0000FFFF0000FFFF
    word = (word | (word << 8)) & 0x00FF00FF00FF00FF
    word = (word | (word << 4)) & 0x0F0F0F0F0F0F0F0F
    word = (word | (word << 2)) & 0x3333333333333333
    word = (word | (word << 1)) & 0x5555555555555555
    return word | (word << 1)


@triton.jit(do_not_specialize=["n", "X", "Y", "W", "fine_x", "fine_y", "fine_w"])
def coarsen(fine, coarse, n, X, Y, W, fine_x, fine_y, fine_w, BLOCK: tl.constexpr):
    """Coarse words [B, X, Y, W], each from two words of four finer lines."""
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    b, x, y, w, _ = place(at * 64, X, Y, W)
    low = tl.zeros([BLOCK], tl.uint64)
    high = tl.zeros([BLOCK], tl.uint64)
    for step in tl.static_range(4):
        i = 2 * x + step % 2
        j = 2 * y + step // 2
        inside = (at < n) & (i < fine_x) & (j < fine_y)
        source = ((b * fine_x + i) * fine_y + j) * fine_w + 2 * w
        low |= load_word(fine, source, inside)
        high |= load_word(fine, source + 1, inside & (2 * w + 1 < fine_w))
    word = _halved(low | (low >> 1)) | (_halved(high | (high >> 1)) << 32)
    tl.store(coarse + at, word.to(tl.int64, bitcast=True), mask=at < n)


@triton.jit
def _refined(coarse, limits, at, n, X, Y, W, coarse_x, coarse_y, coarse_w, KERNEL: tl.constexpr, BLOCK: tl.constexpr):
    """Fine words [B, X, Y, W] within each item's limits: the half of a coarse word above each, of four coarse lines for kernel 4."""
    b, x, y, w, _ = place(at * 64, X, Y, W)
    live = at < n
    live &= (x < tl.load(limits + b * 3, mask=live, other=0)) & (y < tl.load(limits + b * 3 + 1, mask=live, other=0))
    reached = tl.zeros([BLOCK], tl.uint64)
    half = (32 * (w & 1)).to(tl.uint64)
    for step in tl.static_range((KERNEL // 2) * (KERNEL // 2)):
        i = x // 2 - step % 2
        j = y // 2 - step // 2
        inside = live & (i >= 0) & (j >= 0)
        source = ((b * coarse_x + i) * coarse_y + j) * coarse_w + w // 2
        word = load_word(coarse, source, inside)
        if KERNEL == 4:
            carried = load_word(coarse, source - 1, inside & (w >= 2)) >> 63
            word = word | (word << 1) | carried
        reached |= word >> half
    depth = tl.load(limits + b * 3 + 2, mask=live, other=0) - 64 * w
    depth = tl.minimum(tl.maximum(depth, 0), 64).to(tl.uint64)
    full = tl.full([BLOCK], 0xFFFFFFFFFFFFFFFF, tl.uint64)
    clip = tl.where(depth == 64, full, (tl.full([BLOCK], 1, tl.uint64) << (depth & 63)) - 1)
    return (_doubled(reached) & clip).to(tl.int64, bitcast=True)


@triton.jit(do_not_specialize=["n", "X", "Y", "W", "coarse_x", "coarse_y", "coarse_w"])
def refine(coarse, fine, limits, n, X, Y, W, coarse_x, coarse_y, coarse_w, KERNEL: tl.constexpr, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(fine + at, _refined(coarse, limits, at, n, X, Y, W, coarse_x, coarse_y, coarse_w, KERNEL, BLOCK), mask=at < n)


@triton.jit(do_not_specialize=["n", "X", "Y", "W", "coarse_x", "coarse_y", "coarse_w"])
def refine_and_join(
    coarse, encoder, fine, joint, limits, n, X, Y, W, coarse_x, coarse_y, coarse_w, KERNEL: tl.constexpr, BLOCK: tl.constexpr
):
    """`refine`, and the same with the encoder's words of the fine grid."""
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    words = _refined(coarse, limits, at, n, X, Y, W, coarse_x, coarse_y, coarse_w, KERNEL, BLOCK)
    tl.store(fine + at, words, mask=at < n)
    tl.store(joint + at, words | tl.load(encoder + at, mask=at < n, other=0), mask=at < n)


@triton.jit(do_not_specialize=["n", "bar"])
def select_bits(words, starts, values, chosen, n, bar, BLOCK: tl.constexpr):
    """The bits whose row has a value above the bar."""
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    word = load_word(words, at, at < n)
    kept = tl.zeros([BLOCK], tl.int64)
    if tl.max(popcount(word)) > 0:
        bit = tl.arange(0, 64)
        there = ((word[:, None] >> bit.to(tl.uint64)[None, :]) & 1).to(tl.int32)
        row = tl.load(starts + at, mask=at < n, other=0)[:, None] + tl.cumsum(there, 1) - 1
        keep = tl.load(values + row, mask=there != 0, other=0).to(tl.float32) > bar
        kept = tl.sum((keep & (there != 0)).to(tl.int64) << bit.to(tl.int64)[None, :], 1)
    tl.store(chosen + at, kept, mask=at < n)


@triton.jit(do_not_specialize=["n", "absent"])
def find_rows(words, starts, wanted, found, n, absent, BLOCK: tl.constexpr):
    row = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    cell = tl.load(wanted + row, mask=row < n, other=0)
    first, there = rank(words, starts, cell >> 6, cell & 63, row < n)
    tl.store(found + row, tl.where(there != 0, first, absent), mask=row < n)
