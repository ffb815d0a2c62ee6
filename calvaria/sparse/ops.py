"""Operations on features that lie in the order of a site set. An absent site is zero and costs nothing."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.nn import BatchNorm1d

from calvaria.sparse import operators
from calvaria.sparse.dispatch import call
from calvaria.sparse.normalise import normalise_rows
from calvaria.sparse.sites import SiteSet
from calvaria.sparse.taps import SIDE


@dataclass(frozen=True, eq=False)
class SparseTensor:
    """Features [N, C] of the N sites of a set, in its order."""

    sites: SiteSet
    features: Tensor

    def __post_init__(self) -> None:
        if len(self.features) != len(self.sites):
            raise ValueError(f"{len(self.features)} rows of features for {len(self.sites)} sites")
        if self.features.device != self.sites.device:
            raise ValueError(f"features on {self.features.device} of sites on {self.sites.device}")

    def map(self, layer: Any) -> "SparseTensor":
        """Apply a row-wise layer (normalisation, activation, linear) to the features."""
        return SparseTensor(self.sites, layer(self.features))


def stem(sites: SiteSet, weight: Tensor) -> SparseTensor:
    """3×3×3 convolution of ones at the sites; weight [27, 1, C_out]."""
    return SparseTensor(sites, call(operators.stem, weight.flatten(0, 1), *sites.bits, sites.engine))


def convolve(x: SparseTensor, weight: Tensor) -> SparseTensor:
    """3×3×3 convolution whose output sites are its input sites; weight [27, C_in, C_out]."""
    sites = x.sites
    return SparseTensor(sites, call(operators.convolve, x.features, weight, *sites.bits[:2], sites.neighbours, sites.engine))


def downsample(x: SparseTensor, weight: Tensor) -> SparseTensor:
    """2×2×2 convolution with stride 2 onto the parents of the input's sites; weight [8, C_in, C_out]."""
    coarse = x.sites.parents
    return SparseTensor(coarse, call(operators.downsample, x.features, weight, *x.sites.bits, *coarse.bits, coarse.engine))


def generate(x: SparseTensor, weight: Tensor, onto: SiteSet | None = None) -> SparseTensor:
    """Generative transposed convolution with stride 2; weight [kernel³, C_in, C_out].

    Onto every finer site that its kernel (2 or 4) reaches, or onto these.
    """
    fine = x.sites.reached(SIDE[weight.shape[0]]) if onto is None else onto
    return SparseTensor(fine, call(operators.generate, x.features, weight, *x.sites.bits, *fine.bits, fine.engine))


def union(a: SparseTensor, b: SparseTensor, sites: SiteSet | None = None) -> SparseTensor:
    """Features added over the union of sites, where that is known: `sites`; where only one has a site, its features alone."""
    sites = a.sites.union(b.sites) if sites is None else sites
    features = call(operators.join, a.features, *a.sites.bits, b.features, *b.sites.bits, *sites.bits, sites.engine)
    return SparseTensor(sites, features)


def restrict(x: SparseTensor, sites: SiteSet) -> SparseTensor:
    """Prune: the features at these of its sites; zero at any it lacks."""
    return SparseTensor(sites, call(operators.transfer, x.features, *x.sites.bits, *sites.bits, sites.engine))


def normalise(x: SparseTensor, norm: BatchNorm1d) -> SparseTensor:
    """Batch normalisation in training mode over two or more sites, and ReLU."""
    return SparseTensor(x.sites, normalise_rows(x.features, norm, x.sites.engine))
