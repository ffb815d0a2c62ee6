# mypy: disable-error-code="no-untyped-def, misc, untyped-decorator"
"""3×3×3 convolutions of few channels, a cube of 2×2×2 sites at a time.

The eight sites of a cube reach for the same 4×4×4 cells: 16 lines of four cells, against 8 · 9 lines of three for the sites one by one.
So a program takes a block of cubes (cells of the grid at twice the stride) and multiplies [cubes, 4 cells · 8 channels] by
[4 cells · 8 channels, 8 sites · 8 channels] for each line; `cubes.spread` lays the weights out, zero where a cell is no neighbour. What
a decoder generates comes in full cubes; where cubes are not full, absent sites are computed and dropped.
"""

import triton
import triton.language as tl

from calvaria.sparse.triton_engine.lookup import load_word, pair, place, popcount


@triton.jit
def quad(words, starts, b, x, y, z, X, Y, W, mask):
    """(first row, window of 4) of the cells z-1 … z+2 of the line (b, x, y), z even."""
    w = z >> 6
    mask = mask & (x >= 0) & (x < X) & (y >= 0) & (y < Y) & (w < W)
    at = ((b * X + x) * Y + y) * W + w
    word = load_word(words, at, mask)
    before = tl.load(starts + at, mask=mask, other=0)
    bit = z & 63
    shift = bit.to(tl.uint64)
    under = word & ((tl.full(z.shape, 1, tl.uint64) << shift) - 1)
    left = ((word << 1) >> shift) & 1
    left |= load_word(words, at - 1, mask & (bit == 0) & (w > 0)) >> 63
    right = (word >> shift) >> 2 & 1
    right |= load_word(words, at + 1, mask & (bit == 62) & (w < W - 1)) & 1
    seen = left | (((word >> shift) & 3) << 1) | (right << 3)
    return before + popcount(under) - left.to(tl.int32), seen.to(tl.int32)


