"""How operators are defined, and called: as PyTorch operators, or directly.

A Python operator costs 0.07 to 0.16 ms a call, which is more than most of them take on a GPU; so while nobody traces, `call` does what
PyTorch would do with it, without asking the dispatcher.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch._library.custom_ops import CustomOpDef
from torch.autograd.function import once_differentiable
from torch.utils._python_dispatch import is_in_torch_dispatch_mode

# What each operator computes, saves for its gradient, and makes of that.
_computations: dict[CustomOpDef, Callable[..., Tensor]] = {}
_contexts: dict[CustomOpDef, Callable[..., None]] = {}
_backwards: dict[CustomOpDef, Callable[..., tuple[Tensor | None, ...]]] = {}
_narrowed: set[CustomOpDef] = set()


def as_operator(function: Callable[..., Tensor]) -> CustomOpDef:
    """The operator `calvaria::<name>` that a function computes. It changes none of its inputs."""
    defined = torch.library.custom_op(f"calvaria::{function.__name__}", function, mutates_args=())
    _computations[defined] = function
    return defined


def differentiable(operator: CustomOpDef, backward: Callable[..., tuple[Tensor | None, ...]], context: Callable[..., None]) -> None:
    """Give an operator its gradient: `context(ctx, inputs, output)` keeps what `backward(ctx, gradient)` needs."""
    operator.register_autograd(backward, setup_context=context)
    _backwards[operator], _contexts[operator] = backward, context


def narrowed(operator: CustomOpDef) -> None:
    """Let an operator's features and weights be bfloat16 under torch.autocast on a GPU; the engines still sum in float32."""
    operator.register_autocast("cuda", torch.bfloat16)
    _narrowed.add(operator)


def call(operator: CustomOpDef, *inputs: Any) -> Tensor:
    """The operator's result, differentiable and under autocast as the operator itself."""
    inputs = tuple(x.contiguous() if isinstance(x, Tensor) else x for x in inputs)
    if traced():
        return operator(*inputs)  # type: ignore[no-any-return]
    narrow = operator in _narrowed and inputs[0].is_cuda and torch.is_autocast_enabled("cuda")
    return _Direct.apply(*inputs, operator, narrow)  # type: ignore[no-any-return, no-untyped-call]


def compute(operator: CustomOpDef, *inputs: Any) -> Tensor:
    """The operator's result where no gradient is wanted."""
    return operator(*inputs) if traced() else _computations[operator](*inputs)


def traced() -> bool:
    """Whether somebody follows what is called: torch.compile, torch.export, fake tensors."""
    return torch.compiler.is_compiling() or is_in_torch_dispatch_mode()


class _Direct(torch.autograd.Function):
    """An operator's computation and gradient, once.

    `narrow`: on features and weights in bfloat16. They are made so here and not before, so that weights' gradients are not rounded.
    """

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> Tensor:
        *given, ctx.operator, narrow = inputs
        real = [x for x in given if isinstance(x, Tensor) and x.is_floating_point()]
        if any(x.device != real[0].device for x in real):
            raise ValueError(f"features and weights lie on several devices: {', '.join(str(x.device) for x in real)}")
        if narrow:
            given = [x.bfloat16() if isinstance(x, Tensor) and x.is_floating_point() else x for x in given]
        output = _computations[ctx.operator](*given)
        _contexts[ctx.operator](ctx, tuple(given), output)
        return output

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        return *_backwards[ctx.operator](ctx, *gradients), None, None
