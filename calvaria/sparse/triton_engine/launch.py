"""How kernels are started: on the tensors' device, in types the interpreter knows, with blocks that fit the channels."""

from functools import cache
from typing import Any, NamedTuple

import torch
import triton

INTERPRETED = bool(triton.knobs.runtime.interpret)
# Cells are numbered in int32.
CELLS_LIMIT = 2**31


def why_not() -> str:
    """Why this engine cannot run here; empty if it can."""
    return "" if INTERPRETED or torch.cuda.is_available() else "there is no CUDA device"


def launch(kernel: Any, grid: tuple[int, ...], device: torch.device, *arguments: Any, **constants: Any) -> None:
    """Start a kernel on a device, unless there is nothing to do."""
    if 0 in grid:
        return
    if device.type == "cuda" and device.index != torch.cuda.current_device():
        with torch.cuda.device(device):
            kernel[grid](*arguments, **constants)
    else:
        kernel[grid](*arguments, **constants)


def blocks(count: int, size: int) -> int:
    return -(-count // size)


def power(size: int) -> int:
    """The smallest power of two that holds this many."""
    return 1 << (size - 1).bit_length()


def computable(dtype: torch.dtype) -> torch.dtype:
    """The type in which kernels hold features of this one: the interpreter, which has no bfloat16, widens it."""
    return torch.float32 if INTERPRETED and dtype is torch.bfloat16 else dtype


def precision(dtype: torch.dtype) -> str:
    """How float32 products are taken: rounded to tf32 where PyTorch is allowed to."""
    return "tf32" if dtype is torch.float32 and torch.backends.cuda.matmul.allow_tf32 else "ieee"


@cache
def processors(device: torch.device) -> int:
    return 2 if INTERPRETED else int(torch.cuda.get_device_properties(device).multi_processor_count)


class Blocks(NamedTuple):
    """The tile of a product: rows × output channels, and how deep each step is.

    side    slots of a group of taps that lie side by side in a step, 1 where a step is a block of one slot's channels.
    depth   length of a step: at least the 16 that matrix units want.
    """

    rows: int
    columns: int
    side: int
    depth: int
    warps: int


def product_blocks(c_in: int, c_out: int, slots: int, dtype: torch.dtype) -> Blocks:
    """For a product over gathered neighbours; by channels and types alone, so that no new size of a volume means a new kernel."""
    columns = power(c_out) if c_out <= 64 else 64
    if c_in <= 16:
        side = power(slots)
        return Blocks(128, max(8, columns), side, side * max(8, power(c_in)), 4)
    depth = 64 if dtype.itemsize == 2 and c_in > 32 and -c_in % 64 <= c_in // 10 else 32
    return Blocks(128 if columns <= 32 else 64, max(8, columns), 1, depth, 4)
