"""The `native` engine on a CPU: C++ kernels behind the functions of `calvaria.sparse.engine.Engine`."""

from calvaria.sparse.native.bits import children, coordinates, index, index_all, mark, neighbours, pack, parents, rows, select, unpack
from calvaria.sparse.native.features import (
    convolve,
    convolve_weight_gradient,
    decide,
    downsample,
    generate,
    stem,
    stem_weight_gradient,
    stride_weight_gradient,
    transfer,
)
from calvaria.sparse.native.library import LEVELS, available, describe, levels, simd, use, why_not

__all__ = [
    "LEVELS",
    "available",
    "children",
    "convolve",
    "convolve_weight_gradient",
    "coordinates",
    "decide",
    "describe",
    "downsample",
    "generate",
    "index",
    "index_all",
    "levels",
    "mark",
    "neighbours",
    "pack",
    "parents",
    "rows",
    "select",
    "simd",
    "stem",
    "stem_weight_gradient",
    "stride_weight_gradient",
    "transfer",
    "unpack",
    "use",
    "why_not",
]
