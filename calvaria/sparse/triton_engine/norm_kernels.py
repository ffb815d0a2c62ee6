# mypy: disable-error-code="no-untyped-def, misc, untyped-decorator"
"""Batch normalisation over rows and ReLU: two passes over the features forward, two back, each in chunks of rows.

A first kernel reduces every chunk to two numbers a channel; the second begins by merging those, in a fixed order, in every program: that
costs less than a launch in between, as long as there are no more than a few hundred chunks.
"""

import triton
import triton.language as tl


@triton.jit
def _tile(top, n, end, C: tl.constexpr, BLOCK: tl.constexpr):
    """(offsets, which of them are there) of a block of rows."""
    at = top + tl.arange(0, BLOCK)
    return at.to(tl.int64)[:, None] * C + n[None, :], (at < end)[:, None] & (n < C)[None, :]


@triton.jit(do_not_specialize=["count", "chunk"])
def measure(features, partial, count, chunk, C: tl.constexpr, BLOCK: tl.constexpr, BLOCK_N: tl.constexpr):
    """partial[p] [2, C] = mean and sum of squared deviations of the p-th chunk, counted from its first row so that little cancels."""
    n = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    begin = tl.program_id(0) * chunk
    end = tl.minimum(begin + chunk, count)
    first = tl.load(features + begin.to(tl.int64) * C + n, mask=n < C, other=0).to(tl.float32)
    sums = tl.zeros([BLOCK, BLOCK_N], tl.float32)
    squares = tl.zeros([BLOCK, BLOCK_N], tl.float32)
    for top in range(begin, end, BLOCK):
        place, there = _tile(top, n, end, C, BLOCK)
        apart = tl.where(there, tl.load(features + place, mask=there, other=0).to(tl.float32) - first[None, :], 0)
        sums += apart
        squares += apart * apart
    size = (end - begin).to(tl.float32)
    total = tl.sum(sums, 0)
    tl.store(partial + tl.program_id(0) * 2 * C + n, first + total / size, mask=n < C)
    tl.store(partial + (tl.program_id(0) * 2 + 1) * C + n, tl.sum(squares, 0) - total * total / size, mask=n < C)


@triton.jit
def _merge(partial, n, count, chunk, parts, C: tl.constexpr, BLOCK_N: tl.constexpr, PARTS: tl.constexpr):
    """(mean, biased variance) of all rows from those of the chunks."""
    mean = tl.zeros([BLOCK_N], tl.float32)
    spread = tl.zeros([BLOCK_N], tl.float32)
    for first in range(0, parts, PARTS):
        part = first + tl.arange(0, PARTS)
        there = (part < parts)[:, None] & (n < C)[None, :]
        share = tl.minimum(chunk, count - part * chunk).to(tl.float32) / count
        mean += tl.sum(tl.load(partial + part[:, None] * 2 * C + n[None, :], mask=there, other=0) * share[:, None], 0)
    for first in range(0, parts, PARTS):
        part = first + tl.arange(0, PARTS)
        there = (part < parts)[:, None] & (n < C)[None, :]
        size = tl.minimum(chunk, count - part * chunk).to(tl.float32)
        apart = tl.load(partial + part[:, None] * 2 * C + n[None, :], mask=there, other=0) - mean[None, :]
        squares = tl.load(partial + (part[:, None] * 2 + 1) * C + n[None, :], mask=there, other=0)
        spread += tl.sum(tl.where(there, squares + size[:, None] * apart * apart, 0), 0)
    return mean, spread / count


@triton.jit
def _follow(running, now, momentum, n, C: tl.constexpr):
    """Move a running statistic towards the one of now."""
    before = tl.load(running + n, mask=n < C, other=0).to(tl.float32)
    tl.store(running + n, (before + momentum * (now - before)).to(running.dtype.element_ty), mask=n < C)


@triton.jit(do_not_specialize=["count", "chunk", "parts", "momentum", "eps"])
def normalise_rows(
    features, weight, bias, running_mean, running_var, partial, out, mean, scale, momentum, eps, count, chunk, parts,
    C: tl.constexpr, BLOCK: tl.constexpr, BLOCK_N: tl.constexpr, PARTS: tl.constexpr,
):  # fmt: skip
    """out = relu((features - mean) · scale · weight + bias); the first program keeps mean and scale, and the running statistics follow."""
    n = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    centre, variance = _merge(partial, n, count, chunk, parts, C, BLOCK_N, PARTS)
    steepness = 1 / tl.sqrt(variance + eps)
    if tl.program_id(0) == 0:
        tl.store(mean + n, centre, mask=n < C)
        tl.store(scale + n, steepness, mask=n < C)
        _follow(running_mean, centre, momentum, n, C)
        _follow(running_var, variance * (count / (count - 1.0)), momentum, n, C)
    factor = steepness * tl.load(weight + n, mask=n < C, other=0).to(tl.float32)
    offset = tl.load(bias + n, mask=n < C, other=0).to(tl.float32) - centre * factor
    begin = tl.program_id(0) * chunk
    end = tl.minimum(begin + chunk, count)
    for top in range(begin, end, BLOCK):
        place, there = _tile(top, n, end, C, BLOCK)
        x = tl.load(features + place, mask=there, other=0).to(tl.float32)
        tl.store(out + place, tl.maximum(x * factor[None, :] + offset[None, :], 0).to(out.dtype.element_ty), mask=there)


