"""The paper's sparse encoder-decoder, as a configuration and a module.

Li et al., Scientific Reports 13 (2023), doi 10.1038/s41598-023-47437-6. The encoder halves the resolution six times; the decoder
generates sites back up, adds the encoder's features, gives every site a logit and prunes those that do not belong to the answer.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from calvaria.sparse import SiteSet, SparseTensor, convolve, downsample, generate, prune, union

LEVELS = 7


@dataclass(frozen=True)
class NetworkConfig:
    """Channels at strides 1, 2, 4, 8, 16, 32, 64, and how far generation may grow.

    growth      at most this many sites are kept at a level per site that the encoder has there (of the same item): an untrained
                network that wants to keep everything is held back, so memory stays proportional to the input.
    keep_above  while answering, sites above the last level are kept where their logit exceeds this; 0 is the paper's. A site
                dropped at a coarse stride is lost to all finer ones, while one kept too many is judged again.
    """

    channels: tuple[int, ...]
    growth: float = 2.0
    keep_above: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "channels", tuple(self.channels))  # files know only lists
        if len(self.channels) != LEVELS or min(self.channels) < 1:
            raise ValueError(f"channels are {LEVELS} positive numbers, one per stride 1, 2, 4 … 64")
        if self.growth < 1:
            raise ValueError("growth below 1 could not even keep the input")


CONFIGS = {
    "ch1": NetworkConfig((8, 8, 16, 16, 32, 32, 64)),
    "ch2": NetworkConfig((22, 32, 32, 128, 156, 256, 388)),
}


@dataclass(frozen=True, eq=False)
class Level:
    """What the decoder decides at one stride: a logit for each candidate site [N], and which are kept (bool [N])."""

    sites: SiteSet
    logits: Tensor
    keep: Tensor

    @property
    def kept(self) -> SiteSet:
        return self.sites.select(self.keep)


class EncoderDecoder(nn.Module):
    """Occupied sites in, kept sites out, with the decisions of the six decoder levels, strides 32 … 1."""

    def __init__(self, config: NetworkConfig):
        super().__init__()
        self.config = config
        c = config.channels
        self.stem = Convolution(27, 1, c[0])
        self.encoder = nn.ModuleList(EncoderLevel(c[i], c[i + 1]) for i in range(LEVELS - 1))
        self.decoder = nn.ModuleList(DecoderLevel(c[i + 1], c[i], kernel=4 if i == LEVELS - 2 else 2) for i in reversed(range(LEVELS - 1)))
        # The published network ends in this layer, which its loss never reaches; here only so that weights correspond one to one.
        self.end = nn.Linear(c[0], 1)

    def forward(self, sites: SiteSet, target: SiteSet | None = None) -> list[Level]:
        """The six levels' decisions, coarsest first; the last one's `kept` is the answer at stride 1.

        target  while training, the true sites at stride 1: they are kept at every level but the last, whatever the logits say,
                so that finer levels have something to learn from.
        """
        skips = [self.stem(SparseTensor(sites, torch.ones(len(sites), 1, device=sites.cells.device)))]
        for encode in self.encoder:
            skips.append(encode(skips[-1]))
        targets = pyramid(target) if target is not None else [None] * LEVELS
        x = skips.pop()
        levels = []
        for decode, skip, wanted in zip(self.decoder, reversed(skips), reversed(targets[:-1]), strict=True):
            x, logits = decode(x, skip)
            coarse = target is None and x.sites.stride > 1
            keep = logits > (self.config.keep_above if coarse else 0.0)
            keep = bounded(keep, logits, x.sites, self.config.growth * skip.sites.counts())
            levels.append(Level(x.sites, logits, keep))
            if wanted is not None:
                keep = keep | wanted.holds(x.sites)
            if x.sites.stride > 1:
                x = prune(x, keep)
        return levels


class EncoderLevel(nn.Module):
    """Halve the resolution, then look around."""

    def __init__(self, c_in: int, c_out: int):
        super().__init__()
        self.down = Convolution(8, c_in, c_out)
        self.conv = Convolution(27, c_out, c_out)

    def forward(self, x: SparseTensor) -> SparseTensor:
        return self.conv(self.down(x))  # type: ignore[no-any-return]


class DecoderLevel(nn.Module):
    """Double the resolution, look around, add what the encoder saw, and judge every site."""

    def __init__(self, c_in: int, c_out: int, kernel: int):
        super().__init__()
        self.up = Convolution(kernel**3, c_in, c_out, transposed=True)
        self.conv = Convolution(27, c_out, c_out)
        self.head = nn.Linear(c_out, 1)
        # Most candidates do not belong to the answer: an untrained head says so, rather than keeping half of everything.
        nn.init.constant_(self.head.bias, -2.0)

    def forward(self, x: SparseTensor, skip: SparseTensor) -> tuple[SparseTensor, Tensor]:
        x = union(self.conv(self.up(x)), skip)
        return x, self.head(x.features).flatten()


class Convolution(nn.Module):
    """A convolution without bias, batch normalisation and ReLU; weight [taps, C_in, C_out].

    27 taps: on the same sites; 8 taps: stride 2, down, or up if transposed; 64 taps: up.
    """

    def __init__(self, volume: int, c_in: int, c_out: int, transposed: bool = False):
        super().__init__()
        self.operation = generate if transposed else {27: convolve, 8: downsample}[volume]
        self.weight = nn.Parameter(torch.empty(volume, c_in, c_out))
        self.norm = SiteNorm(c_out)
        # A site has about nine occupied neighbours of 27 on a surface; a generated one has one parent.
        fan_in = c_in * {27: 9, 8: 4, 64: 8}[volume] if not transposed or volume == 64 else c_in
        nn.init.normal_(self.weight, std=(2 / fan_in) ** 0.5)

    def forward(self, x: SparseTensor) -> SparseTensor:
        return self.operation(x, self.weight).map(self.norm).map(torch.relu)


class SiteNorm(nn.BatchNorm1d):
    """Batch normalisation over sites. A single site has no variance: it is normalised by the running statistics."""

    def forward(self, x: Tensor) -> Tensor:
        if self.training and len(x) > 1:
            return super().forward(x)
        return nn.functional.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps)


def bounded(keep: Tensor, logits: Tensor, sites: SiteSet, limits: Tensor) -> Tensor:
    """`keep`, less the lowest logits of every item that would keep more than its limit ([B])."""
    batch = sites.columns[0]
    over = torch.bincount(batch[keep], minlength=sites.batch) > limits
    if not over.any():
        return keep
    keep = keep.clone()
    for item in over.nonzero().flatten():
        rows = (keep & (batch == item)).nonzero().flatten()
        order = logits[rows].argsort(descending=True, stable=True)
        keep[rows[order[int(limits[item]) :]]] = False
    return keep


def pyramid(sites: SiteSet) -> list[SiteSet]:
    """The set at strides 1, 2 … 64: a coarse site exists where any finer one does."""
    levels = [sites]
    while len(levels) < LEVELS:
        levels.append(levels[-1].parents)
    return levels


def parameter_count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())
