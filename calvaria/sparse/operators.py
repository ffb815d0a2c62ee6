"""The differentiable operations as PyTorch operators (`torch.ops.calvaria.*`), whichever engine computes them.

Each one hands its tensors to the engine named in its last argument, states the shape of its result for tracing, and says its
gradient in terms of the others: every backward pass is one of the forward operations with its taps mirrored or its sites exchanged.
A site set travels as the three fields of its `Bits`.
They are called through `calvaria.sparse.dispatch.call`.
"""

from typing import Any

import torch
from torch import Tensor

from calvaria.sparse.dispatch import as_operator, compute, differentiable, narrowed
from calvaria.sparse.engine import Bits, Engine
from calvaria.sparse.engines import engine as engine_of


def _engine(name: str, tensor: Tensor) -> Engine:
    return engine_of(name, tensor.device.type)


def _transposed(weight: Tensor) -> Tensor:
    """Weights [taps, C_out, C_in] that lead gradients back."""
    return weight.transpose(1, 2).contiguous()


def _summed(features: Tensor) -> torch.dtype:
    """The type of weights' gradients: sums over many sites are not rounded to half precision."""
    return torch.promote_types(features.dtype, torch.float32)


# The all-ones first layer.


@as_operator
def stem(weight: Tensor, words: Tensor, starts: Tensor, count: int, engine: str) -> Tensor:
    return _engine(engine, weight).stem(weight, Bits(words, starts, count))


@as_operator
def stem_weight_gradient(gradient: Tensor, words: Tensor, starts: Tensor, count: int, engine: str) -> Tensor:
    return _engine(engine, gradient).stem_weight_gradient(gradient, Bits(words, starts, count))


@stem.register_fake
def _(weight: Tensor, words: Tensor, starts: Tensor, count: int, engine: str) -> Tensor:
    return weight.new_empty(count, weight.shape[1])


@stem_weight_gradient.register_fake
def _(gradient: Tensor, words: Tensor, starts: Tensor, count: int, engine: str) -> Tensor:
    return gradient.new_empty(27, gradient.shape[1], dtype=_summed(gradient))


def _stem_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    _, words, starts, ctx.count, ctx.engine = inputs
    ctx.save_for_backward(words, starts)


def _stem_backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    return compute(stem_weight_gradient, gradient.contiguous(), *ctx.saved_tensors, ctx.count, ctx.engine), None, None, None, None


differentiable(stem, _stem_backward, _stem_context)


# 3×3×3 on the same sites: "a lies under tap t of b" and "b lies under the mirrored tap of a" are one statement, so gradients flow
# back through the same neighbours with the taps in reverse: no scatter, no atomics.


@as_operator
def convolve(features: Tensor, weight: Tensor, words: Tensor, starts: Tensor, neighbours: Tensor, engine: str) -> Tensor:
    return _engine(engine, features).convolve(features, weight, Bits(words, starts, len(features)), neighbours)


@as_operator
def convolve_weight_gradient(features: Tensor, gradient: Tensor, words: Tensor, starts: Tensor, neighbours: Tensor, engine: str) -> Tensor:
    bits = Bits(words, starts, len(features))
    return _engine(engine, features).convolve_weight_gradient(features, gradient, bits, neighbours)


@convolve.register_fake
def _(features: Tensor, weight: Tensor, words: Tensor, starts: Tensor, neighbours: Tensor, engine: str) -> Tensor:
    return features.new_empty(len(features), weight.shape[2])


@convolve_weight_gradient.register_fake
def _(features: Tensor, gradient: Tensor, words: Tensor, starts: Tensor, neighbours: Tensor, engine: str) -> Tensor:
    return features.new_empty(27, features.shape[1], gradient.shape[1], dtype=_summed(features))


def _convolve_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    *tensors, ctx.engine = inputs
    ctx.save_for_backward(*tensors)


def _convolve_backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    features, weight, words, starts, neighbours = ctx.saved_tensors
    gradient = gradient.contiguous()
    for_features = for_weight = None
    if ctx.needs_input_grad[0]:
        for_features = compute(convolve, gradient, _transposed(weight.flip(0)), words, starts, neighbours, ctx.engine)
    if ctx.needs_input_grad[1]:
        for_weight = compute(convolve_weight_gradient, features, gradient, words, starts, neighbours, ctx.engine)
    return for_features, for_weight, None, None, None, None


differentiable(convolve, _convolve_backward, _convolve_context)


# Between a grid and the one at twice its stride: the two directions are each other's adjoint.


@as_operator
def downsample(
    features: Tensor,
    weight: Tensor,
    fine_words: Tensor,
    fine_starts: Tensor,
    fine_count: int,
    coarse_words: Tensor,
    coarse_starts: Tensor,
    coarse_count: int,
    engine: str,
) -> Tensor:
    fine, coarse = Bits(fine_words, fine_starts, fine_count), Bits(coarse_words, coarse_starts, coarse_count)
    return _engine(engine, features).downsample(features, weight, fine, coarse)


@as_operator
def generate(
    features: Tensor,
    weight: Tensor,
    coarse_words: Tensor,
    coarse_starts: Tensor,
    coarse_count: int,
    fine_words: Tensor,
    fine_starts: Tensor,
    fine_count: int,
    engine: str,
) -> Tensor:
    coarse, fine = Bits(coarse_words, coarse_starts, coarse_count), Bits(fine_words, fine_starts, fine_count)
    return _engine(engine, features).generate(features, weight, coarse, fine)


