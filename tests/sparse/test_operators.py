"""The operators obey PyTorch's rules for operators: schemas, fake tensors, autograd registration, tracing."""

from collections.abc import Iterator

import pytest
import torch

from calvaria.sparse import SiteSet

Call = tuple[str, tuple[object, ...]]


def calls(engine: str) -> Iterator[Call]:
    """Every operator with arguments that it is really called with."""
    random = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=random, requires_grad=True)

    fine = SiteSet.from_masks([torch.rand(9, 7, 66, generator=random) < 0.2, torch.rand(5, 9, 3, generator=random) < 0.4], engine)
    coarse, other = fine.parents, SiteSet.from_masks([mask.roll(1, 0) for mask in fine.masks()], engine)
    on_fine, on_coarse = normal(len(fine), 3), normal(len(coarse), 2)
    map_of = (*fine.bits[:2], fine.neighbours)
    yield "stem", (normal(27, 3), *fine.bits, engine)
    yield "stem_weight_gradient", (on_fine, *fine.bits, engine)
    yield "convolve", (on_fine, normal(27, 3, 2), *map_of, engine)
    yield "convolve_weight_gradient", (on_fine, normal(len(fine), 2), *map_of, engine)
    yield "downsample", (on_fine, normal(8, 3, 2), *fine.bits, *coarse.bits, engine)
    yield "generate", (on_coarse, normal(64, 2, 3), *coarse.bits, *coarse.reached(4).bits, engine)
    yield "stride_weight_gradient", (on_fine, on_coarse, *fine.bits, *coarse.bits, 2, engine)
    yield "transfer", (on_fine, *fine.bits, *other.bits, engine)
    yield "join", (on_fine, *fine.bits, normal(len(other), 3), *other.bits, *fine.union(other).bits, engine)


NAMES = [
    "stem",
    "convolve",
    "downsample",
    "generate",
    "transfer",
    "join",
    *(f"{name}_weight_gradient" for name in ("stem", "convolve", "stride")),
]


@pytest.mark.parametrize("name", NAMES)
def test_operator_passes_opcheck(name: str, engine: str) -> None:
    arguments = dict(calls(engine))[name]
    checks = ["test_schema", "test_faketensor", "test_autograd_registration", "test_aot_dispatch_dynamic"]
    if name.endswith("gradient"):
        arguments = tuple(a.detach() if isinstance(a, torch.Tensor) else a for a in arguments)
    torch.library.opcheck(getattr(torch.ops.calvaria, name).default, arguments, test_utils=checks)
