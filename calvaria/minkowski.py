"""The same network on MinkowskiEngine, the general sparse engine of the paper's authors, to compare answers, gradients and times.

MinkowskiEngine is no requirement: `make minkowski` builds it from its released source, and it is imported only when asked for.
"""

import importlib
import warnings
from typing import Any

import torch
from torch import Tensor, nn

from calvaria.errors import bad_option
from calvaria.networks import Convolution, DecoderLevel, EncoderDecoder, EncoderLevel, Level, decided, pyramid
from calvaria.sparse import SiteSet
from calvaria.sparse.taps import SIDE


class MinkowskiNetwork(nn.Module):
    """An `EncoderDecoder` whose operations are MinkowskiEngine's, on the very same parameters and running statistics.

    It answers as the network does, in evaluation and in training, and gradients arrive in the network's own parameters.
    CalvariaError BAD_OPTION where MinkowskiEngine cannot be imported.
    """

    def __init__(self, network: EncoderDecoder):
        super().__init__()
        self.config = network.config
        self.stem = _Convolution(network.stem, kernel=3)
        self.encoder = nn.ModuleList(_encoder_level(level) for level in network.encoder)  # type: ignore[arg-type]
        self.decoder = nn.ModuleList(_DecoderLevel(level) for level in network.decoder)  # type: ignore[arg-type]
        self.train(network.training)

    def forward(self, sites: SiteSet, target: SiteSet | None = None, forced: bool = False, features: Tensor | None = None) -> list[Level]:
        """The six levels' decisions, as `EncoderDecoder.forward` says."""
        given = pyramid(sites)
        wanted = pyramid(target) if target is not None else [None] * len(given)
        if not len(sites):  # MinkowskiEngine ends the process on an empty tensor
            return [_nothing(coarse) for coarse in reversed(given[:-1])]
        if features is None:
            features = torch.ones(len(sites), 1, dtype=self.stem.operation.kernel.dtype, device=sites.device)
        skips = [self.stem(_tensor(sites, features))]
        for encode in self.encoder:
            skips.append(encode(skips[-1]))
        x = skips.pop()
        levels = []
        for decode, skip, encoder_sites, true_sites in zip(self.decoder, *map(reversed, (skips, given[:-1], wanted[:-1])), strict=True):
            x, logits = decode(x, skip, sites.extents, None if self.config.grows else encoder_sites)
            order, candidates = _sites(x, encoder_sites)
            logits = logits[order]
            kept = candidates.select(logits > self.config.bar(candidates.stride))
            level, onward = decided(Level(candidates, logits, kept), encoder_sites, self.config, true_sites, forced)
            levels.append(level)
            if candidates.stride > 1:
                x = _restricted(x, onward)
        return levels


class _Convolution(nn.Module):
    """A convolution of the network with its normalisation and ReLU, by MinkowskiEngine."""

    def __init__(self, convolution: Convolution, kernel: int, stride: int = 1, generative: bool = False):
        super().__init__()
        engine = minkowski_engine()
        layer = engine.MinkowskiGenerativeConvolutionTranspose if generative else engine.MinkowskiConvolution
        _, c_in, c_out = convolution.weight.shape
        self.operation = layer(c_in, c_out, kernel_size=kernel, stride=stride, dimension=3)
        self.operation.kernel = convolution.weight  # taps in the same order: x fastest
        self.norm = convolution.norm

    def forward(self, x: Any, extents: tuple[tuple[int, int, int], ...] | None = None, onto: SiteSet | None = None) -> Any:
        """`extents`: the size of each item, beyond which nothing may be generated. `onto`: the only sites that may be."""
        x = self.operation(x)
        if extents is not None:
            x = _clip(x, extents)
        if onto is not None:
            x = _restricted(x, onto)
        return _map(x, torch.relu(self.norm(x.F)))


