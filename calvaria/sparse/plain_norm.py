"""Batch normalisation over the sites and ReLU by PyTorch's own operations: the reference engine's."""

import torch
from torch import Tensor

aten = torch.ops.aten


def normalise(
    features: Tensor, weight: Tensor, bias: Tensor, running_mean: Tensor, running_var: Tensor, momentum: float, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    out, mean, scale = aten.native_batch_norm(features, weight, bias, running_mean, running_var, True, momentum, eps)
    return out.relu_(), mean, scale


def normalise_gradient(
    gradient: Tensor, features: Tensor, out: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, scale: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    passed = aten.threshold_backward(gradient, out, 0)
    found: tuple[Tensor, Tensor, Tensor] = aten.native_batch_norm_backward(
        passed, features, weight, None, None, mean, scale, True, 0.0, [True, True, True]
    )
    return found
