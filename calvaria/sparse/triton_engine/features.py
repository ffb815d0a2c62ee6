"""Features in the order of the sites on a GPU: the other half of `calvaria.sparse.engine.Engine`, which says what each function does.

Products take their operands in the type of the features (float32, float16, bfloat16), add up in float32 and return the features' type;
weights' gradients are the sums.
"""

import torch
from torch import Tensor

from calvaria.sparse.engine import Bits
from calvaria.sparse.taps import SIDE
from calvaria.sparse.triton_engine import cubes, stem_kernels
from calvaria.sparse.triton_engine import product_kernels as kernels
from calvaria.sparse.triton_engine.bits import ROWS, cells, select_above
from calvaria.sparse.triton_engine.launch import (
    blocks,
    first_time,
    gradient_blocks,
    launch,
    may_be_cut,
    parts_of,
    power,
    precision,
    processors,
    product_blocks,
    ready,
)
from calvaria.sparse.triton_engine.lookup import DOWN, SAME, UP

# Up to this many channels one program holds a whole row of a decoder level.
WHOLE_ROW = 128
STEM_ROWS = 128


def stem(weight: Tensor, bits: Bits, bias: Tensor | None = None) -> Tensor:
    given = weight.dtype
    weight = ready(weight, given)
    channels = weight.shape[1]
    out = weight.new_empty(bits.count, channels)
    columns = _columns(channels)
    grid = (blocks(bits.count, STEM_ROWS), blocks(channels, columns))
    launch(
        stem_kernels.stem_product, grid, (weight, weight if bias is None else bias, out, _codes(bits)), (bits.count,),
        C_OUT=channels, PRECISION=precision(out.dtype), BLOCK=STEM_ROWS, BLOCK_N=columns, BIASED=bias is not None,
    )  # fmt: skip
    return out.to(given)


def stem_weight_gradient(gradient: Tensor, bits: Bits) -> Tensor:
    gradient = ready(gradient, gradient.dtype)
    channels = gradient.shape[1]
    columns = _columns(channels)
    parts, chunk = _chunks(bits.count, blocks(channels, columns), STEM_ROWS, gradient.device)
    partial = gradient.new_empty(parts, 27, channels, dtype=torch.float32)
    launch(
        stem_kernels.stem_gradient, (blocks(channels, columns), parts), (gradient, partial, _codes(bits)), (bits.count, chunk),
        C_OUT=channels, PRECISION=precision(gradient.dtype), BLOCK=STEM_ROWS, BLOCK_N=columns,
    )  # fmt: skip
    return partial.sum(0)


def _columns(channels: int) -> int:
    """Channels that a program computes, or copies, at once."""
    return max(8, min(64, power(channels)))


def _codes(bits: Bits) -> Tensor:
    """int32 [N]: which of the 27 cells around each site are sites."""
    codes = torch.empty(bits.count, dtype=torch.int32, device=bits.words.device)
    numbers = bits.count, *bits.words.shape[1:]
    launch(stem_kernels.find_occupied, (blocks(bits.count, ROWS),), (codes, cells(bits), bits.words), numbers, BLOCK=ROWS)
    return codes


def convolve(features: Tensor, weight: Tensor, bits: Bits, neighbours: Tensor, bias: Tensor | None = None) -> Tensor:
    if cubes.suits(weight.shape[1], weight.shape[2], bits.count):
        given = features.dtype
        features = ready(features, given)
        out = features.new_empty(bits.count, weight.shape[2])
        cubes.convolve(features, ready(weight, given), bits, bias, out)
        return out.to(given)
    return _product(SAME, 3, features, weight, bits, neighbours, bits, bias)


def convolve_weight_gradient(features: Tensor, gradient: Tensor, bits: Bits, neighbours: Tensor) -> Tensor:
    return _weight_gradient(SAME, 3, features, gradient, bits, neighbours, bits)


def downsample(features: Tensor, weight: Tensor, fine: Bits, coarse: Bits, bias: Tensor | None = None) -> Tensor:
    return _product(DOWN, _kernel(weight), features, weight, fine, cells(coarse), coarse, bias)


def generate(features: Tensor, weight: Tensor, coarse: Bits, fine: Bits, bias: Tensor | None = None) -> Tensor:
    return _product(UP, _kernel(weight), features, weight, coarse, cells(fine), fine, bias)


def stride_weight_gradient(fine_features: Tensor, coarse_features: Tensor, fine: Bits, coarse: Bits, kernel: int) -> Tensor:
    return _weight_gradient(DOWN, kernel, fine_features, coarse_features, fine, cells(coarse), coarse)


