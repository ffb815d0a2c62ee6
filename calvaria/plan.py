"""A trained network as serving runs it: the same decisions in fewer, larger steps, with nothing kept for gradients.

Batch normalisation is folded into weights and biases; every convolution ends in its ReLU; a decoder level's convolution, the addition of
the encoder's features, the head and the keep bits are one step; and the finest level's features, which nobody reads, are never written.
"""

from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from calvaria.networks import LEVELS, Convolution, DecoderLevel, EncoderDecoder, EncoderLevel, Level, bounded, decided, pyramid
from calvaria.sparse import SiteSet
from calvaria.sparse.taps import SIDE


class Folded(NamedTuple):
    """A convolution with its batch normalisation: weight [taps, C_in, C_out], bias [C_out]."""

    weight: Tensor
    bias: Tensor


class EncoderStep(NamedTuple):
    down: Folded
    conv: Folded


class DecoderStep(NamedTuple):
    kernel: int
    up: Folded
    conv: Folded
    head: Tensor
    head_bias: float


class Plan:
    """The network for inference as it is now, on the device of its weights; answers as the module does in eval mode."""

    def __init__(self, network: EncoderDecoder):
        self.config = network.config
        channels = network.config.computed_channels(network.stem.weight.device.type)
        stem = folded(network.stem, network.config.inputs or 1, channels[0])
        self.stem = stem if network.config.inputs else Folded(stem.weight[:, 0].contiguous(), stem.bias)
        self.encoder = [_encoder_step(level, *across) for level, across in zip(network.encoder, pairwise(channels), strict=True)]
        decoder = zip(network.decoder, pairwise(reversed(channels)), strict=True)
        self.decoder = [_decoder_step(level, *across) for level, across in decoder]

    @torch.no_grad()  # not inference_mode: what the sites remember of themselves may serve a training step next
    def __call__(self, sites: SiteSet, target: SiteSet | None = None, features: Tensor | None = None) -> list[Level]:
        """The six levels' decisions, coarsest first. With a target (sites at stride 1) every level keeps exactly the target's sites.

        features [N, config.inputs] of the sites, where the configuration has inputs.
        """
        if sites.device != self.stem.weight.device:
            raise ValueError(f"sites on {sites.device} for a network on {self.stem.weight.device}")
        skips = self._encode(sites, features)
        targets = pyramid(target) if target is not None else [None] * LEVELS
        sites, features = skips.pop()
        levels: list[Level] = []
        above = sites
        for step, wanted in zip(self.decoder, reversed(targets[:-1]), strict=True):
            encoder, skip = skips.pop()
            found = self._sites(step, levels, above, sites, encoder, wanted is None)
            level, features = self._decode(step, sites, features, *found, encoder, skip, wanted)
            levels.append(level)
            sites, above = level.sites, encoder
        if self.config.grows and target is None:
            levels[-1] = bounded(levels[-1], self.config.limits(above))
        return levels

    def _sites(
        self, step: DecoderStep, levels: list[Level], above: SiteSet, coarsest: SiteSet, encoder: SiteSet, free: bool
    ) -> tuple[SiteSet, SiteSet]:
        """The candidates at half the stride, and their union with the encoder's sites.

        They are children of what the last of the levels kept, or of the coarsest sites. If the network is `free`, what it kept is bounded
        by what the encoder has there, `above`: known only with the candidates' number, so that the host need not wait twice.
        """
        if not self.config.grows:
            return encoder, encoder
        if not levels or not free:
            return (levels[-1].kept if levels else coarsest).candidates(step.kernel, encoder)
        found = levels[-1].kept.candidates(step.kernel, encoder, counted=True)
        fewer = bounded(levels[-1], self.config.limits(above))
        if fewer is levels[-1]:
            return found
        del found  # as large as what takes its place
        levels[-1] = fewer
        return fewer.kept.candidates(step.kernel, encoder)

    def _encode(self, sites: SiteSet, features: Tensor | None) -> list[tuple[SiteSet, Tensor]]:
        SiteSet.index_together(*pyramid(sites))
        self.config.check_features(sites, features)
        if features is None:
            features = sites.compute.stem(self.stem.weight, sites.bits, self.stem.bias)
        else:
            features = sites.compute.convolve(features.contiguous(), self.stem.weight, sites.bits, sites.neighbours, self.stem.bias)
        levels = [(sites, features)]
        for step in self.encoder:
            coarse = sites.parents
            features = sites.compute.downsample(features, step.down.weight, sites.bits, coarse.bits, step.down.bias)
            features = sites.compute.convolve(features, step.conv.weight, coarse.bits, coarse.neighbours, step.conv.bias)
            sites = coarse
            levels.append((sites, features))
        return levels

    def _decode(
        self,
        step: DecoderStep,
        coarse: SiteSet,
        features: Tensor,
        candidates: SiteSet,
        union: SiteSet,
        encoder: SiteSet,
        skip: Tensor,
        wanted: SiteSet | None,
    ) -> tuple[Level, Tensor]:
        """The decisions at half the stride, not bounded yet, and their sites' features: none at stride 1.

        The features given are those of all coarse sites. What was not kept need not be taken out: with kernel 2 a candidate has one
        parent, which was kept, and kernel 4 is the coarsest level's, where all are.
        """
        features = coarse.compute.generate(features, step.up.weight, coarse.bits, candidates.bits, step.up.bias)
        features, logits, words = coarse.compute.decide(
            features,
            *step.conv,
            candidates.bits,
            candidates.neighbours,
            skip,
            encoder.bits,
            union.bits,
            step.head,
            step.head_bias,
            self.config.bar(union.stride),
            union.stride > 1,
        )
        level = Level(union, logits, union.with_words(words))
        if wanted is not None:
            level, _ = decided(level, encoder, self.config, wanted, forced=True)
        return level, features


def folded(convolution: Convolution, c_in: int, c_out: int) -> Folded:
    """norm(x @ weight) = x @ (weight · scale) + (norm.bias - running_mean · scale), with scale = norm.weight / √(running_var + eps).

    Channels beyond the network's own, up to those asked for, are zero.
    """
    norm = convolution.norm
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    _, fewer_in, fewer_out = convolution.weight.shape
    weight = pad(convolution.weight * scale, (0, c_out - fewer_out, 0, c_in - fewer_in))
    bias = pad(norm.bias - norm.running_mean * scale, (0, c_out - fewer_out))
    return Folded(weight.detach().contiguous(), bias.detach().contiguous())


def _encoder_step(level: nn.Module, c_in: int, c_out: int) -> EncoderStep:
    assert isinstance(level, EncoderLevel)
    return EncoderStep(folded(level.down, c_in, c_out), folded(level.conv, c_out, c_out))


def _decoder_step(level: nn.Module, c_in: int, c_out: int) -> DecoderStep:
    assert isinstance(level, DecoderLevel)
    kernel = SIDE[len(level.up.weight)]
    head = pad(level.head.weight.detach().flatten(), (0, c_out - level.head.in_features))
    return DecoderStep(
        kernel, folded(level.up, c_in, c_out), folded(level.conv, c_out, c_out), head.contiguous(), float(level.head.bias.detach())
    )
