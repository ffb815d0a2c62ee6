"""Check every GPU kernel against the reference engine on a real device, then measure: `python tools/gpu_check.py [SECTION ...]`.

Sections: kernels (the tests), shapes (other sizes of volumes compile nothing), ceilings, operations, plan (inference), memory (predicted
against what was allocated), train (steps), learn (`calvaria train`, under torchrun, too), serve (the handler in this process), bench
(against other engines), profiles. Needs PyTorch for CUDA, Triton, NumPy and pytest; learn, serve and bench need the project's other
requirements, too, but no TorchServe. Times are of device events, the
median of many runs on several fresh inputs.
"""

import math
import statistics
import subprocess
import sys
import time
import traceback
from argparse import ArgumentParser
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from compile_kernels import KERNELS, MODULES
from gpu_service import bench, serve
from gpu_training import learn
from torch import Tensor
from torch.nn import functional as F

from calvaria.bench.ceilings import ceilings as at_best
from calvaria.bench.clock import clock
from calvaria.memory import Load, predicted_peak_bytes
from calvaria.networks import CONFIGS, EncoderDecoder, Level, pyramid
from calvaria.plan import Plan
from calvaria.sparse import SiteSet, triton_engine
from calvaria.training.loss import pyramid_loss

DEVICE = torch.device("cuda")
# Half the thickness of the shells that are given and wanted, against a grid of size 1: at 512³ 7 million sites and 12 million candidates.
GIVEN, WANTED = 0.0167, 0.0265


def shell(size: int, seed: int, half_thickness: float = GIVEN) -> Tensor:
    """bool [size, size, size]: a bumpy closed shell."""
    generator = torch.Generator(DEVICE).manual_seed(seed)
    along = torch.linspace(-0.5, 0.5, size, device=DEVICE)
    x, y, z = along[:, None, None], along[None, :, None], along[None, None, :]
    bumps = F.interpolate(torch.randn(1, 1, 7, 7, 7, device=DEVICE, generator=generator), size=(size,) * 3, mode="trilinear")[0, 0]
    radius = torch.sqrt(x * x + (1.1 * y) ** 2 + (1.05 * z) ** 2)
    return (radius - 0.38 - 0.012 * bumps).abs() < half_thickness


def kernels() -> None:
    """Every kernel against the reference engine, at 512³ too: the tests, as they run on a GPU."""
    tests = Path(__file__).parents[1] / "tests" / "sparse" / "triton_kernels.py"
    subprocess.run([sys.executable, "-m", "pytest", "-q", "--noconftest", "-p", "no:cacheprovider", tests], check=True)


def shapes() -> None:
    """Other sizes of volume and batch run the kernels that are there, after the first two."""
    again = []
    for config, dtype in (("ch1", torch.bfloat16), ("ch2", torch.float32)):
        plan, before = random_plan(config, dtype), 0
        for count, (size, batch) in enumerate([(64, 1), (256, 2), (128, 1), (80, 3), (250, 1), (33, 5)]):
            sites = SiteSet.from_masks([shell(size + item, item) for item in range(batch)])
            plan(sites, sites)
            now = sum(len(cache[0]) for kernel in compiled() for cache in kernel.device_caches.values())
            print(f"shapes {config}: {batch} × {size}³: {now} kernels")
            again += [f"{config}, {batch} × {size}³"] * (count > 1 and now > before)
            before = now
    if again:
        raise RuntimeError(f"kernels were compiled again for {'; '.join(again)}")


def compiled() -> list[Any]:
    modules = [import_module(f"{KERNELS}.{name}") for name in MODULES]
    found = {id(f): f for module in modules for f in vars(module).values() if hasattr(f, "device_caches")}
    return list(found.values())


def milliseconds(calls: list[Callable[[], object]], repeats: int = 3) -> float:
    """Median time of calls on different inputs, after a warm-up."""
    calls[0]()
    timed = clock(DEVICE)
    return 1000 * statistics.median(timed(call) for call in calls * repeats)


def ceilings() -> None:
    print(f"ceilings: {', '.join(f'{name} {rate:,.0f}' for name, rate in at_best(DEVICE).items())}")


