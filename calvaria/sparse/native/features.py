"""Features of sites: the second half of `calvaria.sparse.engine.Engine`, which says what each function does."""

import torch
from torch import Tensor

from calvaria.sparse.engine import Bits
from calvaria.sparse.footprint import WHOLE_ROWS
from calvaria.sparse.native.library import library, room
from calvaria.sparse.taps import SIDE


def stem(weight: Tensor, bits: Bits, bias: Tensor | None = None) -> Tensor:
    _require(weight.ndim == 2 and len(weight) == 27, f"weight {list(weight.shape)} of a stem")
    channels = weight.shape[1]
    out = _like(weight, bits.count, channels)
    library().stem(weight, _bias(bias, channels), bits.words, bits.starts, *bits.words.shape, channels, out)
    return out


def stem_weight_gradient(gradient: Tensor, bits: Bits) -> Tensor:
    channels = _channels(gradient, bits)
    out = _like(gradient, 27, channels)
    library().stem_weight_gradient(gradient, bits.words, bits.starts, *bits.words.shape, channels, out)
    return out


def convolve(features: Tensor, weight: Tensor, bits: Bits, neighbours: Tensor, bias: Tensor | None = None) -> Tensor:
    c_in, c_out = _weights(weight, features, bits, 27)
    out = _like(features, bits.count, c_out)
    library().convolve(features, weight, _bias(bias, c_out), bits.words, bits.starts, *bits.words.shape, c_in, c_out, out)
    return out


def convolve_weight_gradient(features: Tensor, gradient: Tensor, bits: Bits, neighbours: Tensor) -> Tensor:
    c_in, c_out = _channels(features, bits), _channels(gradient, bits)
    out = _like(features, 27, c_in, c_out)
    library().convolve_weight_gradient(features, gradient, bits.words, bits.starts, *bits.words.shape, c_in, c_out, out)
    return out


def downsample(features: Tensor, weight: Tensor, fine: Bits, coarse: Bits, bias: Tensor | None = None) -> Tensor:
    kernel = _halved(fine, coarse, len(weight))
    c_in, c_out = _weights(weight, features, fine, kernel**3)
    out = _like(features, coarse.count, c_out)
    library().downsample(features, weight, _bias(bias, c_out), *fine[:2], *coarse[:2], *fine.words.shape, kernel, c_in, c_out, out)
    return out


def generate(features: Tensor, weight: Tensor, coarse: Bits, fine: Bits, bias: Tensor | None = None) -> Tensor:
    kernel = _halved(fine, coarse, len(weight))
    c_in, c_out = _weights(weight, features, coarse, kernel**3)
    out = _like(features, fine.count, c_out)
    library().generate(features, weight, _bias(bias, c_out), *fine[:2], *coarse[:2], *fine.words.shape, kernel, c_in, c_out, out)
    return out


def stride_weight_gradient(fine_features: Tensor, coarse_features: Tensor, fine: Bits, coarse: Bits, kernel: int) -> Tensor:
    _halved(fine, coarse, kernel**3)
    c_fine, c_coarse = _channels(fine_features, fine), _channels(coarse_features, coarse)
    out = _like(fine_features, kernel**3, c_fine, c_coarse)
    library().stride_weight_gradient(
        fine_features, coarse_features, *fine[:2], *coarse[:2], *fine.words.shape, kernel, c_fine, c_coarse, out
    )
    return out


def transfer(features: Tensor, source: Bits, target: Bits) -> Tensor:
    _same_grid(source, target)
    channels = _channels(features, source)
    out = _like(features, target.count, channels)
    library().transfer(features, *source[:2], *target[:2], source.words.numel(), channels, out)
    return out


def join(features: Tensor, source: Bits, others: Tensor, other: Bits, target: Bits) -> Tensor:
    return transfer(features, source, target).add_(transfer(others, other, target))


def normalise(
    features: Tensor, weight: Tensor, bias: Tensor, running_mean: Tensor, running_var: Tensor, momentum: float, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    rows, channels = features.shape
    _require(rows > 1 and all(each.shape == (channels,) for each in (weight, bias, running_mean, running_var)), f"{rows} rows to normalise")
    out, mean, scale = (_like(features, *shape) for shape in ((rows, channels), (channels,), (channels,)))
    library().normalise(features, weight, bias, running_mean, running_var, momentum, eps, rows, channels, out, mean, scale)
    return out, mean, scale


def normalise_gradient(
    gradient: Tensor, features: Tensor, out: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, scale: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    rows, channels = features.shape
    _require(gradient.shape == features.shape == out.shape, f"gradient {list(gradient.shape)} of {list(features.shape)}")
    found = _like(features, rows, channels), torch.empty_like(weight), torch.empty_like(weight)
    library().normalise_gradient(gradient, features, out, weight, mean, scale, rows, channels, *found)
    return found


def decide(
    features: Tensor,
    weight: Tensor,
    bias: Tensor,
    candidates: Bits,
    neighbours: Tensor,
    skip: Tensor,
    encoder: Bits,
    union: Bits,
    head: Tensor,
    head_bias: float,
    keep_above: float,
    with_features: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    _same_grid(candidates, encoder)
    _same_grid(candidates, union)
    c_in, c_out = _weights(weight, features, candidates, 27)
    _require(_channels(skip, encoder) == c_out and head.shape == (c_out,), f"skip {list(skip.shape)}, head {list(head.shape)}")
    joined = _like(features, union.count if with_features else 0, c_out)
    logits, kept = _like(features, union.count), torch.empty_like(union.words)
    grids = (*encoder[:2], *union[:2], *union.words.shape)
    decoded = _like(features, candidates.count if c_out > WHOLE_ROWS else 0, c_out)
    into = (decoded, joined if with_features else None, logits, kept)
    library().decide(features, weight, _bias(bias, c_out), *candidates[:2], skip, *grids, c_in, c_out, head, head_bias, keep_above, *into)
    return joined, logits, kept


def _require(condition: bool, otherwise: str) -> None:
    if not condition:
        raise ValueError(f"does not fit: {otherwise}")


def _like(features: Tensor, *shape: int) -> Tensor:
    return room(*shape, dtype=features.dtype)


def _channels(features: Tensor, bits: Bits) -> int:
    _require(features.ndim == 2 and len(features) == bits.count, f"features {list(features.shape)} of {bits.count} sites")
    return features.shape[1]


def _weights(weight: Tensor, features: Tensor, bits: Bits, taps: int) -> tuple[int, int]:
    """C_in and C_out."""
    c_in = _channels(features, bits)
    _require(
        weight.ndim == 3 and weight.shape[:2] == (taps, c_in) and weight.shape[2] > 0,
        f"weight {list(weight.shape)} for {taps} taps and {c_in} channels",
    )
    return c_in, weight.shape[2]


def _bias(bias: Tensor | None, channels: int) -> Tensor | None:
    _require(bias is None or bias.shape == (channels,), f"bias for {channels} channels")
    return bias


def _same_grid(a: Bits, b: Bits) -> None:
    _require(a.words.shape == b.words.shape, f"sites of two grids, words {list(a.words.shape)} and {list(b.words.shape)}")


def _halved(fine: Bits, coarse: Bits, taps: int) -> int:
    """The kernel's size along an axis."""
    batch, *size = fine.words.shape
    fits = SIDE.get(taps) in (2, 4) and coarse.words.shape == (batch, *(-(-cells // 2) for cells in size))
    _require(fits, f"{taps} taps between grids of words {[batch, *size]} and {list(coarse.words.shape)}")
    return SIDE[taps]
