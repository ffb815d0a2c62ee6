"""The Triton kernels against the reference engine: under Triton's interpreter (TRITON_INTERPRET=1), or on a GPU where there is one.

`test_triton.py` runs this file in a process of its own, because the interpreter is chosen when Triton is imported. On a machine that
lacks what the rest of the project needs: `pytest --noconftest tests/sparse/triton_kernels.py`.
"""

import os
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from calvaria.memory import Load, predicted_peak_bytes
from calvaria.networks import CONFIGS, EncoderDecoder
from calvaria.plan import Plan
from calvaria.sparse import SiteSet
from calvaria.training.loss import pyramid_loss
from tests.sparse.agreement import TYPES, Sets, agree_on_bits, agree_on_features, agree_on_normalisation
from tests.sparse.allocations import counted

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
ON_GPU = torch.cuda.is_available() and not INTERPRETED
DEVICE = "cuda" if ON_GPU else "cpu"


def mask_of(shape: tuple[int, int, int, int], share: float) -> Tensor:
    generator = torch.Generator().manual_seed(sum(shape))
    return (torch.rand(shape, generator=generator) < share).to(DEVICE)


GRIDS = {
    "batch": ((2, 3, 4, 130), 0.08),  # odd sizes, lines of three words
    "empty": ((1, 3, 3, 3), 0.0),
    "one voxel": ((1, 1, 1, 1), 1.0),
    "full": ((1, 2, 2, 64), 1.0),  # whole words, sites on every border
    "thin": ((1, 3, 1, 70), 0.5),
}


def sets_of(name: str) -> Sets:
    from calvaria.sparse import triton_engine

    torch.manual_seed(0)
    return agree_on_bits(triton_engine, mask_of(*GRIDS[name]))


