"""What every engine must agree on with the reference, operation by operation, on any device."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from calvaria.sparse import reference
from calvaria.sparse.engine import Bits

# By how much ‖found - exact‖ / ‖exact‖ may miss: what rounding the operands and the result allows.
BOUNDS = {"fp32": 1e-5, "tf32": 2e-3, "fp16": 2e-3, "bf16": 1.2e-2}
TYPES = {"fp32": torch.float32, "tf32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}

Sets = tuple[Bits, Bits, Bits]


def same(found: Tensor, exact: Tensor) -> None:
    assert found.dtype == exact.dtype
    assert torch.equal(found, exact)


def close(found: Tensor, exact: Tensor, kind: str) -> None:
    assert found.shape == exact.shape
    if exact.numel():
        error = float((found.double() - exact.double()).norm() / exact.double().norm().clamp_min(1e-30))
        assert error <= BOUNDS[kind], f"{kind} off by {error:.1e}"


def agree_on_bits(engine: Any, mask: Tensor) -> Sets:
    """Every operation on bits, on a batch of masks [B, X, Y, Z]. Returns the sites, others on the same grid, and the sites' parents."""
    b, x, y, z = mask.shape
    words, exact = (torch.zeros(b, x, y, -(-z // 64), dtype=torch.int64, device=mask.device) for _ in range(2))
    for item, into, known in zip(mask, words, exact, strict=True):
        engine.pack(item, into)
        reference.pack(item, known)
    same(words, exact)
    same(engine.unpack(words, z), mask)
    coarse = engine.parents(words)
    same(coarse, reference.parents(words))
    bits, above = engine.index_all([words, coarse])
    same(bits.starts, reference.index(words).starts)
    same(above.starts, reference.index(coarse).starts)
    assert bits.count == int(mask.sum())
    assert engine.ends(bits) == reference.ends(bits) == mask.flatten(1).sum(1).cumsum(0).tolist()
    places = engine.coordinates(bits)
    same(places, reference.coordinates(bits))
    same(engine.mark(torch.cat([places, places]).flip(0), (b, x, y, z)), words)
    values = torch.randn(bits.count, device=mask.device)
    for item in range(b):
        same(engine.spread(bits, values, item, (x, y, z), -3.0), reference.spread(bits, values, item, (x, y, z), -3.0))
    limits = torch.tensor([[side - item % 3 for side in (x, y, z)] for item in range(b)], device=mask.device)
    for kernel in (2, 4):
        grid = coarse, limits, (b, x, y, z), kernel
        same(engine.children(*grid), reference.children(*grid))
        for mine, theirs in zip(engine.candidates(*grid, words, [coarse]), reference.candidates(*grid, words, [coarse]), strict=True):
            same(mine.words, theirs.words)
            same(mine.starts, theirs.starts)
            assert mine.count == theirs.count
            same(engine.coordinates(mine), reference.coordinates(theirs))
    keep = torch.rand(bits.count, device=mask.device) < 0.5
    same(engine.select(bits, keep), reference.select(bits, keep))
    other = engine.index(words.roll(1, 1) & ~words.roll(1, 2))
    same(engine.rows(other, bits), reference.rows(other, bits))
    return bits, other, above


def agree_on_features(
    engine: Any, kind: str, sets: Sets, c_in: int, c_out: int, kernels: tuple[int, ...] = (2,), same_sites_only: bool = False
) -> None:
    """Every operation on features of one type, against the reference in double precision (in single where sites are many).

    kernels          of the strided convolutions.
    same_sites_only  leave out the operations that are no 3×3×3 convolution of features on their own sites.
    """
    bits, other, coarse = sets
    device, dtype, exact = bits.words.device, TYPES[kind], torch.float64 if bits.count < 10**6 else torch.float32

    def random(*shape: int) -> Tensor:
        return torch.randn(*shape, device=device).to(dtype)

    def compare(operation: Callable[..., Tensor], *tensors: Tensor, sums: bool = False) -> None:
        """`operation(engine, neighbours, *tensors)` for both engines."""
        with rounding(kind):
            found = operation(engine, engine.neighbours(bits), *tensors)
        assert found.dtype == (torch.promote_types(dtype, torch.float32) if sums else dtype)
        close(found, operation(reference, near, *(tensor.to(exact) for tensor in tensors)), kind)

    near = reference.neighbours(bits)
    features, gradient, bias = random(bits.count, c_in), random(bits.count, c_out), random(c_out)
    weight = random(27, c_in, c_out) / (9 * c_in) ** 0.5
    compare(lambda e, n, f, w: e.convolve(f, w, bits, n), features, weight)
    compare(lambda e, n, f, w, v: e.convolve(f, w, bits, n, v), features, weight, bias)
    compare(lambda e, n, f, g: e.convolve_weight_gradient(f, g, bits, n), features, gradient, sums=True)
    agree_on_decisions(engine, kind, bits, other, features, weight, bias, near)
    agree_on_normalisation(engine, kind, features)
    if same_sites_only:
        return
    compare(lambda e, _, w, v: e.stem(w, bits, v), random(27, c_out), bias)
    compare(lambda e, _, g: e.stem_weight_gradient(g, bits), gradient, sums=True)
    upper, lower = random(coarse.count, c_in), random(coarse.count, c_out)
    for kernel in kernels:
        across = random(kernel**3, c_in, c_out) / (4 * c_in) ** 0.5
        compare(lambda e, _, f, w, v: e.downsample(f, w, bits, coarse, v), features, across, bias)
        compare(lambda e, _, f, w, v: e.generate(f, w, coarse, bits, v), upper, across, bias)
        compare(lambda e, _, f, g, k=kernel: e.stride_weight_gradient(f, g, bits, coarse, k), features, lower, sums=True)
    same(engine.transfer(features, bits, other), reference.transfer(features, bits, other))
    union = engine.index(bits.words | other.words)
    compare(lambda e, _, f, g: e.join(f, bits, g, other, union), features, random(other.count, c_in))


def agree_on_decisions(
    engine: Any, kind: str, bits: Bits, other: Bits, features: Tensor, weight: Tensor, bias: Tensor, near: Tensor
) -> None:
    exact = torch.float64 if bits.count < 10**6 else torch.float32
    union = engine.index(bits.words | other.words)
    skip, head = torch.randn(other.count, len(bias), device=bias.device).to(bias.dtype), torch.randn_like(bias)
    wide = [tensor.to(exact) for tensor in (features, weight, bias, skip, head)]
    oracle = reference.decide(*wide[:3], bits, near, wide[3], other, union, wide[4], 0.1, 0.2, True)
    for with_features in (True, False):
        with rounding(kind):
            found = engine.decide(
                features, weight, bias, bits, engine.neighbours(bits), skip, other, union, head, 0.1, 0.2, with_features
            )  # fmt: skip
        close(found[0], oracle[0] if with_features else oracle[0][:0], kind)
        close(found[1], oracle[1], kind)
        same(found[2], reference.select(union, found[1] > 0.2))


def agree_on_normalisation(engine: Any, kind: str, features: Tensor) -> None:
    """Of rows whose means are far from zero, in units of their deviations, with the parameters in single precision, as under autocast."""
    count, channels = features.shape
    if count < 2:
        return
    dtype, wide = features.dtype, torch.float32 if features.dtype is not torch.float64 else torch.float64
    shifted = (features.to(wide) + torch.arange(channels, device=features.device) % 3 * 5 - 5).to(dtype)
    weight, bias, mean, var = (torch.rand(channels, device=features.device, dtype=wide) for _ in range(4))
    gradient = torch.randn_like(shifted)
    exact = [each.double() for each in (shifted, weight, bias, mean, var)]
    oracle, given = reference.normalise(*exact, 0.1, 1e-5), (mean.clone(), var.clone())
    found = engine.normalise(shifted, weight, bias, *given, 0.1, 1e-5)
    assert found[0].dtype == dtype
    for mine, theirs in zip((*found, *given), (*oracle, *exact[3:]), strict=True):
        close(mine, theirs, kind if mine is found[0] else "fp32")
    back = engine.normalise_gradient(gradient, shifted, found[0], weight, bias, *found[1:])
    known = reference.normalise_gradient(gradient.double(), exact[0], found[0].double(), *exact[1:3], *oracle[1:])
    assert back[0].dtype == dtype
    for mine, theirs in zip(back, known, strict=True):
        close(mine, theirs, kind)


class rounding:
    """Whether float32 products may round to tf32 in the block; the reference never may."""

    def __init__(self, kind: str):
        self.allowed = kind == "tf32"

    def __enter__(self) -> None:
        torch.backends.cuda.matmul.allow_tf32 = self.allowed

    def __exit__(self, *_: object) -> None:
        torch.backends.cuda.matmul.allow_tf32 = False
