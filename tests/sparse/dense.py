"""The oracle of the sparse operations: the same on dense grids, by PyTorch's own convolutions."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from calvaria.sparse import SiteSet, SparseTensor


def scatter(x: SparseTensor) -> Tensor:
    """Features on the dense grid, [B, C, X, Y, Z], zero where there is no site."""
    grid = x.features.new_zeros(*x.sites.shape, x.features.shape[1])
    return grid.index_put(x.sites.places.long().unbind(1), x.features).movedim(-1, 1)


def read(grid: Tensor, sites: SiteSet) -> Tensor:
    """Rows [N, C] of a dense grid [B, C, X, Y, Z] at the sites; the grid may be larger than the sites' at its far ends."""
    return grid.movedim(1, -1)[sites.places.long().unbind(1)]


def flags(sites: SiteSet) -> Tensor:
    """bool [B, X, Y, Z]: where the sites are."""
    return scatter(SparseTensor(sites, torch.ones(len(sites), 1)))[:, 0] > 0


def kernel(weight: Tensor, size: int) -> Tensor:
    """[taps, C_in, C_out], x fastest -> [C_in, C_out, x, y, z]."""
    return weight.view(size, size, size, *weight.shape[1:]).permute(3, 4, 2, 1, 0)


def convolve(x: SparseTensor, weight: Tensor) -> Tensor:
    return F.conv3d(scatter(x), kernel(weight, 3).transpose(0, 1), padding=1)


def downsample(x: SparseTensor, weight: Tensor) -> Tensor:
    grid = scatter(x)
    odd = [size % 2 for size in grid.shape[2:]]
    return F.conv3d(F.pad(grid, (0, odd[2], 0, odd[1], 0, odd[0])), kernel(weight, 2).transpose(0, 1), stride=2)


def generate(x: SparseTensor, weight: Tensor) -> Tensor:
    return F.conv_transpose3d(scatter(x), kernel(weight, round(weight.shape[0] ** (1 / 3))), stride=2)


def reached(sites: SiteSet, size: int) -> Tensor:
    """bool [B, X, Y, Z] of the finer grid: what the kernel covers, cut to each item's own extent."""
    ones = SparseTensor(sites, torch.ones(len(sites), 1))
    covered = generate(ones, torch.ones(size**3, 1, 1))[:, 0] > 0
    stride = sites.stride // 2
    for item, extent in zip(covered, sites.extents, strict=True):
        x, y, z = (-(-along // stride) for along in extent)
        item[x:], item[:, y:], item[:, :, z:] = False, False, False
    return covered


OPERATIONS: dict[str, tuple[int, Callable[[SparseTensor, Tensor], Tensor]]] = {
    "convolve": (27, convolve),
    "downsample": (8, downsample),
    "generate 2": (8, generate),
    "generate 4": (64, generate),
}