@triton.jit
def _passed_back(gradient, features, place, there, centre, steepness, factor, shift):
    """(the gradient behind the ReLU, the normalised features), float32, of a block of rows."""
    x = (tl.load(features + place, mask=there, other=0).to(tl.float32) - centre[None, :]) * steepness[None, :]
    given = tl.load(gradient + place, mask=there, other=0).to(tl.float32)
    return tl.where(there & (x * factor[None, :] + shift[None, :] > 0), given, 0), x


@triton.jit(do_not_specialize=["count", "chunk"])
def measure_gradient(
    gradient, features, weight, bias, mean, scale, partial, count, chunk, C: tl.constexpr, BLOCK: tl.constexpr, BLOCK_N: tl.constexpr
):
    """partial[p] [2, C] over the p-th chunk: of the bias and of the weight."""
    n = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    centre, steepness, factor, shift = _statistics(mean, scale, weight, bias, n, C)
    for_bias = tl.zeros([BLOCK, BLOCK_N], tl.float32)
    for_weight = tl.zeros([BLOCK, BLOCK_N], tl.float32)
    begin = tl.program_id(0) * chunk
    end = tl.minimum(begin + chunk, count)
    for top in range(begin, end, BLOCK):
        place, there = _tile(top, n, end, C, BLOCK)
        passed, x = _passed_back(gradient, features, place, there, centre, steepness, factor, shift)
        for_bias += passed
        for_weight += passed * x
    tl.store(partial + tl.program_id(0) * 2 * C + n, tl.sum(for_bias, 0), mask=n < C)
    tl.store(partial + (tl.program_id(0) * 2 + 1) * C + n, tl.sum(for_weight, 0), mask=n < C)


@triton.jit
def _statistics(mean, scale, weight, bias, n, C: tl.constexpr):
    """mean, scale, weight and bias of these channels, float32."""
    return (
        tl.load(mean + n, mask=n < C, other=0).to(tl.float32),
        tl.load(scale + n, mask=n < C, other=0).to(tl.float32),
        tl.load(weight + n, mask=n < C, other=0).to(tl.float32),
        tl.load(bias + n, mask=n < C, other=0).to(tl.float32),
    )


@triton.jit(do_not_specialize=["count", "chunk", "parts"])
def normalise_back(
    gradient, features, weight, bias, mean, scale, partial, out, for_weight, for_bias, count, chunk, parts,
    C: tl.constexpr, BLOCK: tl.constexpr, BLOCK_N: tl.constexpr, PARTS: tl.constexpr,
):  # fmt: skip
    """out = the features' gradient; the first program keeps those of weight and bias."""
    n = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    centre, steepness, factor, shift = _statistics(mean, scale, weight, bias, n, C)
    plain = tl.zeros([BLOCK_N], tl.float32)
    sloped = tl.zeros([BLOCK_N], tl.float32)
    for first in range(0, parts, PARTS):
        part = first + tl.arange(0, PARTS)
        there = (part < parts)[:, None] & (n < C)[None, :]
        plain += tl.sum(tl.load(partial + part[:, None] * 2 * C + n[None, :], mask=there, other=0), 0)
        sloped += tl.sum(tl.load(partial + (part[:, None] * 2 + 1) * C + n[None, :], mask=there, other=0), 0)
    if tl.program_id(0) == 0:
        tl.store(for_bias + n, plain.to(for_bias.dtype.element_ty), mask=n < C)
        tl.store(for_weight + n, sloped.to(for_weight.dtype.element_ty), mask=n < C)
    begin = tl.program_id(0) * chunk
    end = tl.minimum(begin + chunk, count)
    for top in range(begin, end, BLOCK):
        place, there = _tile(top, n, end, C, BLOCK)
        passed, x = _passed_back(gradient, features, place, there, centre, steepness, factor, shift)
        back = (passed - (plain[None, :] + x * sloped[None, :]) / count) * (steepness * factor)[None, :]
        tl.store(out + place, back.to(out.dtype.element_ty), mask=there)
