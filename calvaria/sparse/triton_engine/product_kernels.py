# mypy: disable-error-code="no-untyped-def, misc, untyped-decorator"
"""Products over gathered neighbours: a convolution of any kind is one matrix product whose left side is never stored.

Output-stationary: a program makes a block of rows of the output, runs through the groups of taps (`lookup.group`), gathers the rows
of features under them and multiplies. Up to 16 channels a whole group is one `tl.dot`, its slots side by side (with the 8 channels of
`ch1`, several taps fill the depth that matrix units want); more channels go slot by slot, in blocks.
"""

import triton
import triton.language as tl

from calvaria.sparse.triton_engine.lookup import SAME, below, first_tap, group, place, rank


@triton.jit
def accumulate(
    acc, features, weight, n, words, starts, b, x, y, w, bit, X, Y, W, mask, first_group, groups,
    MODE: tl.constexpr, KERNEL: tl.constexpr, SLOTS: tl.constexpr,
    C_IN: tl.constexpr, C_OUT: tl.constexpr, SIDE_BY_SIDE: tl.constexpr, BLOCK_K: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """acc [BLOCK, n] plus the product of these groups of taps of the sites at (b, x, y, 64 w + bit) with the weights of channels n."""
    BLOCKS: tl.constexpr = (C_IN + BLOCK_K - 1) // BLOCK_K
    k = tl.arange(0, BLOCK_K)
    for i in range(groups):
        g = first_group + i
        tap = first_tap(MODE, KERNEL, g)
        first, window = group(MODE, KERNEL, g, words, starts, b, x, y, w, bit, X, Y, W, mask)
        if SIDE_BY_SIDE > 1:
            slot = k // (BLOCK_K // SIDE_BY_SIDE)
            channel = k % (BLOCK_K // SIDE_BY_SIDE)
            row = first[:, None] + below(window[:, None], slot[None, :])
            there = ((window[:, None] >> slot[None, :]) & 1) != 0
            wanted = slot < SLOTS
            if BLOCK_K // SIDE_BY_SIDE != C_IN:
                there &= (channel < C_IN)[None, :]
                wanted &= channel < C_IN
            gathered = tl.load(features + row.to(tl.int64) * C_IN + channel[None, :], mask=there, other=0)
            source = weight + ((tap + slot * KERNEL * KERNEL) * C_IN + channel)[:, None] * C_OUT + n[None, :]
            factor = tl.load(source, mask=wanted[:, None] & (n < C_OUT)[None, :], other=0)
            acc = tl.dot(gathered, factor, acc, input_precision=PRECISION)
        else:
            for step in range(SLOTS * BLOCKS):
                slot = step // BLOCKS
                channel = step % BLOCKS * BLOCK_K + k
                row = first + below(window, slot)
                there = (((window >> slot) & 1) != 0)[:, None]
                wanted = (n < C_OUT)[None, :]
                if C_IN % BLOCK_K != 0:
                    there &= (channel < C_IN)[None, :]
                    wanted &= (channel < C_IN)[:, None]
                gathered = tl.load(features + row.to(tl.int64)[:, None] * C_IN + channel[None, :], mask=there, other=0)
                source = weight + ((tap + slot * KERNEL * KERNEL) * C_IN + channel)[:, None] * C_OUT + n[None, :]
                acc = tl.dot(gathered, tl.load(source, mask=wanted, other=0), acc, input_precision=PRECISION)
    return acc


@triton.jit(do_not_specialize=["count", "X", "Y", "W", "from_x", "from_y", "from_w", "each"])
def gather_product(
    features, weight, bias, out, cells, words, starts, count, X, Y, W, from_x, from_y, from_w, each,
    MODE: tl.constexpr, KERNEL: tl.constexpr, GROUPS: tl.constexpr, SLOTS: tl.constexpr,
    C_IN: tl.constexpr, C_OUT: tl.constexpr, SIDE_BY_SIDE: tl.constexpr, BLOCK_K: tl.constexpr, PRECISION: tl.constexpr,
    BLOCK: tl.constexpr, BLOCK_N: tl.constexpr, BIASED: tl.constexpr, CUT: tl.constexpr,
):  # fmt: skip
    """out [count, C_OUT] = Σ gathered features @ weight, through relu(… + bias) if BIASED; words and starts are the gathered grid's.

    If CUT, out [parts, count, C_OUT], each part the sum over `each` groups of taps.
    """
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    n = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    mask = at < count
    b, x, y, w, bit = place(tl.load(cells + at, mask=mask, other=0), X, Y, W)
    acc = tl.zeros([BLOCK, BLOCK_N], tl.float32)
    if CUT:
        acc = accumulate(
            acc, features, weight, n, words, starts, b, x, y, w, bit, from_x, from_y, from_w, mask, tl.program_id(2) * each, each,
            MODE, KERNEL, SLOTS, C_IN, C_OUT, SIDE_BY_SIDE, BLOCK_K, PRECISION,
        )  # fmt: skip
    else:
        acc = accumulate(
            acc, features, weight, n, words, starts, b, x, y, w, bit, from_x, from_y, from_w, mask, 0, GROUPS,
            MODE, KERNEL, SLOTS, C_IN, C_OUT, SIDE_BY_SIDE, BLOCK_K, PRECISION,
        )  # fmt: skip
    if BIASED:
        acc = tl.maximum(acc + tl.load(bias + n, mask=n < C_OUT, other=0).to(tl.float32)[None, :], 0)
    wanted = mask[:, None] & (n < C_OUT)[None, :]
    row = (at + tl.program_id(2) * count).to(tl.int64)
    tl.store(out + row[:, None] * C_OUT + n[None, :], acc.to(out.dtype.element_ty), mask=wanted)


@triton.jit(do_not_specialize=["count", "parts"])
def add_parts(partial, bias, out, count, parts, C_OUT: tl.constexpr, BLOCK: tl.constexpr, BIASED: tl.constexpr):
    """out [count, C_OUT] = the sum of `partial` over its parts, through relu(… + bias) if BIASED."""
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = at < count * C_OUT
    total = tl.zeros([BLOCK], tl.float32)
    for part in range(parts):
        total += tl.load(partial + part * count * C_OUT + at, mask=inside, other=0)
    if BIASED:
        total = tl.maximum(total + tl.load(bias + at % C_OUT).to(tl.float32), 0)
    tl.store(out + at, total.to(out.dtype.element_ty), mask=inside)


@triton.jit(do_not_specialize=["count", "X", "Y", "W", "head_bias"])
def decide_product(
    features, weight, bias, skip, head, out, logits, cells, words, starts, encoder_words, encoder_starts, head_bias, count, X, Y, W,
    C_IN: tl.constexpr, C_OUT: tl.constexpr, SIDE_BY_SIDE: tl.constexpr, BLOCK_K: tl.constexpr, PRECISION: tl.constexpr,
    BLOCK: tl.constexpr, BLOCK_N: tl.constexpr, WITH_FEATURES: tl.constexpr,
):  # fmt: skip
    """A decoder level on the sites of the union (`cells`): convolution of the candidates (words, starts), skip, and logits."""
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    n = tl.arange(0, BLOCK_N)
    mask = at < count
    cell = tl.load(cells + at, mask=mask, other=0)
    b, x, y, w, bit = place(cell, X, Y, W)
    _, candidate = rank(words, starts, cell >> 6, bit, mask)
    row, encoded = rank(encoder_words, encoder_starts, cell >> 6, bit, mask)
    acc = accumulate(
        tl.zeros([BLOCK, BLOCK_N], tl.float32), features, weight, n, words, starts, b, x, y, w, bit, X, Y, W, mask & (candidate != 0),
        0, 9, SAME, 3, 3, C_IN, C_OUT, SIDE_BY_SIDE, BLOCK_K, PRECISION,
    )  # fmt: skip
    acc = tl.maximum(acc + tl.load(bias + n, mask=n < C_OUT, other=0).to(tl.float32)[None, :], 0)
    acc = tl.where((candidate != 0)[:, None], acc, 0)
    beside = (encoded != 0)[:, None] & (n < C_OUT)[None, :]
    acc += tl.load(skip + row.to(tl.int64)[:, None] * C_OUT + n[None, :], mask=beside, other=0).to(tl.float32)
    if WITH_FEATURES:
        wanted = mask[:, None] & (n < C_OUT)[None, :]
        tl.store(out + at.to(tl.int64)[:, None] * C_OUT + n[None, :], acc.to(out.dtype.element_ty), mask=wanted)
    factor = tl.load(head + n, mask=n < C_OUT, other=0).to(tl.float32)
    tl.store(logits + at, tl.sum(acc * factor[None, :], 1) + head_bias, mask=mask)


@triton.jit(do_not_specialize=["count", "head_bias"])
def join_rows(
    decoded, skip, head, out, logits, cells, words, starts, encoder_words, encoder_starts, head_bias, count,
    C: tl.constexpr, BLOCK: tl.constexpr, BLOCK_N: tl.constexpr, WITH_FEATURES: tl.constexpr,
):  # fmt: skip
    """What follows the convolution in `decide_product`, where that is a step of its own (`features.decides_at_once`)."""
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = at < count
    cell = tl.load(cells + at, mask=mask, other=0)
    row, candidate = rank(words, starts, cell >> 6, cell & 63, mask)
    beside, encoded = rank(encoder_words, encoder_starts, cell >> 6, cell & 63, mask)
    logit = tl.zeros([BLOCK], tl.float32)
    for first in range(0, C, BLOCK_N):
        n = first + tl.arange(0, BLOCK_N)
        inside = (n < C)[None, :]
        here = tl.load(decoded + row.to(tl.int64)[:, None] * C + n[None, :], mask=inside & (candidate != 0)[:, None], other=0)
        there = tl.load(skip + beside.to(tl.int64)[:, None] * C + n[None, :], mask=inside & (encoded != 0)[:, None], other=0)
        both = here.to(tl.float32) + there.to(tl.float32)
        if WITH_FEATURES:
            tl.store(out + at.to(tl.int64)[:, None] * C + n[None, :], both.to(out.dtype.element_ty), mask=inside & mask[:, None])
        logit += tl.sum(both * tl.load(head + n, mask=n < C, other=0).to(tl.float32)[None, :], 1)
    tl.store(logits + at, logit + head_bias, mask=mask)


@triton.jit(do_not_specialize=["count"])
def copy_rows(features, out, cells, words, starts, count, C: tl.constexpr, BLOCK: tl.constexpr, BLOCK_N: tl.constexpr):
    """out [count, C]: the features of each cell's site, zero where the words lack it."""
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = at < count
    n = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    cell = tl.load(cells + at, mask=mask, other=0)
    row, there = rank(words, starts, cell >> 6, cell & 63, mask)
    inside = (n < C)[None, :]
    value = tl.load(features + row.to(tl.int64)[:, None] * C + n[None, :], mask=inside & (there != 0)[:, None], other=0)
    tl.store(out + at.to(tl.int64)[:, None] * C + n[None, :], value, mask=inside & mask[:, None])


@triton.jit(do_not_specialize=["count"])
def add_rows(
    features, others, out, cells, words, starts, other_words, other_starts, count,
    C: tl.constexpr, BLOCK: tl.constexpr, BLOCK_N: tl.constexpr,
):  # fmt: skip
    """out [count, C]: the sum of both features of each cell's site, zero for one whose words lack it."""
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = at < count
    n = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    inside = (n < C)[None, :]
    cell = tl.load(cells + at, mask=mask, other=0)
    row, there = rank(words, starts, cell >> 6, cell & 63, mask)
    one = tl.load(features + row.to(tl.int64)[:, None] * C + n[None, :], mask=inside & (there != 0)[:, None], other=0)
    row, there = rank(other_words, other_starts, cell >> 6, cell & 63, mask)
    two = tl.load(others + row.to(tl.int64)[:, None] * C + n[None, :], mask=inside & (there != 0)[:, None], other=0)
    both = (one.to(tl.float32) + two.to(tl.float32)).to(out.dtype.element_ty)
    tl.store(out + at.to(tl.int64)[:, None] * C + n[None, :], both, mask=inside & mask[:, None])


@triton.jit(do_not_specialize=["count", "chunk", "X", "Y", "W", "from_x", "from_y", "from_w"])
def gather_gradient(
    features, gradient, partial, cells, words, starts, count, chunk, X, Y, W, from_x, from_y, from_w,
    MODE: tl.constexpr, KERNEL: tl.constexpr, SLOTS: tl.constexpr, TAPS: tl.constexpr,
    C_IN: tl.constexpr, C_OUT: tl.constexpr, SIDE_BY_SIDE: tl.constexpr, BLOCK_K: tl.constexpr, PRECISION: tl.constexpr,
    BLOCK: tl.constexpr, BLOCK_N: tl.constexpr,
):  # fmt: skip
    """partial[p, tap] = Σ over the p-th chunk of rows (a multiple of BLOCK) of gathered featuresᵀ @ gradient.

    A program does one group's slots, or one slot and block of channels of it. The chunks are added up afterwards, in a fixed order:
    results repeat to the bit.
    """
    BLOCKS: tl.constexpr = (C_IN + BLOCK_K - 1) // BLOCK_K
    STEPS: tl.constexpr = 1 if SIDE_BY_SIDE > 1 else SLOTS * BLOCKS
    EVEN: tl.constexpr = C_IN % (BLOCK_K // SIDE_BY_SIDE) == 0
    g = tl.program_id(0) // STEPS
    step = tl.program_id(0) % STEPS
    k = tl.arange(0, BLOCK_K)
    if SIDE_BY_SIDE > 1:
        slot = k // (BLOCK_K // SIDE_BY_SIDE)
        channel = k % (BLOCK_K // SIDE_BY_SIDE)
    else:
        slot = tl.zeros([BLOCK_K], tl.int32) + step // BLOCKS
        channel = step % BLOCKS * BLOCK_K + k
    n = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    acc = tl.zeros([BLOCK_K, BLOCK_N], tl.float32)
    begin = tl.program_id(2) * chunk
    for top in range(begin, tl.minimum(begin + chunk, count), BLOCK):
        at = top + tl.arange(0, BLOCK)
        mask = at < count
        b, x, y, w, bit = place(tl.load(cells + at, mask=mask, other=0), X, Y, W)
        first, window = group(MODE, KERNEL, g, words, starts, b, x, y, w, bit, from_x, from_y, from_w, mask)
        row = first[:, None] + below(window[:, None], slot[None, :])
        there = ((window[:, None] >> slot[None, :]) & 1) != 0
        if not EVEN:
            there &= (channel < C_IN)[None, :]
        gathered = tl.load(features + row.to(tl.int64) * C_IN + channel[None, :], mask=there, other=0)
        wanted = mask[:, None] & (n < C_OUT)[None, :]
        given = tl.load(gradient + at.to(tl.int64)[:, None] * C_OUT + n[None, :], mask=wanted, other=0)
        acc = tl.dot(tl.trans(gathered), given, acc, input_precision=PRECISION)
    tap = first_tap(MODE, KERNEL, g)
    target = partial + ((tl.program_id(2) * TAPS + tap + slot * KERNEL * KERNEL) * C_IN + channel)[:, None] * C_OUT + n[None, :]
    tl.store(target, acc, mask=((slot < SLOTS) & (channel < C_IN))[:, None] & (n < C_OUT)[None, :])
