# mypy: disable-error-code="no-untyped-def, misc, untyped-decorator"
"""The first layer, whose input is ones at the sites: which of a site's 27 cells are occupied is all it needs, read off the words."""

import triton
import triton.language as tl

from calvaria.sparse.triton_engine.lookup import load_word, place, window


@triton.jit(do_not_specialize=["count", "X", "Y", "W"])
def find_occupied(codes, cells, words, count, X, Y, W, BLOCK: tl.constexpr):
    """codes[row] int32: bit t is set where the cell under tap t of 3×3×3 is a site."""
    row = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    b, x, y, w, bit = place(tl.load(cells + row, mask=row < count, other=0), X, Y, W)
    code = tl.zeros([BLOCK], tl.int32)
    for g in tl.static_range(9):
        i = x + g % 3 - 1
        j = y + g // 3 - 1
        inside = (row < count) & (i >= 0) & (i < X) & (j >= 0) & (j < Y)
        at = ((b * X + i) * Y + j) * W + w
        seen = window(words, load_word(words, at, inside), at, w, bit, W, inside)
        code |= ((seen & 1) | ((seen & 2) << 8) | ((seen & 4) << 16)) << g
    tl.store(codes + row, code, mask=row < count)


@triton.jit(do_not_specialize=["count"])
def stem_product(
    weight, bias, out, codes, count,
    C_OUT: tl.constexpr, PRECISION: tl.constexpr, BLOCK: tl.constexpr, BLOCK_N: tl.constexpr, BIASED: tl.constexpr,
):  # fmt: skip
    """out [count, C_OUT]: the sum of the weights of each row's occupied taps, as one product with a matrix of ones and zeros."""
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    n = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    tap = tl.arange(0, 32)
    code = tl.load(codes + at, mask=at < count, other=0)
    factor = tl.load(weight + tap[:, None] * C_OUT + n[None, :], mask=(tap < 27)[:, None] & (n < C_OUT)[None, :], other=0)
    ones = ((code[:, None] >> tap[None, :]) & 1).to(factor.dtype)
    acc = tl.dot(ones, factor, input_precision=PRECISION)
    if BIASED:
        acc = tl.maximum(acc + tl.load(bias + n, mask=n < C_OUT, other=0).to(tl.float32)[None, :], 0)
    wanted = (at < count)[:, None] & (n < C_OUT)[None, :]
    tl.store(out + at.to(tl.int64)[:, None] * C_OUT + n[None, :], acc.to(out.dtype.element_ty), mask=wanted)


@triton.jit(do_not_specialize=["count", "chunk"])
def stem_gradient(
    gradient, partial, codes, count, chunk,
    C_OUT: tl.constexpr, PRECISION: tl.constexpr, BLOCK: tl.constexpr, BLOCK_N: tl.constexpr,
):  # fmt: skip
    """partial[p] [27, C_OUT] over the p-th chunk of rows."""
    n = tl.program_id(0) * BLOCK_N + tl.arange(0, BLOCK_N)
    tap = tl.arange(0, 32)
    acc = tl.zeros([32, BLOCK_N], tl.float32)
    begin = tl.program_id(1) * chunk
    for top in range(begin, tl.minimum(begin + chunk, count), BLOCK):
        at = top + tl.arange(0, BLOCK)
        code = tl.load(codes + at, mask=at < count, other=0)
        wanted = (at < count)[:, None] & (n < C_OUT)[None, :]
        given = tl.load(gradient + at.to(tl.int64)[:, None] * C_OUT + n[None, :], mask=wanted, other=0)
        ones = ((code[:, None] >> tap[None, :]) & 1).to(given.dtype)
        acc = tl.dot(tl.trans(ones), given, acc, input_precision=PRECISION)
    target = partial + (tl.program_id(1) * 27 + tap)[:, None] * C_OUT + n[None, :]
    tl.store(target, acc, mask=(tap < 27)[:, None] & (n < C_OUT)[None, :])
