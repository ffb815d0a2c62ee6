"""Batch normalisation over the sites and ReLU on a GPU; `calvaria.sparse.engine.Engine` says what each function does."""

import torch
from torch import Tensor

from calvaria.sparse.triton_engine import norm_kernels as kernels
from calvaria.sparse.triton_engine.launch import blocks, launch, power, processors, ready

# Rows × channels of a tile, and how many of the chunks' results are merged at once.
TILE = 4096
PARTS = 64
# Chunks for each multiprocessor: enough to hide memory's latency, few enough that every program may merge the results of all.
CHUNKS = 4


def normalise(
    features: Tensor, weight: Tensor, bias: Tensor, running_mean: Tensor, running_var: Tensor, momentum: float, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    given = features.dtype
    features = ready(features, given)
    (count, channels), (parts, chunk, rows, columns) = features.shape, _chunks(features)
    out = torch.empty_like(features)
    partial = features.new_empty(parts, 2, channels, dtype=torch.float32)
    mean, scale = (features.new_empty(channels, dtype=torch.float32) for _ in range(2))
    grid, shape = (parts, blocks(channels, columns)), {"C": channels, "BLOCK": rows, "BLOCK_N": columns}
    launch(kernels.measure, grid, (features, partial), (count, chunk), **shape)
    tensors = features, weight, bias, running_mean, running_var, partial, out, mean, scale
    launch(kernels.normalise_rows, grid, tensors, (momentum, eps, count, chunk, parts), **shape, PARTS=PARTS)
    return out.to(given), mean, scale


def normalise_gradient(
    gradient: Tensor, features: Tensor, out: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, scale: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    given = features.dtype
    gradient, features = ready(gradient, given), ready(features, given)
    (count, channels), (parts, chunk, rows, columns) = features.shape, _chunks(features)
    for_features, for_weight, for_bias = torch.empty_like(features), torch.empty_like(weight), torch.empty_like(bias)
    partial = features.new_empty(parts, 2, channels, dtype=torch.float32)
    grid, shape = (parts, blocks(channels, columns)), {"C": channels, "BLOCK": rows, "BLOCK_N": columns}
    tensors = gradient, features, weight, bias, mean, scale, partial
    launch(kernels.measure_gradient, grid, tensors, (count, chunk), **shape)
    launch(kernels.normalise_back, grid, (*tensors, for_features, for_weight, for_bias), (count, chunk, parts), **shape, PARTS=PARTS)
    return for_features.to(given), for_weight, for_bias


def _chunks(features: Tensor) -> tuple[int, int, int, int]:
    """(chunks, rows in a chunk, rows and columns in a tile)."""
    count, channels = features.shape
    columns = min(64, power(channels))
    rows = TILE // columns
    chunk = rows * max(1, blocks(count, CHUNKS * processors(features.device) * rows))
    return blocks(count, chunk), chunk, rows, columns
