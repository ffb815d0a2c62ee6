# mypy: disable-error-code="no-untyped-def, misc, untyped-decorator"
"""Inside a kernel: where a site stands, and which sites stand at the cells around it.

A cell is named by its number in the padded grid, 64 · word + bit. Its row is the rank of its bit: starts[word] + the bits set below.
Three cells in a row along z are one word (two at a word's edge), one start and one popcount: that is a group of taps, and what a
look-up returns is the row of the group's first site and a window, bit s of which says whether slot s is occupied. The sites of a
group stand in consecutive rows, so slot s has the first row plus the number of window bits below s.
"""

import triton
import triton.language as tl

# What a convolution reaches for from each of its output sites.
SAME = tl.constexpr(0)  # 3×3×3 around the site on its own grid
DOWN = tl.constexpr(1)  # kernel³ cells at twice its coordinates, on the finer grid
UP = tl.constexpr(2)  # (kernel/2)³ cells at half its coordinates, on the coarser grid; the parity of the site picks the tap


@triton.jit
def popcount(word):
    """Bits set in each uint64. The compiler knows this idiom as one instruction; the interpreter just computes it."""
    word = word - ((word >> 1) & 0x5555555555555555)
    word = (word & 0x3333333333333333) + ((word >> 2) & 0x3333333333333333)
    word = (word + (word >> 4)) & 0x0F0F0F0F0F0F0F0F
    return ((word * 0x0101010101010101) >> 56).to(tl.int32)


@triton.jit
def load_word(words, at, mask):
    return tl.load(words + at, mask=mask, other=0).to(tl.uint64, bitcast=True)


@triton.jit
def place(cell, X, Y, W):
    """(b, x, y, w, bit) of a cell of a grid of words [B, X, Y, W]."""
    word = (cell >> 6).to(tl.uint32)  # unsigned division is the cheaper one
    line = word // W.to(tl.uint32)
    column = line // Y.to(tl.uint32)
    b = column // X.to(tl.uint32)
    x = column - b * X.to(tl.uint32)
    y = line - column * Y.to(tl.uint32)
    w = word - line * W.to(tl.uint32)
    return b.to(tl.int32), x.to(tl.int32), y.to(tl.int32), w.to(tl.int32), cell & 63


@triton.jit
def rank(words, starts, at, bit, mask):
    """(row of the bit, 1 if it is set else 0) in the words at these indices; 0, 0 where masked off."""
    word = load_word(words, at, mask)
    before = tl.load(starts + at, mask=mask, other=0)
    shift = bit.to(tl.uint64)
    under = word & ((tl.full(bit.shape, 1, tl.uint64) << shift) - 1)
    return before + popcount(under), ((word >> shift) & 1).to(tl.int32)


@triton.jit
def around(words, starts, b, x, y, w, bit, X, Y, W, mask):
    """(first row, window of 3) of the cells z-1, z, z+1 of the line (b, x, y)."""
    mask = mask & (x >= 0) & (x < X) & (y >= 0) & (y < Y)
    at = ((b * X + x) * Y + y) * W + w
    word = load_word(words, at, mask)
    before = tl.load(starts + at, mask=mask, other=0)
    under = word & ((tl.full(bit.shape, 1, tl.uint64) << bit.to(tl.uint64)) - 1)
    seen = window(words, word, at, w, bit, W, mask)
    return before + popcount(under) - (seen & 1), seen


@triton.jit
def window(words, word, at, w, bit, W, mask):
    """int32: the cells z-1, z, z+1 around a bit of the word, which stands w-th in its line of W words."""
    shift = bit.to(tl.uint64)
    left = ((word << 1) >> shift) & 1
    left |= load_word(words, at - 1, mask & (bit == 0) & (w > 0)) >> 63
    here = word >> shift
    right = (here >> 1) & 1
    right |= load_word(words, at + 1, mask & (bit == 63) & (w < W - 1)) & 1
    return (left | ((here & 1) << 1) | (right << 2)).to(tl.int32)


@triton.jit
def pair(words, starts, b, x, y, z, X, Y, W, mask):
    """(first row, window of 2) of the cells z, z+1 of the line (b, x, y), z even."""
    mask = mask & (x < X) & (y < Y) & ((z >> 6) < W)
    at = ((b * X + x) * Y + y) * W + (z >> 6)
    word = load_word(words, at, mask)
    before = tl.load(starts + at, mask=mask, other=0)
    shift = (z & 63).to(tl.uint64)
    under = word & ((tl.full(z.shape, 1, tl.uint64) << shift) - 1)
    return before + popcount(under), ((word >> shift) & 3).to(tl.int32)


@triton.jit
def parent(words, starts, b, x, y, z, X, Y, W, mask):
    """(row, 1 if there is one else 0) of the cell (b, x, y, z); none outside the grid."""
    mask = mask & (x >= 0) & (x < X) & (y >= 0) & (y < Y) & (z >= 0) & ((z >> 6) < W)
    return rank(words, starts, ((b * X + x) * Y + y) * W + (z >> 6), z & 63, mask)


@triton.jit
def first_tap(MODE: tl.constexpr, KERNEL: tl.constexpr, g):
    """The weight of slot 0 of a convolution's group g; the next slot's lies kernel² taps on.

    SAME: 9 groups of 3 slots. DOWN and UP: kernel³ / 2 groups of 2 slots. Taps are ordered with x fastest.
    """
    if MODE == SAME:
        return g
    elif MODE == DOWN:
        return g + g // (KERNEL * KERNEL) * KERNEL * KERNEL
    else:
        px, py, sx, sy, sz = _backward(g)
        return px + 2 * sx + KERNEL * (py + 2 * sy) + 2 * KERNEL * KERNEL * sz


@triton.jit
def group(MODE: tl.constexpr, KERNEL: tl.constexpr, g, words, starts, b, x, y, w, bit, X, Y, W, mask):
    """(first row, window) of a convolution's group g for sites at (b, x, y, 64 w + bit); X, Y, W are the grid's that it reaches for."""
    if MODE == SAME:
        return around(words, starts, b, x + g % 3 - 1, y + g // 3 - 1, w, bit, X, Y, W, mask)
    elif MODE == DOWN:
        z = 128 * w + 2 * bit + 2 * (g // (KERNEL * KERNEL))
        return pair(words, starts, b, 2 * x + g % KERNEL, 2 * y + g // KERNEL % KERNEL, z, X, Y, W, mask)
    else:
        px, py, sx, sy, sz = _backward(g)
        mask = mask & (x % 2 == px) & (y % 2 == py)
        row, there = parent(words, starts, b, x // 2 - sx, y // 2 - sy, 32 * w + bit // 2 - sz, X, Y, W, mask)
        return row, there << (bit & 1)


@triton.jit
def _backward(g):
    """Group g of UP: the parities of x and y whose sites it serves (its two slots serve z even and odd), and steps back along each axis."""
    return g % 2, g // 2 % 2, g // 4 % 2, g // 8 % 2, g // 16


@triton.jit
def below(window, slot):
    """Occupied slots of a window of three before `slot`."""
    under = window & ((1 << slot) - 1)
    return (under & 1) + ((under >> 1) & 1)
