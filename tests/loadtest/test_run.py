"""Open and closed loops: exactly, in virtual time, and against a server that stalls, in real time."""

import asyncio
import threading
from collections import Counter
from collections.abc import Callable, Coroutine
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from calvaria.errors import CalvariaError
from loadtest.client import HttpSender, Outcome, Sender
from loadtest.compare import Answers
from loadtest.pacing import poisson
from loadtest.probe import Probe
from loadtest.record import Recording, Run, Sample, Writer
from loadtest.run import Plan, Traffic, run
from loadtest.workload import Item
from tests.full_disk import no_file_above
from tests.loadtest.fake_server import FakeServer, Reply
from tests.loadtest.virtual_time import run_virtually

PLAN = Plan(mix="64:3,bad:garbage:1", rate_hz=50.0, requests=20)
MIX = "64,bad:garbage"


class Blind(Probe):
    """Sees nothing, at once."""

    async def look(self, at_s: float) -> Sample:
        return Sample(at_s, {}, {})


class Simulated(Sender):
    """A server of so many workers in virtual time, each of which takes `service_s`; all stand still during a stall."""

    def __init__(self, service_s: float = 0.0, workers: int = 1000, stall: tuple[float, float] = (0.0, 0.0)):
        self.service_s, self.stall = service_s, stall
        self.free = asyncio.Semaphore(workers)
        self.open, self.most_open = 0, 0

    async def send(self, model: str, item: Item) -> Outcome:
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        async with self.free:
            now = asyncio.get_running_loop().time()
            if self.stall[0] <= now < self.stall[1]:
                await asyncio.sleep(self.stall[1] - now)
            await asyncio.sleep(self.service_s)
        self.open -= 1
        return Outcome("200", "ok", item.body) if item.expected == ("ok",) else Outcome("415", item.expected[0])

    async def connect(self) -> None:
        pass

    async def close(self) -> None:
        pass


def items(variants: int = 2) -> list[list[Item]]:
    good = [Item("64", variant, b"volume %d" % variant, {}) for variant in range(variants)]
    return [good, [Item("bad:garbage", variant, b"garbage", {}, ("not-a-volume",)) for variant in range(variants)]]


def recorded(
    plan: Plan,
    sender: Sender,
    path: Path,
    answers: Answers | None = None,
    run_whole: Callable[[Coroutine[Any, Any, None]], None] = run_virtually,
) -> Recording:
    """In the order in which requests were sent."""

    async def whole() -> None:
        async with sender:
            with Writer(path, Run(vars(plan), {})) as writer:
                await run(plan, Traffic(items(), dict.fromkeys(("http", "grpc"), sender), answers), Blind("", lambda: []), writer)

    run_whole(whole())
    recording = Recording.read(path)
    recording.requests.sort(key=lambda each: each.number)
    return recording


def in_real_time(whole: Coroutine[Any, Any, None]) -> None:
    asyncio.run(whole)


def test_the_open_loop_keeps_its_schedule_while_a_server_stalls_and_latency_counts_from_it(tmp_path):
    """Ten a second, each answered in 10 ms, but for a stall of two seconds: who came during it waited until its end."""
    plan = Plan(mix=MIX, rate_hz=10.0, arrivals="constant", requests=50)
    requests = recorded(plan, Simulated(0.01, stall=(1.0, 3.0)), tmp_path / "run.jsonl").requests
    for number, request in enumerate(requests):
        due = number / 10
        assert request.scheduled_s == pytest.approx(due)
        assert request.sent_s == pytest.approx(due)
        assert request.latency_s == pytest.approx((3.0 - due if 10 <= number < 30 else 0.0) + 0.01)


def test_a_closed_loop_hides_all_but_one_of_those_that_would_have_waited(tmp_path):
    plan = Plan(mix=MIX, clients=1, duration_s=5.0)
    requests = recorded(plan, Simulated(0.125, stall=(1.0, 3.0)), tmp_path / "run.jsonl").requests
    latencies = sorted(request.latency_s for request in requests)
    assert latencies == [0.125] * (len(latencies) - 1) + [2.125]


def test_a_server_slower_than_its_arrivals_falls_behind_by_a_known_amount(tmp_path):
    """Arrivals every 10 ms at one worker of 30 ms: the n-th waits for the n before it."""
    plan = Plan(mix=MIX, rate_hz=100.0, arrivals="constant", requests=30)
    requests = recorded(plan, Simulated(0.03, workers=1), tmp_path / "run.jsonl").requests
    assert [request.latency_s for request in requests] == pytest.approx([0.03 * (n + 1) - 0.01 * n for n in range(30)])


