"""The `native` engine on CUDA: Triton kernels behind the functions of `calvaria.sparse.engine.Engine`.

Neighbours are looked up in the bits by the kernels themselves; no kernel map is stored. Every size of a volume runs the same compiled
kernels: only channels, types and kinds of kernel make new ones, and up to 8 channels the first set of `cubes.SITES` sites.
Under TRITON_INTERPRET=1 all of it runs on the CPU, slowly, for tests.
"""

from calvaria.sparse.triton_engine.bits import (
    candidates,
    children,
    coordinates,
    ends,
    index,
    index_all,
    mark,
    neighbours,
    pack,
    parents,
    rows,
    select,
    spread,
    unpack,
)
from calvaria.sparse.triton_engine.features import (
    convolve,
    convolve_weight_gradient,
    decide,
    downsample,
    generate,
    join,
    stem,
    stem_weight_gradient,
    stride_weight_gradient,
    transfer,
)
from calvaria.sparse.triton_engine.launch import describe, why_not
from calvaria.sparse.triton_engine.norms import normalise, normalise_gradient

__all__ = [
    "candidates",
    "children",
    "convolve",
    "convolve_weight_gradient",
    "coordinates",
    "decide",
    "describe",
    "downsample",
    "ends",
    "generate",
    "index",
    "index_all",
    "join",
    "mark",
    "neighbours",
    "normalise",
    "normalise_gradient",
    "pack",
    "parents",
    "rows",
    "select",
    "spread",
    "stem",
    "stem_weight_gradient",
    "stride_weight_gradient",
    "transfer",
    "unpack",
    "why_not",
]