def operations(size: int = 512) -> None:
    """Each operation of the finest level at 512³ on its own."""
    inputs = [sites_of(size, 1, seed) for seed in (1, 2)]
    targets = [sites_of(size, 1, seed, WANTED) for seed in (1, 2)]
    half = [target.parents for target in targets]
    candidates = [coarse.reached(2) for coarse in half]
    unions = [a.union(b) for a, b in zip(candidates, inputs, strict=True)]
    print(f"sites {len(inputs[0]):,}, parents {len(half[0]):,}, candidates {len(candidates[0]):,}, union {len(unions[0]):,}")
    engine = triton_engine
    fresh = lambda words: words.clone()  # noqa: E731
    rows: dict[str, list[Callable[[], object]]] = {
        "index": [lambda s=s: engine.index(s.words) for s in candidates],
        "index+neighbours": [lambda s=s: engine.neighbours(engine.index(fresh(s.words))) for s in candidates],
        "parents": [lambda s=s: engine.parents(s.words) for s in inputs],
        "reached": [lambda s=s: s.reached(2) for s in half],
        "unpack": [lambda s=s: engine.unpack(s.words, size) for s in inputs],
        "pack": [lambda m=shell(size, seed), s=s: engine.pack(m, torch.zeros_like(s.words[0])) for seed, s in enumerate(inputs)],
        "select": [lambda s=s, k=torch.rand(len(s), device=DEVICE) < 0.5: engine.select(s.bits, k) for s in candidates],
        "coordinates": [lambda s=s: engine.coordinates(s.bits) for s in inputs],
    }
    widest = CONFIGS["ch2"].computed_channels("cuda")[0]
    for dtype, c in ((torch.bfloat16, 8), (torch.float32, 8), (torch.bfloat16, 16), (torch.bfloat16, widest), (torch.bfloat16, 32)):
        for sites, coarse, encoder, union in zip(candidates, half, inputs, unions, strict=True):
            w = torch.randn(27, c, c, device=DEVICE, dtype=dtype) / 10
            w2 = torch.randn(8, c, c, device=DEVICE, dtype=dtype) / 4
            bias = torch.randn(c, device=DEVICE, dtype=dtype)
            f = torch.randn(len(sites), c, device=DEVICE, dtype=dtype)
            g = torch.randn(len(sites), c, device=DEVICE, dtype=dtype)
            up = torch.randn(len(coarse), c, device=DEVICE, dtype=dtype)
            skip = torch.randn(len(encoder), c, device=DEVICE, dtype=dtype)
            s, p, e, u, near = sites.bits, coarse.bits, encoder.bits, union.bits, sites.neighbours
            name = f"{c} {str(dtype)[6:]}"
            several: dict[str, Callable[[], object]] = {
                "stem": lambda e=e, w=w[:, 0].contiguous(), v=bias: engine.stem(w, e, v),
                "stem gradient": lambda e=e, g=skip: engine.stem_weight_gradient(g, e),
                "convolve": lambda f=f, w=w, s=s, n=near, v=bias: engine.convolve(f, w, s, n, v),
                "convolve gradient": lambda f=f, g=g, s=s, n=near: engine.convolve_weight_gradient(f, g, s, n),
                "downsample": lambda f=f, w=w2, s=s, p=p, v=bias: engine.downsample(f, w, s, p, v),
                "generate": lambda f=up, w=w2, s=s, p=p, v=bias: engine.generate(f, w, p, s, v),
                "stride gradient": lambda f=f, g=up, s=s, p=p: engine.stride_weight_gradient(f, g, s, p, 2),
                "decide": lambda f=f, w=w, v=bias, s=s, n=near, k=skip, e=e, u=u: engine.decide(f, w, v, s, n, k, e, u, v, 0.1, 0.0, False),
                "transfer": lambda f=f, s=s, u=u: engine.transfer(f, s, u),
            }
            for what, call in several.items():
                rows.setdefault(f"{what} {name}", []).append(call)
        for what, calls in rows.items():
            print(f"{what:32s} {milliseconds(calls, 5):8.3f} ms", flush=True)
        rows = {}


def random_network(config: str) -> EncoderDecoder:
    torch.manual_seed(0)
    return EncoderDecoder(CONFIGS[config]).to(DEVICE)


def random_plan(config: str, dtype: torch.dtype, keeps_all: bool = False) -> Plan:
    """Of random weights; if it `keeps_all`, bounded by its growth alone."""
    network = random_network(config)
    for decode in network.decoder if keeps_all else ():
        torch.nn.init.constant_(decode.head.bias, 1e6)
    return Plan(network.to(dtype).eval())