@triton.jit
def cube_sum(
    features, weight, words, starts, b, x, y, z, X, Y, W, mask,
    C_IN: tl.constexpr, PRECISION: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """[8 · BLOCK, 8]: the convolution at the sites of the cubes whose first cell is (b, x, y, z), z fastest, then x, then y."""
    k = tl.arange(0, 32)
    n = tl.arange(0, 64)
    slot = k // 8
    channel = k % 8
    acc = tl.zeros([BLOCK, 64], tl.float32)
    for line in range(16):
        first, window = quad(words, starts, b, x + line % 4 - 1, y + line // 4 - 1, z, X, Y, W, mask)
        under = window[:, None] & ((1 << slot) - 1)[None, :]
        row = first[:, None] + (under & 1) + ((under >> 1) & 1) + (under >> 2)
        there = ((window[:, None] >> slot[None, :]) & 1) != 0
        if C_IN < 8:
            there &= (channel < C_IN)[None, :]
        gathered = tl.load(features + row.to(tl.int64) * C_IN + channel[None, :], mask=there, other=0)
        factor = tl.load(weight + (line * 32 + k)[:, None] * 64 + n[None, :])
        acc = tl.dot(gathered, factor, acc, input_precision=PRECISION)
    return tl.reshape(acc, [8 * BLOCK, 8])


@triton.jit
def cube_rows(words, starts, b, x, y, z, X, Y, W, mask, BLOCK: tl.constexpr):
    """(row, 1 if there is one else 0), each [8 · BLOCK], of the sites of the cubes, in the order of `cube_sum`."""
    line = tl.arange(0, 4)[None, :]
    column = x[:, None] + line % 2
    first, window = pair(words, starts, b[:, None], column, y[:, None] + line // 2, z[:, None] + 0 * line, X, Y, W, mask[:, None])
    low = window & 1
    row = tl.reshape(tl.join(first, first + low), [8 * BLOCK])
    return row, tl.reshape(tl.join(low, window >> 1), [8 * BLOCK])


@triton.jit
def first_cells(cubes, count, X, Y, W, BLOCK: tl.constexpr):
    """(b, x, y, z, live) of the first cell of each of this program's cubes, which are cells of a grid [B, X, Y, W]."""
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    b, x, y, w, bit = place(tl.load(cubes + at, mask=at < count, other=0), X, Y, W)
    return b, 2 * x, 2 * y, 128 * w + 2 * bit, at < count


@triton.jit(do_not_specialize=["count", "X", "Y", "W", "fine_x", "fine_y", "fine_w"])
def cube_product(
    features, weight, bias, out, cubes, words, starts, count, X, Y, W, fine_x, fine_y, fine_w,
    C_IN: tl.constexpr, C_OUT: tl.constexpr, PRECISION: tl.constexpr, BLOCK: tl.constexpr, BIASED: tl.constexpr,
):  # fmt: skip
    """out [N, C_OUT]: convolution of the sites of words and starts, of which `cubes` are the parents."""
    b, x, y, z, live = first_cells(cubes, count, X, Y, W, BLOCK)
    acc = cube_sum(features, weight, words, starts, b, x, y, z, fine_x, fine_y, fine_w, live, C_IN, PRECISION, BLOCK)
    row, there = cube_rows(words, starts, b, x, y, z, fine_x, fine_y, fine_w, live, BLOCK)
    n = tl.arange(0, 8)
    if BIASED:
        acc = tl.maximum(acc + tl.load(bias + n, mask=n < C_OUT, other=0).to(tl.float32)[None, :], 0)
    wanted = (there != 0)[:, None] & (n < C_OUT)[None, :]
    tl.store(out + row.to(tl.int64)[:, None] * C_OUT + n[None, :], acc.to(out.dtype.element_ty), mask=wanted)


@triton.jit(do_not_specialize=["count", "X", "Y", "W", "fine_x", "fine_y", "fine_w", "head_bias"])
def cube_decide(
    features, weight, bias, skip, head, out, logits, cubes, union_words, union_starts, words, starts, encoder_words, encoder_starts,
    head_bias, count, X, Y, W, fine_x, fine_y, fine_w,
    C_IN: tl.constexpr, C_OUT: tl.constexpr, PRECISION: tl.constexpr, BLOCK: tl.constexpr, WITH_FEATURES: tl.constexpr,
):  # fmt: skip
    """`product_kernels.decide_product` on the cubes that hold the sites of the union."""
    b, x, y, z, live = first_cells(cubes, count, X, Y, W, BLOCK)
    acc = cube_sum(features, weight, words, starts, b, x, y, z, fine_x, fine_y, fine_w, live, C_IN, PRECISION, BLOCK)
    _, candidate = cube_rows(words, starts, b, x, y, z, fine_x, fine_y, fine_w, live, BLOCK)
    beside, encoded = cube_rows(encoder_words, encoder_starts, b, x, y, z, fine_x, fine_y, fine_w, live, BLOCK)
    row, there = cube_rows(union_words, union_starts, b, x, y, z, fine_x, fine_y, fine_w, live, BLOCK)
    n = tl.arange(0, 8)
    inside = (n < C_OUT)[None, :]
    acc = tl.maximum(acc + tl.load(bias + n, mask=n < C_OUT, other=0).to(tl.float32)[None, :], 0)
    acc = tl.where((candidate != 0)[:, None], acc, 0)
    source = skip + beside.to(tl.int64)[:, None] * C_OUT + n[None, :]
    acc += tl.load(source, mask=(encoded != 0)[:, None] & inside, other=0).to(tl.float32)
    if WITH_FEATURES:
        target = out + row.to(tl.int64)[:, None] * C_OUT + n[None, :]
        tl.store(target, acc.to(out.dtype.element_ty), mask=(there != 0)[:, None] & inside)
    factor = tl.load(head + n, mask=n < C_OUT, other=0).to(tl.float32)
    tl.store(logits + row, tl.sum(acc * factor[None, :], 1) + head_bias, mask=there != 0)