@as_operator
def stride_weight_gradient(
    fine_features: Tensor,
    coarse_features: Tensor,
    fine_words: Tensor,
    fine_starts: Tensor,
    fine_count: int,
    coarse_words: Tensor,
    coarse_starts: Tensor,
    coarse_count: int,
    kernel: int,
    engine: str,
) -> Tensor:
    fine, coarse = Bits(fine_words, fine_starts, fine_count), Bits(coarse_words, coarse_starts, coarse_count)
    return _engine(engine, fine_features).stride_weight_gradient(fine_features, coarse_features, fine, coarse, kernel)


def _strided_shape(features: Tensor, weight: Tensor, *bits: Any) -> Tensor:
    return features.new_empty(bits[5], weight.shape[2])


@stride_weight_gradient.register_fake
def _(fine_features: Tensor, coarse_features: Tensor, *bits: Any) -> Tensor:
    return fine_features.new_empty(bits[6] ** 3, fine_features.shape[1], coarse_features.shape[1], dtype=_summed(fine_features))


def _strided_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    features, weight, words, starts, ctx.count, other_words, other_starts, ctx.other_count, ctx.engine = inputs
    ctx.save_for_backward(features, weight, words, starts, other_words, other_starts)


def _downsample_backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    features, weight, words, starts, other_words, other_starts = ctx.saved_tensors
    fine, coarse = (words, starts, ctx.count), (other_words, other_starts, ctx.other_count)
    gradient = gradient.contiguous()
    for_features = for_weight = None
    if ctx.needs_input_grad[0]:
        for_features = compute(generate, gradient, _transposed(weight), *coarse, *fine, ctx.engine)
    if ctx.needs_input_grad[1]:
        for_weight = compute(stride_weight_gradient, features, gradient, *fine, *coarse, _kernel(weight), ctx.engine)
    return for_features, for_weight, *[None] * 7


def _generate_backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    features, weight, words, starts, other_words, other_starts = ctx.saved_tensors
    coarse, fine = (words, starts, ctx.count), (other_words, other_starts, ctx.other_count)
    gradient = gradient.contiguous()
    for_features = for_weight = None
    if ctx.needs_input_grad[0]:
        for_features = compute(downsample, gradient, _transposed(weight), *fine, *coarse, ctx.engine)
    if ctx.needs_input_grad[1]:
        for_weight = _transposed(compute(stride_weight_gradient, gradient, features, *fine, *coarse, _kernel(weight), ctx.engine))
    return for_features, for_weight, *[None] * 7


def _kernel(weight: Tensor) -> int:
    return 2 if weight.shape[0] == 8 else 4  # in a form that tracing can follow


downsample.register_fake(_strided_shape)
generate.register_fake(_strided_shape)
differentiable(downsample, _downsample_backward, _strided_context)
differentiable(generate, _generate_backward, _strided_context)


# From one set of sites to another on the same grid: pruning, and each half of a union.


@as_operator
def transfer(
    features: Tensor,
    source_words: Tensor,
    source_starts: Tensor,
    source_count: int,
    target_words: Tensor,
    target_starts: Tensor,
    target_count: int,
    engine: str,
) -> Tensor:
    source, target = Bits(source_words, source_starts, source_count), Bits(target_words, target_starts, target_count)
    return _engine(engine, features).transfer(features, source, target)


@transfer.register_fake
def _(features: Tensor, *bits: Any) -> Tensor:
    return features.new_empty(bits[5], features.shape[1])


def _transfer_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    _, words, starts, ctx.count, other_words, other_starts, ctx.other_count, ctx.engine = inputs
    ctx.save_for_backward(words, starts, other_words, other_starts)


def _transfer_backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    words, starts, other_words, other_starts = ctx.saved_tensors
    there = other_words, other_starts, ctx.other_count
    back = compute(transfer, gradient.contiguous(), *there, words, starts, ctx.count, ctx.engine)
    return back, *[None] * 7


differentiable(transfer, _transfer_backward, _transfer_context)


# Both halves at once.


@as_operator
def join(
    features: Tensor,
    source_words: Tensor,
    source_starts: Tensor,
    source_count: int,
    others: Tensor,
    other_words: Tensor,
    other_starts: Tensor,
    other_count: int,
    target_words: Tensor,
    target_starts: Tensor,
    target_count: int,
    engine: str,
) -> Tensor:
    source, other = Bits(source_words, source_starts, source_count), Bits(other_words, other_starts, other_count)
    return _engine(engine, features).join(features, source, others, other, Bits(target_words, target_starts, target_count))


@join.register_fake
def _(features: Tensor, *bits: Any) -> Tensor:
    return features.new_empty(bits[9], features.shape[1])


def _join_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    _, *source, ctx.source_count, _, words, starts, ctx.other_count, target_words, target_starts, ctx.count, ctx.engine = inputs
    ctx.save_for_backward(*source, words, starts, target_words, target_starts)


def _join_backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    *sources, words, starts = ctx.saved_tensors
    here, gradient = (words, starts, ctx.count), gradient.contiguous()
    for_features = for_others = None
    if ctx.needs_input_grad[0]:
        for_features = compute(transfer, gradient, *here, *sources[:2], ctx.source_count, ctx.engine)
    if ctx.needs_input_grad[4]:
        for_others = compute(transfer, gradient, *here, *sources[2:], ctx.other_count, ctx.engine)
    return for_features, *[None] * 3, for_others, *[None] * 7


differentiable(join, _join_backward, _join_context)


for each in (stem, convolve, downsample, generate):
    narrowed(each)
