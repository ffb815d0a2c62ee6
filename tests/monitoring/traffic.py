"""Traffic over both transports on a server with two models and three workers, and what its client knows of it without any metric."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field

import numpy as np
import psutil

from calvaria.client import NEVER, Busy, Client, GrpcClient
from calvaria.client.codec import Caller
from calvaria.errors import CalvariaError
from calvaria.io import encode
from calvaria.server.server import Server
from calvaria.volume import BinaryVolume

BATCHED, SINGLE = "completion", "single"
"""Models: one of two workers, whose batches hold up to four requests, and one of a single worker that takes one request at a time."""

BATCH_LIMIT = {BATCHED: 4, SINGLE: 1}

LOST = "lost"
"""Instead of a code: no worker answered."""

DEADLINE_S = 120.0
AT_WORK_S = 0.2
"""Processor time that a worker takes only for requests, and for a large one much more."""


@dataclass(frozen=True)
class Seen:
    """One request as its client saw it; times in seconds. `stages` as the report says, none of a refusal."""

    model: str
    transport: str
    code: str
    voxels: int
    latency_s: float
    stages: dict[str, float] = field(default_factory=dict)

    @property
    def waited_s(self) -> float:
        """Not worked on."""
        return self.latency_s - sum(self.stages.values())


@dataclass
class Traffic:
    """What was sent so far, and of that the crowd; how many workers were killed, and for how many worker seconds they were missing."""

    server: Server
    seen: list[Seen] = field(default_factory=list)
    crowd: list[Seen] = field(default_factory=list)
    killed: int = 0
    missing_s: float = 0.0

    def __enter__(self) -> "Traffic":
        self._stack = ExitStack()
        settings, key_file = self.server.settings, self.server.key_file
        http = Client(settings.url("inference"), key_file=key_file, timeout_s=DEADLINE_S, retry=NEVER)
        grpc = GrpcClient(settings.grpc_target, key_file=key_file, timeout_s=DEADLINE_S, retry=NEVER)
        self.clients: dict[str, Caller] = {"http": self._stack.enter_context(http), "grpc": self._stack.enter_context(grpc)}
        self._pool = self._stack.enter_context(ThreadPoolExecutor(32))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def send(self, model: str, volumes: Sequence[BinaryVolume]) -> list[Seen]:
        """All at once, over HTTP and gRPC in turn."""
        bodies = {id(volume): encode(volume, "nrrd") for volume in volumes}
        turns = [("http", "grpc")[i % 2] for i in range(len(volumes))]
        asked = {"report": "1", "format": "nrrd"}
        calls = [(model, turn, bodies[id(volume)], volume.occupied, asked) for turn, volume in zip(turns, volumes, strict=True)]
        futures = [self._pool.submit(self._ask, *call) for call in calls]
        return self._note([future.result() for future in futures])

    def send_bad(self, model: str) -> None:
        """Refused before they are decoded, each alone in its batch: two codes over each transport."""
        for transport in self.clients:
            for body, options in ((b"", {}), (b"a volume", {"colour": "red"})):
                self._note([self._ask(model, transport, body, 0, options)])

    def send_crowd(self, volumes: Sequence[BinaryVolume]) -> None:
        """To the single worker, more at once than its queue holds."""
        self.crowd = self.send(SINGLE, volumes)

    def kill_workers_at_work(self, volume: BinaryVolume) -> None:
        """Both workers of the batched model, while one at least is busy with requests that are lost with it; until both are replaced."""
        dying = [psutil.Process(worker.pid) for worker in self.server.management.workers() if worker.model == BATCHED]
        idle_s = [_cpu_s(process) for process in dying]
        sent = self._pool.submit(self.send, BATCHED, [volume] * 6)
        until(lambda: any(_cpu_s(process) > idle + AT_WORK_S for process, idle in zip(dying, idle_s, strict=True)), "a worker is at work")
        start = time.monotonic()
        for process in dying:
            process.kill()
        until(lambda: self._replaced([process.pid for process in dying]), "workers are ready again")
        self.killed = len(dying)
        self.missing_s = len(dying) * (time.monotonic() - start)
        sent.result()

    def _ask(self, model: str, transport: str, body: bytes, voxels: int, options: dict[str, str]) -> Seen:
        start = time.monotonic()
        code, stages = "ok", {}
        try:
            report = self.clients[transport].send(model, body, options).report
            assert report is not None
            stages = dict(report.seconds)
        except Busy:
            code = LOST
        except CalvariaError as error:
            code = error.code.value
        return Seen(model, transport, code, voxels, time.monotonic() - start, stages)

    def _note(self, seen: list[Seen]) -> list[Seen]:
        self.seen += seen
        return seen

    def _replaced(self, dead: list[int]) -> bool:
        workers = self.server.management.workers()
        return len(workers) == 3 and all(worker.ready and worker.pid not in dead for worker in workers)


def skull_like(edge: int, seed: int, spacing_mm: float = 4.0) -> BinaryVolume:
    """A hollow ball of `edge` voxels with a hole."""
    radius = np.sqrt(sum(axis**2 for axis in np.ogrid[tuple(slice(-1, 1, edge * 1j) for _ in range(3))]))
    mask = (radius < 0.95) & (radius > 0.7)
    corner = np.random.default_rng(seed).integers(0, edge // 2, 3)
    mask[tuple(slice(i, i + edge // 3) for i in corner)] = False
    return BinaryVolume.on_grid(mask, (spacing_mm,) * 3)


def _cpu_s(process: psutil.Process) -> float:
    spent = process.cpu_times()
    return float(spent.user + spent.system)


def until(condition: Callable[[], bool], what: str, seconds: float = DEADLINE_S) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not within {seconds:g} s"
        time.sleep(0.2)