def _encoder_level(level: EncoderLevel) -> nn.Sequential:
    return nn.Sequential(_Convolution(level.down, kernel=2, stride=2), _Convolution(level.conv, kernel=3))


class _DecoderLevel(nn.Module):
    def __init__(self, level: DecoderLevel):
        super().__init__()
        kernel = SIDE[level.up.weight.shape[0]]
        self.up = _Convolution(level.up, kernel, stride=2, generative=True)
        self.conv = _Convolution(level.conv, kernel=3)
        self.head = level.head

    def forward(self, x: Any | None, skip: Any, extents: tuple[tuple[int, int, int], ...], onto: SiteSet | None) -> tuple[Any, Tensor]:
        """The candidates with their features, in MinkowskiEngine's order, and a logit for each; x is None where nothing was kept."""
        y = skip if x is None else minkowski_engine().MinkowskiUnion()(self.conv(self.up(x, extents, onto)), skip)
        return y, self.head(y.F).flatten()


def minkowski_engine() -> Any:
    """The module MinkowskiEngine; CalvariaError BAD_OPTION where it cannot be imported."""
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="The MinkowskiEngine was compiled with CPU_ONLY")
            return importlib.import_module("MinkowskiEngine")
    except ImportError as error:
        raise bad_option(f"MinkowskiEngine cannot be imported ({error}). Build and install it with `make minkowski`.") from error


def _tensor(sites: SiteSet, features: Tensor) -> Any:
    """Features at the sites, with a coordinate manager of its own, so that nothing outlives the call."""
    engine = minkowski_engine()
    device = sites.device
    kind = engine.CoordinateMapType.CUDA if device.type == "cuda" else engine.CoordinateMapType.CPU
    # Said outright, or it would set the process's number of threads to all cores.
    manager = engine.CoordinateManager(D=3, num_threads=torch.get_num_threads(), coordinate_map_type=kind)
    return engine.SparseTensor(features, sites.coordinates.contiguous(), coordinate_manager=manager)


def _map(x: Any, features: Tensor) -> Any:
    """x with other features."""
    return minkowski_engine().SparseTensor(features, coordinate_map_key=x.coordinate_map_key, coordinate_manager=x.coordinate_manager)


def _prune(x: Any, keep: Tensor) -> Any | None:
    """x where `keep` (bool [N]) is true; None where it nowhere is, which MinkowskiEngine would not survive."""
    return minkowski_engine().MinkowskiPruning()(x, keep) if keep.any() else None


def _sites(x: Any, like: SiteSet) -> tuple[Tensor, SiteSet]:
    """The permutation that brings x's rows into raster order, and its sites, on the grid of a set."""
    return _raster_order(x.C), SiteSet.from_coordinates(x.C, like.extents, like.stride, like.engine)


def _restricted(x: Any, sites: SiteSet) -> Any | None:
    """x at those of its sites that the set has."""
    order, own = _sites(x, sites)
    return _prune(x, torch.empty_like(order, dtype=torch.bool).index_put_((order,), sites.holds(own)))


def _clip(x: Any, extents: tuple[tuple[int, int, int], ...]) -> Any:
    """x without the sites outside their item's extent. The first child of a site lies inside, so something stays."""
    coordinates = x.C
    inside = (coordinates[:, 1:] < torch.tensor(extents, device=coordinates.device)[coordinates[:, 0]]).all(1)
    return x if inside.all() else _prune(x, inside)


def _raster_order(coordinates: Tensor) -> Tensor:
    """The permutation that sorts int [N, 4] (batch, x, y, z), z fastest: from MinkowskiEngine's order, which is its hash table's."""
    code = torch.zeros(len(coordinates), dtype=torch.int64, device=coordinates.device)
    for column, size in zip(coordinates.T, (coordinates.amax(0) + 1).tolist(), strict=True):
        code = code * size + column
    return code.argsort()


def _nothing(sites: SiteSet) -> Level:
    return Level(sites, torch.zeros(0, device=sites.device), sites)
