"""A whole run from a plan: everything made before the clock starts, the server found or started, the answers compared."""

import asyncio
import resource
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from calvaria.bench.machine import description
from calvaria.client.tokens import read_token
from calvaria.console import Report
from calvaria.predictor import Predictor
from calvaria.server.server import Server
from calvaria.server.settings import CONFIG
from loadtest.client import GrpcSender, HttpSender, Sender
from loadtest.compare import Answers
from loadtest.probe import Probe
from loadtest.record import Run, Verdict, Writer
from loadtest.run import TRANSPORTS, Load, Plan, Traffic, run
from loadtest.workload import Item, make_item, parse_mix


@dataclass(frozen=True)
class Measured:
    """How many requests were not answered as they should be; and, where answers were compared, what was found of each distinct one."""

    unexpected: int
    verdicts: list[Verdict]


def measure(plan: Plan, server: Server, out: Path, say: Report, predictor: Predictor | None = None) -> Measured:
    """Load a server that runs, record to a file, and compare every answer with the predictor's, if there is one.

    CalvariaError UNAVAILABLE where nobody answers; a recording that is there stays then.
    """
    _allow_many_connections()
    with say.stage("Making what is sent"):
        items = [[make_item(each, variant, plan.seed, plan.options) for variant in range(plan.variants)] for each in parse_mix(plan.mix)]
    answers = Answers() if predictor else None
    with ExitStack() as recording:
        begin = partial(Writer, out, Run(vars(plan), description("cpu")))
        load, writer = asyncio.run(_loaded(plan, server, items, answers, lambda: recording.enter_context(begin())))
        verdicts: list[Verdict] = []
        if predictor and answers:
            with say.stage("Comparing the answers with local predictions"):
                verdicts = list(answers.verdicts([item for variants in items for item in variants], predictor))
        for verdict in verdicts:
            writer.write(verdict)
    return Measured(load.unexpected, verdicts)


@contextmanager
def own_server(repository: Path, folder: Path, say: Report) -> Iterator[Server]:
    """A server on the repository's configuration and archives, with a folder and ports of its own, stopped afterwards."""
    server = Server.apart(folder, repository / CONFIG)
    with say.stage("Starting a server, until its worker is ready"):
        server.start()
    try:
        yield server
    finally:
        with say.stage("Stopping the server"):
            server.stop()


async def _loaded(
    plan: Plan, server: Server, items: list[list[Item]], answers: Answers | None, begin: Callable[[], Writer]
) -> tuple[Load, Writer]:
    """The recording is begun once the server answers."""
    async with AsyncExitStack() as stack:
        senders = {name: await stack.enter_async_context(_sender(name, server, plan)) for name in TRANSPORTS[plan.transport]}
        for sender in senders.values():
            await sender.connect()
        writer = begin()
        with _progress(plan) as tell:
            return await run(plan, Traffic(items, senders, answers), Probe.of(server), writer, tell), writer


def _sender(transport: str, server: Server, plan: Plan) -> Sender:
    token = read_token(server.key_file)
    settings = server.settings
    if transport == "http":
        return HttpSender(settings.url("inference"), token, plan.timeout_s, settings.certificate, server.name)
    return GrpcSender(settings.grpc_target, token, plan.timeout_s, settings.grpc_certificate, server.name)


@contextmanager
def _progress(plan: Plan) -> Iterator[Callable[[Load, float], None]]:
    with Progress(TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn()) as bars:
        bar = bars.add_task("Loading", total=1.0)

        def tell(load: Load, at_s: float) -> None:
            shares = at_s / plan.length.duration_s, load.sent / plan.requests if plan.requests else 0.0
            text = f"Loading: {load.sent} sent, {load.done} answered, {load.unexpected} not as they should be"
            bars.update(bar, completed=min(max(shares), 1.0), description=text)

        yield tell


def _allow_many_connections() -> None:
    """An overloaded server has many requests open at once, each of which takes a file descriptor here."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
