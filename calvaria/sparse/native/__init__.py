"""The `native` engine on a CPU: C++ kernels behind the functions of `calvaria.sparse.engine.Engine`."""

from calvaria.sparse.native.bits import children, coordinates, index, mark, neighbours, pack, parents, rows, select, unpack
from calvaria.sparse.native.library import LEVELS, available, describe, levels, simd, use, why_not

__all__ = [
    "LEVELS",
    "available",
    "children",
    "coordinates",
    "describe",
    "index",
    "levels",
    "mark",
    "neighbours",
    "pack",
    "parents",
    "rows",
    "select",
    "simd",
    "unpack",
    "use",
    "why_not",
]
