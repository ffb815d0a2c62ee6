"""Loading a server: requests go out on time whatever becomes of those before (open), or as clients come free (closed)."""

import asyncio
import math
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import count, islice
from typing import Any

from calvaria.errors import bad_option
from calvaria.serving.options import encode_options
from calvaria.tasks import TASKS
from loadtest.client import Outcome, Sender
from loadtest.compare import Answers
from loadtest.pacing import ARRIVALS, Length
from loadtest.probe import Probe
from loadtest.record import End, Request, Writer
from loadtest.workload import OK, Item, choices, parse_mix

Clock = Callable[[], float]
"""Seconds since the run began."""

Send = Callable[[float], Coroutine[Any, Any, None]]
"""Send the next request, which was due at this time."""

TRANSPORTS = {"http": ("http",), "grpc": ("grpc",), "both": ("http", "grpc")}


@dataclass(frozen=True)
class Plan:
    """The settings of a run, as its recording keeps them.

    mix, seed, variants   what is sent; see `loadtest.workload`. Each ingredient comes in so many variants
    model, output         which outputs (with commas) of which model are asked for; None: its first, or the implant
    report                whether a report is: over gRPC only that tells the server's own times
    transport             one of TRANSPORTS
    rate_hz, arrivals     of an open loop: requests per second, and one of ARRIVALS
    clients               of a closed loop, instead of the two above
    duration_s, requests  when sending ends, whichever comes first; one may be None
    warmup_s              requests due before this are sent and recorded, but not reported on
    timeout_s             for one answer; sample_s: between two looks at the server
    """

    mix: str
    seed: int = 1
    variants: int = 2
    model: str = "completion"
    output: str | None = None
    report: bool = False
    transport: str = "http"
    rate_hz: float | None = None
    arrivals: str = "poisson"
    clients: int | None = None
    duration_s: float | None = None
    requests: int | None = None
    warmup_s: float = 0.0
    timeout_s: float = 60.0
    sample_s: float = 1.0

    def __post_init__(self) -> None:
        """CalvariaError BAD_OPTION for what cannot be run."""
        if (self.rate_hz is None) == (self.clients is None):
            raise bad_option("Give either a rate (an open loop) or a number of clients (a closed loop).")
        if self.duration_s is None and self.requests is None:
            raise bad_option("Say when to end: after a duration, a number of requests, or the first of both.")
        numbers = self.rate_hz, self.clients, self.duration_s, self.requests, self.timeout_s, self.sample_s, self.variants
        if not all(number is None or (number > 0 and math.isfinite(number)) for number in numbers):
            raise bad_option("Rate, clients, duration, requests, timeout, variants and the time between samples are above zero.")
        if not 0 <= self.warmup_s < (self.duration_s or math.inf):
            raise bad_option(f"A warm-up of {self.warmup_s:g} s leaves nothing to measure: make the run longer.")
        if self.transport not in TRANSPORTS or self.arrivals not in ARRIVALS:
            raise bad_option(f"The transport is one of {', '.join(TRANSPORTS)}; arrivals are one of {', '.join(ARRIVALS)}.")
        parse_mix(self.mix)

    @property
    def options(self) -> dict[str, str]:
        """What every request asks for."""
        task = TASKS.get(self.model)
        return encode_options(output=self.output or (task.pieces if task else None), report=self.report or None)

    @property
    def length(self) -> Length:
        return Length(self.duration_s or math.inf, self.requests)


@dataclass(frozen=True)
class Traffic:
    """What a run needs to send requests.

    items    by place in the mix, then by variant
    senders  by transport
    answers  where they are kept to be compared, or None
    """

    items: Sequence[Sequence[Item]]
    senders: Mapping[str, Sender]
    answers: Answers | None = None


class Load:
    """A run under way: it numbers, sends and records requests."""

    def __init__(self, plan: Plan, traffic: Traffic, writer: Writer, clock: Clock):
        self._plan, self._traffic, self._writer, self._clock = plan, traffic, writer, clock
        self._choices = choices(parse_mix(plan.mix), plan.variants, TRANSPORTS[plan.transport], plan.seed)
        self.sent = self.done = self.unexpected = 0

    async def send(self, scheduled_s: float) -> None:
        place, variant, transport = next(self._choices)
        item, number, sent_s = self._traffic.items[place][variant], self.sent, self._clock()
        self.sent += 1
        outcome = await self._traffic.senders[transport].send(self._plan.model, item)
        done_s = self._clock()
        request = Request(
            number=number,
            ingredient=item.ingredient,
            variant=variant,
            transport=transport,
            scheduled_s=scheduled_s,
            sent_s=sent_s,
            done_s=done_s,
            status=outcome.status,
            code=outcome.code,
            expected=item.expected,
            bytes_sent=len(item.body),
            bytes_received=len(outcome.body),
            stages_s=outcome.stages_s(),
            answer=self._kept(item, outcome),
        )
        self._writer.write(request)
        self.done += 1
        self.unexpected += not request.as_expected

    def _kept(self, item: Item, outcome: Outcome) -> str:
        answers = self._traffic.answers
        return answers.keep(item, outcome.body) if answers and outcome.code == OK else ""


async def run(
    plan: Plan, traffic: Traffic, probe: Probe, writer: Writer, tell: Callable[[Load, float], None] = lambda load, at_s: None
) -> Load:
    """Send all of a plan, and wait until every request is answered or given up; `tell` now and then how far it is.

    CalvariaError BAD_OPTION where the recording cannot be written.
    """
    loop = asyncio.get_running_loop()
    start = loop.time()

    def clock() -> float:
        return loop.time() - start

    load = Load(plan, traffic, writer, clock)

    async def look() -> None:
        at_s = clock()
        writer.write(await probe.look(at_s))
        tell(load, at_s)

    watching = asyncio.create_task(_every(plan.sample_s, look, clock))
    try:
        if plan.rate_hz is not None:
            await open_loop(plan.length.of(ARRIVALS[plan.arrivals](plan.rate_hz, plan.seed)), load.send, clock)
        else:
            await closed_loop(plan.clients or 1, plan.length, load.send, clock)
    except ExceptionGroup as failed:  # of several requests at once
        raise failed.exceptions[0] from failed
    finally:
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching
    await look()
    writer.write(End(clock(), load.done))
    return load


async def open_loop(times_s: Iterable[float], send: Send, clock: Clock) -> None:
    """Send at each time, however many are still unanswered."""
    async with asyncio.TaskGroup() as group:
        for scheduled_s in times_s:
            await asyncio.sleep(max(scheduled_s - clock(), 0.0))
            group.create_task(send(scheduled_s))


async def closed_loop(clients: int, length: Length, send: Send, clock: Clock) -> None:
    """So many clients, each of which sends when it has its last answer."""
    numbers = islice(count(), length.requests)

    async def client() -> None:
        for _ in numbers:  # which all clients share
            now_s = clock()
            if now_s >= length.duration_s:
                return
            await send(now_s)

    async with asyncio.TaskGroup() as group:
        for _ in range(clients):
            group.create_task(client())


async def _every(seconds: float, look: Callable[[], Coroutine[Any, Any, None]], clock: Clock) -> None:
    """Look at once and then at multiples of some seconds, leaving out those that came while it was looking."""
    due_s = 0.0
    while True:
        await asyncio.sleep(due_s - clock())
        await look()
        due_s += seconds * max(math.ceil((clock() - due_s) / seconds), 1)