def profile(call: Callable[[], object], rows: int) -> None:
    """The kernels that take longest in one call."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA], acc_events=True) as seen:
        call()
        torch.cuda.synchronize()
    entries = sorted((entry for entry in seen.key_averages() if entry.device_time_total), key=lambda entry: -entry.device_time_total)
    total, count = sum(entry.device_time_total for entry in entries) / 1e3, sum(entry.count for entry in entries)
    print(f"  on the device {total:.2f} ms in {count} kernels and copies")
    for entry in entries[:rows]:
        print(f"    {entry.device_time_total / 1e3:8.3f} ms  {entry.count:4d} × {entry.key[:70]}")


def sites_of(size: int, batch: int, seed: int, half_thickness: float = GIVEN) -> SiteSet:
    return SiteSet.from_masks([shell(size, 10 * seed + item, half_thickness) for item in range(batch)])


PLANS = (("ch1", 512, 1), ("ch1", 128, 1), ("ch1", 128, 8), ("ch1", 256, 1), ("ch2", 128, 1), ("ch2", 512, 1))


def plan_calls(config: str, size: int, batch: int) -> list[Callable[[], list[Level]]]:
    """Whole inferences on three inputs, on the sites that a network that has learnt to answer well would keep."""
    run = random_plan(config, torch.bfloat16)
    pairs = [(sites_of(size, batch, seed).words, sites_of(size, batch, seed, WANTED)) for seed in range(3)]
    calls = [lambda w=words, t=target: run(SiteSet(w, t.extents, 1, t.engine), t) for words, target in pairs]
    for call in calls:  # the targets' pyramids, too, are there from now on
        call()
    return calls


def plan() -> None:
    for config, size, batch in PLANS:
        calls = plan_calls(config, size, batch)
        torch.cuda.synchronize()
        held = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        last = calls[1]()[-1].sites
        peak = torch.cuda.max_memory_allocated() - held
        print(f"plan {config} bf16, {batch} × {size}³, {len(last):,} candidates: {milliseconds(calls, 10):.2f} ms, {peak / 2**20:,.0f} MiB")


def memory() -> None:
    """The peak known before the launch against the allocator's, kept sites given or left to a network that keeps what it may."""
    missed = []
    for config, size, batch in PLANS:
        for dtype in (torch.bfloat16, torch.float32):
            for forced in (True, False):
                run = random_plan(config, dtype, keeps_all=not forced)
                given, target = sites_of(size, batch, 1), sites_of(size, batch, 1, WANTED)
                pyramid(target)
                loads = Load.forced(given, target) if forced else Load.free(given, run.config.growth)
                predicted = predicted_peak_bytes(loads, run.config, given.engine, "cuda", dtype, forced)
                fresh = SiteSet(given.words, given.extents, 1, given.engine)
                torch.cuda.synchronize()
                held = torch.cuda.memory_allocated()
                torch.cuda.reset_peak_memory_stats()
                run(fresh, target if forced else None)
                peak = torch.cuda.max_memory_allocated() - held
                what = f"memory {config} {str(dtype)[6:]:8s} {batch} × {size}³, {'given sites' if forced else 'at most'}"
                print(f"{what}: {predicted / 2**20:.1f} MiB predicted, {peak / 2**20:.1f} allocated")
                most = 1.03 if forced else 1.1  # where the sites kept are not the encoder's, more are judged than is assumed
                missed += [what] * (peak > most * predicted or (forced and peak < 0.9 * predicted))
    if missed:
        raise RuntimeError(f"the peak is not what was predicted: {'; '.join(missed)}")


def train_calls(size: int, batch: int) -> list[Callable[[], float]]:
    """Whole training steps on two inputs."""
    network = random_network("ch1").train()
    optimizer = torch.optim.AdamW(network.parameters(), fused=True)

    def step(given: Tensor, wanted: SiteSet) -> float:
        sites, truth = (SiteSet(words, wanted.extents, 1, wanted.engine) for words in (given, wanted.words))
        with torch.autocast("cuda", torch.bfloat16):
            loss = pyramid_loss(network(sites, truth), sites, truth)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return float(loss.detach())

    words = [(sites_of(size, batch, seed).words, sites_of(size, batch, seed, WANTED)) for seed in range(2)]
    return [lambda g=given, w=wanted: step(g, w) for given, wanted in words]


def train() -> None:
    for size, batch in ((512, 1), (128, 4)):
        calls = train_calls(size, batch)
        losses = [calls[0]() for _ in range(3)]
        if not all(map(math.isfinite, losses)):
            raise RuntimeError(f"losses {losses}")
        held = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        calls[1]()
        peak = torch.cuda.max_memory_allocated() - held
        print(f"train ch1 bf16, {batch} × {size}³: {milliseconds(calls, 8):.2f} ms a step, {peak / 2**30:.2f} GiB; losses {losses}")


def profiles() -> None:
    """Where the time goes on the device. The profiler slows everything that the process does from then on: last, please."""
    for what, call in (
        *((f"plan {config} {batch} × {size}³", plan_calls(config, size, batch)[2]) for config, size, batch in PLANS[:3]),
        *((f"train {batch} × {size}³", train_calls(size, batch)[0]) for size, batch in ((512, 1), (128, 4))),
    ):
        call()
        print(what)
        profile(call, 16)


SECTIONS = (kernels, shapes, ceilings, operations, plan, memory, train, learn, serve, bench, profiles)


if __name__ == "__main__":
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=", ".join(section.__name__ for section in SECTIONS))
    words = parser.parse_args()
    if not torch.cuda.is_available():
        parser.error("there is no GPU here that this PyTorch can use")
    print(torch.cuda.get_device_name(), torch.__version__)
    failed = [f"no section {name}" for name in words.sections if name not in {section.__name__ for section in SECTIONS}]
    for section in SECTIONS:
        if words.sections and section.__name__ not in words.sections:
            continue
        began = time.perf_counter()
        try:
            section()
        except Exception:  # the other sections still run: time on a device is short
            traceback.print_exc()
            failed.append(section.__name__)
        torch.cuda.empty_cache()
        print(f"[{section.__name__}: {time.perf_counter() - began:.0f} s]", flush=True)
    if failed:
        sys.exit(f"No figure above counts: {', '.join(failed)} failed.")
