"""Open and closed loops, against a server whose delays are known."""

import asyncio
from collections import Counter
from itertools import islice, pairwise
from pathlib import Path
from time import monotonic

import pytest
from fake_server import FakeServer, Reply

from calvaria.errors import CalvariaError
from loadtest.client import HttpSender, Outcome, Sender
from loadtest.compare import Answers
from loadtest.pacing import Length, poisson
from loadtest.probe import Probe
from loadtest.record import Recording, Run, Sample, Writer
from loadtest.run import Plan, Traffic, closed_loop, open_loop, run
from loadtest.workload import Item

BLIND = Probe("http://127.0.0.1:9/metrics", lambda: [])
PLAN = Plan(mix="64:3,bad:garbage:1", rate_hz=50.0, requests=20)
SLACK_S = 0.15
"""How late a busy machine may be; what tests tell apart is further apart than this."""


class Echo(Sender):
    """Answers after a delay, without any server."""

    def __init__(self, delay_s: float = 0.0):
        self.delay_s, self.open, self.most_open = delay_s, 0, 0

    async def send(self, model: str, item: Item) -> Outcome:
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        await asyncio.sleep(self.delay_s)
        self.open -= 1
        return Outcome("200", "ok", item.body) if item.expected == ("ok",) else Outcome("415", item.expected[0])

    async def connect(self) -> None:
        pass

    async def close(self) -> None:
        pass


def items(variants: int = 2) -> list[list[Item]]:
    good = [Item("64", variant, b"volume %d" % variant, {}) for variant in range(variants)]
    return [good, [Item("bad:garbage", variant, b"garbage", {}, ("not-a-volume",)) for variant in range(variants)]]


def recorded(plan: Plan, sender: Sender, path: Path, answers: Answers | None = None) -> Recording:
    async def whole() -> None:
        async with sender:
            senders = dict.fromkeys(("http", "grpc"), sender)
            with Writer(path, Run(vars(plan), {})) as writer:
                await run(plan, Traffic(items(), senders, answers), BLIND, writer)

    asyncio.run(whole())
    return Recording.read(path)


def stalling(start: float, stall: tuple[float, float]) -> Reply:
    """At once, but for a stall between two moments, at whose end everything that waits is answered."""
    now = monotonic() - start
    return Reply(delay_s=stall[1] - now if stall[0] <= now < stall[1] else 0.0)


def test_the_open_loop_keeps_its_schedule_when_the_server_stalls(tmp_path):
    """Everybody who came during the stall waited until its end, and the latencies say so."""
    start = monotonic()
    plan = Plan(mix="64,bad:garbage", rate_hz=50.0, arrivals="constant", requests=75)
    with FakeServer(lambda body: stalling(start, (0.4, 1.2))).running() as server:
        requests = recorded(plan, HttpSender(server.url, None, 20), tmp_path / "run.jsonl").requests
    assert len(requests) == 75
    waited = sorted((request for request in requests if request.latency_s > 0.3), key=lambda request: request.scheduled_s)
    assert len(waited) >= 15, "half a second of arrivals at 50 a second waited long"
    assert waited[-1].sent_s - waited[0].sent_s > 0.2, "they were sent while the server stalled, not after it"
    assert waited[0].latency_s > waited[-1].latency_s + 0.1, "who came later waited less"
    ends = [request.done_s for request in waited]
    assert max(ends) - min(ends) < 2 * SLACK_S, "and all were answered at the stall's end"


def test_a_closed_loop_hides_the_same_stall(tmp_path):
    start = monotonic()
    plan = Plan(mix="64,bad:garbage", clients=1, requests=100, duration_s=1.8)
    with FakeServer(lambda body: stalling(start, (0.5, 1.2))).running() as server:
        requests = recorded(plan, HttpSender(server.url, None, 20), tmp_path / "run.jsonl").requests
    assert sum(request.latency_s > 0.35 for request in requests) <= 1


def test_latency_counts_from_the_scheduled_time_where_one_server_answers_one_by_one(tmp_path):
    """Arrivals every 10 ms, 30 ms of service: the n-th waits 20 ms longer than the one before it."""
    plan = Plan(mix="64,bad:garbage", rate_hz=100.0, arrivals="constant", requests=30)
    with FakeServer(lambda body: Reply(delay_s=0.03), serial=True).running() as server:
        requests = recorded(plan, HttpSender(server.url, None, 20), tmp_path / "run.jsonl").requests
    waited = sorted(request.latency_s for request in requests)
    assert waited[-1] > 30 * 0.03 - 0.29
    assert waited[0] < waited[-1] / 3


