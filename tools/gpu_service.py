"""The parts of `gpu_check.py` that need the whole project installed, not only PyTorch and Triton: bench and serve."""

import importlib.util
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from enum import Enum
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest.mock import patch

import torch

ROOT = Path(__file__).parents[1]
MODEL = ROOT / "models" / "completion"
BATCHES = (1, 4, 8, 16)
ROUNDS = 3
GPU_PEAK = "calvaria_batch_gpu_peak_bytes_sum"


def bench() -> None:
    """`calvaria bench engines` as a user calls it: ours, then every peer that can be imported here, each for ten seconds at most."""
    from calvaria.bench.peers import PEERS

    modules = {"minkowski": "MinkowskiEngine"} | {name: name for name in PEERS}
    absent = [name for name, module in modules.items() if importlib.util.find_spec(module) is None]
    print(f"bench: not measured, since not installed here: {', '.join(absent) or 'none'}")
    engines = ["native", "dense", *(name for name in modules if name not in absent)]
    failed: list[str] = []
    for volume, *options in (
        ["skull:512"],
        ["skull:128"],
        ["skull:128", "--batch", "8"],
        ["skull:128", "--channels", "ch2"],
        ["skull:512", "--train"],
    ):
        command = [sys.executable, "-m", "calvaria.cli", "bench", "engines", "--device", "cuda", "--volume", volume]
        done = subprocess.run([*command, "--engines", ",".join(engines), "--repeat", "20", "--limit-s", "10", *options], check=False)
        failed += [volume] * (done.returncode != 0)
    if failed:
        raise RuntimeError(f"bench engines failed for {failed}")


def serve() -> None:
    """The handler in this process, as a worker of TorchServe holds it, on requests of new volumes in batches of several sizes."""
    module = handler_module()
    began = time.perf_counter()
    handler, on_cpu = worker(module, gpu=0), worker(module, gpu=None)
    print(f"serve: a worker on the GPU and one on the CPU are ready after {time.perf_counter() - began:.1f} s, kernels compiled")
    bodies = volumes(max(BATCHES) + 4)
    began = time.perf_counter()
    answers, context = ask(handler, bodies[:1])
    print(f"serve: first request {time.perf_counter() - began:.1f} s; status {context.statuses}")
    agree(answers[0], ask(on_cpu, bodies[:1])[0][0])
    for size in BATCHES:
        walls, networks, peaks = [], [], []
        for turn in range(ROUNDS + 1):
            chosen = [bodies[(turn + item) % len(bodies)] for item in range(size)]
            began = time.perf_counter()
            _, context = ask(handler, chosen)
            walls.append(time.perf_counter() - began)
            networks.append(context.stage("network"))
            assert context.statuses == [200] * size, context.statuses
            peaks.append(context.counted[GPU_PEAK])
            assert context.counted["calvaria_requests_total"] == size
            assert peaks[-1] == torch.cuda.max_memory_allocated() > 0, "the metric is what PyTorch's allocator says of this batch"
        wall, network = statistics.median(walls[1:]), statistics.median(networks[1:])
        print(
            f"serve: batch of {size:2d}: {1000 * wall:8.1f} ms in all, {1000 * wall / size:7.1f} a volume, network call {network:6.2f} ms, "
            f"{GPU_PEAK} {min(peaks) / 2**20:.0f} to {max(peaks) / 2**20:.0f} MiB"
        )
    squeezed(handler, bodies)


def squeezed(handler: Any, bodies: list[bytes]) -> None:
    """With just the memory that one volume takes, a batch of eight must still be answered, in pieces."""
    from calvaria.inference import Inference

    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    ask(handler, bodies[:1])
    alone, held = torch.cuda.max_memory_reserved(), torch.cuda.memory_reserved()
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(1.5 * alone / torch.cuda.get_device_properties(0).total_memory)
    try:
        with patch.object(Inference, "_decided", autospec=True, side_effect=Inference._decided) as call:
            _, context = ask(handler, bodies[:8])
        assert context.statuses == [200] * 8, context.statuses
        assert call.call_count > 2, "the batch was not split"
        room = f"{1.5 * alone / 2**20:.0f} MiB for all ({held / 2**20:.0f} held)"
        print(f"serve: eight in {call.call_count} calls with {room}: status {context.statuses}")
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


