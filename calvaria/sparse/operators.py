"""The differentiable operations as PyTorch operators (`torch.ops.calvaria.*`), whichever engine computes them.

Each one hands its tensors to the engine named in its last argument, states the shape of its result for tracing, and says its
gradient in terms of the others: every backward pass is one of the forward operations with its taps mirrored or its sites exchanged.
A site set travels as the three fields of its `Bits`.
"""

from typing import Any

import torch
from torch import Tensor

from calvaria.sparse.engine import Bits, Engine
from calvaria.sparse.engines import engine as engine_of


def _engine(name: str, tensor: Tensor) -> Engine:
    return engine_of(name, tensor.device.type)


def _transposed(weight: Tensor) -> Tensor:
    """Weights [taps, C_out, C_in] that lead gradients back."""
    return weight.transpose(1, 2).contiguous()


# The all-ones first layer.


@torch.library.custom_op("calvaria::stem", mutates_args=())
def stem(weight: Tensor, words: Tensor, starts: Tensor, count: int, engine: str) -> Tensor:
    return _engine(engine, weight).stem(weight, Bits(words, starts, count))


@torch.library.custom_op("calvaria::stem_weight_gradient", mutates_args=())
def stem_weight_gradient(gradient: Tensor, words: Tensor, starts: Tensor, count: int, engine: str) -> Tensor:
    return _engine(engine, gradient).stem_weight_gradient(gradient, Bits(words, starts, count))


@stem.register_fake
def _(weight: Tensor, words: Tensor, starts: Tensor, count: int, engine: str) -> Tensor:
    return weight.new_empty(count, weight.shape[1])


@stem_weight_gradient.register_fake
def _(gradient: Tensor, words: Tensor, starts: Tensor, count: int, engine: str) -> Tensor:
    return gradient.new_empty(27, gradient.shape[1])


def _stem_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    _, words, starts, ctx.count, ctx.engine = inputs
    ctx.save_for_backward(words, starts)


def _stem_backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    return stem_weight_gradient(gradient.contiguous(), *ctx.saved_tensors, ctx.count, ctx.engine), None, None, None, None


stem.register_autograd(_stem_backward, setup_context=_stem_context)


# 3×3×3 on the same sites: "a lies under tap t of b" and "b lies under the mirrored tap of a" are one statement, so gradients flow
# back through the same neighbours with the taps in reverse: no scatter, no atomics.


@torch.library.custom_op("calvaria::convolve", mutates_args=())
def convolve(features: Tensor, weight: Tensor, words: Tensor, starts: Tensor, neighbours: Tensor, engine: str) -> Tensor:
    return _engine(engine, features).convolve(features, weight, Bits(words, starts, len(features)), neighbours)


@torch.library.custom_op("calvaria::convolve_weight_gradient", mutates_args=())
def convolve_weight_gradient(features: Tensor, gradient: Tensor, words: Tensor, starts: Tensor, neighbours: Tensor, engine: str) -> Tensor:
    bits = Bits(words, starts, len(features))
    return _engine(engine, features).convolve_weight_gradient(features, gradient, bits, neighbours)


@convolve.register_fake
def _(features: Tensor, weight: Tensor, words: Tensor, starts: Tensor, neighbours: Tensor, engine: str) -> Tensor:
    return features.new_empty(len(features), weight.shape[2])


@convolve_weight_gradient.register_fake
def _(features: Tensor, gradient: Tensor, words: Tensor, starts: Tensor, neighbours: Tensor, engine: str) -> Tensor:
    return features.new_empty(27, features.shape[1], gradient.shape[1])


def _convolve_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    *tensors, ctx.engine = inputs
    ctx.save_for_backward(*tensors)


def _convolve_backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    features, weight, words, starts, neighbours = ctx.saved_tensors
    gradient = gradient.contiguous()
    for_features = for_weight = None
    if ctx.needs_input_grad[0]:
        for_features = convolve(gradient, _transposed(weight.flip(0)), words, starts, neighbours, ctx.engine)
    if ctx.needs_input_grad[1]:
        for_weight = convolve_weight_gradient(features, gradient, words, starts, neighbours, ctx.engine)
    return for_features, for_weight, None, None, None, None


convolve.register_autograd(_convolve_backward, setup_context=_convolve_context)


# Between a grid and the one at twice its stride: the two directions are each other's adjoint.


@torch.library.custom_op("calvaria::downsample", mutates_args=())
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


@torch.library.custom_op("calvaria::generate", mutates_args=())
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


@torch.library.custom_op("calvaria::stride_weight_gradient", mutates_args=())
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
    return fine_features.new_empty(bits[6] ** 3, fine_features.shape[1], coarse_features.shape[1])


def _strided_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    features, weight, words, starts, ctx.count, other_words, other_starts, ctx.other_count, ctx.engine = inputs
    ctx.save_for_backward(features, weight, words, starts, other_words, other_starts)


def _downsample_backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    features, weight, words, starts, other_words, other_starts = ctx.saved_tensors
    fine, coarse = (words, starts, ctx.count), (other_words, other_starts, ctx.other_count)
    gradient = gradient.contiguous()
    for_features = for_weight = None
    if ctx.needs_input_grad[0]:
        for_features = generate(gradient, _transposed(weight), *coarse, *fine, ctx.engine)
    if ctx.needs_input_grad[1]:
        for_weight = stride_weight_gradient(features, gradient, *fine, *coarse, _kernel(weight), ctx.engine)
    return for_features, for_weight, *[None] * 7


def _generate_backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    features, weight, words, starts, other_words, other_starts = ctx.saved_tensors
    coarse, fine = (words, starts, ctx.count), (other_words, other_starts, ctx.other_count)
    gradient = gradient.contiguous()
    for_features = for_weight = None
    if ctx.needs_input_grad[0]:
        for_features = downsample(gradient, _transposed(weight), *fine, *coarse, ctx.engine)
    if ctx.needs_input_grad[1]:
        for_weight = _transposed(stride_weight_gradient(gradient, features, *fine, *coarse, _kernel(weight), ctx.engine))
    return for_features, for_weight, *[None] * 7


def _kernel(weight: Tensor) -> int:
    return 2 if weight.shape[0] == 8 else 4  # in a form that tracing can follow


downsample.register_fake(_strided_shape)
generate.register_fake(_strided_shape)
downsample.register_autograd(_downsample_backward, setup_context=_strided_context)
generate.register_autograd(_generate_backward, setup_context=_strided_context)


# From one set of sites to another on the same grid: pruning, and each half of a union.


@torch.library.custom_op("calvaria::transfer", mutates_args=())
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
    back = transfer(gradient.contiguous(), other_words, other_starts, ctx.other_count, words, starts, ctx.count, ctx.engine)
    return back, *[None] * 7


transfer.register_autograd(_transfer_backward, setup_context=_transfer_context)


# Under torch.autocast on a GPU features and weights are bfloat16; the engines still sum in float32.
for operator in (stem, convolve, downsample, generate):
    operator.register_autocast("cuda", torch.bfloat16)
