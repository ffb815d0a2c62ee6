"""A worker that is killed while two are busy: what it held fails, and may be sent again; all else is answered; another takes its place."""

import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import psutil
import pytest

from calvaria.client import NEVER, Busy, Client, GrpcClient
from calvaria.client.codec import Caller
from calvaria.io import encode
from calvaria.volume import BinaryVolume

pytestmark = pytest.mark.server

BODY = encode(BinaryVolume.on_grid(np.random.default_rng(0).random((30, 32, 34)) < 0.3, (4.0, 4.0, 4.0)), "nrrd")
CALLERS, READY_S = 8, 60.0
"""On a machine that has nothing else to do it is ready again within 10 s; see docs/operations.md."""


def test_only_its_own_requests_fail_and_another_takes_its_place(secured, own_identity):
    trust = {"key_file": secured.key_file, "ca_file": own_identity.certificate, "timeout_s": 60, "retry": NEVER}
    callers: list[Caller] = [Client(secured.settings.url("inference"), **trust), GrpcClient(secured.settings.grpc_target, **trust)]
    expected = callers[0].send("completion", BODY, {"output": "implant"}).body
    victim, other = secured.management.workers()
    over = False

    def ask(number: int) -> list[str]:
        """Until it is over: what became of each request."""
        found = []
        while not over:
            try:
                answer = callers[number % 2].send("completion", BODY, {"output": "implant"}).body
                found.append("right" if answer == expected else "wrong")
            except Busy:
                found.append("may be sent again")
        return found

    with ThreadPoolExecutor(CALLERS) as pool:
        asking = [pool.submit(ask, number) for number in range(CALLERS)]
        try:
            time.sleep(1.0)
            psutil.Process(victim.pid).kill()
            killed = time.monotonic()
            while not _replaced(secured.management.workers(), victim, other):
                assert not secured.management.unable(secured.management.workers()), "the other worker goes on"
                assert time.monotonic() - killed < READY_S
                time.sleep(0.1)
            seconds = time.monotonic() - killed
        finally:
            over = True
    outcomes = Counter(outcome for each in asking for outcome in each.result())
    print(f"ready again after {seconds:.1f} s; {dict(outcomes)}")
    assert set(outcomes) <= {"right", "may be sent again"}
    assert 0 < outcomes["may be sent again"] <= CALLERS, "what the worker held, no more than one of each caller"
    assert outcomes["right"] > CALLERS


def _replaced(workers, victim, other) -> bool:
    return len(workers) == 2 and all(worker.ready for worker in workers) and victim not in workers and other in workers