def transfer(features: Tensor, source: Bits, target: Bits) -> Tensor:
    given, channels = features.dtype, features.shape[1]
    features = ready(features, given)
    out = features.new_empty(target.count, channels)
    columns = _columns(channels)
    grid = (blocks(target.count, STEM_ROWS), blocks(channels, columns))
    launch(
        kernels.copy_rows, grid, (features, out, cells(target), source.words, source.starts), (target.count,),
        C=channels, BLOCK=STEM_ROWS, BLOCK_N=columns,
    )  # fmt: skip
    return out.to(given)


def join(features: Tensor, source: Bits, others: Tensor, other: Bits, target: Bits) -> Tensor:
    given, channels = features.dtype, features.shape[1]
    features, others = ready(features, given), ready(others, given)
    out = features.new_empty(target.count, channels)
    columns = _columns(channels)
    grid = (blocks(target.count, STEM_ROWS), blocks(channels, columns))
    sites = cells(target), source.words, source.starts, other.words, other.starts
    launch(kernels.add_rows, grid, (features, others, out, *sites), (target.count,), C=channels, BLOCK=STEM_ROWS, BLOCK_N=columns)
    return out.to(given)


def decide(
    features: Tensor,
    weight: Tensor,
    bias: Tensor,
    candidates: Bits,
    neighbours: Tensor,
    skip: Tensor,
    encoder: Bits,
    union: Bits,
    head: Tensor,
    head_bias: float,
    keep_above: float,
    with_features: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    given, channels = features.dtype, weight.shape[2]
    whole = decides_at_once(candidates.count, channels, features.dtype.itemsize)
    joined = features, weight, bias, candidates, skip, encoder, union, head, head_bias, with_features
    either = union.count > 0 and may_decide_either_way(channels, given.itemsize) and features.shape[1] == channels
    if either and first_time(decide, channels, given, with_features, features.device):
        cells(union)  # of all, before one of them stands for the set
        _level(not whole, *joined[:6], union._replace(count=1), *joined[7:])
    if not whole:
        features = convolve(features, weight, candidates, neighbours, bias)
    out, logits = _level(whole, features, *joined[1:])
    return out.to(given), logits, select_above(union, logits, keep_above)


def _level(
    whole: bool, features: Tensor, weight: Tensor, bias: Tensor, candidates: Bits, skip: Tensor, encoder: Bits, union: Bits,
    head: Tensor, head_bias: float, with_features: bool,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """(features or none, logits) of a decoder level; unless it is `whole`, of features that are convolved already."""
    given, channels = features.dtype, weight.shape[2]
    features, skip = ready(features, given), ready(skip, given)
    weight, bias, head = ready(weight, given), bias.contiguous(), head.contiguous()
    out = features.new_empty(union.count if with_features else 0, channels)
    logits = features.new_empty(union.count, dtype=torch.float32)
    if cubes.suits(features.shape[1], channels, union.count):
        cubes.decide(features, weight, bias, candidates, skip, encoder, union, head, head_bias, out, logits)
        return out, logits
    sites = cells(union), candidates.words, candidates.starts, encoder.words, encoder.starts
    if whole:
        tile = product_blocks(features.shape[1], channels, 3, features.dtype.itemsize)
        launch(
            kernels.decide_product, (blocks(union.count, tile.rows),),
            (features, weight, bias, skip, head, out, logits, *sites), (head_bias, union.count, *union.words.shape[1:]),
            C_IN=features.shape[1], C_OUT=channels, SIDE_BY_SIDE=tile.side, BLOCK_K=tile.depth, PRECISION=precision(features.dtype),
            BLOCK=tile.rows, BLOCK_N=max(8, power(channels)), WITH_FEATURES=with_features, num_warps=tile.warps, num_stages=tile.stages,
        )  # fmt: skip
    else:
        launch(
            kernels.join_rows, (blocks(union.count, 32),), (features, skip, head, out, logits, *sites), (head_bias, union.count),
            C=channels, BLOCK=32, BLOCK_N=64, WITH_FEATURES=with_features,
        )  # fmt: skip
    return out, logits


def may_decide_either_way(channels: int, itemsize: int) -> bool:
    """Whether the number of sites decides how such a decoder level is computed."""
    return channels <= WHOLE_ROW and may_be_cut(channels, channels, *_groups(SAME, 3), itemsize)


def decides_at_once(candidates: int, channels: int, itemsize: int) -> bool:
    """Whether one kernel does all of a decoder level: where it can hold a row, and where it would not leave the device idle."""
    return channels <= WHOLE_ROW and parts_of(candidates, channels, channels, *_groups(SAME, 3), itemsize) == 1


def _product(
    mode: int, kernel: int, features: Tensor, weight: Tensor, source: Bits, target_cells: Tensor, target: Bits, bias: Tensor | None
) -> Tensor:
    """[target.count, C_out]: for each target site the sum over its taps, of the source's features under them @ weight."""
    given = features.dtype
    features, weight = ready(features, given), ready(weight, given)
    _, c_in, c_out = weight.shape
    kind = c_in, c_out, *_groups(mode, kernel), features.dtype.itemsize
    parts = parts_of(target.count, *kind)
    if target.count and may_be_cut(*kind) and first_time(mode, kernel, c_in, c_out, given, bias is None, features.device):
        other = 1 if parts > 1 else kind[2]
        _cut_product(other, mode, kernel, features, weight, source, target_cells, target._replace(count=1), bias)
    return _cut_product(parts, mode, kernel, features, weight, source, target_cells, target, bias).to(given)


def _cut_product(
    parts: int,
    mode: int,
    kernel: int,
    features: Tensor,
    weight: Tensor,
    source: Bits,
    target_cells: Tensor,
    target: Bits,
    bias: Tensor | None,
) -> Tensor:
    """`_product` of operands that are ready, its groups of taps in so many parts."""
    _, c_in, c_out = weight.shape
    groups, slots = _groups(mode, kernel)
    tile = product_blocks(c_in, c_out, slots, features.dtype.itemsize)
    out, biased = features.new_empty(target.count, c_out), bias is not None
    added = weight if bias is None else bias.contiguous()
    into = out if parts == 1 else out.new_empty(parts, target.count, c_out, dtype=torch.float32)
    launch(
        kernels.gather_product, (blocks(target.count, tile.rows), blocks(c_out, tile.columns), parts),
        (features, weight, added, into, target_cells, source.words, source.starts),
        (target.count, *target.words.shape[1:], *source.words.shape[1:], groups // parts),
        MODE=mode, KERNEL=kernel, GROUPS=groups, SLOTS=slots, C_IN=c_in, C_OUT=c_out, SIDE_BY_SIDE=tile.side, BLOCK_K=tile.depth,
        PRECISION=precision(features.dtype), BLOCK=tile.rows, BLOCK_N=tile.columns, BIASED=biased and parts == 1,
        CUT=parts > 1, num_warps=tile.warps, num_stages=tile.stages,
    )  # fmt: skip
    if parts > 1:
        grid = (blocks(out.numel(), ROWS),)
        launch(kernels.add_parts, grid, (into, added, out), (target.count, parts), C_OUT=c_out, BLOCK=ROWS, BIASED=biased)
    return out


def _weight_gradient(
    mode: int, kernel: int, features: Tensor, gradient: Tensor, source: Bits, target_cells: Tensor, target: Bits
) -> Tensor:
    """[kernel³, C_in, C_out]: for each tap the sum over target sites of the source's features under it ⊗ gradient."""
    features, gradient = ready(features, features.dtype), ready(gradient, features.dtype)
    c_in, c_out = features.shape[1], gradient.shape[1]
    groups, slots = _groups(mode, kernel)
    tile = gradient_blocks(c_in, c_out, slots, features.dtype.itemsize)
    across = groups * (1 if tile.side > 1 else slots * blocks(c_in, tile.depth))
    parts, chunk = _chunks(target.count, across * blocks(c_out, tile.columns), tile.rows, features.device)
    partial = features.new_empty(parts, kernel**3, c_in, c_out, dtype=torch.float32)
    launch(
        kernels.gather_gradient, (across, blocks(c_out, tile.columns), parts),
        (features, gradient, partial, target_cells, source.words, source.starts),
        (target.count, chunk, *target.words.shape[1:], *source.words.shape[1:]),
        MODE=mode, KERNEL=kernel, SLOTS=slots, TAPS=kernel**3, C_IN=c_in, C_OUT=c_out, SIDE_BY_SIDE=tile.side, BLOCK_K=tile.depth,
        PRECISION=precision(features.dtype), BLOCK=tile.rows, BLOCK_N=tile.columns, num_warps=tile.warps, num_stages=tile.stages,
    )  # fmt: skip
    return partial.sum(0)


def _chunks(count: int, programs: int, rows: int, device: torch.device) -> tuple[int, int]:
    """(chunks of rows, rows in a chunk): as many that, with this many programs each, the device is full a few times over."""
    wanted = max(1, 8 * processors(device) // programs)
    chunk = rows * max(1, blocks(blocks(count, wanted), rows))
    return max(1, blocks(count, chunk)), chunk


def _groups(mode: int, kernel: int) -> tuple[int, int]:
    """(groups of taps, slots in a group) as `lookup.group` forms them."""
    return (9, 3) if mode == SAME else (kernel**3 // 2, 2)


def _kernel(weight: Tensor) -> int:
    return SIDE[weight.shape[0]]