@pytest.mark.parametrize(("few", "cubed"), [(0, 2**14), (2**15, 2**14), (2**15, 0)])
@pytest.mark.parametrize("grid", GRIDS)
def test_bits(grid: str, few: int, cubed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    from calvaria.sparse.triton_engine import bits

    monkeypatch.setattr(bits, "FEW_WORDS", few)
    monkeypatch.setattr(bits, "CUBED_WORDS", cubed)
    sets_of(grid)


def test_ranks_run_on_across_blocks_of_words() -> None:
    from calvaria.sparse import triton_engine

    torch.manual_seed(0)
    agree_on_bits(triton_engine, mask_of((1, 20, 33, 128), 0.02))


@pytest.mark.parametrize("grid", GRIDS)
def test_features_on_awkward_grids(grid: str) -> None:
    from calvaria.sparse import triton_engine

    agree_on_features(triton_engine, "fp32", sets_of(grid), 8, 8, (2, 4) if grid == "thin" else (2,))


@pytest.mark.parametrize(("kind", "c_in", "c_out"), [("bf16", 5, 16), ("fp16", 16, 8), ("tf32", 22, 22)])
def test_types_and_channels(kind: str, c_in: int, c_out: int) -> None:
    """Channels that lie side by side in a step, and that fill one with gaps."""
    from calvaria.sparse import triton_engine

    agree_on_features(triton_engine, kind, sets_of("thin"), c_in, c_out)


def test_several_blocks_of_channels() -> None:
    from calvaria.sparse import triton_engine

    agree_on_features(triton_engine, "fp32", sets_of("thin"), 40, 70, same_sites_only=not ON_GPU)


@pytest.mark.parametrize(("kind", "channels"), [("fp16", 64), ("fp32", 72)])
def test_channels_that_take_several_steps_and_blocks(kind: str, channels: int) -> None:
    from calvaria.sparse import triton_engine

    agree_on_features(triton_engine, kind, agree_on_bits(triton_engine, mask_of((1, 3, 3, 20), 0.3)), channels, channels)


def test_more_channels_than_a_program_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    from calvaria.sparse import triton_engine
    from calvaria.sparse.triton_engine import features

    monkeypatch.setattr(features, "WHOLE_ROW", 16)
    agree_on_features(triton_engine, "bf16", sets_of("thin"), 8, 20, same_sites_only=True)


@pytest.mark.parametrize(("grid", "kind", "full"), [("thin", "bf16", 128), ("batch", "fp32", 3), ("empty", "fp32", 128)])
def test_products_of_few_sites_in_parts(grid: str, kind: str, full: int, monkeypatch: pytest.MonkeyPatch) -> None:
    from calvaria.sparse import triton_engine
    from calvaria.sparse.triton_engine import features, launch

    monkeypatch.setattr(launch, "STEPS", 0)
    monkeypatch.setattr(launch, "FULL", full)
    assert not features.decides_at_once(1, 20, 4)
    agree_on_features(triton_engine, kind, sets_of(grid), 20, 12, (2, 4) if grid == "thin" else (2,))


@pytest.mark.parametrize("few", [0, 2**15])
def test_kernels_for_few_and_for_many_sites_are_compiled_at_the_first_use(few: int, monkeypatch: pytest.MonkeyPatch) -> None:
    from calvaria.sparse import triton_engine
    from calvaria.sparse.triton_engine import bits as grids
    from calvaria.sparse.triton_engine import features, launch

    monkeypatch.setattr(grids, "FEW_WORDS", few)
    monkeypatch.setattr(launch, "STEPS", 0)
    monkeypatch.setattr(launch, "_met", set())
    started: list[set[str]] = []
    start = features.launch
    monkeypatch.setattr(
        features, "launch", lambda kernel, *given, **kind: started[-1].add(f"{kernel} {kind}") or start(kernel, *given, **kind)
    )
    bits, other, coarse = sets_of("thin")
    union = triton_engine.index(bits.words | other.words)
    rows = [torch.randn(each.count, 20, device=DEVICE) for each in (bits, other, coarse)]
    weight, bias = torch.randn(27, 20, 20, device=DEVICE), torch.randn(20, device=DEVICE)
    for full in (128, 0):  # cut, then whole
        monkeypatch.setattr(launch, "FULL", full)
        started.append(set())
        near = triton_engine.neighbours(bits)
        triton_engine.convolve(rows[0], weight, bits, near, bias)
        triton_engine.generate(rows[2], weight[:8], coarse, bits, bias)
        triton_engine.decide(rows[0], weight, bias, bits, near, rows[1], other, union, bias, 0.1, 0.2, True)
    assert len(grids.cells(union)) == union.count  # not of the one that a kernel was compiled with
    assert started[1]
    assert started[1] <= started[0]
    assert started[0] - started[1]


@pytest.mark.parametrize(("kind", "channels"), [("fp32", 5), ("bf16", 8), ("fp32", 70)])
def test_normalisation_merges_chunks_of_rows(kind: str, channels: int, monkeypatch: pytest.MonkeyPatch) -> None:
    from calvaria.sparse import triton_engine
    from calvaria.sparse.triton_engine import norms

    monkeypatch.setattr(norms, "TILE", 1024)
    monkeypatch.setattr(norms, "PARTS", 4)
    agree_on_normalisation(triton_engine, kind, torch.randn(2001, channels, device=DEVICE).to(TYPES[kind]))


@pytest.mark.parametrize(("grid", "kind", "c_in", "c_out"), [*((grid, "bf16", 8, 8) for grid in GRIDS), ("thin", "fp32", 3, 5)])
def test_convolutions_by_cubes(grid: str, kind: str, c_in: int, c_out: int, monkeypatch: pytest.MonkeyPatch) -> None:
    from calvaria.sparse import triton_engine
    from calvaria.sparse.triton_engine import cubes

    monkeypatch.setattr(cubes, "SITES", 0)
    agree_on_features(triton_engine, kind, sets_of(grid), c_in, c_out, same_sites_only=True)


def test_a_grid_too_large_to_number_is_refused() -> None:
    from calvaria.sparse import triton_engine

    with pytest.raises(ValueError, match="make the batch smaller"):
        triton_engine.index(torch.zeros(1, dtype=torch.int64, device=DEVICE).expand(2**13, 2**13, 1, 1))


# By cubes; by gathered neighbours of channels that fill their blocks, and that leave gaps; and beyond what one program holds.
AT_512 = [*((kind, 8, 8, 128) for kind in TYPES), *((kind, 16, 16, 128) for kind in TYPES), ("bf16", 22, 24, 128), ("bf16", 22, 24, 16)]


@pytest.mark.skipif(not ON_GPU, reason="no GPU here")
@pytest.mark.parametrize(("kind", "c_in", "c_out", "whole"), AT_512)
def test_at_512(kind: str, c_in: int, c_out: int, whole: int, monkeypatch: pytest.MonkeyPatch) -> None:
    from calvaria.sparse import triton_engine
    from calvaria.sparse.triton_engine import features

    monkeypatch.setattr(features, "WHOLE_ROW", whole)
    along = torch.linspace(-1, 1, 512, device="cuda")
    radius = (along[:, None, None] ** 2 + along[None, :, None] ** 2 + along[None, None, :] ** 2).sqrt()
    mask = ((radius + 0.003 * torch.randn_like(radius) - 0.8).abs() < 0.025)[None]
    agree_on_features(triton_engine, kind, agree_on_bits(triton_engine, mask), c_in, c_out)


@pytest.mark.skipif(not ON_GPU, reason="no GPU here")
def test_a_training_step_in_mixed_precision() -> None:
    """Its loss and gradients are those of float32, but for bfloat16's rounding.

    By running statistics: among the two or three sites at stride 64, batch normalisation would make anything of a rounding.
    """

    def gradients(mixed: bool) -> tuple[float, Tensor]:
        torch.manual_seed(0)
        network = EncoderDecoder(CONFIGS["ch1"]).to(DEVICE).eval()
        sites, wanted = (SiteSet.from_masks([mask_of((1, 64, 60, 70), share)[0]]) for share in (0.05, 0.08))
        with torch.autocast("cuda", torch.bfloat16, enabled=mixed):
            loss = pyramid_loss(network(sites, wanted), sites, wanted)
        loss.backward()
        return float(loss), torch.cat([parameter.grad.flatten() for parameter in network.parameters() if parameter.grad is not None])

    (loss, gradient), (exact_loss, exact) = gradients(True), gradients(False)
    assert loss == pytest.approx(exact_loss, rel=0.02)
    assert float((gradient - exact).norm() / exact.norm()) < 0.1


@pytest.mark.skipif(not ON_GPU, reason="no GPU here")
def test_items_that_begin_anywhere_in_memory_compile_nothing_anew() -> None:
    from calvaria.sparse.triton_engine import bit_kernels

    def compiled() -> int:
        kernels = (bit_kernels.pack_mask, bit_kernels.unpack_words)
        return sum(len(cache[0]) for kernel in kernels for cache in kernel.device_caches.values())

    SiteSet.from_masks([mask_of((1, 32, 32, 64), 0.1)[0]]).masks()
    before = compiled()
    odd = list(mask_of((5, 33, 33, 33), 0.1))
    assert all(torch.equal(a, b) for a, b in zip(SiteSet.from_masks(odd).masks(), odd, strict=True))
    assert compiled() == before


def plan_and_shell(size: int, dtype: torch.dtype, grows: bool = True, inputs: int = 0) -> tuple[Plan, Tensor]:
    torch.manual_seed(0)
    plan = Plan(EncoderDecoder(replace(CONFIGS["ch1"], grows=grows, inputs=inputs)).to(DEVICE, dtype).eval())
    along = torch.linspace(-1, 1, size, device=DEVICE)
    radius = (along[:, None, None] ** 2 + along[None, :, None] ** 2 + along[None, None, :] ** 2).sqrt()
    return plan, (radius - 0.8).abs() < 0.03


def predicted(mask: Tensor, plan: Plan, dtype: torch.dtype) -> int:
    sites = SiteSet.from_masks([mask], "reference")
    return predicted_peak_bytes(Load.forced(sites, sites), plan.config, "native", "cuda", dtype, forced=True)


@pytest.mark.skipif(not INTERPRETED, reason="counted on the GPU in test_memory_at_512")
@pytest.mark.parametrize(
    ("few", "cubes_from", "cubed", "grows", "inputs"),
    [
        *((few, *cubes, grows, 0) for few, *cubes in ((2**15, 2**17, 2**14), (2**15, 0, 0), (0, 0, 0)) for grows in (True, False)),
        *((2**15, 2**17, 2**14, grows, inputs) for grows, inputs in ((True, 1), (False, 4), (False, 10))),  # as what is served
    ],
)
def test_memory_under_the_interpreter(
    few: int, cubes_from: int, cubed: int, grows: bool, inputs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    from calvaria.sparse import engines
    from calvaria.sparse.triton_engine import bits, cubes, footprint

    monkeypatch.setitem(engines._NATIVE, "cpu", "calvaria.sparse.triton_engine")
    monkeypatch.setattr(bits, "FEW_WORDS", few)
    monkeypatch.setattr(footprint, "FEW_WORDS", few)
    monkeypatch.setattr(bits, "CUBED_WORDS", cubed)
    monkeypatch.setattr(footprint, "CUBED_WORDS", cubed)
    monkeypatch.setattr(cubes, "SITES", cubes_from)
    plan, mask = plan_and_shell(16, torch.float16, grows, inputs)
    sites = SiteSet.from_masks([mask], "native")
    assert sites.compute.describe() == "Triton's interpreter"
    features = torch.randn(int(mask.sum()), inputs).half() if inputs else None
    peak = counted(lambda: plan(sites, sites, features))
    assert predicted(mask, plan, torch.float16) == pytest.approx(peak, rel=0.1)


@pytest.mark.skipif(not ON_GPU, reason="no GPU here")
@pytest.mark.parametrize(("size", "dtype"), [(512, torch.bfloat16), (512, torch.float32), (256, torch.bfloat16)])
def test_memory_at_512(size: int, dtype: torch.dtype) -> None:
    plan, mask = plan_and_shell(size, dtype)
    sites = SiteSet.from_masks([mask], "native")
    torch.cuda.synchronize()
    held = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    plan(sites, sites)
    peak = torch.cuda.max_memory_allocated() - held
    assert predicted(mask, plan, dtype) == pytest.approx(peak, rel=0.1)


@pytest.mark.skipif(not ON_GPU, reason="no GPU here")
def test_answers_leave_the_gpu_as_bits_and_values() -> None:
    """Nothing the size of the grid is made on the device, and on the host both are what they were."""
    _, mask = plan_and_shell(256, torch.float32)
    sites = SiteSet.from_masks([mask], "native")
    values = torch.rand(len(sites), device="cuda")
    expected = sites.spread(values)[0].cpu()
    held = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    assert torch.equal(sites.on_host.masks()[0], mask.cpu())
    assert torch.equal(sites.host_spread(values)[0], expected)
    assert torch.cuda.max_memory_allocated() - held <= 2 * len(sites) + 2**20
