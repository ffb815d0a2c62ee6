"""Batch normalisation and ReLU of features in one pass, with its gradient, by whichever engine holds them."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from calvaria.sparse.dispatch import traced
from calvaria.sparse.engines import engine as engine_of


def normalise_rows(features: Tensor, norm: torch.nn.BatchNorm1d, engine: str) -> Tensor:
    """relu(norm(features [N, C])) by the statistics of these rows, of which there are two or more, as `norm` in training mode."""
    if traced():
        return torch.relu(torch.nn.BatchNorm1d.forward(norm, features))
    assert norm.num_batches_tracked is not None
    norm.num_batches_tracked.add_(1)
    return _Normalise.apply(features.contiguous(), norm.weight, norm.bias, norm, engine)  # type: ignore[no-any-return, no-untyped-call]


class _Normalise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features: Tensor, weight: Tensor, bias: Tensor, norm: torch.nn.BatchNorm1d, engine: str) -> Tensor:
        running = norm.running_mean, norm.running_var, norm.momentum, norm.eps
        out, mean, scale = engine_of(engine, features.device.type).normalise(features, weight, bias, *running)  # type: ignore[arg-type]
        ctx.engine = engine
        ctx.save_for_backward(features, out, weight, bias, mean, scale)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        features, *others = ctx.saved_tensors
        found = engine_of(ctx.engine, features.device.type).normalise_gradient(gradient.contiguous(), features, *others)
        return *found, None, None
