"""When a 3×3×3 convolution goes by cubes of 2×2×2 sites (`cube_kernels`), and what that needs: the cubes, and weights laid out for them."""

from functools import cache
from itertools import product

import torch
from torch import Tensor

from calvaria.sparse.engine import Bits
from calvaria.sparse.taps import taps
from calvaria.sparse.triton_engine import cube_kernels as kernels
from calvaria.sparse.triton_engine.bits import cells, parents_of
from calvaria.sparse.triton_engine.launch import blocks, launch, precision

CHANNELS = 8
# From this many sites on: fewer do not repay the cubes' index.
SITES = 2**17
BLOCK = 128


def suits(c_in: int, c_out: int, count: int) -> bool:
    return max(c_in, c_out) <= CHANNELS and count >= SITES


def convolve(features: Tensor, weight: Tensor, bits: Bits, bias: Tensor | None, out: Tensor) -> None:
    """`Engine.convolve` into `out`, for operands of one type."""
    cubes = parents_of(bits)
    launch(
        kernels.cube_product, (blocks(cubes.count, BLOCK),),
        (features, spread(weight), weight if bias is None else bias, out, cells(cubes), bits.words, bits.starts),
        (cubes.count, *cubes.words.shape[1:], *bits.words.shape[1:]),
        C_IN=weight.shape[1], C_OUT=weight.shape[2], PRECISION=precision(features.dtype), BLOCK=BLOCK, BIASED=bias is not None,
        num_stages=1,
    )  # fmt: skip


def decide(
    features: Tensor, weight: Tensor, bias: Tensor, candidates: Bits, skip: Tensor, encoder: Bits, union: Bits,
    head: Tensor, head_bias: float, out: Tensor, logits: Tensor,
) -> None:  # fmt: skip
    """`Engine.decide` into `out`, unless that is empty, and `logits`."""
    cubes = parents_of(union)
    launch(
        kernels.cube_decide, (blocks(cubes.count, BLOCK),),
        (
            features, spread(weight), bias, skip, head, out, logits, cells(cubes), union.words, union.starts,
            candidates.words, candidates.starts, encoder.words, encoder.starts,
        ),
        (head_bias, cubes.count, *cubes.words.shape[1:], *union.words.shape[1:]),
        C_IN=weight.shape[1], C_OUT=weight.shape[2], PRECISION=precision(features.dtype), BLOCK=BLOCK, WITH_FEATURES=len(out) > 0,
        num_stages=1,
    )  # fmt: skip


def spread(weight: Tensor) -> Tensor:
    """[16 lines · 4 cells · 8 channels in, 8 sites · 8 channels out] of weights [27, C_in, C_out], up to 8 channels each."""
    _, c_in, c_out = weight.shape
    padded = torch.nn.functional.pad(weight, (0, CHANNELS - c_out, 0, CHANNELS - c_in, 0, 1))
    return padded[_taps(weight.device)].transpose(1, 2).reshape(64 * CHANNELS, 8 * CHANNELS)


@cache
def _taps(device: torch.device) -> Tensor:
    """int64 [64 cells, 8 sites] of a cube, z fastest, then x, then y: the tap under which a site sees a cell, 27 where it does not."""
    number = {offset: tap for tap, offset in enumerate(taps(3))}
    found = [
        [number.get((x - i, y - j, z - k), 27) for j, i, k in product(range(2), repeat=3)]
        for y, x, z in product(range(-1, 3), repeat=3)
    ]  # fmt: skip
    return torch.tensor(found, device=device)
