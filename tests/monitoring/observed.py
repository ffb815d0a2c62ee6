"""What Prometheus saw of some traffic, and when; and what the traffic's client makes of its own records, in the words of the queries."""

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from calvaria.server.server import Server
from calvaria.serving.measures import STAGE_SECONDS
from calvaria.serving.pulse import BEAT_S
from calvaria.serving.service import STAGES
from tests.monitoring.prometheus_server import Prometheus, Samples
from tests.monitoring.queries import over
from tests.monitoring.traffic import BATCH_LIMIT, BATCHED, LOST, SINGLE, Seen, Traffic, skull_like, until

SCRAPE_S = 1.0
WORKERS = {BATCHED: 2, SINGLE: 1}


@dataclass(frozen=True, eq=False)
class Between:
    """Equal to every number from `least` to `most`."""

    least: float
    most: float

    def __eq__(self, other: object) -> bool:
        return isinstance(other, float) and self.least <= other <= self.most


@dataclass
class Observed:
    """Requests that were sent and answered, or lost, within `window_s` seconds before `end_s`, a Unix time.

    crowd_s: the Unix times before and after the traffic's crowd
    """

    prometheus: Prometheus
    traffic: Traffic
    seen: Sequence[Seen]
    end_s: float
    window_s: float
    crowd_s: tuple[float, float]

    def query(self, expression: str, *by: str) -> Samples:
        return self.prometheus.query(over(expression, self.window_s), self.end_s, by)

    @property
    def answered(self) -> list[Seen]:
        return [each for each in self.seen if each.code != LOST]

    def of(self, model: str) -> list[Seen]:
        return [each for each in self.seen if each.model == model]

    def by_model(self, meaning: Callable[[list[Seen]], Any]) -> Samples:
        return {(("ModelName", model),): meaning(self.of(model)) for model in (BATCHED, SINGLE)}

    def by_stage(self, meaning: Callable[[list[float]], Any]) -> Samples:
        good = [each for each in self.seen if each.code == "ok"]
        return {(("Stage", stage),): meaning([each.stages[stage] for each in good]) for stage in STAGES}

    @property
    def stretched(self) -> float:
        """By what share, at most, Prometheus stretches what it saw between its first scrape and its last; not all series alike."""
        return 2 * SCRAPE_S / self.window_s

    def rate(self, count: float) -> Any:
        """Of what was counted so often."""
        return pytest.approx(count / self.window_s * (1 + self.stretched / 2), rel=self.stretched)

    def ratio(self, value: float) -> Any:
        return pytest.approx(value, rel=self.stretched)

    def quantile(self, share: float) -> Callable[[list[float]], Between]:
        """A little more or less than this share of the requests take less."""
        return lambda seconds: Between(quantile(share - 0.04, seconds), quantile(share + 0.04, seconds))

    def codes(self) -> Samples:
        return {(("Code", code),): self.rate(count) for code, count in Counter(each.code for each in self.answered).items()}

    def refused_over_http(self) -> Any:
        return self.rate(sum(each.transport == "http" and each.code not in ("ok", LOST) for each in self.seen))

    def lost(self, seen: list[Seen]) -> Any:
        return self.rate(sum(each.code == LOST for each in seen))

    def lost_share(self, seen: list[Seen]) -> float:
        return sum(each.code == LOST for each in seen) / len(seen)

    def voxels(self, seen: list[Seen]) -> Any:
        return self.rate(sum(each.voxels for each in seen if each.code != LOST))

    def batch(self, seen: list[Seen]) -> Any:
        """Mean requests per batch: each network call was one, and each bad request had one of its own."""
        answered = [each for each in seen if each.code != LOST]
        return pytest.approx(len(answered) / (len(calls(seen)) + sum(each.code != "ok" for each in answered)))

    def occupancy(self) -> Samples:
        return {(("ModelName", model),): pytest.approx(self.batch(self.of(model)).expected / limit) for model, limit in BATCH_LIMIT.items()}

    def network(self, seen: list[Seen]) -> Any:
        """Seconds per million voxels."""
        shared = calls(seen)
        return self.ratio(1e6 * sum(shared) / sum(each.voxels for together in shared.values() for each in together))

    def waited_s(self) -> Between:
        """All queue times together: of the waiting of those who were answered they are a part, and of that in a crowd all but little."""
        return Between(0.8 * waited_s(self.traffic.crowd), waited_s(self.answered))

    def workers(self, model: str) -> Between:
        """Alive, on the mean. Hearts beat every few seconds, so that of each worker a window shows a beat more or less."""
        count = WORKERS[model]
        missing_s = self.traffic.missing_s if model == BATCHED else 0.0
        slack = 1.5 * BEAT_S * count / self.window_s
        return Between(count - missing_s / self.window_s - slack, count + slack)

    def started_anew(self, model: str) -> Any:
        return self.rate(self.traffic.killed if model == BATCHED else 0)


def observe(server: Server, prometheus: Prometheus) -> Observed:
    """Send the traffic."""
    with Traffic(server) as traffic:
        # TorchServe's own counters appear with their first value, of which rate() knows nothing: one of each kind goes first.
        for model in (BATCHED, SINGLE):
            traffic.send(model, [skull_like(20, 0)] * 4)
            traffic.send_bad(model)
        start_s, warming = _settled(prometheus, traffic), len(traffic.seen)
        traffic.send(BATCHED, [skull_like(edge, edge) for edge in (20, 24, 28, 32) * 4])
        traffic.send_bad(BATCHED)
        crowd_start_s = _settled(prometheus, traffic)
        traffic.send_crowd([skull_like(48, seed) for seed in range(14)])
        crowd_end_s = _settled(prometheus, traffic)
        traffic.kill_workers_at_work(skull_like(200, 0, spacing_mm=1.0))
        traffic.send(SINGLE, [skull_like(24, 1)] * 2)
        end_s = _settled(prometheus, traffic)
        return Observed(prometheus, traffic, traffic.seen[warming:], end_s, end_s - start_s, (crowd_start_s, crowd_end_s))


def _settled(prometheus: Prometheus, traffic: Traffic) -> float:
    """A Unix time when Prometheus has seen all that was answered, and after which it has looked once more before anything else is sent."""
    until(
        lambda: prometheus.value("sum(calvaria_requests_total)") == sum(each.code != LOST for each in traffic.seen),
        "as many requests are counted as were answered",
    )
    _look_again(prometheus)
    now = time.time()
    _look_again(prometheus)
    return now


def _look_again(prometheus: Prometheus) -> None:
    now = time.time()
    until(lambda: (prometheus.value("timestamp(up)") or 0) > now, "Prometheus looks again")


def calls(seen: Iterable[Seen]) -> dict[float, list[Seen]]:
    """Good requests by the seconds of their network call, in which those that shared it agree to the last digit."""
    shared: dict[float, list[Seen]] = defaultdict(list)
    for each in seen:
        if each.code == "ok":
            shared[each.stages["network"]].append(each)
    return shared


def waited_s(seen: Iterable[Seen]) -> float:
    return sum(each.waited_s for each in seen if each.code != LOST)


def quantile(share: float, seconds: Sequence[float]) -> float:
    """As a histogram has it: how far up its bucket that request would be, were those in it spread evenly."""
    rank, below, low = share * len(seconds), 0, 0.0
    for bound in STAGE_SECONDS.bounds:
        within = sum(value <= bound for value in seconds)
        if within >= rank:
            return low + (bound - low) * (rank - below) / (within - below)
        below, low = within, bound
    return low
