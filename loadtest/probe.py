"""Looking at a server from outside while it is under load: its metrics address, and its workers' memory."""

import asyncio
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import httpx
import psutil
from prometheus_client.parser import text_string_to_metric_families

from calvaria.server.server import Server
from loadtest.record import Sample

WORKER_PROGRAM = "model_service_worker"
"""In the command line of TorchServe's workers. A server elsewhere may name a process id that is something else here."""

TIMEOUT_S = 5.0


@dataclass(frozen=True)
class Probe:
    """`metrics_url` of the metrics address; `worker_pids` the server's workers now."""

    metrics_url: str
    worker_pids: Callable[[], list[int]]

    @classmethod
    def of(cls, server: Server) -> "Probe":
        return cls(f"{server.settings.url('metrics')}/metrics", lambda: [worker.pid for worker in server.management.workers()])

    async def look(self, at_s: float) -> Sample:
        """What there is to see, by a thread of its own, so that nobody waits for a server that is slow to answer."""
        return await asyncio.to_thread(self.sample, at_s)

    def sample(self, at_s: float) -> Sample:
        """What there is to see; a server that does not answer, or whose workers run elsewhere, shows nothing."""
        metrics: dict[str, float] = {}
        with suppress(httpx.HTTPError, ValueError):
            answer = httpx.get(self.metrics_url, timeout=TIMEOUT_S, trust_env=False)
            metrics = sums(answer.raise_for_status().text)
        return Sample(at_s, metrics, resident_bytes(self.worker_pids()))


def sums(exposition: str) -> dict[str, float]:
    """Every metric of a Prometheus exposition by name, summed over its labels; buckets of histograms are left out."""
    totals: defaultdict[str, float] = defaultdict(float)
    # Without the types: a counter's sample must be called _total for this reader, which renames those that make up our histograms.
    samples = "".join(line for line in exposition.splitlines(keepends=True) if not line.startswith("#"))
    for family in text_string_to_metric_families(samples):
        for sample in family.samples:
            if not sample.name.endswith(("_bucket", "_created")):
                totals[sample.name] += sample.value
    return dict(totals)


def resident_bytes(pids: list[int]) -> dict[str, int]:
    """Resident memory of those processes that are workers of a TorchServe on this machine."""
    found = {}
    for pid in pids:
        with suppress(psutil.Error):
            process = psutil.Process(pid)
            if any(WORKER_PROGRAM in argument for argument in process.cmdline()):
                found[str(pid)] = int(process.memory_info().rss)
    return found