@given(st.floats(0.5, 200), st.integers(0, 1000), st.floats(0, 2), st.integers(1, 3))
@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_the_server_does_requests_go_out_when_they_are_due(tmp_path, rate_hz, seed, service_s, workers):
    plan = Plan(mix=MIX, rate_hz=rate_hz, seed=seed, requests=30)
    requests = recorded(plan, Simulated(service_s, workers), tmp_path / "run.jsonl").requests
    due = list(islice(poisson(rate_hz, seed), 30))
    assert [request.scheduled_s for request in requests] == due
    assert [request.sent_s for request in requests] == pytest.approx(due)
    assert all(request.latency_s > service_s - 1e-6 for request in requests)


@pytest.mark.parametrize("clients", [1, 3])
def test_a_closed_loop_has_as_many_requests_open_as_clients(tmp_path, clients):
    sender = Simulated(0.1)
    requests = recorded(Plan(mix=MIX, clients=clients, requests=12), sender, tmp_path / "run.jsonl").requests
    assert (len(requests), sender.most_open) == (12, clients)
    assert max(request.done_s for request in requests) == pytest.approx(1.2 / clients)


def test_a_closed_loop_ends_with_its_duration(tmp_path):
    requests = recorded(Plan(mix=MIX, clients=2, duration_s=1.0), Simulated(0.3), tmp_path / "run.jsonl").requests
    assert [request.sent_s for request in requests] == pytest.approx([0.0, 0.0, 0.3, 0.3, 0.6, 0.6, 0.9, 0.9])


def test_every_request_has_a_record_and_a_seed_gives_the_same_ones_again(tmp_path):
    first, again = (recorded(PLAN, Simulated(), tmp_path / name) for name in ("one.jsonl", "two.jsonl"))
    assert first.requests == again.requests
    assert [request.number for request in first.requests] == list(range(20))
    assert Counter(request.as_expected for request in first.requests) == {True: 20}
    assert {request.ingredient for request in first.requests} == {"64", "bad:garbage"}
    assert first.end is not None
    assert first.end.requests == 20
    assert first.run.plan == vars(PLAN)


def test_the_server_is_looked_at_all_along_and_once_more_at_the_end(tmp_path):
    plan = Plan(mix=MIX, rate_hz=40.0, arrivals="constant", duration_s=2.0, sample_s=0.5)
    times = [sample.at_s for sample in recorded(plan, Simulated(1.2), tmp_path / "run.jsonl").samples]
    assert times == pytest.approx([0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 1.975 + 1.2])


def test_answers_are_kept_only_to_be_compared(tmp_path):
    assert all(not request.answer for request in recorded(PLAN, Simulated(), tmp_path / "run.jsonl").requests)
    compared = recorded(PLAN, Simulated(), tmp_path / "run.jsonl", Answers()).requests
    assert all(bool(request.answer) == (request.code == "ok") for request in compared)


def test_over_http_requests_go_out_though_none_before_them_was_answered(tmp_path):
    """The server answers nobody until the last has come: whoever waits for an answer before sending would wait for ever."""
    all_there = threading.Barrier(25)

    def reply(body: bytes) -> Reply:
        all_there.wait(30)
        return Reply()

    plan = Plan(mix="64", rate_hz=50.0, arrivals="constant", requests=25, timeout_s=60)
    with FakeServer(reply).running() as server:
        requests = recorded(plan, HttpSender(server.url, None, 60), tmp_path / "run.jsonl", run_whole=in_real_time).requests
    assert [request.code for request in requests] == ["ok"] * 25
    last = requests[-1].scheduled_s
    assert all(request.latency_s > last - request.scheduled_s for request in requests)


def test_over_http_one_after_the_other(tmp_path):
    plan = Plan(mix="64", rate_hz=100.0, arrivals="constant", requests=20)
    with FakeServer(lambda body: Reply(delay_s=0.03), serial=True).running() as server:
        requests = recorded(plan, HttpSender(server.url, None, 60), tmp_path / "run.jsonl", run_whole=in_real_time).requests
    done = sorted(request.done_s for request in requests)
    assert all(at_s > 0.03 * (number + 1) for number, at_s in enumerate(done))
    assert max(request.latency_s for request in requests) > 0.03 * 20 - requests[-1].scheduled_s


def test_on_a_full_disk_a_run_ends_and_names_its_recording(tmp_path):
    with no_file_above(3000), pytest.raises(CalvariaError, match=r"run\.jsonl cannot be written: "):
        recorded(Plan(mix=MIX, rate_hz=50.0, requests=60), Simulated(0.01), tmp_path / "run.jsonl")


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