def worker(module: ModuleType, gpu: int | None) -> Any:
    """A handler as TorchServe makes it, on a GPU or without one."""
    import calvaria
    from calvaria.server.archive import VERSION_FILE

    with tempfile.TemporaryDirectory() as folder:
        for file in MODEL.iterdir():
            (Path(folder) / file.name).symlink_to(file)
        (Path(folder) / VERSION_FILE).write_text(calvaria.__version__)
        handler = module.CalvariaHandler()
        context = Exchange(0)
        context.system_properties = {"model_dir": folder, "gpu_id": gpu, "batch_size": 8}
        with patch.object(sys, "argv", ["worker", "--sock-type", "unix", "--sock-name", "/tmp/.ts.sock.9000"]):  # as TorchServe starts it
            handler.initialize(context)
    assert handler.service.predictor.device.type == ("cpu" if gpu is None else "cuda")
    return handler


class Exchange:
    """TorchServe's context of one batch: what the handler asks of it, and what it is told."""

    def __init__(self, size: int):
        self.statuses, self.headers = [0] * size, [dict[str, str]() for _ in range(size)]
        self.counted: Counter[str] = Counter()
        self.metrics = SimpleNamespace(add_metric=lambda name, value, *_: self.counted.update({name: value}))
        self.manifest: dict[str, Any] = {}
        self.model_name = "completion"
        self.model_yaml_config: dict[str, Any] = {"limits": {}}
        self.system_properties: dict[str, Any] = {}

    def get_all_request_header(self, item: int) -> dict[str, str]:
        return {"X-Calvaria-Output": "implant"}

    def get_request_id(self, item: int) -> str:
        return str(item)

    def set_response_status(self, status: int, phrase: str, item: int) -> None:
        self.statuses[item] = status

    def set_response_content_type(self, item: int, kind: str) -> None:
        pass

    def set_response_header(self, item: int, name: str, value: str) -> None:
        self.headers[item][name] = value

    def stage(self, name: str) -> float:
        """Milliseconds of a stage of the first request."""
        entries = dict(entry.split(";dur=") for entry in self.headers[0]["Server-Timing"].split(", "))
        return float(entries[name])


def ask(handler: Any, bodies: list[bytes]) -> tuple[list[bytes], Exchange]:
    context = Exchange(len(bodies))
    return handler.handle([{"body": body} for body in bodies], context), context


def handler_module() -> ModuleType:
    """The handler's file; where TorchServe is not installed, with stand-ins for the four names that it imports of it."""
    if importlib.util.find_spec("ts") is None:
        kinds = Enum("MetricTypes", ["COUNTER", "GAUGE", "HISTOGRAM"])
        arguments = SimpleNamespace(parse_known_args=lambda: (SimpleNamespace(port=None, sock_name=sys.argv[-1]), []))
        names = {
            "ts": {},
            "ts.arg_parser": {"ArgParser": SimpleNamespace(model_service_worker_args=lambda: arguments)},
            "ts.context": {"Context": Exchange},
            "ts.metrics": {},
            "ts.metrics.dimension": {"Dimension": lambda name, value: (name, value)},
            "ts.metrics.metric_type_enum": {"MetricTypes": kinds},
        }
        for name, contents in names.items():
            sys.modules[name] = ModuleType(name)
            vars(sys.modules[name]).update(contents)
    spec = importlib.util.spec_from_file_location("calvaria_handler", ROOT / "handlers" / "calvaria_handler.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def volumes(count: int, spacing_mm: float = 1.5) -> list[bytes]:
    """Files of generated skulls, each with a defect of its own."""
    from calvaria.io import encode
    from calvaria.synthetic import cut_defect, make_skull

    skulls = [make_skull(seed, spacing_mm) for seed in range(900, 904)]
    return [encode(cut_defect(skulls[seed % len(skulls)], 1000 + seed).defective, "nrrd") for seed in range(count)]


def agree(answer: bytes, expected: bytes) -> None:
    """What the GPU and the CPU say of one volume."""
    from calvaria.io import decode

    here, there = decode(answer).volume.mask, decode(expected).volume.mask
    print(f"serve: implant of {here.sum():,} voxels on the GPU, {there.sum():,} on the CPU, {(here != there).sum():,} differ")
    if (here != there).sum() > 1e-3 * there.sum():
        raise RuntimeError("the GPU's implant is not the CPU's")