def test_known_delays_are_what_is_measured(tmp_path):
    plan = Plan(mix="64,bad:garbage", clients=2, requests=12)
    recording = recorded(plan, Echo(0.05), tmp_path / "run.jsonl")
    assert all(0.05 <= request.latency_s < 0.05 + SLACK_S for request in recording.requests)
    assert all(request.lateness_s < SLACK_S for request in recording.requests)


@pytest.mark.parametrize("clients", [1, 3])
def test_a_closed_loop_has_as_many_requests_open_as_clients(clients):
    sender, times = Echo(0.01), []

    async def send(at_s: float) -> None:
        times.append(at_s)
        await sender.send("completion", items()[0][0])

    asyncio.run(closed_loop(clients, Length(requests=10), send, monotonic))
    assert (len(times), sender.most_open) == (10, clients)


def test_a_closed_loop_ends_with_its_duration():
    start, times = monotonic(), []

    async def send(at_s: float) -> None:
        times.append(at_s)
        await asyncio.sleep(0.01)

    asyncio.run(closed_loop(2, Length(duration_s=0.2), send, lambda: monotonic() - start))
    assert times
    assert max(times) < 0.2


def test_the_open_loop_sends_at_the_given_times():
    start, times, due = monotonic(), [], list(islice(poisson(50.0, 3), 20))

    async def send(scheduled_s: float) -> None:
        times.append((scheduled_s, monotonic() - start))
        await asyncio.sleep(1.0)

    asyncio.run(open_loop(due, send, lambda: monotonic() - start))
    assert [scheduled for scheduled, _ in times] == due
    assert all(0 <= sent - scheduled < SLACK_S for scheduled, sent in times)


def test_every_request_has_a_record_and_a_seed_gives_the_same_ones_again(tmp_path):
    first, again = (recorded(PLAN, Echo(), tmp_path / name) for name in ("one.jsonl", "two.jsonl"))
    order = [[(each.number, each.ingredient, each.variant, each.scheduled_s) for each in run.requests] for run in (first, again)]
    assert sorted(order[0]) == sorted(order[1])
    assert sorted(request.number for request in first.requests) == list(range(20))
    assert [request.scheduled_s for request in sorted(first.requests, key=lambda each: each.number)] == list(islice(poisson(50.0, 1), 20))
    assert Counter(request.as_expected for request in first.requests) == {True: 20}
    assert first.end is not None
    assert first.end.requests == 20
    assert first.run.plan == vars(PLAN)


def test_the_server_is_looked_at_all_along(tmp_path):
    plan = Plan(mix="64,bad:garbage", rate_hz=40.0, duration_s=0.5, sample_s=0.1)
    times = [sample.at_s for sample in recorded(plan, Echo(), tmp_path / "run.jsonl").samples]
    assert len(times) >= 4
    assert all(a < b for a, b in pairwise(times))
    assert all(isinstance(sample, Sample) and sample.metrics == {} for sample in Recording.read(tmp_path / "run.jsonl").samples)


def test_answers_are_kept_only_to_be_compared(tmp_path):
    assert all(not request.answer for request in recorded(PLAN, Echo(), tmp_path / "run.jsonl").requests)
    compared = recorded(PLAN, Echo(), tmp_path / "run.jsonl", Answers()).requests
    assert all(bool(request.answer) == (request.code == "ok") for request in compared)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"rate_hz": 1.0},
        {"rate_hz": 1.0, "clients": 2, "requests": 3},
        {"rate_hz": 0.0, "requests": 3},
        {"rate_hz": float("inf"), "requests": 3},
        {"clients": 0, "requests": 3},
        {"clients": 1, "duration_s": 5.0, "warmup_s": 5.0},
        {"clients": 1, "requests": 3, "transport": "pigeon"},
        {"rate_hz": 1.0, "requests": 3, "arrivals": "late"},
        {"clients": 1, "requests": 3, "mix": "64:0"},
    ],
)
def test_a_plan_that_cannot_be_run_is_refused(settings):
    with pytest.raises(CalvariaError):
        Plan(**{"mix": "64", **settings})
