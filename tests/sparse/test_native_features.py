"""The native engine's features against the reference engine in float64, for every instruction set that this processor has."""

import ctypes
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from calvaria.sparse import native, reference
from calvaria.sparse.engine import Bits, Shape

if not native.levels():
    pytest.skip("no native kernels were compiled", allow_module_level=True)

SHAPE: Shape = (2, 5, 4, 140)  # odd, of three words a line, the last one short


@pytest.fixture(params=native.levels(), autouse=True)
def level(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr("calvaria.sparse.native.library.simd", lambda: request.param)
    return str(request.param)


def random(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=random(sum(shape) + seed))


def bits_of(mask: Tensor) -> Bits:
    """Of a mask [B, X, Y, Z]."""
    words = torch.zeros(*mask.shape[:3], -(-mask.shape[3] // 64), dtype=torch.int64)
    for item, into in zip(mask, words, strict=True):
        reference.pack(item, into)
    return reference.index(words)


def noise(share: float, seed: int = 0, shape: tuple[int, ...] = SHAPE) -> Tensor:
    return torch.rand(shape, generator=random(seed)) < share


def one_voxel() -> Tensor:
    mask = torch.zeros(SHAPE, dtype=torch.bool)
    mask[1, 4, 3, 139] = True
    return mask


def borders() -> Tensor:
    """Sites on every face, edge and corner of each item, and on both sides of the borders between words."""
    mask = torch.ones(SHAPE, dtype=torch.bool)
    mask[:, 1:-1, 1:-1, 1:-1] = False
    mask[:, :, :, 62:66] = True
    return mask


def blocks() -> Tensor:
    """Full 2×2×2 blocks, as generation makes them, in a thick shell."""
    coarse = torch.rand(2, 3, 2, 70, generator=random()) < 0.6
    mask = coarse.repeat_interleave(2, 1).repeat_interleave(2, 2).repeat_interleave(2, 3)
    return mask[:, :5, :4, :140]


MASKS = {
    "empty": lambda: torch.zeros(SHAPE, dtype=torch.bool),
    "one voxel": one_voxel,
    "full": lambda: torch.ones(SHAPE, dtype=torch.bool),
    "borders": borders,
    "blocks": blocks,
    "1 %": lambda: noise(0.01),
    "30 %": lambda: noise(0.3),
    "whole words": lambda: noise(0.7, shape=(2, 4, 3, 128)),  # the last cell of a line and the first of the next stand side by side
}
WIDTHS = [(1, 1), (8, 8), (3, 5), (16, 16), (22, 32), (7, 33), (70, 100)]


@pytest.fixture(params=MASKS)
def mask(request: pytest.FixtureRequest) -> Tensor:
    return MASKS[request.param]()


@pytest.fixture(params=WIDTHS, ids=str)
def widths(request: pytest.FixtureRequest) -> tuple[int, int]:
    return request.param  # type: ignore[no-any-return]


def agrees(ours: Callable[..., Tensor], *arguments: object, **named: object) -> None:
    """A function of the native engine gives what the reference engine gives in float64."""
    found = ours(*arguments, **named)
    exact = [value.double() if isinstance(value, Tensor) and value.is_floating_point() else value for value in arguments]
    wanted = getattr(reference, ours.__name__)(*exact, **{name: value.double() for name, value in named.items()})  # type: ignore[attr-defined]
    assert found.shape == wanted.shape
    assert found.dtype == torch.float32
    scale = max(1.0, float(wanted.abs().max())) if wanted.numel() else 1.0
    torch.testing.assert_close(found.double(), wanted, rtol=1e-5, atol=3e-6 * scale)


def neighbours(bits: Bits) -> Tensor:
    return reference.neighbours(bits)


def test_convolve(mask: Tensor, widths: tuple[int, int]) -> None:
    bits = bits_of(mask)
    features, weight, bias = normal(bits.count, widths[0]), normal(27, *widths), normal(widths[1])
    agrees(native.convolve, features, weight, bits, neighbours(bits))
    agrees(native.convolve, features, weight, bits, neighbours(bits), bias=bias)


def test_convolve_weight_gradient(mask: Tensor, widths: tuple[int, int]) -> None:
    bits = bits_of(mask)
    features, gradient = normal(bits.count, widths[0]), normal(bits.count, widths[1], seed=1)
    agrees(native.convolve_weight_gradient, features, gradient, bits, neighbours(bits))


@pytest.mark.parametrize("channels", [1, 8, 22, 64])
def test_stem(mask: Tensor, channels: int) -> None:
    bits = bits_of(mask)
    agrees(native.stem, normal(27, channels), bits)
    agrees(native.stem, normal(27, channels), bits, bias=normal(channels))
    agrees(native.stem_weight_gradient, normal(bits.count, channels), bits)


@pytest.mark.parametrize("kernel", [2, 4])
def test_between_strides(mask: Tensor, widths: tuple[int, int], kernel: int) -> None:
    fine = bits_of(mask)
    coarse = reference.index(reference.parents(fine.words))
    weight, bias = normal(kernel**3, *widths), normal(widths[1])
    of_fine, of_coarse, to_coarse = normal(fine.count, widths[0]), normal(coarse.count, widths[0]), normal(coarse.count, widths[1], seed=1)
    agrees(native.downsample, of_fine, weight, fine, coarse)
    agrees(native.downsample, of_fine, weight, fine, coarse, bias=bias)
    agrees(native.generate, of_coarse, weight, coarse, fine)
    agrees(native.generate, of_coarse, weight, coarse, fine, bias=bias)
    agrees(native.stride_weight_gradient, of_fine, to_coarse, fine, coarse, kernel)


@pytest.mark.parametrize("kernel", [2, 4])
def test_between_strides_whatever_sites_there_are(kernel: int) -> None:
    """Coarse sites without fine ones, and fine ones without coarse ones."""
    fine, coarse = bits_of(noise(0.2)), bits_of(torch.rand(2, 3, 2, 70, generator=random(1)) < 0.5)
    agrees(native.downsample, normal(fine.count, 8), normal(kernel**3, 8, 16), fine, coarse)
    agrees(native.generate, normal(coarse.count, 8), normal(kernel**3, 8, 16), coarse, fine)
    agrees(native.stride_weight_gradient, normal(fine.count, 8), normal(coarse.count, 8, seed=1), fine, coarse, kernel)


@pytest.mark.parametrize("channels", [1, 8, 22])
def test_transfer(mask: Tensor, channels: int) -> None:
    source, target = bits_of(mask), bits_of(noise(0.3, seed=1, shape=mask.shape))
    agrees(native.transfer, normal(source.count, channels), source, target)
    agrees(native.transfer, normal(target.count, channels), target, source)


@pytest.mark.parametrize("widths", [(8, 8), (5, 7), (32, 22), (64, 100)], ids=str)
def test_decide(mask: Tensor, widths: tuple[int, int]) -> None:
    agrees_on_decisions(bits_of(mask), bits_of(noise(0.2, seed=1, shape=mask.shape)), *widths)


def test_eight_channels_on_a_grid_of_many_strips() -> None:
    """They have kernels of their own, which lay out strips of a few lines along y and of more planes along x."""
    bits, encoder = (bits_of(noise(0.1, seed, shape=(2, 100, 31, 66))) for seed in (0, 1))
    features, gradient, bias = normal(bits.count, 8), normal(bits.count, 8, seed=1), normal(8)
    agrees(native.convolve, features, normal(27, 8, 8), bits, neighbours(bits))
    agrees(native.convolve, features, normal(27, 8, 8), bits, neighbours(bits), bias=bias)
    agrees(native.convolve_weight_gradient, features, gradient, bits, neighbours(bits))
    agrees_on_decisions(bits, encoder, 8, 8)


def agrees_on_decisions(candidates: Bits, encoder: Bits, c_in: int, c_out: int) -> None:
    union = reference.index(candidates.words | encoder.words)
    values = [
        normal(candidates.count, c_in),
        normal(27, c_in, c_out) / c_in,
        normal(c_out),
        normal(encoder.count, c_out),
        normal(c_out, seed=1),
    ]

    def arguments(features: Tensor, weight: Tensor, bias: Tensor, skip: Tensor, head: Tensor) -> tuple[object, ...]:
        return features, weight, bias, candidates, neighbours(candidates), skip, encoder, union, head, -0.5, 0.25

    features, logits, kept = native.decide(*arguments(*values), with_features=True)
    exact_features, exact_logits, _ = reference.decide(*arguments(*(value.double() for value in values)), with_features=True)
    torch.testing.assert_close(features.double(), exact_features, rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(logits.double(), exact_logits.double(), rtol=1e-5, atol=1e-4)
    assert torch.equal(kept, reference.select(union, logits > 0.25))

    none, same_logits, same_kept = native.decide(*arguments(*values), with_features=False)
    assert none.shape == (0, c_out)
    assert torch.equal(logits, same_logits)
    assert torch.equal(kept, same_kept)


@pytest.mark.parametrize("channels", [8, 22, 100])
def test_site_does_not_depend_on_its_batch_or_the_threads(channels: int) -> None:
    """To the bit: otherwise an answer would depend on what else was asked at that moment."""
    mask = noise(0.4)
    weight, both = normal(27, channels, channels), bits_of(mask)
    features = normal(both.count, channels)
    together = native.convolve(features, weight, both, neighbours(both))
    first = bits_of(mask[:1])
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        alone = native.convolve(features[: first.count].contiguous(), weight, first, neighbours(first))
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(together[: first.count], alone)


def test_gradients_are_reproducible() -> None:
    bits = bits_of(noise(0.5))
    features, gradient = normal(bits.count, 8), normal(bits.count, 16)
    once, again = (native.convolve_weight_gradient(features, gradient, bits, neighbours(bits)) for _ in range(2))
    assert torch.equal(once, again)


def test_what_does_not_fit_is_refused() -> None:
    bits, coarse = bits_of(noise(0.1)), bits_of(torch.ones(2, 3, 2, 64, dtype=torch.bool))
    features, around = normal(bits.count, 4), neighbours(bits)
    with pytest.raises(ValueError, match="does not fit"):
        native.convolve(features[1:], normal(27, 4, 4), bits, around)
    with pytest.raises(ValueError, match="does not fit"):
        native.convolve(features, normal(27, 5, 4), bits, around)
    with pytest.raises(ValueError, match="does not fit"):
        native.convolve(features, normal(27, 4, 0), bits, around)
    with pytest.raises(ValueError, match="does not fit"):
        native.convolve(features, normal(27, 4, 4), bits, around, normal(3))
    with pytest.raises(ValueError, match="does not fit"):
        native.downsample(features, normal(27, 4, 4), bits, coarse)
    with pytest.raises(ValueError, match="does not fit"):
        native.transfer(features, bits, coarse)
    with pytest.raises(ctypes.ArgumentError, match=r"torch\.float32"):
        native.convolve(features.double(), normal(27, 4, 4), bits, around)
