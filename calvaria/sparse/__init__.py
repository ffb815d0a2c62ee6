"""Sets of occupied sites on a bounded grid, and operations on features that lie in their order."""

from calvaria.sparse.ops import SparseTensor, convolve, downsample, generate, normalise, restrict, stem, union
from calvaria.sparse.sites import SiteSet

__all__ = ["SiteSet", "SparseTensor", "convolve", "downsample", "generate", "normalise", "restrict", "stem", "union"]
