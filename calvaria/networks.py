"""The paper's sparse encoder-decoder, as a configuration and a module.

Li et al., Scientific Reports 13 (2023), doi 10.1038/s41598-023-47437-6. The encoder halves the resolution six times; the decoder
generates sites back up, adds the encoder's features, gives every site a logit and prunes those that do not belong to the answer.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from calvaria.sparse import SiteSet, SparseTensor, convolve, downsample, generate, normalise, restrict, stem, union

LEVELS = 7


@dataclass(frozen=True)
class NetworkConfig:
    """Channels at strides 1, 2, 4, 8, 16, 32, 64, and how far generation may grow.

    growth      at most this many sites are kept at a level per site that the encoder has there (of the same item): an untrained
                network that wants to keep everything is held back, so memory stays proportional to the input.
    keep_above  sites above the last level are kept where their logit exceeds this; 0 is the paper's. A site dropped at a coarse stride
                is lost to all finer ones, while one kept too many is judged again. The same while learning, or finer levels would
                meet doubtful sites that they never learned to judge.
    grows       whether sites are generated; without, the decoder judges the sites that were given, at every stride.
    inputs      numbers that come with every site, such as how full its cell is; 0 is the paper's: a site is there or it is not.
    """

    channels: tuple[int, ...]
    growth: float = 2.0
    keep_above: float = 0.0
    grows: bool = True
    inputs: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "channels", tuple(self.channels))  # files know only lists
        if len(self.channels) != LEVELS or not all(isinstance(count, int) and count >= 1 for count in self.channels):
            raise ValueError(f"channels are {LEVELS} positive whole numbers, one per stride 1, 2, 4 … 64")
        if not 1 <= self.growth < math.inf:
            raise ValueError(f"growth cannot be {self.growth:g}; it is finite and at least 1, or not even the input could be kept")
        if not math.isfinite(self.keep_above):
            raise ValueError(f"keep_above cannot be {self.keep_above:g}: it is finite")
        if self.inputs < 0:
            raise ValueError(f"inputs cannot be {self.inputs}; it is at least 0")

    def computed_channels(self, device_type: str) -> tuple[int, ...]:
        """Channels that a plan computes: on a GPU more than 16 become a multiple of 8, so that rows of half precision begin at 16 bytes."""
        return tuple(-(-c // 8) * 8 if device_type == "cuda" and c > 16 else c for c in self.channels)

    def check_features(self, sites: SiteSet, features: Tensor | None) -> None:
        """ValueError unless every site comes with as many numbers as the network has inputs."""
        wanted = [len(sites), self.inputs] if self.inputs else None
        if (given := None if features is None else list(features.shape)) != wanted:
            raise ValueError(f"features {given} for {len(sites)} sites and {self.inputs} inputs")

    def bar(self, stride: int) -> float:
        """A site at this stride is kept where its logit exceeds this."""
        return self.keep_above if stride > 1 else 0.0

    def limits(self, encoder: SiteSet) -> list[float]:
        """How many sites each item may keep where the encoder has these."""
        return [self.growth * count for count in encoder.counts]


CONFIGS = {
    "ch1": NetworkConfig((8, 8, 16, 16, 32, 32, 64)),
    "ch2": NetworkConfig((22, 32, 32, 128, 156, 256, 388)),
}


@dataclass(frozen=True, eq=False)
class Level:
    """What the decoder decides at one stride: a logit for each candidate site [N], and the sites that are kept."""

    sites: SiteSet
    logits: Tensor
    kept: SiteSet

    @property
    def keep(self) -> Tensor:
        """bool [N]: which of the candidates are kept."""
        return self.kept.holds(self.sites)


class EncoderDecoder(nn.Module):
    """Occupied sites in, kept sites out, with the decisions of the six decoder levels, strides 32 … 1."""

    def __init__(self, config: NetworkConfig):
        super().__init__()
        self.config = config
        c = config.channels
        self.stem = Convolution(convolve, 27, config.inputs, c[0]) if config.inputs else Convolution(stem, 27, 1, c[0])
        self.encoder = nn.ModuleList(EncoderLevel(c[i], c[i + 1]) for i in range(LEVELS - 1))
        self.decoder = nn.ModuleList(DecoderLevel(c[i + 1], c[i], kernel=4 if i == LEVELS - 2 else 2) for i in reversed(range(LEVELS - 1)))
        # The published network ends in this layer, which its loss never reaches; here only so that weights correspond one to one.
        self.end = nn.Linear(c[0], 1)

    def forward(self, sites: SiteSet, target: SiteSet | None = None, forced: bool = False, features: Tensor | None = None) -> list[Level]:
        """The six levels' decisions, coarsest first; the last one's `kept` is the answer at stride 1.

        features [N, config.inputs] of the sites, where the configuration has inputs.
        target  while training, the true sites at stride 1: they are kept at every level but the last, whatever the logits say,
                so that finer levels have something to learn from.
        forced  keep exactly the target's sites instead, so that engines can be compared on the same sites.
        """
        SiteSet.index_together(*pyramid(sites), *(pyramid(target) if target is not None else ()))
        self.config.check_features(sites, features)
        skips = [self.stem(sites if features is None else SparseTensor(sites, features))]
        for encode in self.encoder:
            skips.append(encode(skips[-1]))
        targets = pyramid(target) if target is not None else [None] * LEVELS
        x = skips.pop()
        levels = []
        for decode, skip, wanted in zip(self.decoder, reversed(skips), reversed(targets[:-1]), strict=True):
            x, logits = decode(x, skip, self.config.grows)
            kept = x.sites.select(logits > self.config.bar(x.sites.stride))
            level, onward = decided(Level(x.sites, logits, kept), skip.sites, self.config, wanted, forced)
            levels.append(level)
            if x.sites.stride > 1 and onward is not x.sites:
                x = restrict(x, onward)
        return levels


class EncoderLevel(nn.Module):
    """Halve the resolution, then look around."""

    def __init__(self, c_in: int, c_out: int):
        super().__init__()
        self.down = Convolution(downsample, 8, c_in, c_out)
        self.conv = Convolution(convolve, 27, c_out, c_out)

    def forward(self, x: SparseTensor) -> SparseTensor:
        return self.conv(self.down(x))  # type: ignore[no-any-return]


class DecoderLevel(nn.Module):
    """Double the resolution, look around, add what the encoder saw, and judge every site."""

    def __init__(self, c_in: int, c_out: int, kernel: int):
        super().__init__()
        self.kernel = kernel
        self.up = Convolution(generate, kernel**3, c_in, c_out)
        self.conv = Convolution(convolve, 27, c_out, c_out)
        self.head = nn.Linear(c_out, 1)
        # Most candidates do not belong to the answer: an untrained head says so, rather than keeping half of everything.
        nn.init.constant_(self.head.bias, -2.0)

    def forward(self, x: SparseTensor, skip: SparseTensor, grows: bool = True) -> tuple[SparseTensor, Tensor]:
        """Judge every site within reach or, unless it `grows`, those of the encoder."""
        candidates, either = x.sites.candidates(self.kernel, skip.sites) if grows else (skip.sites, skip.sites)
        x = union(self.conv(self.up(x, candidates)), skip, either)
        logits = self.head(x.features).flatten()
        return x, logits.to(torch.promote_types(logits.dtype, torch.float32))  # a loss in bfloat16 would round what is wanted


class Convolution(nn.Module):
    """A convolution without bias (`stem`, `convolve`, `downsample` or `generate`), batch normalisation and ReLU.

    weight [taps, C_in, C_out].
    """

    def __init__(self, operation: Callable[..., SparseTensor], taps: int, c_in: int, c_out: int):
        super().__init__()
        self.operation = operation
        self.weight = nn.Parameter(torch.empty(taps, c_in, c_out))
        self.norm = SiteNorm(c_out)
        # A site has about nine occupied neighbours of 27 on a surface, four children of 8, and one parent, or eight under kernel 4.
        seen = {27: 9, 8: 1 if operation is generate else 4, 64: 8}[taps]
        nn.init.normal_(self.weight, std=(2 / (c_in * seen)) ** 0.5)

    def forward(self, x: Any, *onto: SiteSet | None) -> SparseTensor:
        """Convolve a sparse tensor, or, as the stem, sites alone; `onto` as `generate` takes it."""
        y = self.operation(x, self.weight, *onto)
        return normalise(y, self.norm) if self.norm.training and len(y.sites) > 1 else y.map(self.norm).map(torch.relu)


class SiteNorm(nn.BatchNorm1d):
    """Batch normalisation over sites. A single site has no variance: it is normalised by the running statistics."""

    def forward(self, x: Tensor) -> Tensor:
        if self.training and len(x) > 1:
            return super().forward(x)
        return nn.functional.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps)


def decided(level: Level, encoder: SiteSet, config: NetworkConfig, wanted: SiteSet | None, forced: bool) -> tuple[Level, SiteSet]:
    """The level under the bound on growth or as the target forces it, and the sites that go on to the next; see `EncoderDecoder.forward`.

    encoder, wanted  the sites that the encoder and the target have at this stride.
    """
    if not config.grows:
        return level, level.sites
    if wanted is None:
        level = bounded(level, config.limits(encoder))
        return level, level.kept
    truth = wanted.intersection(level.sites)
    if forced:
        return Level(level.sites, level.logits, truth), truth
    onward = level.kept.union(truth)
    SiteSet.index_together(level.kept, *([onward] if level.sites.stride > 1 else []))
    fewer = bounded(level, config.limits(encoder))
    return fewer, onward if fewer is level else fewer.kept.union(truth)


def bounded(level: Level, limits: Sequence[float]) -> Level:
    """The level, less the lowest logits of every item that would keep more than its limit."""
    if all(count <= limit for count, limit in zip(level.kept.counts, limits, strict=True)):
        return level
    items = zip(*(torch.split(rows, level.sites.counts) for rows in (level.keep, level.logits)), limits, strict=True)
    keeps = [_highest(keep, logits, int(limit)) for keep, logits, limit in items]
    return Level(level.sites, level.logits, level.sites.select(torch.cat(keeps)))


def _highest(keep: Tensor, logits: Tensor, limit: int) -> Tensor:
    """bool [N]: of the sites to keep at most so many, those of the highest logits. Here, so that no item's ranking outlives it."""
    best = logits.masked_fill(~keep, -torch.inf).argsort(descending=True, stable=True)[:limit]
    return keep & torch.zeros_like(keep).index_fill(0, best, True)


def pyramid(sites: SiteSet) -> list[SiteSet]:
    """The set at strides 1, 2 … 64: a coarse site exists where any finer one does."""
    levels = [sites]
    while len(levels) < LEVELS:
        levels.append(levels[-1].parents)
    return levels
