"""Operations on features that lie in the order of a site set, in plain PyTorch with autograd.

An absent site is zero and costs nothing. A kernel map names, for every output row and tap, the input row under it; row N,
one past the last, stands for "none" and reads as zeros. Convolutions are output-stationary: gather, then one matrix product.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from calvaria.sparse.sites import SiteSet, taps

# Floats of gathered neighbours held at once (4 MB): a block is multiplied while still in cache; measured on two cores.
GATHER_LIMIT = 2**20


@dataclass(frozen=True, eq=False)
class SparseTensor:
    """Features [N, C] of the N sites of a set, in its order."""

    sites: SiteSet
    features: Tensor

    def __post_init__(self) -> None:
        if len(self.features) != len(self.sites):
            raise ValueError(f"{len(self.features)} rows of features for {len(self.sites)} sites")

    def map(self, layer: Any) -> "SparseTensor":
        """Apply a row-wise layer (normalisation, activation, linear) to the features."""
        return SparseTensor(self.sites, layer(self.features))


def convolve(x: SparseTensor, weight: Tensor) -> SparseTensor:
    """3×3×3 convolution whose output sites are its input sites; weight [27, C_in, C_out]."""
    return SparseTensor(x.sites, _SameSites.apply(x.features, weight, x.sites.neighbours))  # type: ignore[no-untyped-call]


def downsample(x: SparseTensor, weight: Tensor) -> SparseTensor:
    """2×2×2 convolution with stride 2 onto the parents of the input's sites; weight [8, C_in, C_out]."""
    sites, coarse = x.sites, x.sites.parents
    slots = sites.parent_rows * 8 + sites.parent_taps
    children = x.features.new_zeros(len(coarse) * 8, x.features.shape[1]).index_copy(0, slots, x.features)
    return SparseTensor(coarse, children.view(len(coarse), 8 * x.features.shape[1]) @ weight.flatten(0, 1))


def generate(x: SparseTensor, weight: Tensor) -> SparseTensor:
    """Generative transposed convolution with stride 2: every finer site its kernel (2 or 4) reaches; weight [kernel³, C_in, C_out].

    One product gives all contributions of all inputs; each output then gathers those of the parents that reach it: one per
    axis for kernel 2, two for kernel 4.
    """
    kernel = round(weight.shape[0] ** (1 / 3))
    fine = x.sites.reached(kernel)
    batch, *axes = fine.columns
    channels = weight.shape[2]
    contributions = (x.features @ weight.permute(1, 0, 2).flatten(1)).view(len(x.sites) * kernel**3, channels)
    contributions = torch.cat([contributions, contributions.new_zeros(1, channels)])
    features = contributions.new_zeros(len(fine), channels)
    for steps in taps(kernel // 2):
        parent = [axis // 2 - step for axis, step in zip(axes, steps, strict=True)]
        tx, ty, tz = (axis - 2 * above for axis, above in zip(axes, parent, strict=True))
        rows = x.sites.rows(batch, *parent).long()
        slots = rows * kernel**3 + tx + kernel * (ty + kernel * tz)
        features = features + contributions[torch.where(rows < len(x.sites), slots, len(contributions) - 1)]
    return SparseTensor(fine, features)


def union(a: SparseTensor, b: SparseTensor) -> SparseTensor:
    """Features added over the union of sites: where only one has a site, its features alone."""
    sites = a.sites.union(b.sites)
    features = a.features.new_zeros(len(sites), a.features.shape[1])
    features = features.index_add(0, sites.rows_of(a.sites), a.features)
    return SparseTensor(sites, features.index_add(0, sites.rows_of(b.sites), b.features))


def prune(x: SparseTensor, keep: Tensor) -> SparseTensor:
    """The sites where `keep` (bool [N]) is true, and their features."""
    return SparseTensor(x.sites.select(keep), x.features[keep])


def _gather_product(features: Tensor, kernel_map: Tensor, weight: Tensor) -> Tensor:
    """Sum over taps of features[kernel_map[:, tap]] @ weight[tap], in blocks of rows."""
    padded = torch.cat([features, features.new_zeros(1, features.shape[1])])
    flat = weight.flatten(0, 1)
    out = features.new_empty(len(kernel_map), weight.shape[2])
    for rows in _blocks(len(kernel_map), len(flat)):
        torch.mm(_gather(padded, kernel_map[rows]), flat, out=out[rows])
    return out


def _gather(padded: Tensor, kernel_map: Tensor) -> Tensor:
    return padded.index_select(0, kernel_map.flatten()).view(len(kernel_map), kernel_map.shape[1] * padded.shape[1])


def _blocks(rows: int, width: int) -> list[slice]:
    step = max(1, GATHER_LIMIT // width)
    return [slice(start, min(start + step, rows)) for start in range(0, rows, step)]


class _SameSites(torch.autograd.Function):
    """Convolution over a map of its own sites.

    The input's gradient is the same convolution of the output's gradient with mirrored taps and transposed weights, because
    "a lies under tap t of b" and "b lies under the mirrored tap of a" are one statement: no scatter, no atomics. The gathered
    neighbours are gathered again for the weights' gradient rather than kept: 27 times the features' memory.
    """

    @staticmethod
    def forward(ctx: Any, features: Tensor, weight: Tensor, kernel_map: Tensor) -> Tensor:
        ctx.save_for_backward(features, weight, kernel_map)
        return _gather_product(features, kernel_map, weight)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        features, weight, kernel_map = ctx.saved_tensors
        grad_features = grad_weight = None
        if ctx.needs_input_grad[0]:
            grad_features = _gather_product(grad.contiguous(), kernel_map, weight.flip(0).transpose(1, 2).contiguous())
        if ctx.needs_input_grad[1]:
            padded = torch.cat([features, features.new_zeros(1, features.shape[1])])
            total = weight.new_zeros(weight.shape[0] * weight.shape[1], weight.shape[2])
            for rows in _blocks(len(kernel_map), len(total)):
                total.addmm_(_gather(padded, kernel_map[rows]).t(), grad[rows])
            grad_weight = total.view_as(weight)
        return grad_features, grad_weight, None
