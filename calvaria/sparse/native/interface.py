"""What csrc/interface.h declares, for ctypes and in the same order. An argument's type checks the tensor that is handed over."""

import ctypes
from typing import Any

import torch
from torch import Tensor


class Array:
    """Argument type of a contiguous tensor of one dtype in the CPU's memory: its address is handed over; None is null if optional."""

    def __init__(self, dtype: torch.dtype, *, optional: bool = False):
        self.dtype = dtype
        self.optional = optional

    def from_param(self, tensor: Tensor | None) -> ctypes.c_void_p:
        if tensor is None and self.optional:
            return ctypes.c_void_p(None)
        if not isinstance(tensor, Tensor) or tensor.dtype is not self.dtype or not tensor.is_cpu or not tensor.is_contiguous():
            raise TypeError(f"expected a contiguous {self.dtype} tensor on the CPU, not {_described(tensor)}")
        return ctypes.c_void_p(tensor.data_ptr())


def _described(value: object) -> str:
    if not isinstance(value, Tensor):
        return type(value).__name__
    return f"{value.dtype} {list(value.shape)} with strides {list(value.stride())} on {value.device}"


SIZE = ctypes.c_int64
REAL = ctypes.c_float
WORDS = LIMITS = Array(torch.int64)
STARTS = ROWS = COORDINATES = Array(torch.int32)
FLAGS = Array(torch.bool)
ADDRESS = ctypes.c_void_p  # of a tensor whose strides are handed over too: nothing is checked
FLOATS = Array(torch.float32)
FLOATS_OR_NULL = Array(torch.float32, optional=True)
SITES = (WORDS, STARTS)
GRID = (SIZE, SIZE, SIZE, SIZE)  # B, X, Y, W
LEVEL = (FLOATS, FLOATS, FLOATS, *SITES, FLOATS, *SITES, *SITES)

# name: (type returned, types of the arguments)
SIGNATURES: dict[str, tuple[Any, list[Any]]] = {
    # The library itself.
    "calvaria_sources": (ctypes.c_char_p, []),
    "calvaria_simd": (ctypes.c_char_p, []),
    "calvaria_threads": (SIZE, []),
    "huge_pages": (None, [ADDRESS, SIZE]),
    # Bits of a grid.
    "pack": (None, [ADDRESS, SIZE, SIZE, SIZE, SIZE, SIZE, SIZE, WORDS, SIZE, SIZE]),
    "unpack": (None, [ADDRESS, SIZE, SIZE, SIZE, SIZE, SIZE, FLAGS]),
    "index_words": (SIZE, [WORDS, SIZE, STARTS]),
    "coordinates": (None, [WORDS, STARTS, SIZE, SIZE, SIZE, SIZE, COORDINATES]),
    "mark": (SIZE, [COORDINATES, SIZE, SIZE, SIZE, SIZE, SIZE, WORDS]),
    "parents": (None, [WORDS, SIZE, SIZE, SIZE, SIZE, WORDS]),
    "children": (None, [WORDS, LIMITS, SIZE, SIZE, SIZE, SIZE, SIZE, WORDS]),
    "select_sites": (None, [WORDS, STARTS, SIZE, FLAGS, WORDS]),
    "rows": (None, [WORDS, STARTS, WORDS, STARTS, SIZE, ROWS]),
    "spread_values": (None, [ADDRESS, ADDRESS, SIZE, SIZE, SIZE, SIZE, SIZE, FLOATS, REAL, FLOATS]),
    # Features.
    "stem": (None, [FLOATS, FLOATS_OR_NULL, *SITES, *GRID, SIZE, FLOATS]),
    "stem_weight_gradient": (None, [FLOATS, *SITES, *GRID, SIZE, FLOATS]),
    "convolve": (None, [FLOATS, FLOATS, FLOATS_OR_NULL, *SITES, *GRID, SIZE, SIZE, FLOATS]),
    "convolve_weight_gradient": (None, [FLOATS, FLOATS, *SITES, *GRID, SIZE, SIZE, FLOATS]),
    "downsample": (None, [FLOATS, FLOATS, FLOATS_OR_NULL, *SITES, *SITES, *GRID, SIZE, SIZE, SIZE, FLOATS]),
    "generate": (None, [FLOATS, FLOATS, FLOATS_OR_NULL, *SITES, *SITES, *GRID, SIZE, SIZE, SIZE, FLOATS]),
    "stride_weight_gradient": (None, [FLOATS, FLOATS, *SITES, *SITES, *GRID, SIZE, SIZE, SIZE, FLOATS]),
    "transfer": (None, [FLOATS, *SITES, *SITES, SIZE, SIZE, FLOATS]),
    "normalise": (None, [*[FLOATS] * 5, REAL, REAL, SIZE, SIZE, FLOATS, FLOATS, FLOATS]),
    "normalise_gradient": (None, [*[FLOATS] * 6, SIZE, SIZE, FLOATS, FLOATS, FLOATS]),
    "decide": (None, [*LEVEL, *GRID, SIZE, SIZE, FLOATS, REAL, REAL, FLOATS, FLOATS_OR_NULL, FLOATS, WORDS]),
}
