"""How kernels are started: on the tensors' device, in types the interpreter knows, with blocks that fit the channels."""

from functools import cache
from typing import Any, NamedTuple

import torch
import triton
from torch import Tensor

INTERPRETED = bool(triton.knobs.runtime.interpret)
# Cells are numbered in int32.
CELLS_LIMIT = 2**31


def why_not() -> str:
    """Why this engine cannot run here; empty if it can."""
    if INTERPRETED:
        return ""
    if not torch.cuda.is_available():
        return "there is no CUDA device"
    try:
        triton.runtime.driver.active.get_current_target()  # builds what starts kernels, or finds it built
    except Exception as error:  # no compiler, no headers, a folder that cannot be written: each of its own kind
        return f"Triton cannot start kernels, for which it needs NVIDIA's driver, gcc and Python's headers: {error}"
    return ""


def describe() -> str:
    """What it runs on, for the log."""
    return "Triton's interpreter" if INTERPRETED else f"Triton {triton.__version__} on {torch.cuda.get_device_name()}"


# Compiled kernels by what they were compiled for, with their constants in order. Triton finds them too, but takes longer over it than
# most kernels take to run.
_compiled: dict[tuple[Any, ...], tuple[Any, tuple[Any, ...]]] = {}


def launch(kernel: Any, grid: tuple[int, ...], tensors: tuple[Tensor, ...], numbers: tuple[float, ...], **constants: Any) -> None:
    """Start a kernel on the device of its tensors, unless there is nothing to do.

    Its parameters are tensors, then numbers, then constants, which are named in the kernel's order.
    """
    if 0 in grid:
        return
    if INTERPRETED:
        kernel[grid](*tensors, *numbers, **constants)
        return
    device = tensors[0].get_device()
    if device < 0:
        raise ValueError("kernels for a GPU were given tensors on the CPU")
    if device != torch.accelerator.current_device_index():
        with torch.cuda.device(device):
            return launch(kernel, grid, tensors, numbers, **constants)
    addresses = [tensor.data_ptr() for tensor in tensors]
    key = (id(kernel), device, *constants.values(), *[tensor.dtype for tensor in tensors])
    found = _compiled.get(key)
    if found is None or any(address & 15 for address in addresses):
        compiled = kernel[grid](*tensors, *numbers, **constants)
        if not any(address & 15 for address in addresses):  # among the others it would matter which are not aligned
            _compiled[key] = compiled, tuple(constants[name] for name in kernel.arg_names if name in constants)
        return
    compiled, fixed = found
    wide, high, deep = (*grid, 1, 1)[:3]
    stream = torch._C._cuda_getCurrentRawStream(device)
    compiled.run(wide, high, deep, stream, compiled.function, compiled.packed_metadata, None, None, None, *addresses, *numbers, *fixed)


def blocks(count: int, size: int) -> int:
    return -(-count // size)


def power(size: int) -> int:
    """The smallest power of two that holds this many."""
    return 1 << (size - 1).bit_length()


def computable(dtype: torch.dtype) -> torch.dtype:
    """The type in which kernels hold features of this one: the interpreter, which has no bfloat16, widens it."""
    return torch.float32 if INTERPRETED and dtype is torch.bfloat16 else dtype


def ready(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """A tensor as kernels take features of this type."""
    wanted = computable(dtype)
    return tensor if tensor.dtype is wanted and tensor.is_contiguous() else tensor.to(wanted).contiguous()


def precision(dtype: torch.dtype) -> str:
    """How float32 products are taken: rounded to tf32 where PyTorch is allowed to."""
    return "tf32" if dtype is torch.float32 and torch.backends.cuda.matmul.fp32_precision == "tf32" else "ieee"


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
    stages: int


@cache
def product_blocks(c_in: int, c_out: int, slots: int, itemsize: int) -> Blocks:
    """Blocks of a product over gathered neighbours: by channels and bytes of a feature alone, so that no new size means a new kernel.

    Tried on an H100 at 512³: gathers are bound by latency, and many programs hide that better than pipelines do; only rows that fill
    their blocks gain from two stages.
    """
    columns = max(8, power(c_out)) if c_out <= 64 else 64
    if c_in <= 16:
        side = power(slots)
        tile = Blocks(128, columns, side, side * max(8, power(c_in)), 4, 1 if c_in <= 8 else 2)
        return tile._replace(rows=64, warps=8) if itemsize == 4 and slots == 2 else tile
    depth = 64 if itemsize == 2 and c_in > 32 and -c_in % 64 <= c_in // 10 else 32
    return Blocks(128 if columns <= 32 else 64, columns, 1, depth, 4, 2 if c_in % depth == 0 else 1)


# A product of fewer programs than this leaves most of a GPU idle; then one that takes more steps than this is cut into parts.
FULL, STEPS = 128, 64


def may_be_cut(c_in: int, c_out: int, groups: int, slots: int, itemsize: int) -> bool:
    """Whether such a product takes long enough to be cut where its sites are few."""
    tile = product_blocks(c_in, c_out, slots, itemsize)
    return (groups if tile.side > 1 else groups * slots * blocks(c_in, tile.depth)) > STEPS


def parts_of(count: int, c_in: int, c_out: int, groups: int, slots: int, itemsize: int) -> int:
    """Into how many parts the groups of taps of such a product are cut, each added up by programs of its own: a divisor of their number."""
    tile = product_blocks(c_in, c_out, slots, itemsize)
    programs = blocks(count, tile.rows) * blocks(c_out, tile.columns)
    if 2 * programs > FULL or not may_be_cut(c_in, c_out, groups, slots, itemsize):
        return 1
    return next((parts for parts in range(2, groups) if groups % parts == 0 and programs * parts >= FULL), groups)


_met: set[tuple[Any, ...]] = set()


def first_time(*what: Any) -> bool:
    """Whether this was never asked. Where the number of sites decides between kernels, the first use of one compiles the other, too."""
    if what in _met:
        return False
    _met.add(what)
    return True


@cache
def gradient_blocks(c_in: int, c_out: int, slots: int, itemsize: int) -> Blocks:
    """Blocks of the weights' gradient, whose depth is the rows: all slots side by side in one program as long as it can hold them."""
    tile = product_blocks(c_in, c_out, slots, itemsize)
    if c_in <= 32 and c_out <= 64:
        tile = tile._replace(side=power(slots), depth=power(slots) * max(8, power(c_in)))
    return tile._replace(rows=128 if c_in <= 8 or itemsize == 2 else 64, warps=4, stages=2 if c_in <= 8 else 1)
